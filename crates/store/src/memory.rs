//! Everything in memory: for tests, and beneath `database = off`.
use crate::changes::Followers;
use crate::packed::{self, Packer};
use crate::rows::{Row, Rows, Scan, TagScan};
use crate::rules::{Rules, key_of, normal};
use crate::{Change, Clock, Error, Follower, Index, Layout, Reader, Store, Table, TagFilter, Tagged, Writer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

pub struct Memory {
    layout: Arc<Layout>,
    clock: Clock,
    state: RwLock<State>,
    followers: Followers,
}

/// A row's primary key. Ids are ordered as their texts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Id(Uuid),
    Text(Box<str>),
}

impl Key {
    fn new(text: &str) -> Self {
        packed::id(text).map_or_else(|| Self::Text(text.into()), Self::Id)
    }

    fn text(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Text(text) => text.to_string(),
        }
    }
}

type Keys = BTreeSet<Key>;

#[derive(Default)]
struct Entity {
    rows: BTreeMap<Key, Box<[u8]>>,
    /// Of the rows that end by themselves, which are few: when.
    expires: HashMap<Key, f64>,
    /// The place of an index, and values -> key.
    unique: HashMap<(usize, Box<str>), Key>,
    /// The place of a reference, and the id it is to -> keys.
    foreign: HashMap<(usize, Key), Keys>,
    /// Tag -> keys.
    tags: HashMap<String, Keys>,
}

#[derive(Default)]
struct State {
    entities: HashMap<String, Entity>,
    /// Entity id, entity name, position -> tag.
    tags: BTreeMap<(String, String, i64), String>,
    packer: Packer,
}

/// A transaction: the state, and how to get back.
struct Rewritable<'a> {
    state: &'a mut State,
    undo: Vec<(&'a Table, String, Option<Row>)>,
    layout: &'a Layout,
}

impl Memory {
    pub fn new(layout: Arc<Layout>, clock: Clock) -> Memory {
        Memory { layout, clock, state: RwLock::default(), followers: Followers::default() }
    }

    pub(crate) fn read_showing(&self, shows_ttl: bool, work: &mut dyn FnMut(&dyn Reader)) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut rules = Rules::new(&*state, &self.layout, (self.clock)());
        rules.shows_ttl = shows_ttl;
        work(&rules);
    }
}

impl Store for Memory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Reader)) -> Result<(), Error> {
        self.read_showing(true, work);
        Ok(())
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Writer) -> bool) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let rows = Rewritable { state: &mut state, undo: Vec::new(), layout: &self.layout };
        let mut rules = Rules::new(rows, &self.layout, (self.clock)());
        if work(&mut rules) {
            let changes = std::mem::take(&mut rules.changes);
            self.followers.changed(&changes);
        } else {
            rules.rows.roll_back();
        }
        Ok(())
    }

    fn replace(&self, mut rows: Vec<Change>) -> Result<(), Error> {
        let mut fresh = State::default();
        for change in &mut rows {
            let Some(table) = self.layout.table(&change.entity) else { continue };
            let Some(value) = change.value.take() else { continue };
            let row = Row { value: normal(table, value), expires: None };
            fresh.put(table, key_of(table, &row.value)?, &row);
            change.value = Some(row.value);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = fresh;
        self.followers.replaced(&rows);
        Ok(())
    }

    fn purge(&self) -> Result<usize, Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let rows = Rewritable { state: &mut state, undo: Vec::new(), layout: &self.layout };
        let mut rules = Rules::new(rows, &self.layout, (self.clock)());
        let purged = rules.purge(1000);
        let changes = std::mem::take(&mut rules.changes);
        match &purged {
            Ok(_) => self.followers.changed(&changes),
            Err(_) => rules.rows.roll_back(),
        }
        purged
    }

    fn follow(&self, follower: Arc<dyn Follower>) {
        self.followers.add(follower);
    }
}

impl State {
    fn entity(&self, table: &Table) -> Option<&Entity> {
        self.entities.get(&table.name)
    }

    fn put(&mut self, table: &Table, key: &str, row: &Row) {
        self.remove(table, key);
        let packed = self.packer.pack(&row.value);
        let entity = self.entities.entry(table.name.clone()).or_default();
        let own = Key::new(key);
        for (at, index) in table.unique.iter().enumerate() {
            if let Some(values) = index.values(&row.value) {
                entity.unique.insert((at, joined(&values)), own.clone());
            }
        }
        for (at, id) in references(table, row) {
            entity.foreign.entry((at, Key::new(id))).or_default().insert(own.clone());
        }
        for (position, tag) in row.tags().enumerate() {
            entity.tags.entry(tag.to_owned()).or_default().insert(own.clone());
            self.tags.insert((key.to_owned(), table.name.clone(), position as i64), tag.to_owned());
        }
        if let Some(at) = row.expires {
            entity.expires.insert(own.clone(), at);
        }
        entity.rows.insert(own, packed);
    }

    fn remove(&mut self, table: &Table, key: &str) -> Option<Row> {
        let own = Key::new(key);
        let entity = self.entities.get_mut(&table.name)?;
        let packed = entity.rows.remove(&own)?;
        let row = Row { value: self.packer.unpack(&packed), expires: entity.expires.remove(&own) };
        for (at, index) in table.unique.iter().enumerate() {
            if let Some(values) = index.values(&row.value) {
                let place = (at, joined(&values));
                if entity.unique.get(&place).is_some_and(|held| *held == own) {
                    entity.unique.remove(&place);
                }
            }
        }
        for (at, id) in references(table, &row) {
            forget(&mut entity.foreign, &(at, Key::new(id)), &own);
        }
        for (position, tag) in row.tags().enumerate() {
            forget(&mut entity.tags, &tag.to_owned(), &own);
            self.tags.remove(&(key.to_owned(), table.name.clone(), position as i64));
        }
        Some(row)
    }

