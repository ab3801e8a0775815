//! Rows in Kong's tables.
use super::columns::{SqlLayout, SqlTable, cache_key, entity_name, table_name};
use super::events::Event;
use super::order::Turns;
use super::pool::{Bound, Transaction, text};
use super::violations::{refused_removal, refused_row};
use crate::rows::{Row, Rows, Scan, TagScan};
use crate::{Error, Index, Layout, Table, TagFilter, Tagged};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

pub(super) struct PgRows<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) layout: &'a Layout,
    pub(super) sql: &'a SqlLayout,
    /// When the rows that were seen or written expire.
    pub(super) ends: RefCell<Vec<End>>,
    /// What other nodes must be told.
    pub(super) events: Vec<Event>,
    /// What was fetched for the row that is about to be written.
    prepared: RefCell<HashMap<Asked, Option<Row>>>,
    /// When rows were written, by the store's counter.
    pub(super) turns: Turns,
    turn: &'a AtomicU64,
}

/// A question about at most one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Key { entity: String, key: String },
    Index { entity: String, index: String, values: Vec<String> },
}

/// When a row of an entity, by its key, expires; `None`: never.
pub(super) type End = (String, String, Option<f64>);

/// A statement that grows, with its parameters.
#[derive(Default)]
struct Parameters {
    values: Vec<(Box<dyn ToSql + Sync>, Type)>,
}

impl Parameters {
    fn add(&mut self, value: impl ToSql + Sync + 'static, kind: Type) -> String {
        self.values.push((Box::new(value), kind));
        format!("${}", self.values.len())
    }

    fn bound(&self) -> Vec<Bound<'_>> {
        self.values.iter().map(|(value, kind)| (&**value, kind.clone())).collect()
    }
}

/// Whether a key can be one of the table; others are in no row, and PostgreSQL would not take them for a UUID.
fn is_key(table: &Table, key: &str) -> bool {
    !table.has_uuid || is_uuid(key)
}

/// In the one form that both sides know; there are others that only one of them takes.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::parse_str(text).is_ok()
}

