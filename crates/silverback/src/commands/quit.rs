//! `silverback quit`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;

use super::stop::{end, is_gone, kill, running};
use super::{Detail, prefix, say};

/// How long a node may take to end by force.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Quit {
    /// The working directory of the node
    #[arg(short, long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Seconds the open requests may take before the node is stopped by force
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u32,
    /// Seconds to wait before anything is done: for a load balancer to notice
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
}

impl Quit {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        let prefix = prefix(self.prefix.as_deref(), detail)?;
        let pid = running(&prefix)?;
        if self.wait > 0 {
            detail.tell(format_args!("waiting {} s", self.wait))?;
            std::thread::sleep(Duration::from_secs(self.wait.into()));
        }
        kill(pid, Signal::QUIT)?;
        if is_gone(&prefix, Duration::from_secs(self.timeout.into()))? {
            return Ok(say(format_args!("Silverback stopped"))?);
        }
        end(&prefix, Signal::TERM, TIMEOUT)?;
        Ok(say(format_args!("Timeout, Silverback stopped forcefully"))?)
    }
}
