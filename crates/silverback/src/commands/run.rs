//! `silverback run`

use clap::Args;

use super::{Detail, Files};
use crate::supervisor;

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    files: Files,
    /// Detach from the terminal: what `start` asks for
    #[arg(long, hide = true)]
    background: bool,
}

impl Run {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        if detail.verbose {
            self.files.conf(detail)?;
        }
        supervisor::run(self.files.source(), self.background)
    }
}

pub(super) fn in_foreground(files: &Files) -> anyhow::Result<()> {
    supervisor::run(files.source(), false)
}
