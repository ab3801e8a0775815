//! What a store must know of each entity, taken from its schema: keys, unique fields, references, expiry, tags.
use entities::Catalog;
use schema::{EntitySchema, Flag};
use serde_json::Value;
use std::collections::HashMap;

/// What becomes of a row whose foreign field names a row that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    Restrict,
    Cascade,
    Null,
}

/// A foreign field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) field: String,
    pub(crate) entity: String,
    pub(crate) on_delete: OnDelete,
}

/// One column of an index: a field's text, or the id within a foreign field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) field: String,
    pub(crate) foreign: bool,
    /// Whether violations leave it out where it is absent, because Kong does not know the field.
    pub(crate) hidden: bool,
}

impl Part {
    pub(crate) fn of<'a>(&self, row: &'a Value) -> Option<&'a str> {
        let value = row.get(&self.field)?;
        if self.foreign { value.get("id")?.as_str() } else { value.as_str() }
    }
}

/// Fields whose values together name at most one row. One of several fields counts absent values too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) parts: Vec<Part>,
}

impl Index {
    pub(crate) fn is_composite(&self) -> bool {
        self.parts.len() > 1
    }

    /// The row's place in the index; `None` where it has none.
    pub(crate) fn values<'a>(&self, row: &'a Value) -> Option<Vec<&'a str>> {
        if self.is_composite() {
            return Some(self.parts.iter().map(|part| part.of(row).unwrap_or_default()).collect());
        }
        self.parts.iter().map(|part| part.of(row)).collect()
    }
}

/// The name of the index over a cache key of several fields.
const CACHE_KEY: &str = "cache_key";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// The primary key's field.
    pub(crate) key: String,
    /// Whether the key is a UUID: only such rows are told to followers.
    pub(crate) has_uuid: bool,
    /// In the order in which violations are reported.
    pub(crate) unique: Vec<Index>,
    pub(crate) references: Vec<Reference>,
    pub(crate) has_ttl: bool,
    pub(crate) has_tags: bool,
}

impl Table {
    fn of(schema: &EntitySchema) -> Table {
        let is_foreign = |name: &str| schema.foreign_fields().any(|(field, _)| field == name);
        let is_hidden = |name: &str| schema.field(name).is_some_and(|field| field.is(Flag::Hidden));
        let part = |field: &str| Part { field: field.to_owned(), foreign: is_foreign(field), hidden: is_hidden(field) };
        let key = schema.primary_key.first().cloned().unwrap_or_default();
        let mut unique = Vec::new();
        if schema.cache_key.len() > 1 {
            // What Kong's schema does not have yet scopes an entity all the same: plugins of a consumer group.
            let more = schema.foreign_fields().map(|(field, _)| field).filter(|field| is_hidden(field));
            let more = more.filter(|field| !schema.cache_key.iter().any(|known| known == field));
            let parts = schema.cache_key.iter().map(String::as_str).chain(more).map(part).collect();
            unique.push(Index { name: CACHE_KEY.to_owned(), parts });
        }
        let fields = schema.unique_fields().filter(|field| *field != key);
        unique.extend(fields.map(|field| Index { name: field.to_owned(), parts: vec![part(field)] }));
        let references = schema.foreign_fields().map(|(field, entity)| {
            let on_delete = match schema.field(field).and_then(|field| field.on_delete.as_deref()) {
                Some("cascade") => OnDelete::Cascade,
                Some("null") => OnDelete::Null,
                _ => OnDelete::Restrict,
            };
            Reference { field: field.to_owned(), entity: entity.to_owned(), on_delete }
        });
        Table {
            name: schema.name.clone(),
            has_uuid: schema.field(&key).is_some_and(|field| field.is(Flag::Uuid)),
            unique,
            references: references.collect(),
            has_ttl: schema.ttl,
            has_tags: schema.field("tags").is_some(),
            key,
        }
    }

    pub(crate) fn index(&self, name: &str) -> Option<&Index> {
        self.unique.iter().find(|index| index.name == name)
    }
}

/// All tables, in the catalog's order, and who references whom.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    tables: Vec<Table>,
    places: HashMap<String, usize>,
    /// For each entity its referencing tables, the last of the catalog first: the order in which PostgreSQL, with
    /// Kong's migrations, comes upon a reference that forbids a deletion.
    referencing: HashMap<String, Vec<(usize, usize)>>,
}

impl Layout {
    /// Of all entities that are kept. Tags are not: they are a view of the others.
    pub fn of(catalog: &Catalog) -> Layout {
        let kept = catalog.entities().filter(|schema| schema.name != "tags");
        Layout::new(kept.map(|schema| Table::of(schema)).collect())
    }

    pub(crate) fn new(tables: Vec<Table>) -> Layout {
        let places = tables.iter().enumerate().map(|(place, table)| (table.name.clone(), place)).collect();
        let mut referencing: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (place, table) in tables.iter().enumerate().rev() {
            for (field, reference) in table.references.iter().enumerate() {
                referencing.entry(reference.entity.clone()).or_default().push((place, field));
            }
        }
        Layout { tables, places, referencing }
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(crate) fn table(&self, entity: &str) -> Option<&Table> {
        self.places.get(entity).map(|place| &self.tables[*place])
    }

    pub(crate) fn referencing<'a>(&'a self, entity: &str) -> impl Iterator<Item = (&'a Table, &'a Reference)> {
        let places = self.referencing.get(entity).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|(place, field)| (&self.tables[*place], &self.tables[*place].references[*field]))
    }
}
