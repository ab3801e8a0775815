//! The project's own commands: `make run`, `make bench`, `make conformance` and the rules of `make check`.
//! Nothing here is part of the gateway; the gateway is driven as a program, as a user would.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its terminal")]

mod bench;
mod cache_tests;
mod client;
mod conformance;
mod fuzz;
mod gateway;
mod generate;
mod h2spec;
mod postgres;
mod process;
mod project;
mod run;
mod schemathesis;
mod tidy;
mod upstream;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Commands of the Silverback project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the gateway and start it from examples/kong.yml, with an upstream of its own
    Run(run::Options),
    /// Serve the upstream of `run` alone: it answers with what it was sent
    Upstream(upstream::Options),
    /// Hold the code against the rules of ARCHITECTURE.md and STYLE.md
    Tidy,
    /// Write the files of the docs that come from the program
    Generate(generate::Options),
    /// Play the recorded cases of Kong against the gateway
    Conformance(conformance::Options),
    /// Ask the Admin API by its own OpenAPI document, in search of failures of the server
    Schemathesis(schemathesis::Options),
    /// Run the parsers under libFuzzer
    Fuzz(fuzz::Options),
    /// Hold HTTP/2 of both listeners against h2spec
    H2spec(h2spec::Options),
    /// Hold proxy-cache against the tests of HTTP caches (github.com/http-tests/cache-tests)
    CacheTests(cache_tests::Options),
    /// Measure the gateway against nginx on this machine
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Upstream(options) => upstream::run(&options),
        Command::Tidy => tidy::run(),
        Command::Generate(options) => generate::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Schemathesis(options) => schemathesis::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::H2spec(options) => h2spec::run(&options),
        Command::CacheTests(options) => cache_tests::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
