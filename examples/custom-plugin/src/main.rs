//! A gateway with a plugin of one's own: the same program as `silverback`, with the same commands and properties, and one
//! more plugin in its table.

mod tenant;

use pdk::Definition;
use silverback::supervisor::Worker;
use std::cmp::Reverse;
use std::process::ExitCode;

fn main() -> ExitCode {
    silverback::commands::main(run_worker)
}

fn run_worker(worker: Worker) -> anyhow::Result<()> {
    silverback::node::run_with(worker, &table())
}

/// The bundled plugins and ours, in execution order.
fn table() -> Vec<Definition> {
    let mut table = plugins::TABLE.to_vec();
    table.push(tenant::DEFINITION);
    // A stable sort: those of the same priority keep the order that Kong gives them.
    table.sort_by_key(|definition| Reverse(definition.priority));
    table
}
