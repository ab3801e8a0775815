//! `silverback check`

use std::path::PathBuf;

use clap::Args;

use super::{Detail, Files, say, warn};

#[derive(Args)]
pub(super) struct Check {
    /// The configuration file; the default one when none is named
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[arg(short, long, value_name = "FILE", hide = true, conflicts_with = "file")]
    conf: Option<PathBuf>,
}

impl Check {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        let files = Files { conf: self.file.or(self.conf), prefix: None };
        let conf = files.conf(detail)?;
        warn(&conf)?;
        match files.source().read()?.file {
            Some(path) => say(format_args!("configuration at {} is valid", path.display()))?,
            None => say(format_args!("the default configuration is valid"))?,
        }
        Ok(())
    }
}
