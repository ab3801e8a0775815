//! What entities of a file can be called by others, valid or not.

use ahash::HashMap;
use schema::{Map, Value};

use super::ids;
use super::reader::Collection;

type Collections<'a> = HashMap<&'a str, Collection<'a>>;

/// Ids, and the keys that name entities in URLs, by collection; with what the entity states as its id where that is none.
#[derive(Default)]
pub(super) struct Names<'a>(HashMap<&'a str, HashMap<String, Option<Value>>>);

impl<'a> Names<'a> {
    pub(super) fn of(config: &Map<String, Value>, collections: &Collections<'a>) -> Self {
        let mut names = Self::default();
        for (collection, this) in collections {
            names.add(collections, collection, this, config.get(*collection), None);
        }
        names
    }

    /// Whether an entity is called so, and what it has for an id if that is invalid.
    pub(super) fn get(&self, collection: &str, name: &str) -> Option<Option<&Value>> {
        self.0.get(collection)?.get(name).map(Option::as_ref)
    }

    /// `parent`: the field that refers to it, and its id.
    fn add(
        &mut self,
        collections: &Collections<'a>,
        name: &'a str,
        this: &Collection<'a>,
        list: Option<&Value>,
        parent: Option<(&str, Option<&str>)>,
    ) {
        let items = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
        for item in items {
            let text = |field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
            let id = text("id").or_else(|| ids::generate(this.schema, item, parent));
            let key = this.schema.endpoint_key.as_deref().and_then(text);
            let is_valid = |id: &&Value| id.is_null() || id.as_str().is_some_and(schema::validators::is_uuid);
            let invalid = item.get("id").filter(|id| !is_valid(id)).cloned();
            let names = self.0.entry(name).or_default();
            for name in id.iter().cloned().chain(key) {
                names.entry(name).or_insert_with(|| invalid.clone());
            }
            for (child, field) in &this.children {
                if let Some(of_child) = collections.get(child) {
                    self.add(collections, child, of_child, item.get(*child), Some((field, id.as_deref())));
                }
            }
        }
    }
}
