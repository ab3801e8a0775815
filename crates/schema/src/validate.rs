//! Validation of values against fields and records, with Kong's order of checks and its messages.

use serde_json::{Map, Value};

use crate::check::push_entity;
use crate::error::message;
use crate::field::{Constraint, Kind};
use crate::lua;
use crate::process::{Mode, Processor};
use crate::{Context, EntitySchema, Field, Flag, RecordSchema, Subschema, validators};

/// Validates; holds what is the same for a whole document.
pub(crate) struct Validator<'a> {
    pub(crate) cx: &'a Context<'a>,
    /// Whether messages speak of an update.
    pub(crate) updating: bool,
}

/// Where a record's checks find its fields: the subschema's stand before the record's own.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) record: &'a RecordSchema,
    pub(crate) subschema: Option<&'a Subschema>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn field(&self, path: &str) -> Option<&'a Field> {
        self.subschema.and_then(|sub| sub.record.lookup(path)).or_else(|| self.record.lookup(path))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Field> {
        let own = self.record.get(name)?;
        Some(self.subschema.and_then(|sub| sub.record.get(name)).unwrap_or(own))
    }

    /// The fields in order, the subschema's in the place of the record's.
    pub(crate) fn fields(self) -> impl Iterator<Item = (&'a str, &'a Field)> {
        let subschema = self.subschema;
        self.record
            .fields()
            .map(move |(name, field)| (name, subschema.and_then(|sub| sub.record.get(name)).unwrap_or(field)))
    }
}

/// `{vault://..}`: a value that is looked up when it is used.
pub(crate) fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("{vault://") && text.ends_with('}'))
}

/// Ranks of the constraints that null and empty values are about.
const EQ: u8 = 0;
const NE: u8 = 1;
const LEN_MIN: u8 = 10;

type Checked = Result<(), Value>;

