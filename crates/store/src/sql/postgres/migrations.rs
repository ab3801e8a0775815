//! What a database must have before a node can use it. A database of Kong 3.9 or 3.10 has it; an empty one is given Kong 3.10's
//! layout. What Kong does not know (consumer groups) is added beside its tables.
use super::columns::table_name;
use super::pool::{Pool, Transaction, quoted};
use crate::{Error, Layout};
use schema::{EntitySchema, Field, Flag, Kind};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The layout of Kong 3.10.
const KONG: &str = include_str!("kong.sql");

/// Serialises those who change the layout, in one database.
const LOCK: &str = "SELECT pg_advisory_xact_lock(x'51B4C'::bigint)";

/// Kong's migrations, as 3.10 leaves them.
const EXECUTED: [(&str, &[&str]); 18] = [
    ("acl", &["000_base_acl", "002_130_to_140", "003_200_to_210", "004_212_to_213"]),
    ("acme", &["000_base_acme", "001_280_to_300", "002_320_to_330", "003_350_to_360"]),
    ("ai-proxy", &["001_360_to_370"]),
    ("basic-auth", &["000_base_basic_auth", "002_130_to_140", "003_200_to_210"]),
    ("bot-detection", &["001_200_to_210"]),
    (
        "core",
        &[
            "000_base",
            "003_100_to_110",
            "004_110_to_120",
            "005_120_to_130",
            "006_130_to_140",
            "007_140_to_150",
            "008_150_to_200",
            "009_200_to_210",
            "010_210_to_211",
            "011_212_to_213",
            "012_213_to_220",
            "013_220_to_230",
            "014_230_to_270",
            "015_270_to_280",
            "016_280_to_300",
            "017_300_to_310",
            "018_310_to_320",
            "019_320_to_330",
            "020_330_to_340",
            "021_340_to_350",
            "022_350_to_360",
            "023_360_to_370",
            "024_380_to_390",
            "025_390_to_3100",
        ],
    ),
    ("hmac-auth", &["000_base_hmac_auth", "002_130_to_140", "003_200_to_210"]),
    ("http-log", &["001_280_to_300"]),
    ("ip-restriction", &["001_200_to_210"]),
    ("jwt", &["000_base_jwt", "002_130_to_140", "003_200_to_210"]),
    ("key-auth", &["000_base_key_auth", "002_130_to_140", "003_200_to_210", "004_320_to_330"]),
    (
        "oauth2",
        &["000_base_oauth2", "003_130_to_140", "004_200_to_210", "005_210_to_211", "006_320_to_330", "007_320_to_330"],
    ),
    ("opentelemetry", &["001_331_to_332"]),
    ("post-function", &["001_280_to_300"]),
    ("pre-function", &["001_280_to_300"]),
    (
        "rate-limiting",
        &["000_base_rate_limiting", "003_10_to_112", "004_200_to_210", "005_320_to_330", "006_350_to_360"],
    ),
    ("response-ratelimiting", &["000_base_response_rate_limiting", "001_350_to_360"]),
    ("session", &["000_base_session", "001_add_ttl_index", "002_320_to_330", "003_330_to_3100"]),
];

/// The oldest layout that can be used: that of Kong 3.9.
const OLDEST: &str = "024_380_to_390";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Subsystems with their migrations; none: the database is empty.
    pub executed: Vec<(String, Vec<String>)>,
    /// Kong's migrations that it has not finished.
    pub pending: Vec<(String, Vec<String>)>,
    /// What this version would add beside Kong's tables.
    pub additions: Vec<String>,
    /// Whether the database is of a Kong before 3.9.
    pub is_too_old: bool,
}

impl State {
    #[must_use]
    pub fn needs_bootstrap(&self) -> bool {
        self.executed.is_empty()
    }
}

pub struct Migrations<'a> {
    pub(super) main: &'a Pool,
    pub(super) layout: &'a Layout,
    pub(super) schemas: &'a HashMap<String, Arc<EntitySchema>>,
}

