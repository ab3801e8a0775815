//! `silverback reload`

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use rustix::process::Signal;

use super::stop::{kill, running};
use super::{Detail, Files, Unused, say, warn};
use crate::conf::write_file;
use crate::supervisor::RELOAD_FILE;
use crate::supervisor::pid_file::{self, State};

/// How long the new worker may take to be ready.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at the node's state.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Args)]
pub(super) struct Reload {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    unused: Unused,
}

impl Reload {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        self.unused.mention(detail)?;
        // Checked here too: the terminal is a better place for a mistake than the log.
        let conf = self.files.conf(detail)?;
        warn(&conf)?;
        let prefix = conf.prefix;
        let pid = running(&prefix)?;
        let before = State::read(&prefix)?;
        write_file(&prefix.join(RELOAD_FILE), &serde_json::to_vec(&self.files.source())?, 0o600)?;
        kill(pid, Signal::HUP)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // Between two programs of an upgrade the state may be missing for a moment.
            let state = State::read(&prefix).unwrap_or_else(|_| before.clone());
            if state.reloads > before.reloads {
                return match state.reload_error {
                    None => Ok(say(format_args!("Silverback reloaded"))?),
                    Some(problem) => bail!("the reload failed, the node goes on as before: {problem}"),
                };
            }
            if pid_file::running(&prefix)?.is_none() {
                bail!("Silverback stopped during the reload; its error log says why");
            }
            if Instant::now() >= deadline {
                bail!("the new worker process is not ready after {} s; the node goes on as before", TIMEOUT.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
    }
}
