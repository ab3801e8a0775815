//! What happens to a value before it is validated: shorthands expanded, generated values, defaults, and normal forms.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::{get_path, message};
use crate::field::Kind;
use crate::lua;
use crate::validate::{Lookup, Validator};
use crate::{Context, Field, Flag, RecordSchema};

/// Why a value is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A new value: everything absent is filled.
    Write,
    /// A partial value: nothing is filled but `updated_at`.
    Patch,
    /// A merged value: defaults are filled, nothing is generated or expanded.
    Fill,
    /// A stored value on its way to an answer: as `Fill`, with deprecated fields beside the new ones.
    Read,
}

/// Processes a value; generated values come from the context, which `Fill` and `Read` do without.
#[derive(Clone, Copy)]
pub(crate) struct Processor<'a> {
    pub(crate) mode: Mode,
    pub(crate) context: Option<&'a Context<'a>>,
}

type Processed = Result<(), Map<String, Value>>;

impl Processor<'_> {
    /// A record. An error is what a shorthand's value failed with; it comes from any depth without the path to it.
    pub(crate) fn record(self, lookup: Lookup<'_>, map: &mut Map<String, Value>) -> Processed {
        let expands = matches!(self.mode, Mode::Write | Mode::Patch);
        if expands && !lookup.record.shorthands().is_empty() {
            self.expand(lookup.record, map)?;
        }
        let mut old = Given::new(std::mem::take(map));
        let mut new = Map::with_capacity(lookup.record.fields.len());
        for (name, field) in lookup.fields() {
            let (key, mut value) = old.take(name).unzip();
            self.generate(name, field, &mut value);
            self.adjust(field, &mut value)?;
            if let Some(value) = value {
                new.insert(key.unwrap_or_else(|| name.to_owned()), value);
            }
        }
        // What the schema does not know stays for the validation to refuse.
        new.extend(old.0.into_iter().flatten());
        if self.mode == Mode::Read {
            for shorthand in lookup.record.shorthands() {
                if let Some(path) = &shorthand.backwards {
                    let value = get_path(&new, &path.join(".")).cloned().unwrap_or(Value::Null);
                    new.insert(shorthand.name.clone(), value);
                }
            }
        }
        *map = new;
        Ok(())
    }

    fn expand(self, record: &RecordSchema, map: &mut Map<String, Value>) -> Processed {
        let mut errors = Map::new();
        let Some(cx) = self.context else { return Ok(()) };
        let validator = Validator { cx, updating: false };
        for shorthand in record.shorthands() {
            let Some(value) = map.get(&shorthand.name) else { continue };
            if let Err(error) = validator.field(&shorthand.field, value) {
                errors.insert(shorthand.name.clone(), error);
                continue;
            }
            let Some(value) = map.shift_remove(&shorthand.name) else { continue };
            let deprecation = shorthand.field.deprecation.as_ref();
            for path in deprecation.into_iter().flat_map(|d| &d.replaced_with) {
                let dotted = path.join(".");
                let Some(new) = get_path(map, &dotted).filter(|new| !new.is_null()) else { continue };
                if !value.is_null() && *new != value {
                    let text = message::mismatch(&shorthand.name, &lua::tostring(&value), &dotted, &lua::tostring(new));
                    errors.insert(shorthand.name.clone(), text.into());
                }
            }
            merge_shorthand(map, shorthand.expanded(&value), deprecation.is_some());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Ids, keys and timestamps.
    fn generate(self, name: &str, field: &Field, value: &mut Option<Value>) {
        let (Some(cx), true) = (self.context, field.is(Flag::Auto)) else { return };
        let absent = value.is_none();
        let written = self.mode == Mode::Write;
        if field.is(Flag::Uuid) {
            // An id that is null is none, where it may be: Kong hands it to its database, which fails.
            let is_null = value.as_ref().is_some_and(Value::is_null) && !field.is_required();
            if written && (absent || is_null) {
                *value = Some(cx.uuid().to_string().into());
            }
        } else if matches!(field.kind, Kind::String) {
            if written && absent {
                *value = Some(cx.random_string().into());
            }
        } else if (name == "created_at" && written && value.as_ref().is_none_or(Value::is_null))
            || (name == "updated_at" && matches!(self.mode, Mode::Write | Mode::Patch))
        {
            *value = Some(now(cx, field));
        }
    }

    /// Brings a field's value into its normal form, and fills it when it is absent.
    pub(crate) fn adjust(self, field: &Field, value: &mut Option<Value>) -> Processed {
        if self.mode == Mode::Read && field.is_required() && value.as_ref().is_some_and(Value::is_null) {
            *value = None;
        }
        // To Lua, which asks whether there is a record by its truth, false is none; not even a partial value has it then.
        let is_no_record = matches!(field.kind, Kind::Record(_)) && *value == Some(Value::Bool(false));
        if is_no_record && !field.is(Flag::Abstract) {
            *value = absent(field);
            let mode = if self.mode == Mode::Patch { Mode::Write } else { self.mode };
            let filled = Self { mode, ..self };
            return value.as_mut().map_or(Ok(()), |value| filled.normalise(field, value));
        }
        if value.is_none() && self.mode != Mode::Patch {
            *value = absent(field);
        }
        match value {
            Some(value) if !field.is(Flag::Abstract) => self.normalise(field, value),
            _ => Ok(()),
        }
    }

    fn normalise(self, field: &Field, value: &mut Value) -> Processed {
        match &field.kind {
            Kind::Record(record) => {
                if matches!(value, Value::Array(list) if list.is_empty()) {
                    *value = Value::Object(Map::new());
                }
                if let Value::Object(map) = value {
                    return self.record(Lookup { record, subschema: None }, map);
                }
            }
            Kind::Array(elements) | Kind::Set(elements) => {
                if matches!(value, Value::Object(map) if map.is_empty()) {
                    *value = Value::Array(Vec::new());
                }
                let Value::Array(list) = value else { return Ok(()) };
                if matches!(field.kind, Kind::Set(_)) {
                    remove_duplicates(list);
                }
                if !is_plain(elements) {
                    for value in list {
                        self.normalise(elements, value)?;
                    }
                }
            }
            Kind::Map(_, values) => {
                if matches!(value, Value::Array(list) if list.is_empty()) {
                    *value = Value::Object(Map::new());
                }
                let Value::Object(map) = value else { return Ok(()) };
                if !is_plain(values) {
                    for value in map.values_mut() {
                        self.normalise(values, value)?;
                    }
                }
            }
            Kind::Number | Kind::Integer => integral(value),
            _ => {}
        }
        Ok(())
    }
}

/// What a field has that is not given.
fn absent(field: &Field) -> Option<Value> {
    match (&field.default, &field.kind) {
        (Some(default), _) => Some(default.clone()),
        (None, Kind::Record(_)) if field.is_required() => Some(Value::Object(Map::new())),
        (None, _) if field.is_required() || field.is(Flag::Hidden) => None,
        (None, _) => Some(Value::Null),
    }
}

/// The fields of a record that is processed. They are few: to look at each is quicker than to hash a name.
struct Given(Vec<Option<(String, Value)>>);

impl Given {
    fn new(map: Map<String, Value>) -> Self {
        Self(map.into_iter().map(Some).collect())
    }

    fn take(&mut self, name: &str) -> Option<(String, Value)> {
        self.0.iter_mut().find(|entry| entry.as_ref().is_some_and(|(key, _)| key == name))?.take()
    }
}

/// Whether a value of the field has no normal form to be brought into.
fn is_plain(field: &Field) -> bool {
    matches!(field.kind, Kind::Any | Kind::String | Kind::Boolean | Kind::Json | Kind::Function | Kind::Foreign(_))
}

/// A number without a fraction is written without one.
pub(crate) fn integral(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Value::Number(number) = value
        && number.is_f64()
        && let Some(float) = number.as_f64()
        && float.fract() == 0.0
        && float.abs() < EXACT
    {
        #[expect(clippy::cast_possible_truncation, reason = "integral and within the exact range")]
        let whole = float as i64;
        *value = whole.into();
    }
}

/// The first of each scalar stays. Records are tables of their own and never equal.
fn remove_duplicates(list: &mut Vec<Value>) {
    const FEW: usize = 16;
    if list.len() <= FEW {
        let mut at = 0;
        while let Some(value) = list.get(at) {
            let again = !(value.is_object() || value.is_array()) && list.iter().take(at).any(|before| before == value);
            if again {
                list.remove(at);
            } else {
                at += 1;
            }
        }
        return;
    }
    let mut seen = HashSet::new();
    list.retain(|value| value.is_object() || value.is_array() || seen.insert(value.clone()));
}

fn now(cx: &Context<'_>, field: &Field) -> Value {
    match field.kind {
        Kind::Number => {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in a double")]
            let millis = cx.now.as_millis() as f64;
            Value::from(millis / 1000.0)
        }
        _ => Value::from(cx.now.as_secs()),
    }
}

/// Tables of a shorthand merge into the fields, anything else replaces them; of a deprecated one, only where they are unset.
fn merge_shorthand(map: &mut Map<String, Value>, stands_for: Map<String, Value>, is_deprecated: bool) {
    for (name, value) in stands_for {
        match (value, map.get_mut(&name)) {
            (Value::Object(top), Some(Value::Object(bottom))) => merge_shorthand(bottom, top, is_deprecated),
            (_, Some(slot)) if is_deprecated && !slot.is_null() => {}
            (value, Some(slot)) => *slot = value,
            (value, None) => {
                map.insert(name, value);
            }
        }
    }
}

/// A patch over a stored record: records merge, everything else is replaced.
pub(crate) fn merge(lookup: Lookup<'_>, bottom: &Map<String, Value>, top: Map<String, Value>) -> Map<String, Value> {
    let mut out = bottom.clone();
    for (name, value) in top {
        let merged = match (lookup.get(&name).map(|field| &field.kind), value, bottom.get(&name)) {
            (Some(Kind::Record(record)), Value::Object(top), Some(Value::Object(bottom))) => {
                Value::Object(merge(Lookup { record, subschema: None }, bottom, top))
            }
            // To Lua a list is a table like a record's: its items are fields named 1, 2 and so on.
            (Some(Kind::Record(_)), Value::Array(list), Some(Value::Object(bottom))) => {
                let items = list.into_iter().enumerate().map(|(at, value)| ((at + 1).to_string(), value));
                Value::Object(bottom.clone().into_iter().chain(items).collect())
            }
            (_, value, _) => value,
        };
        out.insert(name, merged);
    }
    out
}
