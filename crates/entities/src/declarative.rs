//! Declarative configurations: `kong.yml`, its JSON, and the body of `POST /config`.
//!
//! The way of a file: text -> value (`yaml`) -> old formats made new (`migration`) -> every entity checked and completed,
//! nested ones under their parents (`reader`) -> references resolved, nothing twice (`references`) -> [`Declarative`].
//! What is wrong on the way is told by an [`Invalid`].

mod export;
mod flatten;
mod ids;
mod invalid;
mod migration;
mod names;
mod reader;
mod references;
mod sparse;
mod yaml;

#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use schema::{Context, Map, Value};

use crate::configuration::EMPTY_HASH;
use crate::{Catalog, Configuration, ConfigurationError, hash};

pub use export::export;
pub use invalid::Invalid;

/// Entities by their primary key, in the order of the file.
pub type Entities = IndexMap<String, Value>;

/// A valid declarative configuration.
#[derive(Clone, Debug)]
pub struct Declarative {
    /// The entities by collection, parents before children, as `POST /config` answers them.
    pub entities: IndexMap<String, Entities>,
    /// Names the configuration: 32 hexadecimal digits, zeros without entities.
    pub hash: String,
    /// The rows that differ from what is answered: passwords hashed, addresses in their normal form.
    pub(crate) rows: IndexMap<(String, String), Value>,
}

impl Declarative {
    /// The entities as they are stored and read, parents before children.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entities.iter().flat_map(|(entity, all)| {
            all.iter().map(|(id, shown)| (entity.as_str(), self.row(entity, id).unwrap_or(shown)))
        })
    }

    fn row(&self, entity: &str, id: &str) -> Option<&Value> {
        if self.rows.is_empty() {
            return None;
        }
        self.rows.get(&(entity.to_owned(), id.to_owned()))
    }

    /// The same, taken out.
    pub fn into_rows(self) -> Vec<(String, Value)> {
        let Self { entities, mut rows, .. } = self;
        let mut out = Vec::new();
        for (entity, all) in entities {
            for (id, shown) in pace::each(all) {
                let row = if rows.is_empty() { None } else { rows.swap_remove(&(entity.clone(), id)) };
                out.push((entity.clone(), row.unwrap_or(shown)));
            }
        }
        out
    }

    /// What the data plane is built from.
    ///
    /// # Errors
    /// When a schema and its struct disagree.
    pub fn configuration(&self) -> Result<Configuration, ConfigurationError> {
        let mut configuration = Configuration { hash: self.hash.clone(), ..Configuration::default() };
        for (entity, row) in self.rows() {
            configuration.set(entity, row)?;
        }
        Ok(configuration)
    }

    /// What `POST /config` answers with: workspaces stay unsaid.
    pub fn shown(&self) -> impl Iterator<Item = (&String, &Entities)> {
        self.entities.iter().filter(|(entity, _)| *entity != "workspaces")
    }

    /// The same as one value.
    pub fn to_json(&self) -> Value {
        let all = |entities: &Entities| Value::Object(entities.iter().map(|(id, e)| (id.clone(), e.clone())).collect());
        Value::Object(self.shown().map(|(entity, entities)| (entity.clone(), all(entities))).collect())
    }
}

/// The hash of a text, before it is known to be valid: what `check_hash` compares.
pub fn text_hash(text: &str) -> String {
    hash::md5(text)
}

/// A file's or field's text: JSON, or else YAML.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, catalog: &Catalog, cx: &Context<'_>) -> Result<Declarative, Invalid> {
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => yaml::parse(text).map_err(|error| Invalid::syntax(&error))?,
    };
    load(value, || text_hash(text), catalog, cx).map_err(|invalid| invalid.with_text(text))
}

/// A configuration that came as JSON, e.g. as the body of a request.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_value(config: Value, catalog: &Catalog, cx: &Context<'_>) -> Result<Declarative, Invalid> {
    let hash = hash::md5(&config.to_string());
    load(config, || hash, catalog, cx)
}

/// The id of an entity that states none: the same for the same names, in every file and on every import.
#[must_use]
pub fn id_by_names(schema: &schema::EntitySchema, entity: &Map<String, Value>) -> Option<String> {
    ids::generate(schema, entity, None)
}

/// Drops a large value bit by bit.
fn free(value: Value) {
    match value {
        Value::Array(list) => pace::each(list).for_each(free),
        Value::Object(fields) => fields.into_iter().for_each(|(_, field)| free(field)),
        _ => {}
    }
}

fn load(
    mut value: Value,
    hash: impl FnOnce() -> String,
    catalog: &Catalog,
    cx: &Context<'_>,
) -> Result<Declarative, Invalid> {
    // To Lua an empty list and an empty object are one.
    if value.as_array().is_some_and(Vec::is_empty) {
        value = Value::Object(Map::new());
    }
    if !value.is_object() {
        return Err(Invalid::not_an_object());
    }
    migration::migrate(&mut value);
    match reader::read(&value, catalog, cx) {
        Ok((entities, rows)) => {
            free(value);
            let hash = if entities.is_empty() { EMPTY_HASH.to_owned() } else { hash() };
            Ok(Declarative { entities, hash, rows })
        }
        Err(problem) => {
            problem.complete(&mut value);
            Err(Invalid::new(problem.fields, &value, catalog))
        }
    }
}
