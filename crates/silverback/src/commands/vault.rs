//! `silverback vault`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Detail, Files, say};

#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Vault {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the secret that a reference stands for
    Get {
        /// `env/<name>`, or the whole reference with braces
        reference: String,
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        conf: Option<PathBuf>,
    },
}

impl Vault {
    pub(super) fn execute(self, detail: Detail) -> anyhow::Result<()> {
        let Action::Get { reference, conf } = self.action;
        let conf = Files { conf, prefix: None }.conf(detail)?;
        let whole = if reference.starts_with("{vault://") { reference } else { format!("{{vault://{reference}}}") };
        let secret = conf.resolve(&whole).map_err(anyhow::Error::msg).context("could not get the secret")?;
        say(format_args!("{secret}"))?;
        Ok(())
    }
}
