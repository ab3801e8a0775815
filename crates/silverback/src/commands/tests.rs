//! Tests of the command line.

use clap::CommandFactory;

use super::Cli;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}
