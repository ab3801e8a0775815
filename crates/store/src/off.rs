//! `database = off`: the configuration is replaced as a whole, and entities are read only.
use crate::{Along, Change, Clock, Error, Follower, Layout, Memory, Page, Query, Reader, Store, TagsPage, Ttl, Writer};
use serde_json::Value;
use std::sync::Arc;

pub struct Off {
    memory: Memory,
}

impl Off {
    pub fn new(layout: Arc<Layout>, clock: Clock) -> Off {
        Off { memory: Memory::new(layout, clock) }
    }

    /// What Kong says of a write; `by` is the field that named the row, where it was not the primary key.
    pub fn refusal(verb: &str, entity: &str, by: Option<&str>) -> Error {
        let by = by.map(|field| format!("by '{field}' ")).unwrap_or_default();
        Error::operation_unsupported(&format!("cannot {verb} '{entity}' entities {by}when not using a database"))
    }
}

impl Store for Off {
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Reader)) -> Result<(), Error> {
        self.memory.read_showing(false, work);
        Ok(())
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Writer) -> bool) -> Result<(), Error> {
        self.memory.read_showing(false, &mut |reader| {
            work(&mut Refusing { reader });
        });
        Ok(())
    }

    fn replace(&self, rows: Vec<Change>) -> Result<(), Error> {
        self.memory.replace(rows)
    }

    fn purge(&self) -> Result<usize, Error> {
        Ok(0)
    }

    fn follow(&self, follower: Arc<dyn Follower>) {
        self.memory.follow(follower);
    }
}

struct Refusing<'a> {
    reader: &'a dyn Reader,
}

impl Reader for Refusing<'_> {
    fn select(&self, entity: &str, key: &str) -> Result<Option<Value>, Error> {
        self.reader.select(entity, key)
    }

    fn select_by(&self, entity: &str, index: &str, values: &[&str]) -> Result<Option<Value>, Error> {
        self.reader.select_by(entity, index, values)
    }

    fn page(&self, entity: &str, query: &Query<'_>) -> Result<Page, Error> {
        self.reader.page(entity, query)
    }

    fn tags(&self, tag: Option<&str>, size: usize, offset: Option<&str>) -> Result<TagsPage, Error> {
        self.reader.tags(tag, size, offset)
    }
}

impl Writer for Refusing<'_> {
    fn insert(&mut self, entity: &str, _: Value, _: Ttl) -> Result<Value, Error> {
        Err(Off::refusal("create", entity, None))
    }

    fn update(&mut self, entity: &str, _: Value, _: Ttl) -> Result<Value, Error> {
        Err(Off::refusal("update", entity, None))
    }

    fn upsert(&mut self, entity: &str, _: Value, _: Ttl) -> Result<Value, Error> {
        Err(Off::refusal("create or update", entity, None))
    }

    fn delete_along(&mut self, entity: &str, _: &str, _: &mut Along<'_>) -> Result<bool, Error> {
        Err(Off::refusal("remove", entity, None))
    }

    fn reader(&self) -> &dyn Reader {
        self
    }
}
