//! Forms: `a.b[1]=x` notations of names into nested JSON, and text into the types of a schema.

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

use crate::field::Kind;
use crate::validate::Lookup;
use crate::{EntitySchema, Field, RecordSchema};

/// Most arguments of a form, as in Kong.
pub const MAX_ARGUMENTS: usize = 1000;
/// Deeper names are taken literally, and so refused as unknown fields.
const MAX_DEPTH: usize = 32;

/// A form that is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("Too many arguments")]
    TooManyArguments,
}

/// A name and its value; `None` for a name without `=`.
pub type Argument = (String, Option<String>);

/// Decodes a form for a record: nesting by the names, types by the schema.
///
/// # Errors
/// When there are more than [`MAX_ARGUMENTS`].
pub fn decode(args: &[Argument], record: &RecordSchema) -> Result<Value, FormError> {
    let mut value = decode_untyped(args)?;
    if let Value::Object(map) = &mut value {
        infer_record(Lookup { record, subschema: None }, map);
    }
    Ok(value)
}

/// Decodes the nesting alone: every value is a string, `true` for a name without `=`, or null for an empty one.
///
/// # Errors
/// As [`decode`].
pub fn decode_untyped(args: &[Argument]) -> Result<Value, FormError> {
    if args.len() > MAX_ARGUMENTS {
        return Err(FormError::TooManyArguments);
    }
    // The values of a repeated name are one array.
    let mut grouped: IndexMap<&str, Vec<Value>> = IndexMap::new();
    for (name, value) in args {
        let value = match value.as_deref() {
            None => Value::Bool(true),
            Some("") => Value::Null,
            Some(text) => Value::from(text),
        };
        grouped.entry(name).or_default().push(value);
    }
    let mut root = Table::default();
    for (name, values) in grouped.into_iter().filter(|(name, _)| !name.is_empty()) {
        root.combine(Table::nested(&steps(name), values));
    }
    Ok(match root.into_value() {
        Value::Object(map) => Value::Object(map),
        _ => Value::Object(Map::new()),
    })
}

impl EntitySchema {
    /// Decodes a form for an entity; the subschema is the one that the form names.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode_form(&self, args: &[Argument]) -> Result<Value, FormError> {
        self.decode_typed(args, None)
    }

    /// The same for a change of an entity whose subschema key is known; the form's own goes first.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode_form_for(&self, args: &[Argument], subschema_key: &str) -> Result<Value, FormError> {
        self.decode_typed(args, Some(subschema_key))
    }

    fn decode_typed(&self, args: &[Argument], known: Option<&str>) -> Result<Value, FormError> {
        let mut value = decode_untyped(args)?;
        self.infer(&mut value, known);
        Ok(value)
    }

    /// Gives the strings of a decoded form the types of the schema.
    pub fn infer(&self, value: &mut Value, known_subschema: Option<&str>) {
        let Value::Object(map) = value else { return };
        let named = self.subschema_of(map);
        let subschema = named.or_else(|| self.subschemas.get(known_subschema?).map(|sub| &**sub));
        infer_record(Lookup { record: &self.record, subschema }, map);
        // Not a field, but an option of the write.
        if let (true, Some(ttl)) = (self.ttl, map.get_mut("ttl"))
            && let Some(number) = ttl.as_str().and_then(number)
        {
            *ttl = Value::Number(number);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Index(u64),
    Name(String),
    Append,
}

/// The path a name stands for.
fn steps(name: &str) -> Vec<Step> {
    // Kong takes a name that starts or ends with dots for a field called "name".
    if name.starts_with('.') || name.ends_with('.') {
        return vec![Step::Name("name".into())];
    }
    // Far too deep, whatever the brackets mean: not worth a look at each.
    if name.bytes().filter(|byte| matches!(byte, b'.' | b'[')).count() > 4 * MAX_DEPTH {
        return vec![Step::Name(name.into())];
    }
    let mut out = Vec::new();
    for segment in segments(name) {
        // Only the end of a name appends.
        if out.last() == Some(&Step::Append) {
            out.pop();
        }
        keys(segment, &mut out);
    }
    if out.len() > MAX_DEPTH { vec![Step::Name(name.into())] } else { out }
}

/// What stands between dots, but for those in brackets that follow something.
fn segments(name: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut bracket_end = 0;
    for (at, c) in name.char_indices().filter(|(_, c)| matches!(c, '.' | '[')) {
        if at < bracket_end {
            continue;
        }
        let segment = name.get(start..at).unwrap_or_default();
        if c == '.' {
            out.push(segment);
            start = at + 1;
        } else if let (false, Some(length)) = (segment.is_empty(), name.get(at..).and_then(|rest| rest.find(']'))) {
            bracket_end = at + length;
        }
    }
    out.push(name.get(start..).unwrap_or_default());
    out.retain(|segment| !segment.is_empty());
    out
}

/// `a[b][1][]`: what is neither the beginning nor in brackets has no meaning.
fn keys(segment: &str, out: &mut Vec<Step>) {
    let step = |key: &str| match key.parse() {
        Ok(at) if key.bytes().all(|byte| byte.is_ascii_digit()) => Step::Index(at),
        _ => Step::Name(key.into()),
    };
    let first = segment.match_indices('[').map(|(at, _)| at).find(|at| *at > 0);
    let (base, mut rest) = first.and_then(|at| segment.split_at_checked(at)).unwrap_or((segment, ""));
    let before = out.len();
    while let Some((inside, after)) = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        if out.len() == before {
            out.push(step(base));
        }
        if let Some(last @ Step::Append) = out.last_mut() {
            *last = Step::Index(1);
        }
        out.push(if inside.is_empty() { Step::Append } else { step(inside) });
        rest = after;
    }
    if out.len() == before {
        out.push(Step::Name(segment.into()));
    }
}

