//! How entities lie in Kong's tables: which columns there are is read from the database's catalogue, so that a column which a
//! version of Kong has or has not changes nothing here.
use super::pool::{Transaction, quoted};
use crate::rows::Row;
use crate::{Error, Index, Layout, Part, Table};
use schema::{EntitySchema, Flag};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// The columns that are no fields.
const WORKSPACE: &str = "ws_id";
const CACHE_KEY: &str = "cache_key";
const TTL: &str = "ttl";

/// What becomes of a field on its way into a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is.
    Plain,
    /// Seconds since 1970, a timestamp in the table.
    Time,
    /// `{"id": ...}`, the id in the table.
    Foreign,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    field: String,
    form: Form,
}

#[derive(Clone, Debug)]
pub(super) enum Constraint {
    Key,
    Unique(Vec<String>),
    Foreign(Vec<String>),
}

/// One entity's table.
#[derive(Clone, Debug)]
pub(super) struct SqlTable {
    /// Quoted.
    pub(super) name: String,
    /// The key's column, quoted, and its type.
    pub(super) key: String,
    pub(super) key_type: &'static str,
    /// What a row is selected as: its fields in JSON, and when it expires.
    pub(super) shown: String,
    pub(super) has_workspace: bool,
    pub(super) has_cache_key: bool,
    pub(super) has_ttl: bool,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) constraints: HashMap<String, Constraint>,
    columns: Vec<Column>,
    schema: Option<Arc<EntitySchema>>,
}

/// Where an entity lies.
pub(super) fn table_name(entity: &str) -> &str {
    if entity == "vaults" { "sm_vaults" } else { entity }
}

/// Which entity lies there.
pub(super) fn entity_name(table: &str) -> &str {
    if table == "sm_vaults" { "vaults" } else { table }
}

/// All tables of a database.
#[derive(Clone, Debug, Default)]
pub(super) struct SqlLayout {
    tables: HashMap<String, SqlTable>,
    /// The id of the workspace `default`.
    pub(super) workspace: Uuid,
}

impl SqlLayout {
    pub(super) fn read(
        transaction: &Transaction<'_>,
        layout: &Layout,
        schemas: &HashMap<String, Arc<EntitySchema>>,
    ) -> Result<SqlLayout, Error> {
        let mut columns: HashMap<String, Vec<(String, String)>> = HashMap::new();
        let rows = transaction.query(
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY c.relname, a.attnum",
            &[],
        )?;
        for row in rows {
            columns.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
        }
        let mut constraints = read_constraints(transaction)?;
        let mut tables = HashMap::new();
        for table in layout.tables() {
            let name = table_name(&table.name);
            if let Some(columns) = columns.get(name) {
                let constraints = constraints.remove(name).unwrap_or_default();
                let schema = schemas.get(&table.name).cloned();
                tables.insert(table.name.clone(), SqlTable::new(table, columns, constraints, schema));
            }
        }
        let workspace = match columns.contains_key("workspaces") {
            true => read_workspace(transaction)?,
            false => Uuid::nil(),
        };
        Ok(SqlLayout { tables, workspace })
    }

    /// `None` where the database has no such table: it is one that Kong does not know, and has not been added yet.
    pub(super) fn table(&self, table: &Table) -> Option<&SqlTable> {
        self.tables.get(&table.name)
    }

    /// The table, for a write.
    pub(super) fn writable(&self, table: &Table) -> Result<&SqlTable, Error> {
        self.table(table).ok_or_else(|| missing(&table.name))
    }
}

fn missing(what: &str) -> Error {
    Error::operation_unsupported(&format!(
        "the database has no place for '{what}', which Kong does not have: run 'silverback migrations up'"
    ))
}

