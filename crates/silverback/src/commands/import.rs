//! Bringing a configuration into the store: `silverback config db_import`, `db_export`, and `silverback import` from a
//! running Kong.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use entities::{Catalog, declarative};
use schema::EntitySchema;
use serde_json::Value;
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
        let mut pull =
            Pull { client: &client, catalog: &catalog, spool: Spool::new(&conf.prefix)?, absent: Vec::new() };
        pull.everything()?;
        let Pull { spool, absent, .. } = pull;
        if !absent.is_empty() {
            tell(format_args!("not there: {}", absent.join(", ")))?;
        }
        let counts = spool.counts.clone();
        if !self.dry_run {
            write(&*opened.store(), spool.rows()?)?;
        }
        report(&counts, if self.dry_run { "would be imported" } else { "imported" })?;
        hint(&conf, &opened)
    }
}

fn tell(message: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(io::stderr(), "{message}")
}

/// Rows on their way, in a file: there may be more of them than memory, and the store is locked only while they are written.
struct Spool {
    file: BufWriter<File>,
    counts: Counts,
}

impl Spool {
    /// The file has no name from its start on: it has secrets in it.
    fn new(prefix: &Path) -> anyhow::Result<Spool> {
        let path = prefix.join(format!("import-{}.tmp", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("could not create {}", path.display()))?;
        fs::remove_file(&path)?;
        Ok(Spool { file: BufWriter::new(file), counts: Counts::new() })
    }

    fn add(&mut self, entity: &str, row: &Value) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.file, &(entity, row))?;
        self.file.write_all(b"\n")?;
        *self.counts.entry(entity.to_owned()).or_default() += 1;
        Ok(())
    }

    fn rows(self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(String, Value)>>> {
        let mut file = self.file.into_inner()?;
        file.rewind()?;
        Ok(BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)))
    }
}

/// Everything that Kong's Admin API shows of the entities in the catalog, parents before children.
struct Pull<'a> {
    client: &'a AdminClient,
    catalog: &'a Catalog,
    spool: Spool,
    /// Collections that Kong does not have.
    absent: Vec<String>,
}

impl Pull<'_> {
    fn everything(&mut self) -> anyhow::Result<()> {
        let mut parents: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for schema in self.catalog.entities() {
            let name = schema.name.as_str();
            let nested = NESTED.iter().find(|(entity, _, _)| *entity == name);
            let is_there = match nested {
                Some((_, parent, below)) => {
                    let ids = parents.remove(parent).unwrap_or_default();
                    self.nested(schema, &ids, parent, below)?
                }
                None if !schema.generate_admin_api || name == "tags" => continue,
                None => {
                    let path = format!("/{}", schema.admin_api_name.as_deref().unwrap_or(name));
                    let mut ids = NESTED.iter().any(|(_, parent, _)| *parent == name).then(Vec::new);
                    let is_there = self.collection(schema, &path, |row| {
                        if let (Some(ids), Some(id)) = (&mut ids, row["id"].as_str()) {
                            ids.push(id.to_owned());
                        }
                        row
                    })?;
                    parents.extend(ids.map(|ids| (name, ids)));
                    is_there
                }
            };
            if !is_there {
                self.absent.push(name.to_owned());
            } else if let Some(count) = self.spool.counts.get(name) {
                tell(format_args!("{name}: {count}"))?;
            }
        }
        Ok(())
    }

    fn nested(&mut self, schema: &EntitySchema, ids: &[String], parent: &str, below: &str) -> anyhow::Result<bool> {
        for id in ids {
            let path = format!("/{parent}/{id}/{below}");
            let is_there = self.collection(schema, &path, |row| match schema.name.as_str() {
                "targets" => row,
                // What is listed are the consumers; the memberships have ids of their own, which nothing refers to.
                _ => serde_json::json!({ "consumer_group": { "id": id }, "consumer": { "id": row["id"] } }),
            })?;
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there is such a collection; its rows are checked one by one.
    fn collection(
        &mut self,
        schema: &EntitySchema,
        path: &str,
        mut of: impl FnMut(Value) -> Value,
    ) -> anyhow::Result<bool> {
        self.client.pages(path, |rows| {
            super::config::with_context(self.catalog, |cx| {
                for row in rows {
                    let row = stored(of(row), schema);
                    let id = row["id"].as_str().unwrap_or_default().to_owned();
                    let row = schema.validate(row, cx).map_err(|error| {
                        anyhow!(
                            "could not import: '{}' {id}: {}",
                            schema.name,
                            error.message.clone().unwrap_or_default()
                        )
                    })?;
                    self.spool.add(&schema.name, &row)?;
                    say_how_far(&schema.name, self.spool.counts.get(&schema.name).copied().unwrap_or_default())?;
                }
                Ok(())
            })
        })
    }
}

fn say_how_far(what: &str, count: usize) -> io::Result<()> {
    const STEP: usize = 100_000;
    if count > 0 && count.is_multiple_of(STEP) { tell(format_args!("{what}: {count} so far")) } else { Ok(()) }
}

/// A row without what is only shown, and with an id.
fn stored(mut row: Value, schema: &EntitySchema) -> Value {
    if let Value::Object(fields) = &mut row {
        fields.retain(|name, _| !schema.field(name).is_some_and(|field| field.is(schema::Flag::Transient)));
        if !fields.contains_key("id")
            && let Some(id) = declarative::id_by_names(schema, fields)
        {
            fields.insert("id".to_owned(), id.into());
        }
    }
    row
}

/// How many rows of each entity.
type Counts = BTreeMap<String, usize>;

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
fn write(store: &dyn Store, rows: impl Iterator<Item = anyhow::Result<(String, Value)>>) -> anyhow::Result<()> {
    store.writing(|writer| {
        for (count, row) in rows.enumerate() {
            let (entity, row) = row?;
            say_how_far("written", count)?;
            let ttl = row.get("ttl").and_then(Value::as_f64).map_or(Ttl::Keep, Ttl::Set);
            let id = row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let written = writer.upsert(&entity, row, ttl);
            written.with_context(|| format!("could not import: '{entity}' {id}"))?;
        }
        anyhow::Ok(())
    })
}

fn report(counts: &Counts, done: &str) -> io::Result<()> {
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
    let mut counts = Counts::new();
    for (entity, _) in &rows {
        *counts.entry(entity.clone()).or_default() += 1;
    }
    write(&*opened.store(), rows.into_iter().map(Ok))?;
    say(format_args!("import successful"))?;
    report(&counts, "imported")?;
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
