//! Entities referring to each other by name or id; and no two of one name.

use ahash::{HashMap, HashSet};
use schema::{Map, Value};

use super::reader::{Entry, Places, Reader};

/// Entries by collection, and by id or by the key that names them in URLs.
#[derive(Default)]
struct Index<'i>(HashMap<&'i str, HashMap<&'i str, usize>>);

impl<'i> Index<'i> {
    /// Whether the key was free.
    fn add(&mut self, collection: &'i str, key: &'i str, entry: usize) -> bool {
        let free = !self.contains(collection, key);
        if free {
            self.0.entry(collection).or_default().insert(key, entry);
        }
        free
    }

    fn contains(&self, collection: &str, key: &str) -> bool {
        self.get(collection, key).is_some()
    }

    fn get(&self, collection: &str, key: &str) -> Option<usize> {
        self.0.get(collection)?.get(key).copied()
    }
}

/// Resolves every reference; the error tree of what is there twice, or referred to but not there.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Result<(), Map<String, Value>> {
    let found = {
        let (by_id, by_key, mut errors) = index(reader);
        let (found, missing) = find(reader, &by_id, &by_key);
        merge(&mut errors, missing);
        if !errors.is_empty() {
            return Err(errors);
        }
        found
    };
    for (entry, field, id) in found {
        if let Some(entry) = reader.entries.get_mut(entry) {
            entry.entity.insert(field, Value::Object(Map::from_iter([("id".into(), id.into())])));
        }
    }
    unique_fields(reader)
}

/// Errors by label beside those by place, which then count as labels too.
fn merge(errors: &mut Map<String, Value>, others: Map<String, Value>) {
    for (collection, others) in others {
        let slot = errors.entry(collection).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Array(list) = slot {
            let places = list.drain(..).enumerate().filter(|(_, error)| !error.is_null());
            *slot = Value::Object(places.map(|(at, error)| ((at + 1).to_string(), error)).collect());
        }
        if let (Value::Object(slot), Value::Object(others)) = (slot, others) {
            slot.extend(others);
        }
    }
}

fn already(collection: &str, field: &str, value: &str) -> String {
    format!("uniqueness violation: '{collection}' entity with {field} set to '{value}' already declared")
}

/// The value of the key that names an entity in URLs, when it is unique.
fn endpoint_key<'e>(reader: &Reader<'_>, entry: &'e Entry<'_>) -> Option<(&'e str, String)> {
    let schema = reader.collections.get(entry.collection)?.schema;
    let name = schema.endpoint_key.as_ref()?;
    if !schema.field(name).is_some_and(|field| field.is(schema::Flag::Unique)) {
        return None;
    }
    Some((entry.entity.get(name)?.as_str()?, name.clone()))
}

/// The indexes, and the errors about what is there twice.
type Indexes<'i> = (Index<'i>, Index<'i>, Map<String, Value>);

fn index<'i>(reader: &'i Reader<'_>) -> Indexes<'i> {
    let (mut by_id, mut by_key) = (Index::default(), Index::default());
    let mut errors = Places::default();
    for (at, entry) in pace::each(&reader.entries).enumerate() {
        if let Some((key, field)) = endpoint_key(reader, entry)
            && !by_key.add(entry.collection, key, at)
        {
            reader.place(&mut errors, entry, already(entry.collection, &field, key));
        } else if !by_id.add(entry.collection, &entry.id, at) {
            reader.place(&mut errors, entry, already(entry.collection, "primary key", &entry.id));
        }
    }
    (by_id, by_key, errors.into_tree())
}

/// What an entity is called in errors about it: by its key, or else its id.
fn label(reader: &Reader<'_>, entry: &Entry<'_>) -> String {
    endpoint_key(reader, entry).map_or_else(|| entry.id.clone(), |(key, _)| key.to_owned())
}

type Found = (usize, String, String);

/// For each reference by name: the entry, its field, and the id referred to; and the errors about those that nothing has.
fn find(reader: &Reader<'_>, by_id: &Index<'_>, by_key: &Index<'_>) -> (Vec<Found>, Map<String, Value>) {
    let mut found = Vec::new();
    let mut errors: Map<String, Value> = Map::new();
    for (at, entry) in pace::each(&reader.entries).enumerate() {
        for (field, value) in &entry.references {
            let target = reader
                .collections
                .get(entry.collection)
                .and_then(|this| this.foreign.iter().find(|(name, _)| name == field).map(|(_, target)| *target));
            let Some(target) = target else { continue };
            let text = value.as_str().or_else(|| value.get("id").and_then(Value::as_str)).unwrap_or_default();
            let other = by_id.get(target, text).or_else(|| value.as_str().and_then(|key| by_key.get(target, key)));
            match other.and_then(|other| reader.entries.get(other)) {
                Some(other) if value.is_string() => found.push((at, (*field).to_owned(), other.id.clone())),
                Some(_) => {}
                None => {
                    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let message = format!("invalid reference '{field}: {shown}' (no such entry in '{target}')");
                    push(&mut errors, entry.collection, label(reader, entry), message);
                }
            }
        }
    }
    (found, errors)
}

fn object<'m>(errors: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    errors.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn push(errors: &mut Map<String, Value>, collection: &str, label: String, message: String) {
    let Some(of_collection) = object(errors, collection) else { return };
    if let Value::Array(list) = of_collection.entry(label).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(message.into());
    }
}

/// Unique fields besides the one in URLs.
fn unique_fields(reader: &Reader<'_>) -> Result<(), Map<String, Value>> {
    let mut seen: HashSet<(&str, &str, String)> = HashSet::default();
    let mut errors = Map::new();
    let unique: HashMap<&str, Vec<&str>> = reader
        .collections
        .iter()
        .map(|(name, this)| {
            let endpoint = this.schema.endpoint_key.as_deref();
            (*name, this.schema.unique_fields().filter(|field| Some(*field) != endpoint).collect())
        })
        .collect();
    for entry in pace::each(&reader.entries) {
        for field in unique.get(entry.collection).into_iter().flatten() {
            let Some(value) = entry.entity.get(*field).filter(|value| !value.is_null()) else { continue };
            let value = value.as_str().map_or_else(|| schema::lua::literal(value), str::to_owned);
            // Kong tells the last of a collection alone.
            if !seen.insert((entry.collection, field, value.clone())) {
                let message = already(entry.collection, field, &value).into();
                errors.insert(
                    entry.collection.to_owned(),
                    Value::Object(Map::from_iter([(label(reader, entry), message)])),
                );
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
