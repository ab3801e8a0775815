//! The key in a path: an id, or the value of the entity's endpoint key.
use crate::Api;
use crate::body::not_utf8;
use crate::dispatch::Call;
use crate::failure::{Failure, Outcome};
use schema::{EntitySchema, Error};
use serde_json::{Value, json};
use store::Reader;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Id(String),
    Unique { field: String, value: String },
}

impl Key {
    /// The key that a parameter of the path is.
    pub(crate) fn of(api: &Api, schema: &EntitySchema, call: &Call<'_>, place: usize) -> Outcome<Key> {
        match (String::from_utf8(call.bytes(place)), &schema.endpoint_key) {
            (Ok(text), _) => Self::parse(api, schema, text),
            (Err(error), Some(field)) => Err(Error::invalid_unique(field, &not_utf8(error.as_bytes())).into()),
            (Err(_), None) => Self::parse(api, schema, String::new()),
        }
    }

    pub(crate) fn parse(api: &Api, schema: &EntitySchema, text: String) -> Outcome<Key> {
        if is_uuid(&text) {
            return Ok(Key::Id(text.to_ascii_lowercase()));
        }
        let Some(field) = &schema.endpoint_key else {
            return Err(Error::invalid_primary_key(json!({ "id": "expected a valid UUID" })).into());
        };
        api.with_context(|cx| schema.validate_unique(field, &Value::from(text.as_str()), cx))?;
        Ok(Key::Unique { field: field.clone(), value: text })
    }

    pub(crate) fn find(&self, reader: &dyn Reader, entity: &str) -> Outcome<Option<Value>> {
        Ok(match self {
            Key::Id(id) => reader.select(entity, id)?,
            Key::Unique { field, value } => reader.select_by(entity, field, &[value])?,
        })
    }

    /// The field that named the row where that was not its id.
    pub(crate) fn by(&self) -> Option<&str> {
        match self {
            Key::Id(_) => None,
            Key::Unique { field, .. } => Some(field),
        }
    }

    pub(crate) fn not_found(&self) -> Failure {
        match self {
            Key::Id(id) => Error::not_found(&json!({ "id": id })).into(),
            Key::Unique { field, value } => Error::not_found_by_key(&json!({ field: value })).into(),
        }
    }
}

pub(crate) fn is_uuid(text: &str) -> bool {
    let is_shaped = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_shaped)
}

/// The id within a row.
pub(crate) fn id_of(row: &Value) -> &str {
    row.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// The id within a foreign field of a row.
pub(crate) fn foreign_id<'a>(row: &'a Value, field: &str) -> Option<&'a str> {
    row.get(field)?.get("id")?.as_str()
}
