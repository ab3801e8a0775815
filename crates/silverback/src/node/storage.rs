//! The store as plugins see it: reads and writes on threads that may wait, so many at once and no more, and the rows
//! that were read last.

use entities::Catalog;
use pdk::{StorageError, Stored, Write};
use schema::{Code, EntitySchema, Error};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Change, Follower, Reader, Store, Ttl, Writer};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// How many reads and writes of plugins are under way at once; more would only wait for the database.
const AT_ONCE: usize = 16;
/// How many may wait for their turn.
const WAITING: usize = 2048;
/// How many rows each half of the cache keeps.
const KEPT: usize = 20_000;
/// How long a row is believed without asking again: what nodes of ours change, the store tells; Kong's nodes name a row by
/// its keys, which only the store can look up.
const BELIEVED: Duration = Duration::from_secs(5);

/// Gives plugins the store.
pub(super) struct PluginStorage {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    rows: Arc<Rows>,
}

impl PluginStorage {
    pub(super) fn new(store: Arc<dyn Store>, catalog: Arc<Catalog>) -> Self {
        let rows = Arc::new(Rows::default());
        store.follow(rows.clone());
        Self { store, catalog, turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::default(), rows }
    }

    /// Does work of the store on a thread that may wait.
    fn later<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store, &Catalog) -> Result<T, StorageError> + Send + 'static,
    ) -> Stored<T> {
        let Some(place) = Place::take(&self.waiting) else {
            return Box::pin(ready(Err(StorageError::Busy)));
        };
        let (store, catalog, turns) = (self.store.clone(), self.catalog.clone(), self.turns.clone());
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(|_| StorageError::Busy)?;
            drop(place);
            let done = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                work(&*store, &catalog)
            });
            done.await.unwrap_or_else(|_| Err(StorageError::Unreachable("the work broke off".to_owned())))
        })
    }
}

impl pdk::Storage for PluginStorage {
    fn find(&self, entity: &'static str, field: &'static str, value: &str) -> Stored<Option<Arc<Value>>> {
        let key = RowKey { entity, field, value: value.to_owned() };
        if let Some(row) = self.rows.get(&key) {
            return Box::pin(ready(Ok(Some(row))));
        }
        let rows = self.rows.clone();
        self.later(move |store, _| {
            let before = rows.version();
            let found =
                store.reading(|reader| reader.select_by(key.entity, key.field, &[&key.value])).map_err(failed)?;
            let found = found.map(Arc::new);
            if let Some(row) = &found {
                rows.keep(key, row, before);
            }
            Ok(found)
        })
    }

    fn write(&self, writes: Vec<Write>) -> Stored<Option<Vec<Value>>> {
        if !self.store.is_writable() {
            return Box::pin(ready(Err(StorageError::ReadOnly)));
        }
        self.later(move |store, catalog| {
            let done = store.writing(|writer| {
                let mut rows = Vec::with_capacity(writes.len());
                for write in writes {
                    rows.push(step(writer, catalog, write)?);
                }
                Ok(rows)
            });
            match done {
                Ok(rows) => Ok(Some(rows)),
                Err(Undone::Missing) => Ok(None),
                Err(Undone::Failed(error)) => Err(failed(error)),
            }
        })
    }
}

/// A place among those who wait.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(waiting.clone());
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a transaction was undone.
enum Undone {
    /// A row that must be there was not.
    Missing,
    Failed(Error),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Finds the rows that foreign fields name by a unique field.
struct Resolving<'a>(&'a dyn Reader);

impl schema::Resolver for Resolving<'_> {
    fn resolve(&mut self, entity: &str, field: &str, value: &Value) -> Result<Option<Value>, Error> {
        let Some(text) = value.as_str() else { return Ok(None) };
        let found = self.0.select_by(entity, field, &[text])?;
        Ok(found.map(|row| json!({ "id": row.get("id") })))
    }
}