impl Migrations<'_> {
    /// # Errors
    /// When the database cannot be asked.
    pub fn state(&self) -> Result<State, Error> {
        let transaction = self.main.begin(false)?;
        let state = self.state_within(&transaction)?;
        transaction.commit()?;
        Ok(state)
    }

    fn state_within(&self, transaction: &Transaction<'_>) -> Result<State, Error> {
        let mut state = State::default();
        if !has_table(transaction, "schema_meta")? {
            return Ok(state);
        }
        let rows = transaction.query(
            "SELECT subsystem, coalesce(executed, '{}'), coalesce(pending, '{}') FROM schema_meta
             WHERE key = 'schema_meta' ORDER BY subsystem",
            &[],
        )?;
        for row in rows {
            let (subsystem, executed, pending): (String, Vec<String>, Vec<String>) =
                (row.get(0), row.get(1), row.get(2));
            if subsystem == "core" {
                state.is_too_old = !executed.iter().chain(&pending).any(|name| name == OLDEST);
            }
            if !pending.is_empty() {
                state.pending.push((subsystem.clone(), pending));
            }
            state.executed.push((subsystem, executed));
        }
        if !state.executed.iter().any(|(subsystem, _)| subsystem == "core") {
            state.executed.clear();
        }
        if !state.needs_bootstrap() && !state.is_too_old {
            state.additions = self.additions(transaction)?.into_iter().map(|(what, _)| what).collect();
        }
        Ok(state)
    }

    /// Makes the tables, unless they are there; whether they had to be made.
    ///
    /// # Errors
    /// When the database refuses, all of it.
    pub fn bootstrap(&self) -> Result<bool, Error> {
        let transaction = self.main.begin(true)?;
        transaction.batch(LOCK)?;
        if let Some(schema) = &self.main.server().schema {
            transaction.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)))?;
        }
        let is_empty = self.state_within(&transaction)?.needs_bootstrap();
        if is_empty {
            transaction.batch("SET LOCAL statement_timeout = 0")?;
            transaction.batch(KONG)?;
            let workspace = uuid::Uuid::new_v4();
            transaction.batch(&format!("INSERT INTO workspaces (id, name) VALUES ('{workspace}', 'default')"))?;
            for (subsystem, executed) in EXECUTED {
                let last = executed.last().copied().unwrap_or_default();
                transaction.batch(&format!(
                    "INSERT INTO schema_meta (key, subsystem, last_executed, executed, pending)
                     VALUES ('schema_meta', '{subsystem}', '{last}', '{{{}}}', NULL)",
                    executed.join(",")
                ))?;
            }
            for (_, statement) in self.additions(&transaction)? {
                transaction.batch(&statement)?;
            }
        }
        transaction.commit()?;
        Ok(is_empty)
    }

    /// Adds what Kong does not have; what was added.
    ///
    /// # Errors
    /// When the database refuses, all of it.
    pub fn up(&self) -> Result<Vec<String>, Error> {
        let transaction = self.main.begin(true)?;
        transaction.batch(LOCK)?;
        let additions = self.additions(&transaction)?;
        for (_, statement) in &additions {
            transaction.batch(statement)?;
        }
        transaction.commit()?;
        Ok(additions.into_iter().map(|(what, _)| what).collect())
    }

    /// Drops every table of Kong's and ours, with what is in them; whether there were any.
    ///
    /// # Errors
    /// When the database refuses, all of it.
    pub fn reset(&self) -> Result<bool, Error> {
        let transaction = self.main.begin(true)?;
        transaction.batch(LOCK)?;
        let is_there = has_table(&transaction, "schema_meta")?;
        transaction.batch("SET LOCAL statement_timeout = 0")?;
        let of_kong = KONG.lines().filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split(' ').next());
        let ours = self.layout.tables().iter().map(|table| table_name(&table.name));
        for table in of_kong.chain(ours).collect::<BTreeSet<_>>() {
            transaction.batch(&format!("DROP TABLE IF EXISTS {} CASCADE", quoted(table)))?;
        }
        transaction.batch("DROP FUNCTION IF EXISTS sync_tags(), batch_delete_expired_rows()")?;
        transaction.commit()?;
        Ok(is_there)
    }

    /// What is missing, with the statements that make it.
    fn additions(&self, transaction: &Transaction<'_>) -> Result<Vec<(String, String)>, Error> {
        let mut additions = Vec::new();
        for table in self.layout.tables() {
            let Some(schema) = self.schemas.get(&table.name) else { continue };
            let name = table_name(&table.name);
            if !has_table(transaction, name)? {
                additions.push((format!("table {name}"), create(schema)));
                continue;
            }
            // Fields that Kong's schemas do not have; its own columns are Kong's to add.
            for (field, definition) in schema.fields().filter(|(_, field)| field.is(Flag::Hidden)) {
                let column = column_name(field, definition);
                let has =
                    "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
                let (name, quoted_name) = (name.to_owned(), quoted(name));
                let found = transaction.query(has, &[super::pool::text(&quoted_name), super::pool::text(&column)])?;
                if found.is_empty() {
                    let statement = format!(
                        "ALTER TABLE {quoted_name} ADD COLUMN {} {}",
                        quoted(&column),
                        column_type(field, definition)
                    );
                    additions.push((format!("column {name}.{column}"), statement));
                }
            }
        }
        Ok(additions)
    }
}

