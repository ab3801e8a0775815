//! Errors as the Admin API answers them, the error tree, and the text of every validation message.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde_json::{Map, Value};

use crate::lua;

pub mod message;

/// The kinds of error, numbered as in Kong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    InvalidPrimaryKey = 1,
    SchemaViolation = 2,
    PrimaryKeyViolation = 3,
    ForeignKeyViolation = 4,
    UniqueViolation = 5,
    NotFound = 6,
    InvalidOffset = 7,
    DatabaseError = 8,
    InvalidSize = 9,
    InvalidUnique = 10,
    InvalidOptions = 11,
    OperationUnsupported = 12,
    ForeignKeysUnresolved = 13,
    DeclarativeConfig = 14,
    TransformationError = 15,
    InvalidForeignKey = 16,
    InvalidWorkspace = 17,
    InvalidUniqueGlobal = 18,
    ReferencedByOthers = 19,
    InvalidSearchQuery = 20,
    SyncDeltas = 21,
}

impl Code {
    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidPrimaryKey => "invalid primary key",
            Self::SchemaViolation => "schema violation",
            Self::PrimaryKeyViolation => "primary key violation",
            Self::ForeignKeyViolation => "foreign key violation",
            Self::UniqueViolation => "unique constraint violation",
            Self::NotFound => "not found",
            Self::InvalidOffset => "invalid offset",
            Self::DatabaseError => "database error",
            Self::InvalidSize => "invalid size",
            Self::InvalidUnique => "invalid unique",
            Self::InvalidOptions => "invalid options",
            Self::OperationUnsupported => "operation unsupported",
            Self::ForeignKeysUnresolved => "foreign keys unresolved",
            Self::DeclarativeConfig => "invalid declarative configuration",
            Self::TransformationError => "transformation error",
            Self::InvalidForeignKey => "invalid foreign key",
            Self::InvalidWorkspace => "invalid workspace",
            Self::InvalidUniqueGlobal => "invalid global query",
            Self::ReferencedByOthers => "referenced by others",
            Self::InvalidSearchQuery => "invalid search query",
            Self::SyncDeltas => "invalid sync deltas",
        }
    }

    /// The HTTP status of an answer with this error.
    pub fn status(self) -> u16 {
        match self {
            Self::UniqueViolation => 409,
            Self::NotFound => 404,
            Self::OperationUnsupported => 405,
            Self::DatabaseError
            | Self::TransformationError
            | Self::InvalidForeignKey
            | Self::InvalidWorkspace
            | Self::InvalidUniqueGlobal
            | Self::InvalidSearchQuery
            | Self::SyncDeltas => 500,
            _ => 400,
        }
    }
}

/// An error; [`Self::to_json`] is the body of the answer. Small, as every write returns one.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Details>);

/// What an error says.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    pub code: Code,
    /// Differs from the code's name for code 10 alone (`invalid unique name`).
    pub name: String,
    pub message: Option<String>,
    pub fields: Option<Value>,
    pub options: Option<Value>,
    /// Whether the database could not be asked: the same may succeed later. The answer's status is then 503.
    pub is_unavailable: bool,
}

impl Deref for Error {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or(&self.name))
    }
}

