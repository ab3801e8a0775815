//! The binary.

use std::process::ExitCode;

use silverback::commands::{self, Program};
use silverback::node;

fn main() -> ExitCode {
    commands::main(&Program { worker: node::run, catalog: node::catalog })
}
