//! `silverback admin-api`: the Admin API with the configured plugins, and the plugins, described.

use super::{Detail, Files, Program};
use crate::node;
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct AdminApi {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print it as an OpenAPI 3.1 document
    Openapi {
        /// The configuration file, which names the plugins
        #[arg(short, long, value_name = "FILE")]
        conf: Option<PathBuf>,
    },
    /// Print the names of the plugins, or what one of them is configured with, Markdown
    Plugins {
        /// The plugin
        name: Option<String>,
    },
    /// Print its reference, Markdown
    Reference {
        /// The configuration file, which names the plugins
        #[arg(short, long, value_name = "FILE")]
        conf: Option<PathBuf>,
    },
}

impl AdminApi {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        let catalog = |conf| anyhow::Ok((program.catalog)(&Files { conf, prefix: None }.conf(detail)?));
        let text = match self.action {
            Action::Openapi { conf } => format!("{:#}\n", node::openapi(&catalog(conf)?)),
            Action::Plugins { name: None } => node::plugin_names(),
            Action::Plugins { name: Some(name) } => {
                node::plugin_reference(&name).ok_or_else(|| anyhow::anyhow!("no plugin is named '{name}'"))?
            }
            Action::Reference { conf } => node::admin_reference(&catalog(conf)?),
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}
