//! An entity's schema: a record with a name, keys and a place in the Admin API.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::message;
use crate::field::Kind;
use crate::validate::{Lookup, Validator};
use crate::{Context, Error, Field, Flag, Record, RecordSchema, Subschema};

/// An entity's schema; see the module. The fields are Kong's metadata under Kong's names.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of Kong's schema files")]
pub struct EntitySchema {
    pub name: String,
    pub record: Arc<RecordSchema>,
    pub primary_key: Vec<String>,
    pub endpoint_key: Option<String>,
    pub cache_key: Vec<String>,
    pub admin_api_name: Option<String>,
    pub admin_api_nested_name: Option<String>,
    pub table_name: Option<String>,
    pub dao: Option<String>,
    pub subschema_key: Option<String>,
    /// With `%s` for the key.
    pub subschema_error: String,
    pub subschemas: HashMap<String, Arc<Subschema>>,
    pub workspaceable: bool,
    pub ttl: bool,
    pub generate_admin_api: bool,
    pub db_export: bool,
}

/// A struct that is an entity.
pub trait Entity: Record {
    fn schema() -> &'static Arc<EntitySchema>;
}

#[expect(clippy::return_self_not_must_use, reason = "a builder: every result is used")]
impl EntitySchema {
    pub fn new(name: &str, record: Arc<RecordSchema>) -> Self {
        Self {
            name: name.into(),
            record,
            primary_key: vec!["id".into()],
            endpoint_key: None,
            cache_key: Vec::new(),
            admin_api_name: None,
            admin_api_nested_name: None,
            table_name: None,
            dao: None,
            subschema_key: None,
            subschema_error: "unknown type: %s".into(),
            subschemas: HashMap::new(),
            workspaceable: false,
            ttl: false,
            generate_admin_api: true,
            db_export: true,
        }
    }

    pub fn primary_key<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
        self.primary_key = fields.into_iter().map(Into::into).collect();
        self
    }
    pub fn endpoint_key(mut self, field: &str) -> Self {
        self.endpoint_key = Some(field.into());
        self
    }
    pub fn cache_key<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
        self.cache_key = fields.into_iter().map(Into::into).collect();
        self
    }
    pub fn admin_api_name(mut self, name: &str) -> Self {
        self.admin_api_name = Some(name.into());
        self
    }
    pub fn admin_api_nested_name(mut self, name: &str) -> Self {
        self.admin_api_nested_name = Some(name.into());
        self
    }
    pub fn table_name(mut self, name: &str) -> Self {
        self.table_name = Some(name.into());
        self
    }
    pub fn dao(mut self, name: &str) -> Self {
        self.dao = Some(name.into());
        self
    }
    pub fn subschema_key(mut self, field: &str) -> Self {
        self.subschema_key = Some(field.into());
        self
    }
    pub fn subschema_error(mut self, text: &str) -> Self {
        self.subschema_error = text.into();
        self
    }
    pub fn workspaceable(mut self, on: bool) -> Self {
        self.workspaceable = on;
        self
    }
    pub fn ttl(mut self, on: bool) -> Self {
        self.ttl = on;
        self
    }
    pub fn generate_admin_api(mut self, on: bool) -> Self {
        self.generate_admin_api = on;
        self
    }
    pub fn db_export(mut self, on: bool) -> Self {
        self.db_export = on;
        self
    }

    /// The same schema with these subschemas besides those it has.
    pub fn with_subschemas(mut self, subschemas: impl IntoIterator<Item = Arc<Subschema>>) -> Self {
        self.subschemas.extend(subschemas.into_iter().map(|sub| (sub.name.clone(), sub)));
        self
    }

    /// The same schema with another record, e.g. with the fields of another router flavor.
    pub fn with_record(mut self, record: Arc<RecordSchema>) -> Self {
        self.record = record;
        self
    }
}

