//! A record's schema: ordered fields, shorthands, checks across fields and transformations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::field::{Custom, Kind};
use crate::{Check, Context, ConversionError, Deprecation, Field, Type};

/// Turns the value of a shorthand field into the fields it stands for.
type Expand = Arc<dyn Fn(&Value) -> Map<String, Value> + Send + Sync>;

/// A field that is accepted on input and stands for others.
#[derive(Clone)]
pub struct Shorthand {
    pub name: String,
    pub field: Field,
    pub(crate) expand: Option<Expand>,
    /// Where answers take the field's value from; `None` for a write-only shorthand.
    pub backwards: Option<Vec<String>>,
}

impl Shorthand {
    pub fn new(
        name: &str,
        field: Field,
        expand: impl Fn(&Value) -> Map<String, Value> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), field, expand: Some(Arc::new(expand)), backwards: None }
    }

    /// The old name of a field that moved to `path`; accepted on write and returned on read.
    pub fn rename<S: Into<String>>(name: &str, field: Field, path: impl IntoIterator<Item = S>, message: &str) -> Self {
        let path: Vec<String> = path.into_iter().map(Into::into).collect();
        let field = field.deprecation(Deprecation::new(message, "4.0").replaced_with(path.iter().cloned()));
        Self { name: name.into(), field, expand: None, backwards: Some(path) }
    }

    /// Also returned on read, taken from `path`.
    #[must_use]
    pub fn translate_backwards<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> Self {
        self.backwards = Some(path.into_iter().map(Into::into).collect());
        self
    }

    /// The fields it stands for, given its value.
    pub(crate) fn expanded(&self, value: &Value) -> Map<String, Value> {
        if let Some(expand) = &self.expand {
            return expand(value);
        }
        let mut out = Map::new();
        let paths = self.field.deprecation.iter().flat_map(|deprecation| &deprecation.replaced_with);
        for path in paths {
            crate::error::set_path(&mut out, path.iter().map(String::as_str), value.clone());
        }
        out
    }
}

impl fmt::Debug for Shorthand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shorthand").field("name", &self.name).field("field", &self.field).finish_non_exhaustive()
    }
}

type Transform = Arc<dyn Fn(&Map<String, Value>, &Context<'_>) -> Result<Map<String, Value>, String> + Send + Sync>;

/// A change of the value on its way to the store, such as hashing a password.
#[derive(Clone)]
pub struct Transformation {
    /// It runs when all of these are given.
    pub input: Vec<String>,
    /// What it reads besides; may come from the stored entity.
    pub needs: Vec<String>,
    pub(crate) transform: Transform,
}

impl fmt::Debug for Transformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformation").field("input", &self.input).field("needs", &self.needs).finish_non_exhaustive()
    }
}

/// A record's schema; see the module.
#[derive(Clone, Debug, Default)]
pub struct RecordSchema {
    pub(crate) fields: Vec<(String, Field)>,
    index: HashMap<String, usize, RandomState>,
    pub(crate) shorthands: Vec<Shorthand>,
    pub(crate) checks: Vec<Check>,
    pub(crate) transformations: Vec<Transformation>,
    pub(crate) validator: Option<Custom>,
}

#[expect(clippy::return_self_not_must_use, reason = "a builder: every result is used")]
impl RecordSchema {
    pub fn new<S: Into<String>>(fields: impl IntoIterator<Item = (S, Field)>) -> Self {
        fields.into_iter().fold(Self::default(), |record, (name, field)| record.field(name, field))
    }

    /// The same checks over one field.
    pub(crate) fn only(mut self, name: &str) -> Self {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|(known, _)| known == name);
        self.with_fields(fields)
    }

    /// Adds a field, or replaces the one of that name where it stands.
    pub fn field(mut self, name: impl Into<String>, field: Field) -> Self {
        let name = name.into();
        let known = self.index.get(&name).and_then(|at| self.fields.get_mut(*at));
        if let Some(slot) = known {
            slot.1 = field;
        } else {
            self.index.insert(name.clone(), self.fields.len());
            self.fields.push((name, field));
        }
        self
    }

    pub(crate) fn with_fields(mut self, fields: Vec<(String, Field)>) -> Self {
        self.index = fields.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        self.fields = fields;
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|(known, _)| known != name);
        self.with_fields(fields)
    }

    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    pub fn shorthand(
        self,
        name: &str,
        field: Field,
        expand: impl Fn(&Value) -> Map<String, Value> + Send + Sync + 'static,
    ) -> Self {
        self.shorthand_field(Shorthand::new(name, field, expand))
    }

    pub fn shorthand_rename<S: Into<String>>(
        self,
        name: &str,
        field: Field,
        path: impl IntoIterator<Item = S>,
        message: &str,
    ) -> Self {
        self.shorthand_field(Shorthand::rename(name, field, path, message))
    }

    pub fn shorthand_field(mut self, shorthand: Shorthand) -> Self {
        self.shorthands.push(shorthand);
        self
    }

    pub fn transformation<S: Into<String>, N: Into<String>>(
        self,
        input: impl IntoIterator<Item = S>,
        needs: impl IntoIterator<Item = N>,
        transform: impl Fn(&Map<String, Value>) -> Result<Map<String, Value>, String> + Send + Sync + 'static,
    ) -> Self {
        self.transformation_with(input, needs, move |map, _| transform(map))
    }

    /// A transformation that needs randomness or the time.
    pub fn transformation_with<S: Into<String>, N: Into<String>>(
        mut self,
        input: impl IntoIterator<Item = S>,
        needs: impl IntoIterator<Item = N>,
        transform: impl Fn(&Map<String, Value>, &Context<'_>) -> Result<Map<String, Value>, String> + Send + Sync + 'static,
    ) -> Self {
        self.transformations.push(Transformation {
            input: input.into_iter().map(Into::into).collect(),
            needs: needs.into_iter().map(Into::into).collect(),
            transform: Arc::new(transform),
        });
        self
    }

    /// A check of the record as a whole; its message stands in the record's place in the error tree.
    pub fn validator(mut self, f: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.validator = Some(Custom(Arc::new(f)));
        self
    }
}

impl RecordSchema {
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.index.get(name).and_then(|at| self.fields.get(*at)).map(|(_, field)| field)
    }

    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(name, field)| (name.as_str(), field))
    }

    pub fn shorthands(&self) -> &[Shorthand] {
        &self.shorthands
    }

    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub fn transformations(&self) -> &[Transformation] {
        &self.transformations
    }

    /// The field at a dotted path through nested records.
    pub fn lookup(&self, path: &str) -> Option<&Field> {
        let Some((head, tail)) = path.split_once('.') else { return self.get(path) };
        match &self.get(head)?.kind {
            Kind::Record(record) => record.lookup(tail),
            _ => None,
        }
    }
}

/// A struct that is a record of the schema: its run-time schema, and conversion from JSON that passed it.
pub trait Record: Type + DeserializeOwned {
    fn record() -> &'static Arc<RecordSchema>;

    /// The typed value of JSON that passed the schema (defaults filled).
    ///
    /// # Errors
    /// When the JSON does not have the struct's shape.
    fn from_value(value: &Value) -> Result<Self, ConversionError> {
        Self::deserialize(value).map_err(ConversionError)
    }
}
