//! Everything in memory: for tests, and beneath `database = off`.
use crate::changes::Followers;
use crate::rows::{Row, Rows, Scan, TagScan};
use crate::rules::{Rules, key_of, normal};
use crate::{Change, Clock, Error, Follower, Index, Layout, Reader, Store, Table, TagFilter, Tagged, Writer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

pub struct Memory {
    layout: Arc<Layout>,
    clock: Clock,
    state: RwLock<State>,
    followers: Followers,
}

type Keys = BTreeSet<String>;

#[derive(Default)]
struct Entity {
    rows: BTreeMap<String, Row>,
    /// Index name and values -> key.
    unique: HashMap<(String, Vec<String>), String>,
    /// Foreign field and id -> keys.
    foreign: HashMap<(String, String), Keys>,
    /// Tag -> keys.
    tags: HashMap<String, Keys>,
}

#[derive(Default)]
struct State {
    entities: HashMap<String, Entity>,
    /// Entity id, entity name, position -> tag.
    tags: BTreeMap<(String, String, i64), String>,
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

    fn replace(&self, rows: Vec<Change>) -> Result<(), Error> {
        let mut fresh = State::default();
        for row in &rows {
            let (Some(table), Some(value)) = (self.layout.table(&row.entity), &row.value) else { continue };
            let value = normal(table, value.clone());
            let key = key_of(table, &value)?.to_owned();
            fresh.put(table, &key, Row { value, expires: None });
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

    fn put(&mut self, table: &Table, key: &str, row: Row) {
        self.remove(table, key);
        let entity = self.entities.entry(table.name.clone()).or_default();
        for index in &table.unique {
            if let Some(values) = index.values(&row.value) {
                let values = values.into_iter().map(str::to_owned).collect();
                entity.unique.insert((index.name.clone(), values), key.to_owned());
            }
        }
        for (field, id) in references(table, &row) {
            entity.foreign.entry((field.to_owned(), id.to_owned())).or_default().insert(key.to_owned());
        }
        for (position, tag) in row.tags().enumerate() {
            entity.tags.entry(tag.to_owned()).or_default().insert(key.to_owned());
            self.tags.insert((key.to_owned(), table.name.clone(), position as i64), tag.to_owned());
        }
        entity.rows.insert(key.to_owned(), row);
    }

    fn remove(&mut self, table: &Table, key: &str) -> Option<Row> {
        let entity = self.entities.get_mut(&table.name)?;
        let row = entity.rows.remove(key)?;
        for index in &table.unique {
            if let Some(values) = index.values(&row.value) {
                let place = (index.name.clone(), values.into_iter().map(str::to_owned).collect());
                if entity.unique.get(&place).is_some_and(|held| held == key) {
                    entity.unique.remove(&place);
                }
            }
        }
        for (field, id) in references(table, &row) {
            forget(&mut entity.foreign, &(field.to_owned(), id.to_owned()), key);
        }
        for (position, tag) in row.tags().enumerate() {
            forget(&mut entity.tags, &tag.to_owned(), key);
            self.tags.remove(&(key.to_owned(), table.name.clone(), position as i64));
        }
        Some(row)
    }
}

fn references<'a>(table: &'a Table, row: &'a Row) -> impl Iterator<Item = (&'a str, &'a str)> {
    table.references.iter().filter_map(|reference| {
        let id = row.value.get(&reference.field)?.get("id")?.as_str()?;
        Some((reference.field.as_str(), id))
    })
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Keys>, place: &K, key: &str) {
    if let Some(keys) = index.get_mut(place) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(place);
        }
    }
}

impl Rows for &State {
    fn get(&self, table: &Table, key: &str) -> Result<Option<Row>, Error> {
        Ok(self.entity(table).and_then(|entity| entity.rows.get(key)).cloned())
    }

    fn find(&self, table: &Table, index: &Index, values: &[&str]) -> Result<Option<Row>, Error> {
        let Some(entity) = self.entity(table) else { return Ok(None) };
        let place = (index.name.clone(), values.iter().map(|value| (*value).to_owned()).collect());
        Ok(entity.unique.get(&place).and_then(|key| entity.rows.get(key)).cloned())
    }

    fn scan(&self, table: &Table, scan: &Scan<'_>) -> Result<Vec<Row>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(entity) = self.entity(table) else { return Ok(Vec::new()) };
        let has_tag = |key: &str, tag: &String| entity.tags.get(tag).is_some_and(|keys| keys.contains(key));
        let fits = |key: &str, row: &Row| {
            !row.is_expired(scan.now)
                && match scan.tags {
                    None => true,
                    Some(TagFilter::All(tags)) => tags.iter().all(|tag| has_tag(key, tag)),
                    Some(TagFilter::Any(tags)) => tags.iter().any(|tag| has_tag(key, tag)),
                }
        };
        let range = (scan.after.map_or(Unbounded, Excluded), Unbounded);
        let rows: Vec<Row> = match scan.foreign {
            None => {
                let rows = entity.rows.range::<str, _>(range).filter(|(key, row)| fits(key, row));
                rows.take(scan.limit).map(|(_, row)| row.clone()).collect()
            }
            Some((field, id)) => {
                let Some(keys) = entity.foreign.get(&(field.to_owned(), id.to_owned())) else { return Ok(Vec::new()) };
                let rows = keys.range::<str, _>(range).filter_map(|key| Some((key, entity.rows.get(key)?)));
                rows.filter(|(key, row)| fits(key, row)).take(scan.limit).map(|(_, row)| row.clone()).collect()
            }
        };
        Ok(rows)
    }

    fn tagged(&self, scan: &TagScan<'_>) -> Result<Vec<Tagged>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
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
        let expired = entity.rows.iter().filter(|(_, row)| row.is_expired(now));
        Ok(expired.take(limit).map(|(key, _)| key.clone()).collect())
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
        self.state.put(table, key, row);
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
                Some(row) => self.state.put(table, &key, row),
                None => {
                    self.state.remove(table, &key);
                }
            }
        }
    }
}
