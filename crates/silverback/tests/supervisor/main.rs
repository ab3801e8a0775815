//! End-to-end tests of commands and supervisor, with a small worker in the place of the data plane. The test program is the
//! gateway's program too: with `SB_TEST_CLI` in its environment it behaves as one.

#![expect(clippy::unwrap_used, reason = "all of this is a test, in functions that the lint does not know as such")]

mod cases;
mod node;
mod worker;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use silverback::commands::Program;

fn main() -> ExitCode {
    if node::harness().is_some() {
        return silverback::commands::main(&Program { worker: worker::serve, catalog: worker::catalog });
    }
    let trial = |(name, case): (&'static str, fn())| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    };
    let mut arguments = Arguments::from_args();
    // Each case runs several processes; the machine of the build has few cores.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, cases::ALL.iter().copied().map(trial).collect()).exit_code()
}