fn step(writer: &mut dyn Writer, catalog: &Catalog, write: Write) -> Result<Value, Undone> {
    let lives = |ttl: Option<Duration>| ttl.map_or(Ttl::Keep, |ttl| Ttl::Set(ttl.as_secs_f64()));
    let known = |entity: &str| {
        let unknown = || Error::database(&format!("there is no entity '{entity}'"));
        catalog.entity(entity).ok_or_else(unknown)
    };
    Ok(match write {
        Write::Insert { entity, row, ttl } => {
            let schema: &EntitySchema = known(entity)?;
            let row = with_context(catalog, |cx| schema.insert(row, cx, &mut Resolving(writer.reader())))?;
            writer.insert(entity, row, lives(ttl))?
        }
        Write::Update { entity, id, patch, ttl } => {
            let schema: &EntitySchema = known(entity)?;
            let mut stored = writer.select(entity, &id.to_string())?.ok_or(Undone::Missing)?;
            if let Some(fields) = stored.as_object_mut() {
                fields.shift_remove("ttl");
            }
            let row = with_context(catalog, |cx| schema.update(patch, &stored, cx, &mut Resolving(writer.reader())))?;
            writer.update(entity, row, lives(ttl))?
        }
        Write::Delete { entity, id } => {
            if !writer.delete(entity, &id.to_string())? {
                return Err(Undone::Missing);
            }
            Value::Null
        }
    })
}

fn with_context<T>(catalog: &Catalog, work: impl FnOnce(&schema::Context<'_>) -> T) -> T {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    work(&schema::Context { now, random: &random, schemas: catalog })
}

/// Tokens are made of this: where the system has no randomness there must be none.
fn random(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        log::error!(target: "crit", "the system has no randomness");
        std::process::abort();
    }
}

/// A refusal's own text is left out: it shows the keys of the row, and these are secrets.
fn failed(error: Error) -> StorageError {
    match error.code {
        Code::DatabaseError => StorageError::Unreachable(error.to_string()),
        code => StorageError::Refused(code.name().to_owned()),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RowKey {
    entity: &'static str,
    field: &'static str,
    value: String,
}

#[derive(Clone)]
struct Kept {
    row: Arc<Value>,
    until: Instant,
}

/// The rows that were read last, in two halves: when the younger is full, the older is forgotten. A short lock guards them.
#[derive(Default)]
struct Rows(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashMap<RowKey, Kept, ahash::RandomState>,
    old: HashMap<RowKey, Kept, ahash::RandomState>,
    /// Under which keys a row is kept.
    places: HashMap<Uuid, Vec<RowKey>, ahash::RandomState>,
    /// Grows with each change of the store: what was read before it is not kept after it.
    version: u64,
}

impl Rows {
    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> u64 {
        self.lock().version
    }

    fn get(&self, key: &RowKey) -> Option<Arc<Value>> {
        let mut halves = self.lock();
        if let Some(kept) = halves.young.get(key) {
            return (kept.until > Instant::now()).then(|| kept.row.clone());
        }
        let kept = halves.old.remove(key).filter(|kept| kept.until > Instant::now())?;
        halves.insert(key.clone(), kept.clone());
        Some(kept.row)
    }

    fn keep(&self, key: RowKey, row: &Arc<Value>, read_at: u64) {
        let mut halves = self.lock();
        if halves.version != read_at {
            return;
        }
        let left = row.get("ttl").and_then(Value::as_f64).map(|ttl| Duration::from_secs_f64(ttl.max(0.0)));
        let until = Instant::now() + left.map_or(BELIEVED, |left| left.min(BELIEVED));
        halves.insert(key, Kept { row: row.clone(), until });
    }
}

impl Halves {
    fn insert(&mut self, key: RowKey, kept: Kept) {
        if self.young.len() >= KEPT {
            self.old = std::mem::take(&mut self.young);
            let old = &self.old;
            self.places.retain(|_, keys| keys.iter().any(|key| old.contains_key(key)));
        }
        if let Some(id) = id_of(&kept.row) {
            let keys = self.places.entry(id).or_default();
            if !keys.contains(&key) {
                keys.push(key.clone());
            }
        }
        self.young.insert(key, kept);
    }
}

fn id_of(row: &Value) -> Option<Uuid> {
    row.get("id")?.as_str().and_then(|id| Uuid::try_parse(id).ok())
}

impl Follower for Rows {
    fn changed(&self, changes: &[Change]) {
        let mut halves = self.lock();
        halves.version += 1;
        for change in changes {
            for key in halves.places.remove(&change.id).unwrap_or_default() {
                halves.young.remove(&key);
                halves.old.remove(&key);
            }
        }
    }

    fn replaced(&self, _: &[Change]) {
        let mut halves = self.lock();
        let version = halves.version + 1;
        *halves = Halves { version, ..Halves::default() };
    }
}

#[cfg(test)]
mod tests;
