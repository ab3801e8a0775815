//! `silverback health`

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use rustix::process::{Pid, test_kill_process};

use super::{Detail, prefix, say};
use crate::supervisor::pid_file::{self, State};

#[derive(Args)]
pub(super) struct Health {
    /// The working directory of the node
    #[arg(short, long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Health {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        let prefix = prefix(self.prefix.as_deref(), detail)?;
        if pid_file::running(&prefix)?.is_none() {
            bail!("Silverback is not running at {}", prefix.display());
        }
        let state = State::read(&prefix)?;
        let lives =
            |pid: i32| Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        let serves = state.worker.is_some_and(lives);
        say(format_args!("supervisor....running"))?;
        say(format_args!("worker........{}", if serves { "running" } else { "not running" }))?;
        if !serves {
            bail!("Silverback is not healthy at {}: its worker process is being started", prefix.display());
        }
        say(format_args!("\nSilverback is healthy at {}", prefix.display()))?;
        Ok(())
    }
}