impl std::error::Error for Error {}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            code,
            name: code.name().into(),
            message: Some(message.into()),
            fields: None,
            options: None,
            is_unavailable: false,
        }))
    }

    #[must_use]
    fn with_fields(mut self, fields: Value) -> Self {
        self.fields = Some(fields);
        self
    }

    pub fn status(&self) -> u16 {
        if self.is_unavailable { 503 } else { self.code.status() }
    }

    /// `{"code", "name", "message", "fields" or "options"}`.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("code".into(), self.code.number().into());
        out.insert("name".into(), self.name.clone().into());
        out.insert("message".into(), self.message.clone().into());
        if let Some(fields) = &self.fields {
            out.insert("fields".into(), fields.clone());
        }
        if let Some(options) = &self.options {
            out.insert("options".into(), options.clone());
        }
        Value::Object(out)
    }

    /// Code 2, from the error tree.
    pub fn schema_violation(fields: Value) -> Self {
        let text = summary("schema violation", &fields);
        Self::new(Code::SchemaViolation, text).with_fields(fields)
    }

    /// Code 1; `fields` says what is wrong with the key.
    pub fn invalid_primary_key(fields: Value) -> Self {
        let text = format!("invalid primary key: '{}'", lua::literal(&fields));
        Self::new(Code::InvalidPrimaryKey, text).with_fields(fields)
    }

    pub fn primary_key_violation(key: &Value) -> Self {
        let text = format!("primary key violation on key '{}'", lua::literal(key));
        Self::new(Code::PrimaryKeyViolation, text).with_fields(key.clone())
    }

    /// A foreign key to an entity that is not there.
    pub fn foreign_key_violation_invalid_reference(field: &str, key: &Value, parent: &str) -> Self {
        let text = format!("the foreign key '{}' does not reference an existing '{parent}' entity.", lua::literal(key));
        let fields = Map::from_iter([(field.to_owned(), key.clone())]);
        Self::new(Code::ForeignKeyViolation, text).with_fields(Value::Object(fields))
    }

    /// The deletion of an entity that others refer to.
    pub fn foreign_key_violation_restricted(parent: &str, child: &str) -> Self {
        let text = format!("an existing '{child}' entity references this '{parent}' entity");
        let fields = Map::from_iter([("@referenced_by".to_owned(), Value::from(child))]);
        Self::new(Code::ForeignKeyViolation, text).with_fields(Value::Object(fields))
    }

    /// `key` has every field of the constraint, null for absent ones.
    pub fn unique_violation(key: &Value) -> Self {
        let text = format!("UNIQUE violation detected on '{}'", lua::literal(key));
        Self::new(Code::UniqueViolation, text).with_fields(key.clone())
    }

    pub fn not_found(key: &Value) -> Self {
        let text = format!("could not find the entity with primary key '{}'", lua::literal(key));
        Self::new(Code::NotFound, text).with_fields(key.clone())
    }

    pub fn not_found_by_key(key: &Value) -> Self {
        let text = format!("could not find the entity with '{}'", lua::literal(key));
        Self::new(Code::NotFound, text).with_fields(key.clone())
    }

    pub fn invalid_offset(offset: &str, reason: &str) -> Self {
        Self::new(Code::InvalidOffset, format!("'{offset}' is not a valid offset: {reason}"))
    }

    pub fn invalid_size(reason: &str) -> Self {
        Self::new(Code::InvalidSize, reason)
    }

    /// A key in a path that cannot be one.
    pub fn invalid_unique(field: &str, reason: &str) -> Self {
        let mut out = Self::new(Code::InvalidUnique, reason);
        out.name = format!("invalid unique {field}");
        out
    }

    /// `options` maps each bad option to what is wrong with it.
    pub fn invalid_options(options: Value) -> Self {
        let list: Vec<String> = sorted(&options)
            .into_iter()
            .map(|(name, value)| {
                format!("{name}: {}", value.as_str().map_or_else(|| lua::literal(value), str::to_owned))
            })
            .collect();
        let text = match list.as_slice() {
            [one] => format!("invalid option ({one})"),
            many => format!("{} option violations ({})", many.len(), many.join("; ")),
        };
        let mut out = Self::new(Code::InvalidOptions, text);
        out.options = Some(options);
        out
    }

    pub fn operation_unsupported(text: &str) -> Self {
        Self::new(Code::OperationUnsupported, text)
    }

    /// Code 13. `fields` is the tree `{field: {unique field: text}}` as [`unresolved`] makes it.
    pub fn foreign_keys_unresolved(fields: Value) -> Self {
        let list = lines(&fields);
        let text = match list.as_slice() {
            [one] => format!("foreign key unresolved ({one})"),
            many => format!("{} foreign keys unresolved ({})", many.len(), many.join("; ")),
        };
        Self::new(Code::ForeignKeysUnresolved, text).with_fields(fields)
    }

    /// Code 14, from the tree of the whole configuration.
    pub fn declarative(fields: Value) -> Self {
        let text = format!("declarative config is invalid: {}", lua::literal(&fields));
        Self::new(Code::DeclarativeConfig, text).with_fields(fields)
    }

    pub fn transformation(reason: &str) -> Self {
        Self::new(Code::TransformationError, message::transformation(reason))
    }

    pub fn referenced_by_others(text: &str) -> Self {
        Self::new(Code::ReferencedByOthers, text)
    }

    pub fn database(text: &str) -> Self {
        Self::new(Code::DatabaseError, text)
    }

    /// The database cannot be reached, or is too busy to answer.
    pub fn unavailable(text: &str) -> Self {
        let mut out = Self::database(text);
        out.is_unavailable = true;
        out
    }

    pub fn invalid_foreign_key(fields: Value) -> Self {
        let text = format!("invalid foreign key: '{}'", lua::literal(&fields));
        Self::new(Code::InvalidForeignKey, text).with_fields(fields)
    }

    pub fn invalid_workspace(id: &str) -> Self {
        Self::new(Code::InvalidWorkspace, format!("invalid workspace '{id}'"))
    }
}

