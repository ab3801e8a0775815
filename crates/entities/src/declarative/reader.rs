//! Every entity of a file: taken out of its parent, given an id, completed and checked. As in Kong a file that is not valid by
//! itself is read again with what its names stand for.

use ahash::HashMap;
use indexmap::IndexMap;
use schema::{Constraint, Context, EntitySchema, Map, Value};
use std::cell::OnceCell;
use std::thread;

use super::names::Names;
use super::{Entities, ids, references, sparse};
use crate::Catalog;

const VERSIONS: [&str; 3] = ["1.1", "2.1", "3.0"];
/// Stands for an entity that is yet to be found.
const UNRESOLVED: &str = "00000000-0000-0000-0000-000000000000";
const REQUIRED: &str = "required field missing";
const UNKNOWN: &str = "unknown field";
/// Lists of so many entities are read by several threads.
const LONG: usize = 256;
/// Threads for one list. Each holds as much memory as its part of the list takes.
const MOST_THREADS: usize = 8;
/// The number of the first entry where a part of a list is read by itself. Smaller ones are of the reader that has all.
const APART: usize = usize::MAX / 2;

/// What is wrong with a file.
pub(super) struct Problem {
    pub(super) fields: Map<String, Value>,
    /// The ids of entities by their place in the file, once there are any.
    ids: Vec<(Vec<Step>, String)>,
}

/// A step on the way to an entity: the collection and the place in it.
type Step = (String, usize);

impl Problem {
    /// Writes the generated ids into the file's value: reports that come after them show them.
    pub(super) fn complete(&self, value: &mut Value) {
        for (path, id) in &self.ids {
            let entity = path.iter().try_fold(&mut *value, |at, (name, index)| at.get_mut(name)?.get_mut(*index));
            if let Some(Value::Object(entity)) = entity {
                entity.entry("id").or_insert_with(|| id.as_str().into());
            }
        }
    }
}

/// What must be known of a collection, looked up once.
pub(super) struct Collection<'a> {
    pub(super) schema: &'a EntitySchema,
    /// Collections that may be nested in its entities, with the foreign field that then is implied.
    pub(super) children: Vec<(&'a str, &'a str)>,
    /// Foreign fields and the collections they refer to.
    pub(super) foreign: Vec<(&'a str, &'a str)>,
    transient: Vec<&'a str>,
}

/// A valid entity.
pub(super) struct Entry<'a> {
    pub(super) collection: &'a str,
    pub(super) entity: Map<String, Value>,
    pub(super) id: String,
    /// The entry it is nested in.
    pub(super) parent: Option<usize>,
    pub(super) index: usize,
    /// Foreign fields that are yet to be resolved, and what they say.
    pub(super) references: Vec<(&'a str, Value)>,
}

pub(super) struct Reader<'a> {
    pub(super) collections: &'a HashMap<&'a str, Collection<'a>>,
    cx: &'a Context<'a>,
    pass: Pass<'a>,
    /// The number of the first entry: 0, or [`APART`].
    first: usize,
    /// Parents before their children.
    pub(super) entries: Vec<Entry<'a>>,
}

/// How foreign fields are read.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// A name may mean something, and a nested entity refers to its parent alone.
    First,
    /// A name means something or not, and a nested entity may refer to others than its parent.
    Again(&'a Names<'a>),
    /// The same, and what nested entities refer to is among the errors.
    Report(&'a Names<'a>),
}

/// What an entity is nested in.
#[derive(Clone, Copy)]
struct Parent<'p> {
    /// The child's field that refers to it.
    field: &'p str,
    id: &'p Value,
    /// The id that is given, or made of names: ids of children are made of it.
    stated: Option<&'p str>,
    /// None when it is not valid itself.
    entry: Option<usize>,
}

pub(super) type Read = (IndexMap<String, Entities>, IndexMap<(String, String), Value>);

