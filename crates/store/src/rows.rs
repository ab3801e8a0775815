//! The primitives a backend supplies. They check nothing: `rules.rs` does.
use crate::{Error, Index, Table, TagFilter, Tagged};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) value: Value,
    /// Seconds since 1970 after which the row is gone.
    pub(crate) expires: Option<f64>,
}

impl Row {
    pub(crate) fn is_expired(&self, now: f64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        tags(&self.value)
    }
}

/// The tags of a row.
pub(crate) fn tags(row: &Value) -> impl Iterator<Item = &str> {
    let tags = row.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tags.iter().filter_map(Value::as_str)
}

/// Rows after a key, in the order of the keys, without the expired ones.
pub(crate) struct Scan<'a> {
    pub(crate) after: Option<&'a str>,
    pub(crate) limit: usize,
    pub(crate) foreign: Option<(&'a str, &'a str)>,
    pub(crate) tags: Option<&'a TagFilter>,
    pub(crate) now: f64,
}

/// Tags after a place, in the order of entity id, entity name and position.
pub(crate) struct TagScan<'a> {
    pub(crate) tag: Option<&'a str>,
    pub(crate) after: Option<(&'a str, &'a str, i64)>,
    pub(crate) limit: usize,
}

pub(crate) trait Rows {
    /// This row is about to be checked and written: a backend that is far away may fetch at once what will be looked up for it.
    fn prepare(&self, _: &Table, _key: &str, _row: &Value) -> Result<(), Error> {
        Ok(())
    }
    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error>;
    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error>;
    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error>;
    /// Every row that has not expired, in any order.
    fn each(&self, table: &Table, now: f64, visit: &mut dyn FnMut(Row)) -> Result<(), Error> {
        const LIMIT: usize = 1000;
        let mut after: Option<String> = None;
        loop {
            let scan = Scan { after: after.as_deref(), limit: LIMIT, foreign: None, tags: None, now };
            let rows = self.scan(table, &scan)?;
            let last = rows.last().filter(|_| rows.len() == LIMIT);
            after = last.map(|row| crate::rules::key_of(table, &row.value).map(str::to_owned)).transpose()?;
            rows.into_iter().for_each(&mut *visit);
            if after.is_none() {
                return Ok(());
            }
        }
    }
    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error>;
    /// Keys of rows that expired by `now`.
    fn expired(&self, table: &Table, now: f64, limit: usize) -> Result<Vec<String>, Error>;
    /// Writes the row, in the place of `old` where there was one.
    fn put(&mut self, table: &Table, key: &str, row: Row, old: Option<&Row>) -> Result<(), Error>;
    fn remove(&mut self, table: &Table, key: &str, old: &Row) -> Result<(), Error>;
}
