//! `silverback backup`

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::{Detail, Files, Program, say};
use crate::node::stores::{self, Opened};

#[derive(Args)]
pub(super) struct Backup {
    /// The file to write, which must not be there yet; with the secrets of the configuration in it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    files: Files,
}

impl Backup {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        let conf = self.files.conf(detail)?;
        let path = conf.embedded_database();
        match stores::open(&conf, &(program.catalog)(&conf))? {
            Opened::Embedded(store) => {
                if self.file.exists() {
                    bail!("{} already exists.\nWill not overwrite it.", self.file.display());
                }
                store.back_up(&self.file).with_context(|| format!("could not write {}", self.file.display()))?;
                say(format_args!("{} was copied to {}", path.display(), self.file.display()))?;
                Ok(())
            }
            Opened::Postgres(_) => {
                bail!("'silverback backup' is for database = embedded; for PostgreSQL there is pg_dump")
            }
            Opened::Off(_) => {
                bail!("'silverback backup' is for database = embedded; without a database there is nothing to copy")
            }
        }
    }
}