impl Validator<'_> {
    /// One value against one field.
    pub(crate) fn field(&self, field: &Field, value: &Value) -> Checked {
        self.matches(None, field, value)
    }

    /// A value against a field as a condition sees it: what the condition does not say, the field says.
    pub(crate) fn matches(&self, base: Option<&Field>, over: &Field, value: &Value) -> Checked {
        let constraints = Constraints { base: base.map_or(&[], |f| f.constraints.as_slice()), over: &over.constraints };
        let err = over.err.as_deref().or_else(|| base.and_then(|f| f.err.as_deref()));
        let fail = |text: String| Err(Value::from(err.map_or(text, str::to_owned)));
        let eq = constraints.find(EQ);
        if value.is_null() {
            if let Some(Constraint::Ne(Value::Null)) = constraints.find(NE) {
                return fail(message::ne("null"));
            }
            return match eq {
                Some(Constraint::Eq(wanted)) if !wanted.is_null() => Err(message::eq(&lua::tostring(wanted)).into()),
                _ if over.required.or(base.and_then(|f| f.required)) == Some(true) => Err(message::REQUIRED.into()),
                _ => Ok(()),
            };
        }
        if let Some(Constraint::Eq(Value::Null)) = eq {
            return fail(message::eq("null"));
        }
        let flag = |flag| over.is(flag) || base.is_some_and(|f| f.is(flag));
        if flag(Flag::Abstract) {
            return Err(message::ABSTRACT.into());
        }
        if flag(Flag::Referenceable) && is_reference(value) {
            return Ok(());
        }
        let kind = match (&over.kind, base) {
            (Kind::Any, Some(base)) => &base.kind,
            (kind, _) => kind,
        };
        self.kind(kind, base.map(|f| &f.kind), value)?;
        // An empty string is refused where a `len_min` would stand, unless there is one.
        let empty = matches!(kind, Kind::String) && value.as_str() == Some("") && constraints.find(LEN_MIN).is_none();
        for constraint in constraints.iter() {
            if empty && constraint.rank() > LEN_MIN {
                break;
            }
            if let Err(text) = validators::constraint(constraint, value) {
                return fail(text);
            }
        }
        if empty { fail(message::len_min(1)) } else { Ok(()) }
    }

    /// The type of a value, and of what is in it.
    fn kind(&self, kind: &Kind, base: Option<&Kind>, value: &Value) -> Checked {
        let wrong = |text: &str| Err(Value::from(text));
        match kind {
            Kind::Any | Kind::Json => Ok(()),
            Kind::String => {
                if value.is_string() {
                    Ok(())
                } else {
                    wrong("expected a string")
                }
            }
            Kind::Number => {
                if value.is_number() {
                    Ok(())
                } else {
                    wrong("expected a number")
                }
            }
            Kind::Integer => {
                if is_integer(value) {
                    Ok(())
                } else {
                    wrong("expected an integer")
                }
            }
            Kind::Boolean => {
                if value.is_boolean() {
                    Ok(())
                } else {
                    wrong("expected a boolean")
                }
            }
            Kind::Function => wrong("expected a function"),
            Kind::Array(elements) => {
                // A condition's elements apply to a set as well; the message names the field's own type.
                let text = if matches!(base, Some(Kind::Set(_))) { "expected a set" } else { "expected an array" };
                self.elements(elements, value, text)
            }
            Kind::Set(elements) => self.elements(elements, value, "expected a set"),
            Kind::Map(keys, values) => self.map(keys, values, value),
            Kind::Record(record) => match value {
                Value::Object(map) => {
                    let errors = self.record(Lookup { record, subschema: None }, map, true);
                    errors.map_err(|errors| if self.updating { list_or_map(errors) } else { Value::Object(errors) })
                }
                Value::Array(list) => self.list_as_record(record, list),
                _ => wrong("expected a record"),
            },
            Kind::Foreign(entity) => self.foreign(entity, value),
        }
    }

    fn elements(&self, elements: &Field, value: &Value, wrong: &str) -> Checked {
        let list = match value {
            Value::Array(list) => list,
            // An empty table is both of Lua's kinds.
            Value::Object(map) if map.is_empty() => return Ok(()),
            _ => return Err(wrong.into()),
        };
        let mut errors = Vec::new();
        for (at, value) in list.iter().enumerate() {
            if let Err(error) = self.field(elements, value) {
                errors.resize(at, Value::Null);
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Value::Array(errors)) }
    }

    fn map(&self, keys: &Field, values: &Field, value: &Value) -> Checked {
        let map = match value {
            Value::Object(map) => map,
            Value::Array(list) if list.is_empty() => return Ok(()),
            // Its keys are numbers.
            Value::Array(_) => return self.field(keys, &Value::from(1)),
            _ => return Err("expected a map".into()),
        };
        for (key, value) in map {
            self.key(keys, key)?;
            self.field(values, value)?;
        }
        Ok(())
    }

    fn key(&self, keys: &Field, key: &str) -> Checked {
        if matches!(keys.kind, Kind::String) && keys.constraints.is_empty() && !key.is_empty() {
            return Ok(());
        }
        self.field(keys, &Value::from(key))
    }

    /// A JSON array in a record's place is a table with numbered, unknown fields.
    fn list_as_record(&self, record: &RecordSchema, list: &[Value]) -> Checked {
        let filled = self.filled(record);
        let errors = self.record(Lookup { record, subschema: None }, &filled, true).err();
        if list.is_empty() {
            return errors.map_or(Ok(()), |errors| Err(Value::Object(errors)));
        }
        let unknown = list.iter().map(|_| Value::from(message::UNKNOWN));
        Err(match errors {
            None => unknown.collect(),
            Some(mut errors) => {
                errors.extend(unknown.enumerate().map(|(at, text)| ((at + 1).to_string(), text)));
                Value::Object(errors)
            }
        })
    }

    /// The record of which nothing is given.
    fn filled(&self, record: &RecordSchema) -> Map<String, Value> {
        let mut filled = Map::new();
        // Only the value of a shorthand could fail.
        let _ = Processor { mode: Mode::Write, context: Some(self.cx) }
            .record(Lookup { record, subschema: None }, &mut filled);
        filled
    }

    fn foreign(&self, entity: &str, value: &Value) -> Checked {
        let schema = self.cx.schemas.entity(entity);
        let empty = Map::new();
        let map = value.as_object().unwrap_or(&empty);
        let keys: Vec<&str> = match schema {
            Some(schema) => schema.primary_key.iter().map(String::as_str).collect(),
            None => vec!["id"],
        };
        let mut errors = Map::new();
        let id = Field::string().uuid(true).required(true);
        for key in keys {
            let error = match map.get(key) {
                None => message::MISSING_PK.into(),
                Some(value) => {
                    let field = schema.and_then(|schema| schema.record.get(key)).unwrap_or(&id);
                    match self.matches(Some(field), &Field::any().required(true), value) {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
            };
            errors.insert(key.to_owned(), error);
        }
        if errors.is_empty() {
            return Ok(());
        }
        // What the value says about itself as that entity is more telling than the absent key.
        match (schema, value) {
            (Some(schema), Value::Object(map)) => schema.validate_partial(self, map).map_err(Value::Object)?,
            // A list has no names, not even that of the kind it is of.
            (Some(EntitySchema { subschema_key: Some(kind), .. }), Value::Array(_)) => {
                return Err(Value::Object(Map::from_iter([(kind.clone(), message::REQUIRED.into())])));
            }
            (_, Value::Array(list)) if !list.is_empty() => {
                return Err(list.iter().map(|_| Value::from(message::UNKNOWN)).collect());
            }
            _ => {}
        }
        Err(Value::Object(errors))
    }

    /// A record: every field, required ones, and, when `full`, absent ones and the checks across fields.
    pub(crate) fn record(
        &self,
        lookup: Lookup<'_>,
        map: &Map<String, Value>,
        full: bool,
    ) -> Result<(), Map<String, Value>> {
        let mut errors = Map::new();
        let mut known = 0;
        // A processed record has its fields in the schema's order.
        let mut in_order = map.iter().peekable();
        for (name, field) in lookup.fields() {
            let next = in_order.next_if(|(key, _)| *key == name);
            match next.map(|(_, value)| value).or_else(|| map.get(name)) {
                None if full && field.is_required() => {
                    errors.insert(name.to_owned(), message::REQUIRED.into());
                }
                None => {}
                Some(value) => {
                    known += 1;
                    if let Err(error) = self.field(field, value) {
                        errors.insert(name.to_owned(), error);
                    }
                }
            }
        }
        if known < map.len() {
            for name in map.keys().filter(|name| lookup.get(name).is_none()) {
                errors.insert(name.clone(), message::UNKNOWN.into());
            }
        }
        if full {
            self.checks(lookup, map, &mut errors);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn checks(&self, lookup: Lookup<'_>, map: &Map<String, Value>, errors: &mut Map<String, Value>) {
        let is_list = |field: &Field, value: &Value| matches!((&field.kind, value), (Kind::Record(_), Value::Array(_)));
        let mut filled = None;
        // A list in a record's place has the record's fields as well, and checks see these.
        for (name, field) in lookup.fields().filter(|(name, field)| map.get(*name).is_some_and(|v| is_list(field, v))) {
            if let Kind::Record(record) = &field.kind {
                let record = self.filled(record).into();
                filled.get_or_insert_with(|| map.clone()).insert(name.to_owned(), record);
            }
        }
        let map = filled.as_ref().unwrap_or(map);
        let own = lookup.record.checks.iter();
        let added = lookup.subschema.iter().flat_map(|sub| &sub.record.checks);
        for check in own.chain(added) {
            check.run(self, &lookup, map, errors);
        }
    }

    /// The inputs of transformations must be complete: `original` is what was sent, `stored` what it changes.
    pub(crate) fn transformations(
        record: &RecordSchema,
        input: &Map<String, Value>,
        original: &Map<String, Value>,
        stored: Option<&Map<String, Value>>,
        errors: &mut Map<String, Value>,
    ) {
        use crate::check::{is_nonempty, quoted};
        use crate::error::get_path;
        for transformation in &record.transformations {
            let given = transformation.input.iter().any(|name| get_path(original, name).is_some_and(is_nonempty));
            let needs_changed = stored.is_some_and(|stored| {
                transformation.needs.iter().any(|n| get_path(original, n) != get_path(stored, n))
            });
            if !given && !needs_changed {
                continue;
            }
            let source = if needs_changed { original } else { input };
            let names: Vec<String> = transformation.input.iter().chain(&transformation.needs).cloned().collect();
            let set = names.iter().filter(|name| get_path(source, name).is_some_and(is_nonempty)).count();
            if set != 0 && set != names.len() {
                push_entity(errors, message::mutually_required(&quoted(&names)));
            }
        }
    }
}

/// Errors of 1, 2 and so on alone are a list: those of a patch with a list in a record's place.
fn list_or_map(errors: Map<String, Value>) -> Value {
    if errors.keys().enumerate().all(|(at, key)| *key == (at + 1).to_string()) {
        return errors.into_iter().map(|(_, error)| error).collect();
    }
    Value::Object(errors)
}

/// A JSON number without a fraction that Lua would also call an integer.
fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|f| f.is_finite() && f.fract() == 0.0)
        }
        _ => false,
    }
}

/// The constraints of a field under those of a condition, in order of application.
struct Constraints<'a> {
    base: &'a [Constraint],
    over: &'a [Constraint],
}

impl<'a> Constraints<'a> {
    fn find(&self, rank: u8) -> Option<&'a Constraint> {
        let of = |list: &'a [Constraint]| list.iter().take_while(|c| c.rank() <= rank).find(|c| c.rank() == rank);
        of(self.over).or_else(|| of(self.base))
    }

    fn iter(&self) -> impl Iterator<Item = &'a Constraint> {
        let (mut base, mut over) = (self.base, self.over);
        std::iter::from_fn(move || {
            let next = match (base.split_first(), over.split_first()) {
                (Some((b, base_rest)), Some((o, _))) if b.rank() < o.rank() => {
                    base = base_rest;
                    b
                }
                (Some((b, base_rest)), Some((o, over_rest))) => {
                    if b.rank() == o.rank() {
                        base = base_rest;
                    }
                    over = over_rest;
                    o
                }
                (Some((b, rest)), None) => {
                    base = rest;
                    b
                }
                (None, Some((o, rest))) => {
                    over = rest;
                    o
                }
                (None, None) => return None,
            };
            Some(next)
        })
    }
}
