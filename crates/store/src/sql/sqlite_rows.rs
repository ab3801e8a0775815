//! Rows in SQLite: a table an entity with the key, the row as JSON and its expiry. Unique and foreign fields are indexes on
//! expressions of the JSON, so a new field or entity of the schemas needs an index, never a migration of rows.
use crate::rows::{Row, Rows, Scan, TagScan};
use crate::{Error, Index, Part, Table, TagFilter, Tagged};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row as Found, params, params_from_iter};

pub(super) struct SqliteRows<'a> {
    pub(super) connection: &'a Connection,
}

pub(super) fn failed(error: rusqlite::Error) -> Error {
    Error::database(&error.to_string())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The expression that stands for a field; part of the index's definition, so it must never change its spelling.
fn expression(part: &Part) -> String {
    let field = part.field.replace('\'', "''").replace('"', "");
    if part.foreign {
        format!("json_extract(row, '$.\"{field}\".id')")
    } else {
        format!("json_extract(row, '$.\"{field}\"')")
    }
}

fn expressions(index: &Index) -> Vec<String> {
    let plain = index.parts.iter().map(expression);
    if index.is_composite() { plain.map(|part| format!("coalesce({part}, '')")).collect() } else { plain.collect() }
}

fn foreign(field: &str) -> String {
    expression(&Part { field: field.to_owned(), foreign: true, hidden: false })
}

/// Creates what is missing of a table.
pub(super) fn define(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    let name = quoted(&table.name);
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {name} (key TEXT PRIMARY KEY NOT NULL, row TEXT NOT NULL, expires REAL) STRICT"
    ))?;
    for index in &table.unique {
        let label = quoted(&format!("{} unique {}", table.name, index.name));
        let parts = expressions(index).join(", ");
        connection.execute_batch(&format!("CREATE UNIQUE INDEX IF NOT EXISTS {label} ON {name} ({parts})"))?;
    }
    for reference in &table.references {
        let label = quoted(&format!("{} foreign {}", table.name, reference.field));
        let part = foreign(&reference.field);
        connection.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS {label} ON {name} ({part}, key) WHERE {part} IS NOT NULL"
        ))?;
    }
    if table.has_ttl {
        let label = quoted(&format!("{} expires", table.name));
        connection.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS {label} ON {name} (expires) WHERE expires IS NOT NULL"
        ))?;
    }
    Ok(())
}

/// Tags of all entities, for the filters of collections and for `/tags`.
pub(super) fn define_tags(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS \"entity tags\" (key TEXT NOT NULL, entity TEXT NOT NULL, position INTEGER NOT NULL,
           tag TEXT NOT NULL, PRIMARY KEY (key, entity, position)) STRICT, WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS \"entity tags by tag\" ON \"entity tags\" (tag, entity, key, position)",
    )
}

fn row(found: &Found<'_>) -> rusqlite::Result<(String, Option<f64>)> {
    Ok((found.get(0)?, found.get(1)?))
}

fn parsed((text, expires): (String, Option<f64>)) -> Result<Row, Error> {
    let value = serde_json::from_str(&text).map_err(|error| Error::database(&format!("a row is no JSON: {error}")))?;
    Ok(Row { value, expires })
}

impl SqliteRows<'_> {
    fn one(&self, statement: &str, values: &[&str]) -> Result<Option<Row>, Error> {
        let mut statement = self.connection.prepare_cached(statement).map_err(failed)?;
        let found = statement.query_row(params_from_iter(values), row).optional().map_err(failed)?;
        found.map(parsed).transpose()
    }

    fn write_tags(&mut self, table: &Table, key: &str, row: Option<&Row>, old: Option<&Row>) -> Result<(), Error> {
        let unchanged = match (row, old) {
            (Some(row), Some(old)) => row.tags().eq(old.tags()),
            _ => false,
        };
        if !table.has_tags || unchanged {
            return Ok(());
        }
        if old.is_some_and(|old| old.tags().next().is_some()) {
            let statement = "DELETE FROM \"entity tags\" WHERE key = ?1 AND entity = ?2";
            let mut statement = self.connection.prepare_cached(statement).map_err(failed)?;
            statement.execute(params![key, table.name]).map_err(failed)?;
        }
        for (position, tag) in row.into_iter().flat_map(Row::tags).enumerate() {
            let statement = "INSERT INTO \"entity tags\" (key, entity, position, tag) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = self.connection.prepare_cached(statement).map_err(failed)?;
            statement.execute(params![key, table.name, position as i64, tag]).map_err(failed)?;
        }
        Ok(())
    }
}

