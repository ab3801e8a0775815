//! The trait that every backend is, as the Admin API and the node see it.
use crate::{Change, Error, Follower, HealthMark, Layout, Page, Query, TagsPage};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// What a write does to a row's time to live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ttl {
    /// As it was; on a new row: none.
    Keep,
    /// From now on; zero: none.
    Set(f64),
}

/// What is added to a count of rate limits that all nodes share (Kong's tables `ratelimiting_metrics` and
/// `response_ratelimiting_metrics`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<'a> {
    pub identifier: &'a str,
    pub route: Uuid,
    pub service: Uuid,
    /// Of limits on responses, the name of the limit; `None` counts requests.
    pub limit: Option<&'a str>,
    pub period: &'a str,
    /// When the period began, in seconds after the epoch.
    pub start: u64,
    pub delta: i64,
    /// How long the count is kept, in seconds.
    pub ttl: u64,
}

/// Looks into one consistent state of the store.
pub trait Reader {
    fn select(&self, entity: &str, key: &str) -> Result<Option<Value>, Error>;
    /// By a unique field, or by the name of a composite cache key with the values of its fields.
    fn select_by(&self, entity: &str, index: &str, values: &[&str]) -> Result<Option<Value>, Error>;
    fn page(&self, entity: &str, query: &Query<'_>) -> Result<Page, Error>;
    /// Every row of an entity, in any order.
    fn each(&self, entity: &str, visit: &mut dyn FnMut(Value)) -> Result<(), Error> {
        const SIZE: usize = 1000;
        let mut offset = None;
        loop {
            let query = Query { size: SIZE, offset: offset.as_deref(), ..Query::default() };
            let page = self.page(entity, &query)?;
            page.rows.into_iter().for_each(&mut *visit);
            offset = page.offset;
            if offset.is_none() {
                return Ok(());
            }
        }
    }
    fn tags(&self, tag: Option<&str>, size: usize, offset: Option<&str>) -> Result<TagsPage, Error>;
}

/// Told of a row that a delete reaches by its references: its entity, what it was, and what it is now (`None`: it is gone).
pub type Along<'a> = dyn FnMut(&str, &Value, Option<&Value>) + 'a;

/// A transaction under way. Rows are whole: defaults filled, validated, foreign keys as `{"id": ...}`.
pub trait Writer: Reader {
    fn insert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error>;
    fn update(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error>;
    fn upsert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error>;
    /// Whether there was such a row. Rows that reference it go too, forbid it, or lose the reference, as their schemas say.
    fn delete(&mut self, entity: &str, key: &str) -> Result<bool, Error> {
        self.delete_along(entity, key, &mut |_, _, _| {})
    }
    /// The same; `also` hears of each row that goes or changes with this one.
    fn delete_along(&mut self, entity: &str, key: &str, also: &mut Along<'_>) -> Result<bool, Error>;
    /// The writer as a reader.
    fn reader(&self) -> &dyn Reader;
}

/// Synchronous: a statement may wait for a disk or a network, so callers keep it off the threads that proxy.
pub trait Store: Send + Sync {
    fn layout(&self) -> &Layout;
    /// Whether entities can be written one by one (everything but `database = off`).
    fn is_writable(&self) -> bool {
        true
    }
    /// Asks the database.
    fn is_reachable(&self) -> bool;
    /// Whether the database answered when it was last needed; asks nothing.
    fn was_reachable(&self) -> bool {
        true
    }
    fn read(&self, work: &mut dyn FnMut(&dyn Reader)) -> Result<(), Error>;
    /// All or nothing: where `work` gives `false` or the commit fails, nothing has happened. Its changes have been told to the
    /// followers when it returns.
    fn write(&self, work: &mut dyn FnMut(&mut dyn Writer) -> bool) -> Result<(), Error>;
    /// Replaces everything, atomically, by rows that have been validated as a whole.
    fn replace(&self, rows: Vec<Change>) -> Result<(), Error>;
    /// Deletes rows whose time has come, at most some thousands at once; how many.
    fn purge(&self) -> Result<usize, Error>;
    /// Nothing has been changed for a while: gives up memory that only changes need.
    fn rest(&self) {}
    /// Adds to all counts or to none; what they are then, in the same order.
    fn count(&self, _counts: &[Count<'_>]) -> Result<Vec<i64>, Error> {
        Err(Error::database("this database keeps no counts"))
    }
    fn follow(&self, follower: Arc<dyn Follower>);
    /// Tells the other nodes, where there may be any, that a target was marked by hand.
    fn tell_mark(&self, _mark: &HealthMark) -> Result<(), Error> {
        Ok(())
    }
}

impl dyn Store + '_ {
    pub fn reading<T, E: From<Error>>(&self, work: impl FnOnce(&dyn Reader) -> Result<T, E>) -> Result<T, E> {
        let (mut work, mut outcome) = (Some(work), None);
        self.read(&mut |reader| outcome = work.take().map(|work| work(reader)))?;
        outcome.unwrap_or_else(|| Err(never_ran().into()))
    }

    pub fn writing<T, E: From<Error>>(&self, work: impl FnOnce(&mut dyn Writer) -> Result<T, E>) -> Result<T, E> {
        let (mut work, mut outcome) = (Some(work), None);
        self.write(&mut |writer| {
            outcome = work.take().map(|work| work(writer));
            matches!(outcome, Some(Ok(_)))
        })?;
        outcome.unwrap_or_else(|| Err(never_ran().into()))
    }

    /// Every row of every entity, table by table: what a node starts from.
    pub fn each(&self, visit: &mut dyn FnMut(&str, Value)) -> Result<(), Error> {
        self.reading(|reader| {
            for table in self.layout().tables() {
                reader.each(&table.name, &mut |row| visit(&table.name, row))?;
            }
            Ok(())
        })
    }
}

fn never_ran() -> Error {
    Error::database("the transaction did not run")
}