fn has_table(transaction: &Transaction<'_>, name: &str) -> Result<bool, Error> {
    let name = quoted(name);
    let rows = transaction.query("SELECT to_regclass($1) IS NOT NULL", &[super::pool::text(&name)])?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

fn column_name(field: &str, definition: &Field) -> String {
    if matches!(definition.kind, Kind::Foreign(_)) { format!("{field}_id") } else { field.to_owned() }
}

fn column_type(field: &str, definition: &Field) -> String {
    let kind = match &definition.kind {
        Kind::String if definition.is(Flag::Uuid) => "uuid",
        Kind::String => "text",
        Kind::Integer | Kind::Number if definition.is(Flag::Timestamp) || field == "updated_at" => "timestamptz",
        Kind::Integer => "bigint",
        Kind::Number => "double precision",
        Kind::Boolean => "boolean",
        Kind::Array(elements) | Kind::Set(elements) if matches!(elements.kind, Kind::String) => "text[]",
        Kind::Foreign(_) => {
            let action = match definition.on_delete.as_deref() {
                Some("cascade") => " ON DELETE CASCADE",
                Some("null") => " ON DELETE SET NULL",
                _ => "",
            };
            let parent = definition.reference_to().map(table_name).unwrap_or_default();
            return format!("uuid REFERENCES {} (id){action}", quoted(parent));
        }
        _ => "jsonb",
    };
    kind.to_owned()
}

/// A table in Kong's manner.
fn create(schema: &EntitySchema) -> String {
    let bare = table_name(&schema.name);
    let name = quoted(bare);
    let mut columns: Vec<String> = schema
        .stored_fields()
        .map(|(field, definition)| {
            let column = quoted(&column_name(field, definition));
            let is_key = schema.primary_key.iter().any(|key| key == field);
            format!("{column} {}{}", column_type(field, definition), if is_key { " PRIMARY KEY" } else { "" })
        })
        .collect();
    let mut after = String::new();
    if schema.workspaceable {
        columns.push("ws_id uuid REFERENCES workspaces (id)".to_owned());
    }
    if schema.cache_key.len() > 1 {
        columns.push("cache_key text UNIQUE".to_owned());
    }
    let unique = schema.unique_fields().filter(|field| !schema.primary_key.iter().any(|key| key == field));
    for field in unique {
        let scope = if schema.workspaceable { "ws_id, " } else { "" };
        columns.push(format!("UNIQUE ({scope}{})", quoted(field)));
    }
    for (field, _) in schema.foreign_fields() {
        after += &format!("; CREATE INDEX ON {name} ({})", quoted(&format!("{field}_id")));
    }
    if schema.field("tags").is_some() {
        after += &format!(
            "; CREATE INDEX ON {name} USING gin (tags); CREATE TRIGGER {} AFTER INSERT OR DELETE OR UPDATE OF tags ON {name} \
             FOR EACH ROW EXECUTE FUNCTION sync_tags()",
            quoted(&format!("{bare}_sync_tags_trigger"))
        );
    }
    if schema.ttl {
        columns.push("ttl timestamptz".to_owned());
        after += &format!(
            "; CREATE INDEX ON {name} (ttl); CREATE TRIGGER {} AFTER INSERT ON {name} FOR EACH STATEMENT \
             EXECUTE FUNCTION batch_delete_expired_rows('ttl')",
            quoted(&format!("{bare}_ttl_trigger"))
        );
    }
    format!("CREATE TABLE {name} ({}){after}", columns.join(", "))
}