impl Rows for SqliteRows<'_> {
    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error> {
        self.one(&format!("SELECT row, expires FROM {} WHERE key = ?1", quoted(&table.name)), &[key])
    }

    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error> {
        let wanted = expressions(index).into_iter().enumerate().map(|(i, part)| format!("{part} = ?{}", i + 1));
        let wanted = wanted.collect::<Vec<_>>().join(" AND ");
        self.one(&format!("SELECT row, expires FROM {} WHERE {wanted}", quoted(&table.name)), values)
    }

    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error> {
        let mut values: Vec<Sql> = Vec::new();
        let mut wanted: Vec<String> = Vec::new();
        let mut value = |value: Sql| {
            values.push(value);
            format!("?{}", values.len())
        };
        if let Some((field, id)) = scan.foreign {
            wanted.push(format!("{} = {}", foreign(field), value(Sql::Text(id.to_owned()))));
        }
        if let Some(after) = scan.after {
            wanted.push(format!("key > {}", value(Sql::Text(after.to_owned()))));
        }
        if table.has_ttl {
            wanted.push(format!("(expires IS NULL OR expires > {})", value(Sql::Real(scan.now))));
        }
        let tagged = |tags: String, entity: String| {
            format!("key IN (SELECT key FROM \"entity tags\" WHERE tag {tags} AND entity = {entity})")
        };
        match scan.tags {
            None => {}
            Some(TagFilter::All(tags)) => {
                for tag in tags {
                    let tag = format!("= {}", value(Sql::Text(tag.clone())));
                    wanted.push(tagged(tag, value(Sql::Text(table.name.clone()))));
                }
            }
            Some(TagFilter::Any(tags)) => {
                let tags: Vec<String> = tags.iter().map(|tag| value(Sql::Text(tag.clone()))).collect();
                wanted.push(tagged(format!("IN ({})", tags.join(", ")), value(Sql::Text(table.name.clone()))));
            }
        }
        let limit = value(Sql::Integer(scan.limit as i64));
        let wanted = if wanted.is_empty() { String::new() } else { format!(" WHERE {}", wanted.join(" AND ")) };
        let name = quoted(&table.name);
        let statement = format!("SELECT row, expires FROM {name}{wanted} ORDER BY key LIMIT {limit}");
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        let found = statement.query_map(params_from_iter(values), row).map_err(failed)?;
        found.map(|found| parsed(found.map_err(failed)?)).collect()
    }

    /// In the order of the file: by key, each row would be looked up in a place of its own.
    fn each(&self, table: &Table, now: f64, visit: &mut dyn FnMut(Row)) -> Result<(), Error> {
        let living = "expires IS NULL OR expires > ?1";
        let statement = format!("SELECT row, expires FROM {} WHERE {living} ORDER BY rowid", quoted(&table.name));
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        for found in statement.query_map([now], row).map_err(failed)? {
            visit(parsed(found.map_err(failed)?)?);
        }
        Ok(())
    }

    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error> {
        let (key, entity, position) = scan.after.unwrap_or(("", "", -1));
        let only = if scan.tag.is_some() { " AND tag = ?5" } else { " AND ?5 IS NULL" };
        let statement = format!(
            "SELECT entity, key, tag, position FROM \"entity tags\"
             WHERE (key, entity, position) > (?1, ?2, ?3){only} ORDER BY key, entity, position LIMIT ?4"
        );
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        let values = params![key, entity, position, scan.limit as i64, scan.tag];
        let found = statement.query_map(values, |found| {
            Ok(Tagged { entity: found.get(0)?, id: found.get(1)?, tag: found.get(2)?, position: found.get(3)? })
        });
        found.map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn expired(&self, table: &Table, now: f64, limit: usize) -> Result<Vec<String>, Error> {
        let name = quoted(&table.name);
        let statement =
            format!("SELECT key FROM {name} WHERE expires IS NOT NULL AND expires <= ?1 ORDER BY expires LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        let keys = statement.query_map(params![now, limit as i64], |found| found.get(0)).map_err(failed)?;
        keys.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn put(&mut self, table: &Table, key: &str, row: Row, old: Option<&Row>) -> Result<(), Error> {
        let name = quoted(&table.name);
        let statement = format!(
            "INSERT INTO {name} (key, row, expires) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET row = excluded.row, expires = excluded.expires"
        );
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        statement.execute(params![key, row.value.to_string(), row.expires]).map_err(failed)?;
        self.write_tags(table, key, Some(&row), old)
    }

    fn remove(&mut self, table: &Table, key: &str, old: &Row) -> Result<(), Error> {
        let statement = format!("DELETE FROM {} WHERE key = ?1", quoted(&table.name));
        let mut statement = self.connection.prepare_cached(&statement).map_err(failed)?;
        statement.execute(params![key]).map_err(failed)?;
        self.write_tags(table, key, None, Some(old))
    }
}
