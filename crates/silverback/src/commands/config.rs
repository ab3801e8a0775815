//! `silverback config`: files to begin with.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::conf::default_file;

#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write an example of a declarative configuration
    Init {
        /// The file to write
        #[arg(value_name = "FILE", default_value = "kong.yml")]
        file: PathBuf,
    },
    /// Write a configuration file with every property at its default
    DefaultConf {
        /// The file to write; standard output when none is named
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

const EXAMPLE: &str = r#"# A declarative configuration: what the gateway proxies where, and what it does on the way.
# Load it with:  SILVERBACK_DATABASE=off SILVERBACK_DECLARATIVE_CONFIG=kong.yml silverback run

_format_version: "3.0"
_transform: true

# A service is an API behind the gateway; its routes say which requests go there.
# services:
# - name: example
#   url: http://127.0.0.1:9000
#   routes:
#   - name: example-route
#     paths:
#     - /example
#   plugins:
#   - name: key-auth
#   - name: rate-limiting
#     config:
#       minute: 60
#       policy: local

# A consumer is somebody who calls.
# consumers:
# - username: somebody
#   keyauth_credentials:
#   - key: a-secret-key

# A plugin here works on every request.
# plugins:
# - name: correlation-id
"#;

impl Config {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        match self.action {
            Action::Init { file } => write_new(&file, EXAMPLE),
            Action::DefaultConf { file: Some(file) } => write_new(&file, &default_file()),
            Action::DefaultConf { file: None } => Ok(io::stdout().write_all(default_file().as_bytes())?),
        }
    }
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => Ok(file.write_all(text.as_bytes())?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} already exists.\nWill not overwrite it.", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("could not write {}", path.display())),
    }
}