fn read_constraints(transaction: &Transaction<'_>) -> Result<HashMap<String, HashMap<String, Constraint>>, Error> {
    let rows = transaction.query(
        "SELECT c.relname::text, k.conname::text, k.contype::text,
           (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(k.conkey))
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND k.contype IN ('p', 'u', 'f')
         UNION ALL
         SELECT c.relname::text, i.relname::text, 'u',
           (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(x.indkey))
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND x.indisunique AND NOT x.indisprimary
           AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.oid)",
        &[],
    )?;
    let mut found: HashMap<String, HashMap<String, Constraint>> = HashMap::new();
    for row in rows {
        let (table, name, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let columns: Vec<String> = row.get::<_, Option<Vec<String>>>(3).unwrap_or_default();
        let constraint = match kind.as_str() {
            "p" => Constraint::Key,
            "f" => Constraint::Foreign(columns),
            _ => Constraint::Unique(columns),
        };
        found.entry(table).or_default().insert(name, constraint);
    }
    Ok(found)
}

fn read_workspace(transaction: &Transaction<'_>) -> Result<Uuid, Error> {
    let rows = transaction.query("SELECT id::text FROM workspaces WHERE name = 'default'", &[])?;
    let id = rows.first().and_then(|row| Uuid::parse_str(row.get(0)).ok());
    Ok(id.unwrap_or_default())
}

