//! `silverback stop`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::{Detail, prefix, say};
use crate::supervisor::pid_file;

/// How long a node may take to stop at once.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a node that is about to end.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Args)]
pub(super) struct Stop {
    /// The working directory of the node
    #[arg(short, long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Stop {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        let prefix = prefix(self.prefix.as_deref(), detail)?;
        end(&prefix, Signal::TERM, TIMEOUT)?;
        Ok(say(format_args!("Silverback stopped"))?)
    }
}

/// Signals the node of a prefix and waits for its end.
pub(super) fn end(prefix: &Path, signal: Signal, timeout: Duration) -> anyhow::Result<()> {
    let pid = running(prefix)?;
    kill(pid, signal)?;
    if !is_gone(prefix, timeout)? {
        bail!("Silverback (process {}) did not stop within {} s", pid.as_raw_nonzero(), timeout.as_secs());
    }
    Ok(())
}

/// The node's process, which must be there.
pub(super) fn running(prefix: &Path) -> anyhow::Result<Pid> {
    let running =
        pid_file::running(prefix).with_context(|| format!("could not read the pid file in {}", prefix.display()))?;
    running.with_context(|| format!("Silverback is not running in {}", prefix.display()))
}

pub(super) fn kill(pid: Pid, signal: Signal) -> anyhow::Result<()> {
    kill_process(pid, signal).with_context(|| format!("could not signal process {}", pid.as_raw_nonzero()))
}

pub(super) fn is_gone(prefix: &Path, timeout: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + timeout;
    while pid_file::running(prefix)?.is_some() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}