impl<'a> PgRows<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        layout: &'a Layout,
        sql: &'a SqlLayout,
        turn: &'a AtomicU64,
    ) -> Self {
        let (ends, prepared) = (RefCell::default(), RefCell::default());
        PgRows { transaction, layout, sql, ends, events: Vec::new(), prepared, turns: Turns::new(), turn }
    }

    /// The row is written, and locked until the transaction ends.
    fn written(&mut self, table: &Table, key: &str) {
        if let Ok(id) = Uuid::parse_str(key) {
            self.turns.insert((table.name.clone(), id), self.turn.fetch_add(1, Ordering::SeqCst));
        }
    }

    fn prepared(&self, asked: &Asked) -> Option<Option<Row>> {
        self.prepared.borrow().get(asked).cloned()
    }

    /// The condition that the answer fulfils; `None` where no row can.
    fn condition(&self, asked: &Asked, parameters: &mut Parameters) -> Option<(&'a SqlTable, String)> {
        match asked {
            Asked::Key { entity, key } => {
                let table = self.layout.table(entity)?;
                let sql = self.sql.table(table).filter(|_| is_key(table, key))?;
                let key = parameters.add(key.clone(), Type::TEXT);
                Some((sql, format!("t.{} = {key}::{}", sql.key, sql.key_type)))
            }
            Asked::Index { entity, index, values } => {
                let table = self.layout.table(entity)?;
                let sql = self.sql.table(table)?;
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let index = table.index(index)?;
                Some((sql, unique_condition(table, sql, index, &values, self.sql.workspace, parameters)?))
            }
        }
    }

    fn one(&self, table: &Table, asked: Asked) -> Result<Option<Row>, Error> {
        if let Some(known) = self.prepared(&asked) {
            return Ok(known);
        }
        let mut parameters = Parameters::default();
        let Some((sql, condition)) = self.condition(&asked, &mut parameters) else { return Ok(None) };
        Ok(self.select(table, sql, &format!("WHERE {condition} LIMIT 1"), &parameters.bound())?.pop())
    }

    fn select(&self, table: &Table, sql: &SqlTable, rest: &str, values: &[Bound<'_>]) -> Result<Vec<Row>, Error> {
        let statement = format!("SELECT {} FROM {} t {rest}", sql.shown, sql.name);
        let found = self.transaction.query(&statement, values)?;
        let mut rows = Vec::with_capacity(found.len());
        for found in found {
            let row = sql.read(found.get::<_, &str>(0), found.get(1))?;
            if let (Some(at), Some(key)) = (row.expires, row.value.get(&table.key).and_then(Value::as_str)) {
                self.ends.borrow_mut().push((table.name.clone(), key.to_owned(), Some(at)));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Rows by their keys, in any order.
    pub(super) fn by_keys(&self, table: &Table, keys: &[String]) -> Result<Vec<Row>, Error> {
        let Some(sql) = self.sql.table(table) else { return Ok(Vec::new()) };
        let rest = format!("WHERE t.{} = ANY($1::text[]::{}[])", sql.key, sql.key_type);
        self.select(table, sql, &rest, &[(&keys, Type::TEXT_ARRAY)])
    }

    /// The keys of rows with this text in a field; the id, where the field is foreign.
    pub(super) fn keys_with(&self, table: &Table, field: &str, value: &str) -> Result<Vec<String>, Error> {
        let Some(sql) = self.sql.table(table) else { return Ok(Vec::new()) };
        let is_foreign = table.references.iter().any(|reference| reference.field == field);
        let column = if is_foreign { format!("{field}_id") } else { field.to_owned() };
        if !sql.has_column(&column) || (is_foreign && !is_uuid(value)) {
            return Ok(Vec::new());
        }
        let kind = if is_foreign { "uuid" } else { "text" };
        let workspace = self.sql.workspace.to_string();
        let within = if sql.has_workspace { "ws_id = $2::uuid" } else { "$2::uuid IS NOT NULL" };
        let statement = format!(
            "SELECT {}::text FROM {} WHERE {within} AND {} = $1::{kind}",
            sql.key,
            sql.name,
            super::pool::quoted(&column)
        );
        let found = self.transaction.query(&statement, &[text(&value), text(&workspace)])?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }
}

fn key_asked(table: &Table, key: &str) -> Asked {
    Asked::Key { entity: table.name.clone(), key: key.to_owned() }
}

fn index_asked(table: &Table, index: &Index, values: &[&str]) -> Asked {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Asked::Index { entity: table.name.clone(), index: index.name.clone(), values }
}

/// The condition of having these values; `None` where no row can have them.
fn unique_condition(
    table: &Table,
    sql: &SqlTable,
    index: &Index,
    values: &[&str],
    workspace: Uuid,
    parameters: &mut Parameters,
) -> Option<String> {
    if index.is_composite() && sql.has_cache_key {
        let key = cache_key(&table.name, index, values, workspace);
        return Some(format!("t.cache_key = {}", parameters.add(key, Type::TEXT)));
    }
    let mut wanted = Vec::new();
    if sql.has_workspace {
        wanted.push(format!("t.ws_id = {}::uuid", parameters.add(workspace.to_string(), Type::TEXT)));
    }
    for (part, value) in index.parts.iter().zip(values) {
        let column = sql.column_of(part);
        let is_possible = !part.foreign || value.is_empty() || is_uuid(value);
        if !is_possible || !sql.has_column(&column) {
            return None;
        }
        let (column, kind) = (super::pool::quoted(&column), if part.foreign { "uuid" } else { "text" });
        wanted.push(match (value.is_empty(), index.is_composite()) {
            (true, true) => format!("t.{column} IS NULL"),
            _ => format!("t.{column} = {}::{kind}", parameters.add((*value).to_owned(), Type::TEXT)),
        });
    }
    Some(wanted.join(" AND "))
}

impl Rows for PgRows<'_> {
    /// One statement for the row itself, those with its unique values, and those it refers to.
    fn prepare(&self, table: &Table, key: &str, row: &Value) -> Result<(), Error> {
        let mut asked = vec![key_asked(table, key)];
        for index in &table.unique {
            asked.extend(index.values(row).map(|values| index_asked(table, index, &values)));
        }
        for reference in &table.references {
            let id = row.get(&reference.field).and_then(|foreign| foreign.get("id")).and_then(Value::as_str);
            let parent = self.layout.table(&reference.entity);
            asked.extend(parent.zip(id).map(|(parent, id)| key_asked(parent, id)));
        }
        let (mut parameters, mut arms) = (Parameters::default(), Vec::new());
        let mut prepared: HashMap<Asked, Option<Row>> = HashMap::new();
        for (place, asked) in asked.iter().enumerate() {
            if let Some((sql, condition)) = self.condition(asked, &mut parameters) {
                arms.push(format!("(SELECT {place}, {} FROM {} t WHERE {condition} LIMIT 1)", sql.shown, sql.name));
            }
            prepared.insert(asked.clone(), None);
        }
        if !arms.is_empty() {
            for found in self.transaction.query(&arms.join(" UNION ALL "), &parameters.bound())? {
                let place = usize::try_from(found.get::<_, i32>(0)).unwrap_or_default();
                let Some(asked) = asked.get(place) else { continue };
                let (Asked::Key { entity, .. } | Asked::Index { entity, .. }) = asked;
                let Some(sql) = self.layout.table(entity).and_then(|table| self.sql.table(table)) else { continue };
                prepared.insert(asked.clone(), Some(sql.read(found.get::<_, &str>(1), found.get(2))?));
            }
        }
        *self.prepared.borrow_mut() = prepared;
        Ok(())
    }

    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error> {
        self.one(table, key_asked(table, key))
    }

    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error> {
        self.one(table, index_asked(table, index, values))
    }

    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error> {
        let Some(sql) = self.sql.table(table) else { return Ok(Vec::new()) };
        let mut parameters = Parameters::default();
        let mut wanted = Vec::new();
        if let Some((field, id)) = scan.foreign {
            if !is_uuid(id) || !sql.has_column(&format!("{field}_id")) {
                return Ok(Vec::new());
            }
            let column = super::pool::quoted(&format!("{field}_id"));
            wanted.push(format!("t.{column} = {}::uuid", parameters.add(id.to_owned(), Type::TEXT)));
        }
        if let Some(after) = scan.after {
            if !is_key(table, after) {
                return Ok(Vec::new());
            }
            let after = parameters.add(after.to_owned(), Type::TEXT);
            wanted.push(format!("t.{} > {after}::{}", sql.key, sql.key_type));
        }
        if sql.has_ttl && scan.now.is_finite() {
            wanted.push(format!("(t.ttl IS NULL OR t.ttl > to_timestamp({}))", parameters.add(scan.now, Type::FLOAT8)));
        }
        match scan.tags {
            None => {}
            Some(_) if !table.has_tags => return Ok(Vec::new()),
            Some(TagFilter::All(tags)) => {
                wanted.push(format!("t.tags @> {}", parameters.add(tags.clone(), Type::TEXT_ARRAY)));
            }
            Some(TagFilter::Any(tags)) => {
                wanted.push(format!("t.tags && {}", parameters.add(tags.clone(), Type::TEXT_ARRAY)));
            }
        }
        let limit = parameters.add(i64::try_from(scan.limit).unwrap_or(i64::MAX), Type::INT8);
        let wanted = if wanted.is_empty() { String::new() } else { format!("WHERE {}", wanted.join(" AND ")) };
        let rest = format!("{wanted} ORDER BY t.{} LIMIT {limit}", sql.key);
        self.select(table, sql, &rest, &parameters.bound())
    }

    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error> {
        let (key, entity, position) = scan.after.unwrap_or(("00000000-0000-0000-0000-000000000000", "", -1));
        if !is_uuid(key) {
            return Ok(Vec::new());
        }
        let (entity, limit) = (table_name(entity), i64::try_from(scan.limit).unwrap_or(i64::MAX));
        let only = if scan.tag.is_some() { "tags @> ARRAY[$5] AND tag = $5 AND" } else { "$5::text IS NULL AND" };
        let statement = format!(
            "SELECT entity_name, entity_id::text, tag, position - 1
             FROM tags, unnest(tags) WITH ORDINALITY AS each(tag, position)
             WHERE {only} (entity_id, entity_name, position - 1) > ($1::uuid, $2, $3)
             ORDER BY entity_id, entity_name, position LIMIT $4"
        );
        let values =
            [text(&key), text(&entity), (&position, Type::INT8), (&limit, Type::INT8), (&scan.tag, Type::TEXT)];
        let known = |table: &str| self.layout.table(entity_name(table)).is_some();
        let rows = self.transaction.query(&statement, &values)?;
        let tags = rows.iter().map(|row| Tagged {
            entity: row.get::<_, Option<&str>>(0).map(entity_name).unwrap_or_default().to_owned(),
            id: row.get(1),
            tag: row.get(2),
            position: row.get(3),
        });
        Ok(tags.filter(|tagged| known(&tagged.entity)).collect())
    }

    fn expired(&self, table: &Table, now: f64, limit: usize) -> Result<Vec<String>, Error> {
        let Some(sql) = self.sql.table(table).filter(|sql| sql.has_ttl) else { return Ok(Vec::new()) };
        let statement = format!(
            "SELECT {}::text FROM {} WHERE ttl <= to_timestamp($1) ORDER BY ttl LIMIT $2 FOR UPDATE SKIP LOCKED",
            sql.key, sql.name
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.transaction.query(&statement, &[(&now, Type::FLOAT8), (&limit, Type::INT8)])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn put(&mut self, table: &Table, key: &str, row: Row, old: Option<&Row>) -> Result<(), Error> {
        self.prepared.get_mut().clear();
        let sql = self.sql.writable(table)?;
        if !is_key(table, key) {
            return Err(Error::database(&format!("a row of '{}' has a key that is no UUID", table.name)));
        }
        let document = sql.written(table, &row, self.sql.workspace)?.to_string();
        let outcome = match old {
            None => self.transaction.try_execute(&sql.insert, &[text(&document)])?,
            Some(_) => self.transaction.try_execute(&sql.update, &[text(&document), text(&key)])?,
        };
        match outcome {
            // Somebody else deleted it in the meantime.
            Ok(0) => return Err(Error::not_found(&serde_json::json!({ &table.key: key }))),
            Ok(_) => {}
            Err(error) => return Err(refused_row(&error, table, sql, &row.value)),
        }
        self.written(table, key);
        if sql.has_ttl {
            self.ends.get_mut().push((table.name.clone(), key.to_owned(), row.expires));
        }
        let old = old.map(|old| &old.value);
        super::events::of_write(&mut self.events, table, old, Some(&row.value), self.sql.workspace);
        Ok(())
    }

    fn remove(&mut self, table: &Table, key: &str, old: &Row) -> Result<(), Error> {
        self.prepared.get_mut().clear();
        let sql = self.sql.writable(table)?;
        let statement = format!("DELETE FROM {} WHERE {} = $1::{}", sql.name, sql.key, sql.key_type);
        if let Err(error) = self.transaction.try_execute(&statement, &[text(&key)])? {
            return Err(refused_removal(&error, table, self.layout));
        }
        self.written(table, key);
        super::events::of_write(&mut self.events, table, Some(&old.value), None, self.sql.workspace);
        Ok(())
    }
}