impl SqlTable {
    fn new(
        table: &Table,
        columns: &[(String, String)],
        constraints: HashMap<String, Constraint>,
        schema: Option<Arc<EntitySchema>>,
    ) -> SqlTable {
        let has = |name: &str| columns.iter().any(|(column, _)| column == name);
        let foreign = |name: &str| table.references.iter().find(|reference| format!("{}_id", reference.field) == name);
        // Columns of another router flavor, or of a newer Kong, stay as they are.
        let is_used = |name: &str| {
            let field = foreign(name).map_or(name, |reference| reference.field.as_str());
            [WORKSPACE, CACHE_KEY, TTL].contains(&name) || schema.as_ref().is_none_or(|s| s.field(field).is_some())
        };
        let columns: Vec<&(String, String)> = columns.iter().filter(|(name, _)| is_used(name)).collect();
        let fields: Vec<Column> = columns
            .iter()
            .filter(|(name, _)| ![WORKSPACE, CACHE_KEY, TTL].contains(&name.as_str()))
            .map(|(name, kind)| {
                let reference = foreign(name);
                let form = match reference {
                    Some(_) => Form::Foreign,
                    None if kind.starts_with("timestamp") => Form::Time,
                    None => Form::Plain,
                };
                let field = reference.map_or_else(|| name.clone(), |reference| reference.field.clone());
                Column { name: name.clone(), field, form }
            })
            .collect();
        let name = quoted(table_name(&table.name));
        let key = quoted(&table.key);
        let list = columns.iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(", ");
        let values = columns.iter().map(|(name, kind)| match kind.starts_with("timestamp") {
            true => format!("to_timestamp(($1::jsonb->>'{}')::double precision)", name.replace('\'', "''")),
            false => format!("r.{}", quoted(name)),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        // What is no number stays out of `r`, where a time would have to be written as text.
        let times = columns.iter().filter(|(_, kind)| kind.starts_with("timestamp"));
        let times = times.map(|(name, _)| format!(" - '{}'", name.replace('\'', "''"))).collect::<String>();
        let from = format!("jsonb_populate_record(NULL::{name}, $1::jsonb{times}) r");
        let key_type = if table.has_uuid { "uuid" } else { "text" };
        SqlTable {
            shown: shown(&fields, has(TTL)),
            insert: format!("INSERT INTO {name} ({list}) SELECT {values} FROM {from}"),
            update: format!("UPDATE {name} SET ({list}) = (SELECT {values} FROM {from}) WHERE {key} = $2::{key_type}"),
            has_workspace: has(WORKSPACE),
            has_cache_key: has(CACHE_KEY),
            has_ttl: has(TTL),
            name,
            key,
            key_type,
            constraints,
            columns: fields,
            schema,
        }
    }

    pub(super) fn column_of(&self, part: &Part) -> String {
        if part.foreign { format!("{}_id", part.field) } else { part.field.clone() }
    }

    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// A row as it is written: a JSON object of columns.
    pub(super) fn written(&self, table: &Table, row: &Row, workspace: Uuid) -> Result<Value, Error> {
        let mut out = Map::new();
        for column in &self.columns {
            let value = row.value.get(&column.field).cloned().unwrap_or(Value::Null);
            let value = match column.form {
                Form::Plain | Form::Time => value,
                Form::Foreign => value.get("id").cloned().unwrap_or(Value::Null),
            };
            out.insert(column.name.clone(), value);
        }
        let is_stored = |field: &str| {
            let known = self.schema.as_ref().and_then(|schema| schema.field(field));
            known.is_none_or(|field| !field.is(Flag::Transient))
        };
        let unknown = row.value.as_object().into_iter().flatten().find(|(field, value)| {
            let has_column = self.columns.iter().any(|column| column.field == **field);
            !value.is_null() && *field != TTL && !has_column && is_stored(field)
        });
        if let Some((field, _)) = unknown {
            return Err(missing(&format!("{}.{field}", table.name)));
        }
        if self.has_workspace {
            out.insert(WORKSPACE.to_owned(), workspace.to_string().into());
        }
        if self.has_cache_key {
            let index = table.unique.iter().find(|index| index.is_composite());
            let key =
                index.and_then(|index| Some(cache_key(&table.name, index, &index.values(&row.value)?, workspace)));
            out.insert(CACHE_KEY.to_owned(), json!(key));
        }
        if self.has_ttl {
            out.insert(TTL.to_owned(), json!(row.expires));
        }
        Ok(Value::Object(out))
    }

    /// A row as it was selected.
    pub(super) fn read(&self, text: &str, expires: Option<f64>) -> Result<Row, Error> {
        let no_json = |error| Error::database(&format!("a row is no JSON: {error}"));
        let mut value: Value = serde_json::from_str(text).map_err(no_json)?;
        for column in &self.columns {
            let Some(value) = value.get_mut(&column.field) else { continue };
            match column.form {
                Form::Plain => {}
                Form::Time => whole(value),
                Form::Foreign if !value.is_null() => *value = json!({ "id": value.take() }),
                Form::Foreign => {}
            }
        }
        if let Some(schema) = &self.schema {
            // Kong's Lua writes an empty list as an empty object, and a field that is new since the row was written is absent.
            value = schema.merge(&value, Value::Object(Map::new()));
            // What Kong does not have is there only where it is set.
            let is_hidden = |name: &str| schema.field(name).is_some_and(|field| field.is(Flag::Hidden));
            if let Some(fields) = value.as_object_mut() {
                fields.retain(|name, value| !value.is_null() || !is_hidden(name));
            }
        }
        Ok(Row { value, expires })
    }
}

fn shown(fields: &[Column], has_ttl: bool) -> String {
    let pairs = fields.iter().map(|column| {
        let (name, label) = (quoted(&column.name), column.field.replace('\'', "''"));
        match column.form {
            Form::Time => format!("'{label}', extract(epoch from t.{name})::double precision"),
            Form::Plain | Form::Foreign => format!("'{label}', t.{name}"),
        }
    });
    let expires = if has_ttl { "extract(epoch from t.\"ttl\")" } else { "NULL" };
    format!("json_build_object({})::text, {expires}::double precision", pairs.collect::<Vec<_>>().join(", "))
}

/// A time without a fraction is written without one; others have milliseconds.
fn whole(value: &mut Value) {
    let Some(time) = value.as_f64() else { return };
    let milliseconds = (time * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "whole, and PostgreSQL's times end long before")]
    if milliseconds % 1000.0 == 0.0 {
        *value = json!((milliseconds / 1000.0) as i64);
    } else {
        *value = json!(milliseconds / 1000.0);
    }
}

/// The text by which Kong names a row in its caches: the entity, five values, the workspace.
pub(super) fn cache_key(entity: &str, index: &Index, values: &[&str], workspace: Uuid) -> String {
    // Kong's order is that of its schemas, except that a key of keys comes as the schema says: (kid, set).
    debug_assert_eq!(index.parts.len(), values.len());
    key_text(entity, values, &workspace.to_string())
}

pub(super) fn key_text(name: &str, values: &[&str], workspace: &str) -> String {
    let mut text = name.to_owned();
    for place in 0..5 {
        text.push(':');
        text.push_str(values.get(place).copied().unwrap_or_default());
    }
    text.push(':');
    text.push_str(workspace);
    text
}
