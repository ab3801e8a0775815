//! Ids of entities that state none: made from what names them, so that the same file always gives the same ids.

use schema::{EntitySchema, Flag, Map, Uuid, Value};

/// The namespace of all such ids.
const NAMESPACE: Uuid = Uuid::from_u128(0xfd02801f_0957_4a15_a55a_c8d9606f30b5);
/// No workspace.
const WORKSPACE: &str = "*";

/// The id of an entity; none when nothing names it. `parent` is the foreign field it was nested by, and the parent's id where
/// that is stated, or made of names itself.
pub(super) fn generate(
    schema: &EntitySchema,
    entity: &Map<String, Value>,
    parent: Option<(&str, Option<&str>)>,
) -> Option<String> {
    let key = key(schema, entity, parent)?;
    let namespace = Uuid::new_v5(&NAMESPACE, schema.name.as_bytes());
    Some(Uuid::new_v5(&namespace, key.as_bytes()).to_string())
}

/// Whether a part of the cache key may be generated. Kong then gives ids at random, other ones with each import.
fn is_generated(schema: &EntitySchema) -> bool {
    schema.cache_key.iter().filter_map(|name| schema.field(name)).any(|field| field.is(Flag::Auto))
}

/// Whether Kong, too, makes such an id of names.
pub(super) fn is_of_names_in_kong(schema: &EntitySchema, id: &str) -> bool {
    !is_generated(schema) && Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 5)
}

fn key(schema: &EntitySchema, entity: &Map<String, Value>, parent: Option<(&str, Option<&str>)>) -> Option<String> {
    let part = |name: &str| match (entity.get(name), parent) {
        (Some(Value::Object(foreign)), _) => foreign.get("id").and_then(Value::as_str).map(str::to_owned),
        (Some(Value::String(text)), _) => Some(text.clone()),
        (_, Some((field, id))) if field == name => id.map(str::to_owned),
        _ => None,
    };
    // A parent without a name is no one's to tell its children by.
    let is_nameless = |name: &str| parent.is_some_and(|(field, id)| field == name && id.is_none());
    if !schema.cache_key.is_empty() && !is_generated(schema) {
        if schema.cache_key.iter().any(|name| is_nameless(name) && part(name).is_none()) {
            return None;
        }
        let mut key = format!("{}:{WORKSPACE}", schema.name);
        for name in &schema.cache_key {
            // What is said to be null is no part of the key, what is not said is an empty one.
            if entity.get(name).is_some_and(Value::is_null) {
                continue;
            }
            key.push(':');
            key.push_str(&part(name).unwrap_or_default());
        }
        // A scope that Kong's open-source edition does not know, so that its ids stay as they are.
        let is_hidden = |name: &str| schema.field(name).is_some_and(|field| field.is(Flag::Hidden));
        for (scope, _) in schema.foreign_fields().filter(|(field, _)| is_hidden(field)) {
            if let Some(id) = part(scope) {
                key.push(':');
                key.push_str(&id);
            }
        }
        return Some(key);
    }
    let name = schema.endpoint_key.as_deref()?;
    let own = part(name)?;
    if schema.field(name).is_some_and(|field| field.is(Flag::Unique)) {
        return Some(own);
    }
    let parent = match parent {
        Some((_, id)) => format!(":{}", id?),
        None => String::new(),
    };
    Some(format!("{own}{parent}:{WORKSPACE}"))
}