/// A Lua table in the making.
#[derive(Default)]
struct Table(IndexMap<Step, Node>);

enum Node {
    Value(Value),
    Table(Table),
}

impl Table {
    fn list(values: Vec<Value>) -> Self {
        Self((1..).map(Step::Index).zip(values.into_iter().map(Node::Value)).collect())
    }

    /// The table with this value alone.
    fn nested(path: &[Step], mut values: Vec<Value>) -> Self {
        let Some((step, rest)) = path.split_first() else { return Self::default() };
        if *step == Step::Append {
            return Self::list(values);
        }
        let node = match values.pop() {
            Some(value) if rest.is_empty() && values.is_empty() => Node::Value(value),
            last => {
                values.extend(last);
                Node::Table(if rest.is_empty() { Self::list(values) } else { Self::nested(rest, values) })
            }
        };
        Self(IndexMap::from_iter([(step.clone(), node)]))
    }

    /// What two arguments set becomes a list of both.
    fn combine(&mut self, other: Self) {
        for (step, node) in other.0 {
            let Some(slot) = self.0.get_mut(&step) else {
                self.0.insert(step, node);
                continue;
            };
            if let Node::Value(value) = slot {
                *slot = Node::Table(Self::list(vec![value.take()]));
            }
            if let Node::Table(table) = slot {
                match node {
                    Node::Table(other) => table.combine(other),
                    Node::Value(_) => {
                        let next = (1..).find(|at| !table.0.contains_key(&Step::Index(*at))).unwrap_or_default();
                        table.0.insert(Step::Index(next), node);
                    }
                }
            }
        }
    }

    /// An array when the keys are 1 to n, else an object.
    fn into_value(mut self) -> Value {
        let count = self.0.len() as u64;
        let array = count > 0 && (1..=count).all(|at| self.0.contains_key(&Step::Index(at)));
        if array {
            return (1..=count).filter_map(|at| self.0.swap_remove(&Step::Index(at))).map(Node::into_value).collect();
        }
        let entries = self.0.into_iter().map(|(step, node)| {
            let name = match step {
                Step::Index(at) => at.to_string(),
                Step::Name(name) => name,
                Step::Append => String::new(),
            };
            (name, node.into_value())
        });
        Value::Object(entries.collect())
    }
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Table(table) => table.into_value(),
        }
    }
}

fn infer_record(lookup: Lookup<'_>, map: &mut Map<String, Value>) {
    for (name, value) in map {
        let shorthand = || lookup.record.shorthands().iter().find(|s| s.name == *name).map(|s| &s.field);
        if let Some(field) = lookup.get(name).or_else(shorthand) {
            infer(field, value);
        }
    }
}

/// Gives a value the field's type, when its text allows.
fn infer(field: &Field, value: &mut Value) {
    if value.is_null() {
        return;
    }
    match &field.kind {
        Kind::Array(elements) | Kind::Set(elements) => {
            if !value.is_array() && !value.is_object() {
                *value = Value::Array(vec![value.take()]);
            }
            if let Value::Array(list) = value {
                list.iter_mut().for_each(|value| infer(elements, value));
            }
        }
        Kind::Map(_, values) => {
            if let Value::Object(map) = value {
                map.values_mut().for_each(|value| infer(values, value));
            }
        }
        Kind::Record(record) => {
            if let Value::Object(map) = value {
                infer_record(Lookup { record, subschema: None }, map);
            }
        }
        Kind::Number | Kind::Integer => {
            if let Some(number) = value.as_str().and_then(number) {
                *value = Value::Number(number);
            }
        }
        Kind::Boolean => match value.as_str() {
            Some("true") => *value = Value::Bool(true),
            Some("false") => *value = Value::Bool(false),
            _ => {}
        },
        _ => {}
    }
}

/// What Lua's `tonumber` makes of a text: decimal or hexadecimal, spaces around it, no infinities.
fn number(text: &str) -> Option<Number> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let value = i64::from_str_radix(hex, 16).ok()?;
        return Some(if negative { -value } else { value }.into());
    }
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !plain {
        return None;
    }
    if let Ok(whole) = digits.parse::<i64>() {
        return Some(if negative { -whole } else { whole }.into());
    }
    let value: f64 = digits.parse().ok()?;
    let mut value = Value::from(if negative { -value } else { value });
    crate::process::integral(&mut value);
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}
