//! What entities of a file can be called by others, valid or not.

use ahash::{HashMap, HashSet};
use schema::{Map, Value};

use super::ids;
use super::reader::Collection;

type Collections<'a> = HashMap<&'a str, Collection<'a>>;

/// Ids, and the keys that name entities in URLs, by collection.
#[derive(Default)]
pub(super) struct Names<'a>(HashMap<&'a str, HashSet<String>>);

impl<'a> Names<'a> {
    pub(super) fn of(config: &Map<String, Value>, collections: &Collections<'a>) -> Self {
        let mut names = Self::default();
        for (collection, this) in collections {
            names.add(collections, collection, this, config.get(*collection), None);
        }
        names
    }

    pub(super) fn contains(&self, collection: &str, name: &str) -> bool {
        self.0.get(collection).is_some_and(|names| names.contains(name))
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
            self.0.entry(name).or_default().extend(id.iter().cloned().chain(key));
            for (child, field) in &this.children {
                if let Some(of_child) = collections.get(child) {
                    self.add(collections, child, of_child, item.get(*child), Some((field, id.as_deref())));
                }
            }
        }
    }
}
