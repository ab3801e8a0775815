//! Rows without their secrets, for the audit log. What may be a secret is taken for one: fields that schemas mark as
//! encrypted or as able to refer to a vault, and fields with the names of secrets.
use schema::{EntitySchema, Field, Flag, Kind, RecordSchema};
use serde_json::{Map, Value};

const MASK: &str = "******";

/// Names of secrets in any entity or configuration.
const NAMES: [&str; 12] = [
    "access_token",
    "client_secret",
    "code",
    "jwk",
    "passphrase",
    "password",
    "private_key",
    "refresh_token",
    "secret",
    "session_id",
    "token",
    "tokens",
];

/// Fields that are secrets in one entity and plain in others.
const FIELDS: [(&str, &str); 3] = [("keyauth_credentials", "key"), ("acme_storage", "value"), ("sessions", "data")];

/// Parts of the names of headers and map entries that hold secrets.
const HINTS: [&str; 6] = ["auth", "cookie", "key", "password", "secret", "token"];

pub(crate) fn masked(schema: &EntitySchema, row: &Value) -> Value {
    let mut row = row.clone();
    let subschema = schema.subschema_key.as_ref().and_then(|key| schema.subschema(row.get(key)?)).cloned();
    if let Value::Object(fields) = &mut row {
        for (name, value) in fields {
            let field = subschema.as_ref().and_then(|sub| sub.record.get(name)).or_else(|| schema.field(name));
            if FIELDS.contains(&(schema.name.as_str(), name.as_str())) {
                hide(value);
            } else {
                mask_field(name, field, value);
            }
        }
    }
    row
}

fn mask_field(name: &str, field: Option<&Field>, value: &mut Value) {
    let is_marked = field.is_some_and(|field| field.is(Flag::Encrypted) || field.is(Flag::Referenceable));
    if is_marked || NAMES.contains(&name) {
        return hide(value);
    }
    match field.map(|field| &field.kind) {
        Some(Kind::Record(record)) => mask_record(record, value),
        Some(Kind::Array(elements) | Kind::Set(elements)) => {
            for value in value.as_array_mut().into_iter().flatten() {
                mask_field("", Some(elements), value);
            }
        }
        Some(Kind::Map(_, values)) => {
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                mask_entry(name, Some(values), value);
            }
        }
        // Of no type: what is inside is told by its names alone.
        _ => {
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                mask_entry(name, None, value);
            }
        }
    }
}

fn mask_record(record: &RecordSchema, value: &mut Value) {
    for (name, value) in value.as_object_mut().into_iter().flat_map(Map::iter_mut) {
        mask_field(name, record.get(name), value);
    }
}

fn mask_entry(name: &str, field: Option<&Field>, value: &mut Value) {
    let name = name.to_ascii_lowercase();
    if HINTS.iter().any(|hint| name.contains(hint)) { hide(value) } else { mask_field(&name, field, value) }
}

/// References to vaults stay: they are no secrets, and say where to look.
fn hide(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) if text.is_empty() || text.starts_with("{vault://") => {}
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        other => *other = Value::from(MASK),
    }
}
