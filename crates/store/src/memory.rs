//! Everything in memory: for tests, and beneath `database = off`.
use crate::changes::Followers;
use crate::packed::{self, Packer};
use crate::rows::{Row, Rows, Scan, TagScan, tags};
use crate::rules::{Rules, key_of, normal};
use crate::{Change, Clock, Error, Follower, Index, Layout, Reader, Store, Table, TagFilter, Tagged, Writer};
use ahash::RandomState;
use hashbrown::HashTable;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use uuid::Uuid;

pub struct Memory {
    layout: Arc<Layout>,
    clock: Clock,
    state: RwLock<State>,
    /// Held by who writes, until followers have heard of it: those who read need not wait for them.
    order: Mutex<()>,
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
    /// Packed; empty where a row was.
    rows: Vec<Box<[u8]>>,
    free: Vec<u32>,
    /// The places of rows.
    by_key: BTreeMap<Key, u32>,
    /// Of the rows that end by themselves, which are few: when.
    expires: HashMap<Key, f64>,
    unique: HashTable<Named>,
    /// The place of a reference, and the id it is to -> keys.
    foreign: HashMap<(usize, Key), Keys>,
    /// Tag -> keys.
    tags: HashMap<String, Keys>,
}

/// A row in an index: the values themselves are looked up in the row.
struct Named {
    /// Of the index and the values.
    hash: u32,
    row: u32,
}

impl Named {
    /// The bits of the hash in all places that the table looks at.
    fn spread(hash: u32) -> u64 {
        (u64::from(hash) << 32) | u64::from(hash)
    }
}

#[derive(Default)]
struct State {
    entities: HashMap<String, Entity>,
    /// Entity id, entity name, position -> tag.
    tags: BTreeMap<(String, String, i64), String>,
    packer: Packer,
    hasher: RandomState,
}

/// A transaction: the state, and how to get back.
struct Rewritable<'a> {
    state: &'a mut State,
    undo: Vec<(&'a Table, String, Option<Row>)>,
    layout: &'a Layout,
}

impl Memory {
    pub fn new(layout: Arc<Layout>, clock: Clock) -> Memory {
        Memory { layout, clock, state: RwLock::default(), order: Mutex::default(), followers: Followers::default() }
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
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
        let _order = self.order();
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
        for change in pace::each(&mut rows) {
            let Some(table) = self.layout.table(&change.entity) else { continue };
            change.value = change.value.take().map(|value| normal(table, value));
            change.value.as_ref().map(|row| key_of(table, row)).transpose()?;
        }
        // Made before anybody has to wait for it.
        let fresh = State::of(&self.layout, &rows);
        let order = self.order();
        let old = std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), fresh);
        self.followers.replaced(&rows);
        drop(order);
        old.free();
        pace::each(rows).for_each(drop);
        Ok(())
    }

    fn purge(&self) -> Result<usize, Error> {
        let _order = self.order();
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
    /// Of rows that have their keys.
    fn of(layout: &Layout, rows: &[Change]) -> Self {
        let mut fresh = Self::default();
        for change in pace::each(rows) {
            if let (Some(table), Some(value)) = (layout.table(&change.entity), &change.value)
                && let Ok(key) = key_of(table, value)
            {
                fresh.put(table, key, value, None);
            }
        }
        fresh.entities.values_mut().for_each(Entity::shrink);
        fresh
    }

    /// Drops it bit by bit.
    fn free(self) {
        self.entities.into_values().for_each(|entity| pace::each(entity.rows).for_each(drop));
    }

    fn entity(&self, table: &Table) -> Option<&Entity> {
        self.entities.get(&table.name)
    }

    fn put(&mut self, table: &Table, key: &str, row: &Value, expires: Option<f64>) {
        self.remove(table, key);
        let packed = self.packer.pack(row);
        if !self.entities.contains_key(&table.name) {
            self.entities.insert(table.name.clone(), Entity::default());
        }
        let Some(entity) = self.entities.get_mut(&table.name) else { return };
        let own = Key::new(key);
        let place = entity.place(packed);
        for (at, index) in table.unique.iter().enumerate() {
            let Some(values) = index.values(row) else { continue };
            let hash = hash(&self.hasher, at, &values);
            match entity.named(hash, index, &values, &self.packer) {
                Some(row) => entity.rename(hash, row, place),
                None => {
                    let named = Named { hash, row: place };
                    entity.unique.insert_unique(Named::spread(hash), named, |named| Named::spread(named.hash));
                }
            }
        }
        for (at, id) in references(table, row) {
            entity.foreign.entry((at, Key::new(id))).or_default().insert(own.clone());
        }
        for (position, tag) in tags(row).enumerate() {
            entity.tags.entry(tag.to_owned()).or_default().insert(own.clone());
            self.tags.insert((key.to_owned(), table.name.clone(), position as i64), tag.to_owned());
        }
        if let Some(at) = expires {
            entity.expires.insert(own.clone(), at);
        }
        entity.by_key.insert(own, place);
    }

    fn remove(&mut self, table: &Table, key: &str) -> Option<Row> {
        let own = Key::new(key);
        let entity = self.entities.get_mut(&table.name)?;
        let place = entity.by_key.remove(&own)?;
        let packed = std::mem::take(entity.rows.get_mut(place as usize)?);
        entity.free.push(place);
        let row = Row { value: self.packer.unpack(&packed), expires: entity.expires.remove(&own) };
        for (at, index) in table.unique.iter().enumerate() {
            let Some(values) = index.values(&row.value) else { continue };
            let hash = hash(&self.hasher, at, &values);
            // Another row may have taken the values over; it is known by its place.
            let is_it = |named: &Named| named.hash == hash && named.row == place;
            if let Ok(named) = entity.unique.find_entry(Named::spread(hash), is_it) {
                named.remove();
            }
        }
        for (at, id) in references(table, &row.value) {
            forget(&mut entity.foreign, &(at, Key::new(id)), &own);
        }
        for (position, tag) in tags(&row.value).enumerate() {
            forget(&mut entity.tags, &tag.to_owned(), &own);
            self.tags.remove(&(key.to_owned(), table.name.clone(), position as i64));
        }
        Some(row)
    }

    fn row(&self, entity: &Entity, key: &Key) -> Option<Row> {
        let place = *entity.by_key.get(key)?;
        let value = self.packer.unpack(entity.rows.get(place as usize)?);
        Some(Row { value, expires: entity.expires.get(key).copied() })
    }
}