/// All entities of a file, and the rows that differ from them.
pub(super) fn read(config: &Value, catalog: &Catalog, cx: &Context<'_>) -> Result<Read, Problem> {
    let empty = Map::new();
    let config = config.as_object().unwrap_or(&empty);
    let collections = collections(catalog);
    let names = OnceCell::new();
    let names = || names.get_or_init(|| Names::of(config, &collections));
    let read = |pass| {
        let mut reader = Reader { collections: &collections, cx, pass, first: 0, entries: Vec::new() };
        let mut errors = head(config, catalog);
        for schema in catalog.entities() {
            let Some(list) = config.get(&schema.name) else { continue };
            if let Err(error) = reader.list(&schema.name, list, None) {
                errors.insert(schema.name.clone(), error);
            }
        }
        if errors.is_empty() { Ok(reader) } else { Err(Problem { fields: errors, ids: Vec::new() }) }
    };
    let mut reader = match read(Pass::First).or_else(|_| read(Pass::Again(names()))) {
        Ok(reader) => reader,
        Err(problem) => return Err(read(Pass::Report(names())).err().unwrap_or(problem)),
    };
    if let Err(fields) = references::resolve(&mut reader) {
        let again = if reader.is_read_again() { read(Pass::Report(names())).err() } else { None };
        return Err(again.unwrap_or_else(|| Problem { fields, ids: reader.ids() }));
    }
    let is_transformed = config.get("_transform") != Some(&Value::Bool(false));
    reader.finish(catalog, is_transformed)
}

fn collections(catalog: &Catalog) -> HashMap<&str, Collection<'_>> {
    let all = catalog.entities().map(|schema| {
        let collection = Collection {
            schema,
            children: catalog.children(&schema.name).map(|(child, field)| (child.name.as_str(), field)).collect(),
            foreign: schema.foreign_fields().collect(),
            transient: schema.fields().filter(|(_, f)| f.is(schema::Flag::Transient)).map(|(name, _)| name).collect(),
        };
        (schema.name.as_str(), collection)
    });
    all.collect()
}

/// What is said of the file itself, and names that mean nothing.
fn head(config: &Map<String, Value>, catalog: &Catalog) -> Map<String, Value> {
    let mut errors = Map::new();
    let mut refuse = |name: &str, text: &str| {
        errors.insert(name.to_owned(), text.into());
    };
    match config.get("_format_version") {
        None | Some(Value::Null) => refuse("_format_version", REQUIRED),
        Some(Value::String(version)) if VERSIONS.contains(&version.as_str()) => {}
        Some(Value::String(_)) => refuse("_format_version", &format!("expected one of: {}", VERSIONS.join(", "))),
        Some(_) => refuse("_format_version", "expected a string"),
    }
    if config.get("_transform").is_some_and(|value| !value.is_boolean() && !value.is_null()) {
        refuse("_transform", "expected a boolean");
    }
    for (name, value) in config {
        match name.as_str() {
            "_format_version" | "_transform" => {}
            "_comment" | "_ignore" => {
                if let Err(text) = remark(name, value) {
                    refuse(name, text);
                }
            }
            // Counts are no configuration, though Kong lets them stand in one.
            "ratelimiting_metrics" if is_empty(value) => {}
            // A view of the others.
            "tags" => refuse(name, UNKNOWN),
            _ if catalog.entity(name).is_none() => refuse(name, UNKNOWN),
            _ => {}
        }
    }
    errors
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// `_comment` and `_ignore` may stand anywhere and mean nothing.
fn remark(name: &str, value: &Value) -> Result<(), &'static str> {
    match (name, value) {
        (_, Value::Null) | ("_comment", Value::String(_)) | ("_ignore", Value::Array(_)) => Ok(()),
        ("_ignore", Value::Object(map)) if map.is_empty() => Ok(()),
        ("_comment", _) => Err("expected a string"),
        _ => Err("expected an array"),
    }
}

