//! Bringing a configuration into the store: `silverback config db_import`, `db_export`, and `silverback import` from a
//! running Kong.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use entities::{Catalog, declarative};
use serde_json::{Map, Value};
use store::{Store, Ttl};

use super::{Detail, Files, Program, describe_invalid, say};
use crate::admin_client::AdminClient;
use crate::conf::Conf;
use crate::node::stores::{self, Opened};

#[derive(Args)]
pub(super) struct Import {
    /// The Admin API of the running Kong, for example http://127.0.0.1:8001
    #[arg(long, value_name = "URL")]
    from_admin: String,
    /// A header for it, as `Kong-Admin-Token: secret`; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Only say what would be imported
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    files: Files,
}

/// Collections whose rows are found below those of another one: entity, parent, and the path below the parent.
const NESTED: [(&str, &str, &str); 2] =
    [("targets", "upstreams", "targets"), ("consumer_group_consumers", "consumer_groups", "consumers")];

impl Import {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        let conf = self.files.conf(detail)?;
        let catalog = (program.catalog)(&conf);
        let opened = open(&conf, &catalog, "import")?;
        let client = AdminClient::new(&self.from_admin, &self.header, &conf)?;
        let about = client.get("/").with_context(|| format!("{} is no Admin API", self.from_admin))?;
        let version = about.as_ref().and_then(|about| about["version"].as_str()).unwrap_or("of unknown version");
        tell(format_args!("reading from Kong {version} at {}", self.from_admin))?;
        let (document, absent) = pull(&client, &catalog)?;
        if !absent.is_empty() {
            tell(format_args!("not there: {}", absent.join(", ")))?;
        }
        let text = serde_json::to_string(&document)?;
        let rows = parsed(&catalog, &text, None)?;
        if !self.dry_run {
            write(&*opened.store(), &rows)?;
        }
        report(&rows, if self.dry_run { "would be imported" } else { "imported" })?;
        hint(&conf, &opened)
    }
}

fn tell(message: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(io::stderr(), "{message}")
}

/// Everything that Kong's Admin API shows of the entities in the catalog, as a declarative configuration.
fn pull(client: &AdminClient, catalog: &Catalog) -> anyhow::Result<(Value, Vec<String>)> {
    let mut document = Map::new();
    document.insert("_format_version".to_owned(), "3.0".into());
    document.insert("_transform".to_owned(), false.into());
    let mut absent = Vec::new();
    for schema in catalog.entities() {
        let name = schema.name.as_str();
        let nested = NESTED.iter().find(|(entity, _, _)| *entity == name);
        let rows = match nested {
            Some((_, parent, below)) => pull_nested(client, &document, name, parent, below)?,
            None if !schema.generate_admin_api || name == "tags" => continue,
            None => {
                let path = schema.admin_api_name.as_deref().unwrap_or(name);
                client.list(&format!("/{path}"))?
            }
        };
        let Some(rows) = rows else {
            absent.push(name.to_owned());
            continue;
        };
        if rows.is_empty() {
            continue;
        }
        tell(format_args!("{name}: {}", rows.len()))?;
        let foreign: Vec<&str> = schema.foreign_fields().map(|(field, _)| field).collect();
        let rows = rows.into_iter().map(|row| declared(row, &foreign, schema));
        document.insert(name.to_owned(), rows.collect());
    }
    Ok((Value::Object(document), absent))
}

fn pull_nested(
    client: &AdminClient,
    document: &Map<String, Value>,
    entity: &str,
    parent: &str,
    below: &str,
) -> anyhow::Result<Option<Vec<Value>>> {
    let mut all = Vec::new();
    for id in document.get(parent).and_then(Value::as_array).into_iter().flatten().filter_map(|row| row["id"].as_str())
    {
        let Some(rows) = client.list(&format!("/{parent}/{id}/{below}"))? else { return Ok(None) };
        if entity == "targets" {
            all.extend(rows);
        } else {
            // What is listed are the consumers; the memberships have ids of their own, which nothing refers to.
            let consumer =
                |row: Value| serde_json::json!({ "consumer_group": { "id": id }, "consumer": { "id": row["id"] } });
            all.extend(rows.into_iter().map(consumer));
        }
    }
    Ok(Some(all))
}

