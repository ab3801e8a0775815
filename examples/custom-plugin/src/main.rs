//! A gateway with a plugin of one's own: the same program as `silverback`, with the same commands and properties, and one
//! more plugin in its table.

mod tenant;

use entities::Catalog;
use pdk::Definition;
use silverback::commands::{self, Program};
use silverback::conf::Conf;
use silverback::node;
use silverback::supervisor::Worker;
use std::cmp::Reverse;
use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main(&Program { worker, catalog })
}

/// The data plane with our plugin.
fn worker(worker: Worker) -> anyhow::Result<()> {
    node::run_with(worker, &table())
}

/// What `silverback check` and `config parse` hold a kong.yml against.
fn catalog(conf: &Conf) -> Catalog {
    node::catalog_with(conf, &table())
}

/// The bundled plugins and ours, in execution order.
fn table() -> Vec<Definition> {
    let mut table = plugins::TABLE.to_vec();
    table.push(tenant::DEFINITION);
    // A stable sort: those of the same priority keep the order that Kong gives them.
    table.sort_by_key(|definition| Reverse(definition.priority));
    table
}