impl Entity {
    /// Keeps a row, and tells where.
    fn place(&mut self, packed: Box<[u8]>) -> u32 {
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.rows.get_mut(place as usize)
        {
            *slot = packed;
            return place;
        }
        self.rows.push(packed);
        // Four thousand million rows do not fit into any memory.
        u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
    }

    /// The place of the row with these values in an index.
    fn named(&self, hash: u32, index: &Index, values: &[&str], packer: &Packer) -> Option<u32> {
        let is_it = |named: &Named| {
            let row = self.rows.get(named.row as usize).filter(|_| named.hash == hash);
            row.is_some_and(|row| index.values(&packer.unpack(row)).is_some_and(|known| known == values))
        };
        self.unique.find(Named::spread(hash), is_it).map(|named| named.row)
    }

    /// Lets another row have the values that one had.
    fn rename(&mut self, hash: u32, from: u32, to: u32) {
        let is_it = |named: &Named| named.hash == hash && named.row == from;
        if let Some(named) = self.unique.find_mut(Named::spread(hash), is_it) {
            named.row = to;
        }
    }

    /// Gives back what growing has left over: trees made in order are full.
    fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.by_key = std::mem::take(&mut self.by_key).into_iter().collect();
        for keys in self.foreign.values_mut() {
            *keys = std::mem::take(keys).into_iter().collect();
        }
    }
}

fn hash(hasher: &RandomState, index: usize, values: &[&str]) -> u32 {
    (hasher.hash_one((index, values)) >> 32) as u32
}

/// The places of a row's references, and the ids they are to.
fn references<'a>(table: &'a Table, row: &'a Value) -> impl Iterator<Item = (usize, &'a str)> {
    table.references.iter().enumerate().filter_map(|(at, reference)| {
        let id = row.get(&reference.field)?.get("id")?.as_str()?;
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
        let place = entity.named(hash(&self.hasher, at, values), index, values, &self.packer);
        let Some(packed) = place.and_then(|place| entity.rows.get(place as usize)) else { return Ok(None) };
        let value = self.packer.unpack(packed);
        let expires = key_of(table, &value).ok().and_then(|key| entity.expires.get(&Key::new(key)).copied());
        Ok(Some(Row { value, expires }))
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
                let keys = entity.by_key.range(range).map(|(key, _)| key);
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
        self.state.put(table, key, &row.value, row.expires);
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
                Some(row) => self.state.put(table, &key, &row.value, row.expires),
                None => {
                    self.state.remove(table, &key);
                }
            }
        }
    }
}
