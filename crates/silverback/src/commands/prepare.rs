//! `silverback prepare`

use clap::Args;

use super::{Detail, Files, Unused};

#[derive(Args)]
pub(super) struct Prepare {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    unused: Unused,
}

impl Prepare {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        self.unused.mention(detail)?;
        let conf = self.files.conf(detail)?;
        conf.prepare_prefix()?;
        conf.node_id()?;
        detail.tell(format_args!("prepared {}", conf.prefix.display()))?;
        Ok(())
    }
}