impl EntitySchema {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.record.get(name)
    }

    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.record.fields()
    }

    /// Names of the fields whose values are unique.
    pub fn unique_fields(&self) -> impl Iterator<Item = &str> {
        self.fields().filter(|(_, field)| field.is(Flag::Unique)).map(|(name, _)| name)
    }

    /// Foreign fields and the entities they refer to.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields().filter_map(|(name, field)| Some((name, field.reference_to()?)))
    }

    /// The fields of a composite cache key, which together are unique; `None` when one field is the key, or none.
    pub fn cache_key_values(&self, entity: &Value) -> Option<Value> {
        if self.cache_key.len() < 2 {
            return None;
        }
        let value = |name: &String| (name.clone(), entity.get(name).cloned().unwrap_or(Value::Null));
        Some(Value::Object(self.cache_key.iter().map(value).collect()))
    }

    /// `{"id": ".."}`.
    pub fn primary_key_of(&self, entity: &Value) -> Value {
        let value = |name: &String| Some((name.clone(), entity.get(name)?.clone()));
        Value::Object(self.primary_key.iter().filter_map(value).collect())
    }

    /// The subschema that an entity's key names; of a set, the first member that has one.
    pub fn subschema(&self, key: &Value) -> Option<&Arc<Subschema>> {
        match key {
            Value::String(name) => self.subschemas.get(name),
            Value::Array(list) => list.iter().filter_map(Value::as_str).find_map(|name| self.subschemas.get(name)),
            _ => None,
        }
    }

    pub(crate) fn subschema_of(&self, map: &Map<String, Value>) -> Option<&Subschema> {
        let key = self.subschema_key.as_ref()?;
        self.subschema(map.get(key)?).map(|sub| &**sub)
    }

    pub(crate) fn lookup<'a>(&'a self, map: &Map<String, Value>) -> Lookup<'a> {
        Lookup { record: &self.record, subschema: self.subschema_of(map) }
    }

    /// A whole entity, or what there is of it when not `full`; the error tree.
    pub(crate) fn validate_map(
        &self,
        validator: &Validator<'_>,
        map: &Map<String, Value>,
        full: bool,
    ) -> Result<(), Map<String, Value>> {
        let lookup = self.lookup(map);
        if let Some(name) = &self.subschema_key {
            let key = map.get(name).unwrap_or(&Value::Null);
            // Without its subschema nothing more can be said of an entity.
            if key.is_null() {
                return Err(Map::from_iter([(name.clone(), message::REQUIRED.into())]));
            }
            if lookup.subschema.is_none() {
                // Kong names what a table has at 1, which an object never has.
                let shown = match key {
                    Value::Object(_) => "nil".to_owned(),
                    Value::Array(list) => match list.first() {
                        None => "nil".to_owned(),
                        Some(Value::Null) => "userdata: NULL".to_owned(),
                        Some(first) => crate::lua::tostring(first),
                    },
                    other => crate::lua::tostring(other),
                };
                return Err(Map::from_iter([(name.clone(), self.subschema_error.replacen("%s", &shown, 1).into())]));
            }
        }
        validator.record(lookup, map, full)
    }

    pub(crate) fn validate_partial(
        &self,
        validator: &Validator<'_>,
        map: &Map<String, Value>,
    ) -> Result<(), Map<String, Value>> {
        self.validate_map(validator, map, false)
    }

    /// One field's value by itself.
    ///
    /// # Errors
    /// The message, or the tree of messages.
    pub fn validate_field(&self, name: &str, value: &Value, cx: &Context<'_>) -> Result<(), Value> {
        let validator = Validator { cx, updating: false };
        match self.record.get(name) {
            Some(field) => validator.field(field, value),
            None => Err(message::UNKNOWN.into()),
        }
    }

    /// A primary key, e.g. from a path.
    ///
    /// # Errors
    /// Code 1.
    pub fn validate_primary_key(&self, key: &Value, cx: &Context<'_>) -> Result<(), Error> {
        let mut errors = Map::new();
        for name in &self.primary_key {
            let error = match key.get(name) {
                None => message::MISSING_PK.into(),
                Some(Value::Null) => message::MISSING_PK.into(),
                Some(value) => match self.validate_field(name, value, cx) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            errors.insert(name.clone(), error);
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::invalid_primary_key(Value::Object(errors))) }
    }

    /// A unique field's value, e.g. from a path.
    ///
    /// # Errors
    /// Code 10.
    pub fn validate_unique(&self, name: &str, value: &Value, cx: &Context<'_>) -> Result<(), Error> {
        self.validate_field(name, value, cx).map_err(|error| match error {
            Value::String(text) => Error::invalid_unique(name, &text),
            tree => Error::invalid_unique(name, &crate::lua::literal(&tree)),
        })
    }

    /// Fields of other kinds than `transient`: what a store keeps.
    pub fn stored_fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields().filter(|(_, field)| !field.is(Flag::Transient))
    }

    /// Whether a field is an abstract record whose fields come from the subschema.
    pub(crate) fn is_abstract(&self, name: &str) -> bool {
        self.record.get(name).is_some_and(|field| field.is(Flag::Abstract) && matches!(field.kind, Kind::Record(_)))
    }
}