impl<'a> Reader<'a> {
    /// A list of entities; the errors by place.
    fn list(&mut self, collection: &str, list: &Value, parent: Option<Parent<'_>>) -> Result<(), Value> {
        let list = match list {
            Value::Null => return Ok(()),
            Value::Array(list) => list,
            Value::Object(map) if map.is_empty() => return Ok(()),
            _ => return Err("expected an array".into()),
        };
        let threads = match self.first {
            0 if list.len() >= LONG => thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS),
            _ => 1,
        };
        let errors = match threads {
            1 => self.items(collection, 0, list, parent),
            threads => self.items_by(threads, collection, list, parent),
        };
        if errors.is_empty() { Ok(()) } else { Err(sparse::list(errors)) }
    }

    /// The errors of entities, the first of which has the place `from` in its list.
    fn items(
        &mut self,
        collection: &str,
        from: usize,
        items: &[Value],
        parent: Option<Parent<'_>>,
    ) -> Vec<(usize, Value)> {
        let read = |(index, item)| Some((index, self.item(collection, index, item, parent).err()?));
        (from..).zip(pace::each(items)).filter_map(read).collect()
    }

    /// The same, read by several threads.
    fn items_by(
        &mut self,
        threads: usize,
        collection: &str,
        list: &[Value],
        parent: Option<Parent<'_>>,
    ) -> Vec<(usize, Value)> {
        let (collections, cx, pass) = (self.collections, self.cx, self.pass);
        let length = list.len().div_ceil(threads);
        let part = |(number, items): (usize, &[Value])| {
            let mut reader = Reader { collections, cx, pass, first: APART, entries: Vec::new() };
            let errors = reader.items(collection, number * length, items, parent);
            (reader.entries, errors)
        };
        let part = &part;
        let parts = thread::scope(|scope| {
            let parts = list.chunks(length).enumerate().map(|items| scope.spawn(move || part(items)));
            let parts: Vec<_> = parts.collect();
            let parts = parts.into_iter().map(thread::ScopedJoinHandle::join);
            parts.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Vec<_>>()
        });
        let mut all = Vec::new();
        for (entries, errors) in parts {
            let first = self.entries.len();
            let placed = |entry: Entry<'a>| {
                let parent = entry.parent.map(|parent| parent.checked_sub(APART).map_or(parent, |own| own + first));
                Entry { parent, ..entry }
            };
            self.entries.extend(entries.into_iter().map(placed));
            all.extend(errors);
        }
        all
    }

    fn item(&mut self, collection: &str, index: usize, item: &Value, parent: Option<Parent<'_>>) -> Result<(), Value> {
        let empty = Map::new();
        let item = match item {
            Value::Object(item) => item,
            Value::Array(list) if list.is_empty() => &empty,
            _ => return Err("expected a record".into()),
        };
        let Some((name, this)) = self.collections.get_key_value(collection) else { return Err(UNKNOWN.into()) };
        let (name, schema, children) = (*name, this.schema, this.children.clone());
        let mut errors = Map::new();
        let (entity, references) = self.own_fields(name, item, parent, &mut errors);
        let stated = entity.get("id").cloned().unwrap_or_default();
        let entry = match schema.validate_tree(Value::Object(entity), self.cx) {
            Ok(valid) if errors.is_empty() => Some(self.keep(name, index, valid, references, parent)),
            Ok(_) => None,
            Err(tree) => {
                let tree = if let Value::Object(tree) = tree { tree } else { Map::new() };
                // What was found before is about the same fields.
                tree.into_iter().for_each(|(field, error)| {
                    errors.entry(field).or_insert(error);
                });
                None
            }
        };
        let kept = entry.and_then(|entry| self.entries.get(entry - self.first)).map(|entry| entry.id.clone().into());
        let id = kept.unwrap_or_else(|| stated.clone());
        for (child, field) in children {
            let Some(list) = item.get(child) else { continue };
            let parent = Parent { field, id: &id, stated: stated.as_str(), entry };
            if let Err(error) = self.list(child, list, Some(parent)) {
                errors.insert(child.to_owned(), error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Value::Object(errors)) }
    }

    /// The entity's fields without remarks and children, with its id, its parent and stand-ins for what it refers to by
    /// name.
    fn own_fields(
        &self,
        name: &str,
        item: &Map<String, Value>,
        parent: Option<Parent<'_>>,
        errors: &mut Map<String, Value>,
    ) -> (Map<String, Value>, Vec<(&'a str, Value)>) {
        let Some(this) = self.collections.get(name) else { return Default::default() };
        let mut entity = Map::with_capacity(item.len() + 2);
        let mut references = Vec::new();
        // Of another nothing but the kind is checked.
        let is_of_known_kind = this.schema.subschema_key.as_ref().is_none_or(|key| {
            let default = || this.schema.field(key)?.default.as_ref();
            let kind = item.get(key).filter(|kind| !kind.is_null()).or_else(default);
            kind.is_some_and(|kind| this.schema.subschema(kind).is_some())
        });
        for (field, value) in item {
            let field = field.as_str();
            if matches!(field, "_comment" | "_ignore") {
                if let Err(text) = remark(field, value) {
                    errors.insert(field.to_owned(), text.into());
                }
                continue;
            }
            if this.children.iter().any(|(child, _)| *child == field) {
                continue;
            }
            let foreign = this.foreign.iter().find(|(name, _)| *name == field);
            let (Some((name, target)), false) = (foreign, value.is_null()) else {
                entity.insert(field.to_owned(), value.clone());
                continue;
            };
            if parent.is_some() && is_of_known_kind && !matches!(self.pass, Pass::Again(_)) {
                errors.insert(field.to_owned(), "value must be null".into());
            }
            let named = match (value, self.pass) {
                (Value::String(name), Pass::Again(names) | Pass::Report(names)) => names.get(target, name),
                (Value::String(_), Pass::First) => Some(None),
                _ => None,
            };
            let stands_for = named.is_some();
            // The parent has the say over a name of its own kind, though not over an id.
            let is_parents = parent.is_some_and(|parent| parent.field == field);
            if (stands_for && !is_parents) || value.get("id").is_some_and(Value::is_string) {
                references.push((*name, value.clone()));
            }
            let value = match named {
                Some(Some(invalid)) => stand_in(invalid.clone()),
                Some(None) => stand_in(UNRESOLVED),
                None => value.clone(),
            };
            entity.insert(field.to_owned(), value);
        }
        if entity.get("id").is_none_or(Value::is_null)
            && this.schema.field("id").is_some()
            && let Some(id) = ids::generate(this.schema, item, parent.map(|parent| (parent.field, parent.stated)))
        {
            entity.insert("id".into(), id.into());
        }
        if let Some(parent) = parent
            && match self.pass {
                Pass::First => !is_pinned(this.schema, &entity, parent.field),
                Pass::Again(_) | Pass::Report(_) => entity.get(parent.field).is_none_or(Value::is_null),
            }
        {
            let id = if parent.id.is_null() { UNRESOLVED.into() } else { parent.id.clone() };
            entity.insert(parent.field.to_owned(), stand_in(id));
        }
        (entity, references)
    }

    fn keep(
        &mut self,
        name: &'a str,
        index: usize,
        valid: Value,
        references: Vec<(&'a str, Value)>,
        parent: Option<Parent<'_>>,
    ) -> usize {
        let mut entity = if let Value::Object(entity) = valid { entity } else { Map::new() };
        if let Some(this) = self.collections.get(name) {
            // Kept by other entities.
            entity.retain(|field, value| !value.is_null() || !this.transient.contains(&field.as_str()));
            if let Some(parent) = parent {
                entity.insert(parent.field.to_owned(), stand_in(parent.id.clone()));
            }
            let key = this.schema.primary_key.first().map_or("id", String::as_str);
            let id = entity.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let parent = parent.and_then(|parent| parent.entry);
            self.entries.push(Entry { collection: name, entity, id, parent, index, references });
        }
        self.first + self.entries.len() - 1
    }

    /// Whether Kong reads a file again although it is valid: an entity is hashed with the id of what it refers to, which a name
    /// does not tell at first, or refers to it by a table, which Kong expects of nested entities alone.
    fn is_read_again(&self) -> bool {
        let needs_id = |schema: &EntitySchema| {
            let mut needs = schema.record.transformations().iter().flat_map(|transformation| &transformation.needs);
            needs.any(|need| schema.foreign_fields().any(|(field, _)| *need == format!("{field}.id")))
        };
        self.entries.iter().any(|entry| {
            let has_table = entry.references.iter().any(|(_, value)| value.is_object());
            (has_table && entry.parent.is_none())
                || self.collections.get(entry.collection).is_some_and(|this| needs_id(this.schema))
        })
    }

    /// The way to an entry in the file.
    fn path(&self, entry: &Entry<'_>) -> Vec<Step> {
        let parent = entry.parent.and_then(|parent| self.entries.get(parent));
        let mut path = parent.map(|parent| self.path(parent)).unwrap_or_default();
        path.push((entry.collection.to_owned(), entry.index));
        path
    }

    fn ids(&self) -> Vec<(Vec<Step>, String)> {
        let is_shown = |entry: &&Entry<'_>| {
            self.collections.get(entry.collection).is_some_and(|this| ids::is_of_names_in_kong(this.schema, &entry.id))
        };
        self.entries.iter().filter(is_shown).map(|entry| (self.path(entry), entry.id.clone())).collect()
    }

    /// Puts a message in an entry's place in the error tree. Kong looks no further than to the entity that it is nested in, and
    /// takes that one's place in its list for a place in the file.
    pub(super) fn place(&self, errors: &mut Places, entry: &Entry<'_>, message: String) {
        let mut path = self.path(entry);
        path.drain(..path.len().saturating_sub(2));
        errors.0.push((path, message));
    }

    fn finish(self, catalog: &Catalog, is_transformed: bool) -> Result<Read, Problem> {
        let mut by_name: HashMap<&str, Entities> = HashMap::default();
        let mut rows = IndexMap::new();
        let mut errors = Map::new();
        for entry in pace::each(self.entries) {
            let Some(this) = self.collections.get(entry.collection) else { continue };
            let shown = Value::Object(entry.entity);
            match row(this, &shown, is_transformed, self.cx) {
                Ok(None) => {}
                Ok(Some(row)) => {
                    rows.insert((entry.collection.to_owned(), entry.id.clone()), row);
                }
                Err(error) => {
                    let slot = errors.entry(entry.collection).or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(slot) = slot {
                        slot.insert(entry.id.clone(), error.into());
                    }
                }
            }
            by_name.entry(entry.collection).or_default().insert(entry.id, shown);
        }
        if !errors.is_empty() {
            return Err(Problem { fields: errors, ids: Vec::new() });
        }
        let ordered = catalog.entities().filter_map(|schema| by_name.remove_entry(schema.name.as_str()));
        Ok((ordered.map(|(name, entities)| (name.to_owned(), entities)).collect(), rows))
    }
}

/// The row of an entity where it differs from what is shown of it.
fn row(this: &Collection<'_>, shown: &Value, is_transformed: bool, cx: &Context<'_>) -> Result<Option<Value>, String> {
    let is_wordy = |field: &str| shown.get(field).and_then(Value::as_object).is_some_and(|foreign| foreign.len() > 1);
    let is_reduced = this.foreign.iter().any(|(field, _)| is_wordy(field));
    if !is_reduced && (!is_transformed || this.schema.record.transformations().is_empty()) {
        return Ok(None);
    }
    let mut row = shown.clone();
    for (field, _) in &this.foreign {
        if let Some(foreign) = row.get_mut(*field).filter(|foreign| foreign.is_object()) {
            *foreign = stand_in(foreign.get("id").and_then(Value::as_str).unwrap_or_default());
        }
    }
    if is_transformed {
        row = this.schema.transform(row, cx).map_err(|error| error.to_string())?;
    }
    Ok((row != *shown).then_some(row))
}

fn stand_in(id: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([("id".into(), id.into())]))
}