/// What code 13 says about one field.
pub fn unresolved(unique_field: &str, value: &Value, parent: &str) -> Value {
    let key = Value::Object(Map::from_iter([(unique_field.to_owned(), value.clone())]));
    let text =
        format!("the foreign key cannot be resolved with '{}' for an existing '{parent}' entity", lua::literal(&key));
    Value::Object(Map::from_iter([(unique_field.to_owned(), text.into())]))
}

/// `schema violation (a: b)` or `2 schema violations (a: b; c: d)`.
fn summary(what: &str, fields: &Value) -> String {
    let list = lines(fields);
    match list.as_slice() {
        [one] => format!("{what} ({one})"),
        many => format!("{} {what}s ({})", many.len(), many.join("; ")),
    }
}

/// The tree as lines: `@entity` first, then by name; two levels are spelled `a.b: text`, deeper ones printed as Lua.
fn lines(fields: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match fields.get("@entity") {
        Some(Value::Array(list)) => out.extend(list.iter().map(text_of)),
        Some(other) => out.push(text_of(other)),
        None => {}
    }
    for (name, error) in sorted(fields).into_iter().filter(|(name, _)| name != "@entity") {
        match error {
            Value::Object(_) | Value::Array(_) => {
                let inner = sorted(error).into_iter().filter(|(_, error)| !error.is_null());
                out.extend(inner.map(|(sub, error)| format!("{name}.{sub}: {}", text_of(error))));
            }
            _ => out.push(format!("{name}: {}", text_of(error))),
        }
    }
    out
}

fn text_of(error: &Value) -> String {
    error.as_str().map_or_else(|| lua::pretty(error), str::to_owned)
}

/// The entries of an object by name, or of an array by its 1-based index.
fn sorted(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(name, value)| (name.clone(), value)).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries
        }
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| ((at + 1).to_string(), value)).collect(),
        _ => Vec::new(),
    }
}

/// An error tree with one message at a dotted path.
pub fn field(path: &str, text: impl Into<String>) -> Value {
    let mut out = Map::new();
    set_path(&mut out, path.split('.'), Value::String(text.into()));
    Value::Object(out)
}

/// The value at a dotted path through objects.
pub fn get_path<'v>(map: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some((head, tail)) = path.split_once('.') {
        return get_path(map.get(head)?.as_object()?, tail);
    }
    map.get(path)
}

/// Sets the value at a path, making objects on the way; what is in the way and no object stays.
pub fn set_path<'p>(map: &mut Map<String, Value>, path: impl IntoIterator<Item = &'p str>, value: Value) {
    let mut path = path.into_iter().peekable();
    let mut map = map;
    while let Some(name) = path.next() {
        if path.peek().is_none() {
            map.insert(name.to_owned(), value);
            return;
        }
        let next = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        let Value::Object(inner) = next else { return };
        map = inner;
    }
}