/// A row as a declarative file has it: references as ids, and nothing that is only shown.
fn declared(row: Value, foreign: &[&str], schema: &schema::EntitySchema) -> Value {
    let Value::Object(fields) = row else { return row };
    let is_shown_only = |name: &str| schema.field(name).is_some_and(|field| field.is(schema::Flag::Transient));
    let fields = fields.into_iter().filter(|(name, _)| !is_shown_only(name)).map(|(name, mut value)| {
        if foreign.contains(&name.as_str())
            && let Some(id) = value.get_mut("id")
        {
            value = id.take();
        }
        (name, value)
    });
    Value::Object(fields.collect())
}

/// An entity's name and a row of it.
type Rows = Vec<(String, Value)>;

fn parsed(catalog: &Catalog, text: &str, file: Option<&str>) -> anyhow::Result<Rows> {
    let parsed = super::config::with_context(catalog, |cx| declarative::parse(text, catalog, cx));
    match parsed {
        Ok(parsed) => Ok(parsed.into_rows().into_iter().filter(|(entity, _)| entity != "workspaces").collect()),
        Err(_) => bail!("Failed parsing:\n{}", describe_invalid(catalog, text, file).unwrap_or_default()),
    }
}

/// All of the rows, or none.
fn write(store: &dyn Store, rows: &Rows) -> anyhow::Result<()> {
    store.writing(|writer| {
        for (entity, row) in rows {
            let ttl = row.get("ttl").and_then(Value::as_f64).map_or(Ttl::Keep, Ttl::Set);
            let written = writer.upsert(entity, row.clone(), ttl);
            written.with_context(|| {
                let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
                format!("could not import: '{entity}' {id}")
            })?;
        }
        anyhow::Ok(())
    })
}

fn report(rows: &Rows, done: &str) -> io::Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (entity, _) in rows {
        *counts.entry(entity).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(entity, count)| format!("{count} {entity}")).collect();
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    say(format_args!("{done}: {counts}"))
}

/// A running node does not see what another process writes into its file.
fn hint(conf: &Conf, opened: &Opened) -> anyhow::Result<()> {
    if matches!(opened, Opened::Embedded(_)) && crate::supervisor::pid_file::running(&conf.prefix)?.is_some() {
        say(format_args!("the node that runs in {} uses it after 'silverback reload'", conf.prefix.display()))?;
    }
    Ok(())
}

fn open(conf: &Conf, catalog: &Catalog, command: &str) -> anyhow::Result<Opened> {
    conf.prepare_prefix()?;
    let opened = stores::open(conf, catalog)?;
    match &opened {
        Opened::Off(_) => bail!(
            "'silverback {command}' only works with a database.\nWhen using database=off, reload your declarative \
             configuration\nby setting the 'declarative_config' property in kong.conf, or with the /config endpoint"
        ),
        Opened::Postgres(store) => stores::check(&store.migrations().state()?)?,
        Opened::Embedded(_) => {}
    }
    Ok(opened)
}

/// `silverback config db_import`
pub(super) fn db_import(path: &Path, conf: &Conf, catalog: &Catalog) -> anyhow::Result<()> {
    super::config::check_kind(path)?;
    let opened = open(conf, catalog, "config db_import")?;
    let text =
        fs::read_to_string(path).with_context(|| format!("Failed parsing:\ncould not read {}", path.display()))?;
    let rows = parsed(catalog, &text, path.to_str())?;
    say(format_args!("parse successful, beginning import"))?;
    write(&*opened.store(), &rows)?;
    say(format_args!("import successful"))?;
    report(&rows, "imported")?;
    hint(conf, &opened)
}

/// `silverback config db_export`
pub(super) fn db_export(path: &PathBuf, conf: &Conf, catalog: &Catalog) -> anyhow::Result<()> {
    if path.exists() {
        bail!("{} already exists.\nWill not overwrite it.", path.display());
    }
    let opened = open(conf, catalog, "config db_export")?;
    let mut rows: Rows = Vec::new();
    opened.store().each(&mut |entity, row| rows.push((entity.to_owned(), row)))?;
    let text = declarative::export(rows.iter().map(|(entity, row)| (entity.as_str(), row)), catalog);
    // It has the secrets of the configuration in it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("could not write {}", path.display()))
}
