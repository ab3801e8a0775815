//! `silverback restart`

use std::time::Duration;

use clap::Args;
use rustix::process::Signal;

use super::start::Start;
use super::stop::end;
use super::{Detail, Program, say};
use crate::supervisor::pid_file;

#[derive(Args)]
pub(super) struct Restart {
    #[command(flatten)]
    start: Start,
}

impl Restart {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        // Read first: a broken configuration leaves the running node alone.
        let conf = self.start.files.conf(detail)?;
        if pid_file::running(&conf.prefix)?.is_some() {
            end(&conf.prefix, Signal::TERM, Duration::from_secs(10))?;
            say(format_args!("Silverback stopped"))?;
        }
        self.start.execute(detail, program)
    }
}