    fn row(&self, entity: &Entity, key: &Key) -> Option<Row> {
        let value = self.packer.unpack(entity.rows.get(key)?);
        Some(Row { value, expires: entity.expires.get(key).copied() })
    }
}

/// Values that together are one key. None of them holds a NUL: no field of an index may.
fn joined(values: &[&str]) -> Box<str> {
    values.join("\0").into()
}

/// The places of a row's references, and the ids they are to.
fn references<'a>(table: &'a Table, row: &'a Row) -> impl Iterator<Item = (usize, &'a str)> {
    table.references.iter().enumerate().filter_map(|(at, reference)| {
        let id = row.value.get(&reference.field)?.get("id")?.as_str()?;
        Some((at, id))
    })
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Keys>, place: &K, key: &Key) {
    if let Some(keys) = index.get_mut(place) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(place);
        }
    }
}

impl Rows for &State {
    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error> {
        Ok(self.entity(table).and_then(|entity| self.row(entity, &Key::new(key))))
    }

    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error> {
        let Some(entity) = self.entity(table) else { return Ok(None) };
        let Some(at) = table.unique.iter().position(|own| own.name == index.name) else { return Ok(None) };
        Ok(entity.unique.get(&(at, joined(values))).and_then(|key| self.row(entity, key)))
    }

    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error> {
        let Some(entity) = self.entity(table) else { return Ok(Vec::new()) };
        let has_tag = |key: &Key, tag: &String| entity.tags.get(tag).is_some_and(|keys| keys.contains(key));
        let fits = |key: &&Key| {
            entity.expires.get(*key).is_none_or(|at| *at > scan.now)
                && match scan.tags {
                    None => true,
                    Some(TagFilter::All(tags)) => tags.iter().all(|tag| has_tag(key, tag)),
                    Some(TagFilter::Any(tags)) => tags.iter().any(|tag| has_tag(key, tag)),
                }
        };
        let range = (scan.after.map_or(Unbounded, |after| Excluded(Key::new(after))), Unbounded);
        let row = |key| self.row(entity, key);
        Ok(match scan.foreign {
            None => {
                let keys = entity.rows.range(range).map(|(key, _)| key);
                keys.filter(fits).filter_map(row).take(scan.limit).collect()
            }
            Some((field, id)) => {
                let at = table.references.iter().position(|reference| reference.field == field);
                let keys = at.and_then(|at| entity.foreign.get(&(at, Key::new(id))));
                let keys = keys.into_iter().flat_map(|keys| keys.range(range.clone()));
                keys.filter(fits).filter_map(row).take(scan.limit).collect()
            }
        })
    }

    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error> {
        let after = scan.after.map(|(id, entity, position)| (id.to_owned(), entity.to_owned(), position));
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let tags = self.tags.range(range).filter(|(_, tag)| scan.tag.is_none_or(|wanted| wanted == *tag));
        let tagged = tags.map(|((id, entity, position), tag)| Tagged {
            entity: entity.clone(),
            id: id.clone(),
            tag: tag.clone(),
            position: *position,
        });
        Ok(tagged.take(scan.limit).collect())
    }

    fn expired(&self, table: &Table, now: f64, limit: usize) -> Result<Vec<String>, Error> {
        let Some(entity) = self.entity(table) else { return Ok(Vec::new()) };
        let expired = entity.expires.iter().filter(|(_, at)| **at <= now);
        Ok(expired.take(limit).map(|(key, _)| key.text()).collect())
    }

    fn put(&mut self, table: &Table, _: &str, _: Row, _: Option<&Row>) -> Result<(), Error> {
        Err(read_only(table))
    }

    fn remove(&mut self, table: &Table, _: &str, _: &Row) -> Result<(), Error> {
        Err(read_only(table))
    }
}

fn read_only(table: &Table) -> Error {
    Error::database(&format!("'{}' was opened for reading", table.name))
}

impl Rows for Rewritable<'_> {
    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error> {
        (&*self.state).get(table, key)
    }

    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error> {
        (&*self.state).find(table, index, values)
    }

    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error> {
        (&*self.state).scan(table, scan)
    }

    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error> {
        (&*self.state).tagged(scan)
    }

    fn expired(&self, table: &Table, now: f64, limit: usize) -> Result<Vec<String>, Error> {
        (&*self.state).expired(table, now, limit)
    }

    fn put(&mut self, table: &Table, key: &str, row: Row, old: Option<&Row>) -> Result<(), Error> {
        self.remember(table, key, old);
        self.state.put(table, key, &row);
        Ok(())
    }

    fn remove(&mut self, table: &Table, key: &str, old: &Row) -> Result<(), Error> {
        self.remember(table, key, Some(old));
        self.state.remove(table, key);
        Ok(())
    }
}

impl Rewritable<'_> {
    fn remember(&mut self, table: &Table, key: &str, old: Option<&Row>) {
        if let Some(table) = self.layout.table(&table.name) {
            self.undo.push((table, key.to_owned(), old.cloned()));
        }
    }

    fn roll_back(&mut self) {
        while let Some((table, key, old)) = self.undo.pop() {
            match old {
                Some(row) => self.state.put(table, &key, &row),
                None => {
                    self.state.remove(table, &key);
                }
            }
        }
    }
}
