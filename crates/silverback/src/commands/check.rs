//! `silverback check`

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use entities::{Catalog, Configuration, declarative};

use super::config::with_context;
use super::{Detail, Files, Program, say, warn};
use crate::conf::{Conf, Database};
use crate::lint::lint;
use crate::node::{declarative_text, router_flavor, stores};

#[derive(Args)]
pub(super) struct Check {
    /// The configuration file; the default one when none is named
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[arg(short, long, value_name = "FILE", hide = true, conflicts_with = "file")]
    conf: Option<PathBuf>,
    /// Also name what of the entities has no effect: shadowed routes, plugins that never run, services without routes
    #[arg(long)]
    lint: bool,
}

impl Check {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        let files = Files { conf: self.file.or(self.conf), prefix: None };
        let conf = files.conf(detail)?;
        warn(&conf)?;
        match files.source().read()?.file {
            Some(path) => say(format_args!("configuration at {} is valid", path.display()))?,
            None => say(format_args!("the default configuration is valid"))?,
        }
        if self.lint {
            let findings = lint(&entities_of(&conf, &(program.catalog)(&conf))?, router_flavor(&conf));
            for finding in &findings {
                say(format_args!("{finding}"))?;
            }
            if !findings.is_empty() {
                bail!("{} of the entities' parts have no effect", findings.len());
            }
        }
        Ok(())
    }
}

/// What a node would start from.
fn entities_of(conf: &Conf, catalog: &Catalog) -> anyhow::Result<Configuration> {
    if conf.database == Database::Off {
        let Some((text, from)) = declarative_text(conf)? else { return Ok(Configuration::default()) };
        let parsed = with_context(catalog, |cx| declarative::parse(&text, catalog, cx));
        let declared = parsed
            .map_err(|invalid| anyhow::anyhow!(invalid.pretty(from.as_deref().and_then(|path| path.to_str()))))?;
        return Ok(declared.configuration()?);
    }
    let opened = stores::open(conf, catalog)?;
    let mut configuration = Configuration::default();
    let mut broken = None;
    opened.store().each(&mut |entity, row| {
        if let Err(error) = configuration.set(entity, &row) {
            broken.get_or_insert(error);
        }
    })?;
    match broken {
        Some(error) => Err(error).context("the stored configuration cannot be read"),
        None => Ok(configuration),
    }
}
