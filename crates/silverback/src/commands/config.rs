//! `silverback config`: files to begin with, and the way of files into the database and out of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use entities::{Catalog, declarative};

use super::{Detail, Files, Program, import, say};
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
    /// Check a declarative configuration
    Parse {
        /// The file, YAML or JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The configuration file, which names the plugins and the router flavor
        #[arg(short, long, value_name = "FILE")]
        conf: Option<PathBuf>,
    },
    /// Import a declarative configuration into the database
    #[command(name = "db_import")]
    DbImport {
        /// The file, YAML or JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        files: Files,
    },
    /// Export the database as a declarative configuration
    #[command(name = "db_export")]
    DbExport {
        /// The file to write
        #[arg(value_name = "FILE", default_value = "kong.yml")]
        file: PathBuf,
        #[command(flatten)]
        files: Files,
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
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        match self.action {
            Action::Parse { file, conf } => {
                let conf = Files { conf, prefix: None }.conf(detail)?;
                parse(&file, &(program.catalog)(&conf))
            }
            Action::DbImport { file, files } => {
                let conf = files.conf(detail)?;
                import::db_import(&file, &conf, &(program.catalog)(&conf))
            }
            Action::DbExport { file, files } => {
                let conf = files.conf(detail)?;
                import::db_export(&file, &conf, &(program.catalog)(&conf))
            }
            Action::Init { file } => write_new(&file, EXAMPLE),
            Action::DefaultConf { file: Some(file) } => write_new(&file, &default_file()),
            Action::DefaultConf { file: None } => Ok(io::stdout().write_all(default_file().as_bytes())?),
        }
    }
}

/// Refuses a file whose name says that it is something else.
pub(super) fn check_kind(path: &Path) -> anyhow::Result<()> {
    let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !matches!(kind, "json" | "yml" | "yaml") {
        bail!("Failed parsing:\nunknown file type: {}. (Accepted types: json, yaml)", path.display());
    }
    Ok(())
}

fn parse(path: &Path, catalog: &Catalog) -> anyhow::Result<()> {
    check_kind(path)?;
    let text =
        fs::read_to_string(path).with_context(|| format!("Failed parsing:\ncould not read {}", path.display()))?;
    match describe_invalid(catalog, &text, path.to_str()) {
        Some(problems) => bail!("Failed parsing:\n{problems}"),
        None => Ok(say(format_args!("parse successful"))?),
    }
}

/// What is wrong with a declarative configuration, as a person reads it; `None` when it is valid.
#[must_use]
pub fn describe_invalid(catalog: &Catalog, text: &str, file: Option<&str>) -> Option<String> {
    with_context(catalog, |cx| declarative::parse(text, catalog, cx).err().map(|invalid| invalid.pretty(file)))
}

/// What schemas need of the system: the time and randomness.
pub(super) fn with_context<T>(catalog: &Catalog, work: impl FnOnce(&schema::Context<'_>) -> T) -> T {
    let random = |bytes: &mut [u8]| {
        let mut rest = bytes;
        while let Ok(filled) = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()) {
            let Some((_, left)) = std::mem::take(&mut rest).split_at_mut_checked(filled) else { return };
            if left.is_empty() {
                return;
            }
            rest = left;
        }
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    work(&schema::Context { now, random: &random, schemas: catalog })
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