/// Whether the entity's kind refuses the field (key-auth has no consumer): Kong lets such an entity be nested there.
fn is_pinned(schema: &EntitySchema, entity: &Map<String, Value>, field: &str) -> bool {
    let Some(key) = schema.subschema_key.as_ref().and_then(|key| entity.get(key)) else { return false };
    let field = schema.subschema(key).and_then(|subschema| subschema.record.get(field));
    field.is_some_and(|field| field.constraints().iter().any(|c| matches!(c, Constraint::Eq(Value::Null))))
}

/// Messages by the place of the entity they are about.
#[derive(Default)]
pub(super) struct Places(Vec<(Vec<Step>, String)>);

impl Places {
    /// The error tree: lists with holes, nested as the entities are.
    pub(super) fn into_tree(self) -> Map<String, Value> {
        let mut collections: IndexMap<String, IndexMap<usize, Self>> = IndexMap::new();
        let mut messages: IndexMap<(String, usize), String> = IndexMap::new();
        for (path, message) in self.0 {
            let Some(((name, index), rest)) = path.split_first() else { continue };
            if rest.is_empty() {
                collections.entry(name.clone()).or_default().entry(*index).or_default();
                messages.insert((name.clone(), *index), message);
            } else {
                let inner = collections.entry(name.clone()).or_default().entry(*index).or_default();
                inner.0.push((rest.to_vec(), message));
            }
        }
        let tree = collections.into_iter().map(|(name, entries)| {
            let mut list: Vec<(usize, Value)> = entries
                .into_iter()
                .map(|(index, inner)| match messages.swap_remove(&(name.clone(), index)) {
                    Some(message) => (index, message.into()),
                    None => (index, Value::Object(inner.into_tree())),
                })
                .collect();
            list.sort_by_key(|(index, _)| *index);
            (name, sparse::list(list))
        });
        tree.collect()
    }
}
