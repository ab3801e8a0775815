//! The errors of a file one by one, each with the entity it is about: `?flatten_errors=1`.

use schema::{Map, Value};

use crate::Catalog;

/// Takes the errors that belong to entities out of the tree.
pub(super) fn flatten(fields: &mut Map<String, Value>, config: &Value, catalog: &Catalog) -> Vec<Value> {
    let mut out = Vec::new();
    let mut names: Vec<String> = fields.keys().cloned().collect();
    // Kong lists collections and fields from the end of the alphabet.
    names.sort_by(|a, b| b.cmp(a));
    for name in names {
        let is_tree = fields.get(&name).is_some_and(|errors| errors.is_array() || errors.is_object());
        if !is_tree || catalog.entity(&name).is_none() {
            continue;
        }
        // Errors about what is nested elsewhere stay.
        let Some(section) = config.get(&name).filter(|section| section.is_array() || section.is_object()) else {
            continue;
        };
        if let Some(errors) = fields.shift_remove(&name) {
            let mut entries = entries(&errors);
            entries.reverse();
            for (index, error) in entries {
                if let Some(Value::Object(entity)) = section.get(index) {
                    add(&mut out, &name, entity, None, error, catalog);
                }
            }
        }
    }
    out
}

/// The errors of a list by place. Errors that stand under names cannot be told to be about an entity of the list.
fn entries(errors: &Value) -> Vec<(usize, &Value)> {
    match errors {
        Value::Array(list) => list.iter().enumerate().filter(|(_, error)| !error.is_null()).collect(),
        Value::Object(map) => map
            .iter()
            .filter_map(|(place, error)| Some((place.parse::<usize>().ok()?.checked_sub(1)?, error)))
            .collect(),
        _ => Vec::new(),
    }
}

fn add(
    out: &mut Vec<Value>,
    collection: &str,
    entity: &Map<String, Value>,
    parent: Option<(&str, &Value)>,
    error: &Value,
    catalog: &Catalog,
) {
    let mut shown = entity.clone();
    if let Some((field, id)) = parent.filter(|(_, id)| is_id(id)) {
        let foreign = Value::Object(Map::from_iter([("id".into(), id.clone())]));
        shown.entry(field).or_insert(foreign);
    }
    let mut errors = match error {
        Value::Object(errors) => errors.clone(),
        other => Map::from_iter([("@entity".to_owned(), other.clone())]),
    };
    foreign(out, collection, &mut shown, &mut errors, catalog);
    let mut children: Vec<_> = catalog.children(collection).collect();
    children.sort_by(|(a, _), (b, _)| b.name.cmp(&a.name));
    for (child, field) in children {
        let Some(section) = shown.shift_remove(&child.name) else { continue };
        // A table that is no list has no items to tell the errors of.
        if !section.is_array() && !section.is_object() {
            shown.insert(child.name.clone(), section);
            continue;
        }
        let Some(child_errors) = errors.shift_remove(&child.name) else { continue };
        let id = entity.get("id").unwrap_or(&Value::Null);
        for (index, error) in entries(&child_errors) {
            if let Some(Value::Object(entity)) = section.get(index) {
                add(out, &child.name, entity, Some((field, id)), error, catalog);
            }
        }
    }
    let mut list = Vec::new();
    categorise(&mut list, "", &Value::Object(errors));
    if !list.is_empty() {
        out.push(report(collection, shown, list));
    }
}

/// What an entity refers to by a table of its own is an entity of its own here.
fn foreign(
    out: &mut Vec<Value>,
    collection: &str,
    shown: &mut Map<String, Value>,
    errors: &mut Map<String, Value>,
    catalog: &Catalog,
) {
    let Some(schema) = catalog.entity(collection) else { return };
    for (field, target) in schema.foreign_fields() {
        let Some(Value::Object(other)) = shown.get(field).cloned() else { continue };
        match other.get("id").filter(|id| is_id(id)) {
            Some(id) => shown.insert(field.to_owned(), Value::Object(Map::from_iter([("id".into(), id.clone())]))),
            None => shown.shift_remove(field),
        };
        if let Some(error) = errors.shift_remove(field) {
            add(out, target, &other, None, &error, catalog);
        }
    }
}

fn is_id(id: &Value) -> bool {
    id.as_str().is_some_and(schema::validators::is_uuid)
}

fn report(collection: &str, entity: Map<String, Value>, errors: Vec<Value>) -> Value {
    let mut out = Map::new();
    let kind = collection.strip_suffix('s').unwrap_or(collection);
    out.insert("entity_type".into(), kind.into());
    if let Some(id) = entity.get("id").filter(|id| is_id(id)) {
        out.insert("entity_id".into(), id.clone());
    }
    if let Some(name) = entity.get("name").filter(|name| name.as_str().is_some_and(|name| !name.is_empty())) {
        out.insert("entity_name".into(), name.clone());
    }
    let is_tags = |tags: &&Value| tags.as_array().is_some_and(|tags| tags.iter().all(Value::is_string));
    if let Some(mut tags) = entity.get("tags").filter(is_tags).cloned() {
        lua_tables(&mut tags);
        out.insert("entity_tags".into(), tags);
    }
    let mut entity = Value::Object(entity);
    lua_tables(&mut entity);
    out.insert("entity".into(), entity);
    out.insert("errors".into(), errors.into());
    Value::Object(out)
}

/// To Lua an empty list is an empty table, which it shows as an object.
fn lua_tables(value: &mut Value) {
    match value {
        Value::Array(list) if list.is_empty() => *value = Value::Object(Map::new()),
        Value::Array(list) => list.iter_mut().for_each(lua_tables),
        Value::Object(map) => map.values_mut().for_each(lua_tables),
        _ => {}
    }
}

fn categorise(out: &mut Vec<Value>, path: &str, error: &Value) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match error {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_by(|a, b| b.cmp(a));
            for name in names {
                match map.get(name) {
                    Some(messages) if name == "@entity" => of_entity(out, path, messages),
                    Some(error) => categorise(out, &join(name), error),
                    None => {}
                }
            }
        }
        Value::Array(list) => {
            for (index, error) in list.iter().enumerate().filter(|(_, error)| !error.is_null()) {
                categorise(out, &join(&(index + 1).to_string()), error);
            }
        }
        Value::Null => {}
        message => out.push(schema::json!({"type": "field", "field": path, "message": message})),
    }
}

fn of_entity(out: &mut Vec<Value>, path: &str, messages: &Value) {
    let one = std::slice::from_ref(messages);
    for message in messages.as_array().map_or(one, Vec::as_slice) {
        let mut error = Map::from_iter([("type".to_owned(), "entity".into())]);
        if !path.is_empty() {
            error.insert("field".into(), path.into());
        }
        error.insert("message".into(), message.clone());
        out.push(Value::Object(error));
    }
}
