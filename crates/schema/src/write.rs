//! Writes: from what a client sends to the entity that a store keeps, in one step or in Kong's separate ones.

use serde_json::{Map, Value};

use crate::error::{get_path, message, unresolved};
use crate::process::{Mode, Processor, merge};
use crate::validate::{Lookup, Validator};
use crate::{Context, EntitySchema, Error, Field, Flag, RecordSchema, Resolver, Subschema};

/// The kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    /// A change of some fields (PATCH).
    Update,
    /// A replacement or an insertion (PUT).
    Upsert,
}

/// The greatest ttl, in seconds.
const MAX_TTL: u64 = 100_000_000;

/// A patch, and the entity it changed.
type Change<'a> = (&'a Map<String, Value>, &'a Map<String, Value>);

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn violation(errors: Map<String, Value>) -> Error {
    Error::schema_violation(Value::Object(errors))
}

impl EntitySchema {
    /// A new entity: complete, valid, with foreign entities resolved and transformations applied.
    ///
    /// # Errors
    /// Codes 2, 11, 13, 15, and the resolver's own.
    pub fn insert(&self, input: Value, cx: &Context<'_>, resolver: &mut dyn Resolver) -> Result<Value, Error> {
        self.write(input, Operation::Insert, cx, resolver)
    }

    /// A replacement or insertion; the caller has put the key of the path into the input.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn upsert(&self, input: Value, cx: &Context<'_>, resolver: &mut dyn Resolver) -> Result<Value, Error> {
        self.write(input, Operation::Upsert, cx, resolver)
    }

    fn write(
        &self,
        input: Value,
        operation: Operation,
        cx: &Context<'_>,
        resolver: &mut dyn Resolver,
    ) -> Result<Value, Error> {
        let mut map = object(input);
        let ttl = self.take_ttl(&mut map)?;
        self.process(&mut map, operation, cx)?;
        self.resolve(&mut map, cx, resolver)?;
        self.check_map(&map, cx, None)?;
        self.reduce_foreign(&mut map, cx);
        let mut out = self.transformed(map, None, cx)?;
        out.extend(ttl);
        Ok(Value::Object(out))
    }

    /// A change of a stored entity: the complete entity after it.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn update(
        &self,
        patch: Value,
        stored: &Value,
        cx: &Context<'_>,
        resolver: &mut dyn Resolver,
    ) -> Result<Value, Error> {
        let mut patch = object(patch);
        let ttl = self.take_ttl(&mut patch)?;
        let empty = Map::new();
        let before = stored.as_object().unwrap_or(&empty);
        // A patch that does not say what kind of entity it is for (a plugin's name) is for the kind that is stored.
        let says = |key: &String| patch.get(key).is_some_and(|kind| !kind.is_null());
        let lookup = self.lookup(if self.subschema_key.as_ref().is_none_or(says) { &patch } else { before });
        self.processor(Mode::Patch, cx).record(lookup, &mut patch).map_err(violation)?;
        self.resolve(&mut patch, cx, resolver)?;
        let mut merged = self.merged(before, patch.clone());
        self.check_map(&merged, cx, Some((&patch, before)))?;
        self.reduce_foreign(&mut merged, cx);
        let mut out = self.transformed(merged, Some(&patch), cx)?;
        out.extend(ttl);
        Ok(Value::Object(out))
    }

    /// What `POST /schemas/<entity>/validate` does: defaults and validation, no look-ups. The processed entity.
    ///
    /// # Errors
    /// Code 2.
    pub fn validate(&self, input: Value, cx: &Context<'_>) -> Result<Value, Error> {
        self.validate_tree(input, cx).map_err(Error::schema_violation)
    }

    /// The same with the bare error tree.
    ///
    /// # Errors
    /// The tree.
    pub fn validate_tree(&self, input: Value, cx: &Context<'_>) -> Result<Value, Value> {
        let mut map = object(input);
        // A ttl is an option of the write, not part of the entity.
        let ttl = if self.ttl { map.remove_entry("ttl") } else { None };
        self.processor(Mode::Write, cx).record(self.lookup(&map), &mut map).map_err(Value::Object)?;
        self.errors(&map, cx, None).map_err(Value::Object)?;
        map.extend(ttl);
        Ok(Value::Object(map))
    }

    /// A stored entity as answers show it: every field, null when unset, deprecated fields beside the new ones.
    pub fn read(&self, stored: Value) -> Value {
        let mut map = object(stored);
        let lookup = self.lookup(&map);
        // Only shorthands can fail, and reading expands none.
        let _ = Processor { mode: Mode::Read, context: None }.record(lookup, &mut map);
        Value::Object(map)
    }

    /// First step of a write: generated values, shorthands, defaults (none on `Update`).
    ///
    /// # Errors
    /// Code 2, when a shorthand's value is invalid.
    pub fn auto_fields(&self, input: Value, operation: Operation, cx: &Context<'_>) -> Result<Value, Error> {
        let mut map = object(input);
        self.process(&mut map, operation, cx)?;
        Ok(Value::Object(map))
    }

    /// Second step of a change: the patch over the stored entity, with defaults in records that are new.
    pub fn merge(&self, stored: &Value, patch: Value) -> Value {
        let empty = Map::new();
        Value::Object(self.merged(stored.as_object().unwrap_or(&empty), object(patch)))
    }

    /// Last step of a write: the whole entity is valid.
    ///
    /// # Errors
    /// Code 2.
    pub fn check(&self, entity: &Value, cx: &Context<'_>) -> Result<(), Error> {
        let empty = Map::new();
        self.check_map(entity.as_object().unwrap_or(&empty), cx, None)
    }

    /// Last step of a change: the merged entity is valid, and immutable fields are as they were.
    ///
    /// # Errors
    /// Code 2.
    pub fn check_update(&self, merged: &Value, patch: &Value, stored: &Value, cx: &Context<'_>) -> Result<(), Error> {
        let empty = Map::new();
        let [merged, patch, stored] = [merged, patch, stored].map(|value| value.as_object().unwrap_or(&empty));
        self.check_map(merged, cx, Some((patch, stored)))
    }

    /// Foreign values without a primary key but with a unique field of the other entity: field, entity, unique field
    /// and its value.
    pub fn foreign_to_resolve(&self, entity: &Value, cx: &Context<'_>) -> Vec<(String, String, String, Value)> {
        let Some(map) = entity.as_object() else { return Vec::new() };
        self.to_resolve(map, cx)
    }

    /// The ttl of an entity that can have one.
    fn take_ttl(&self, map: &mut Map<String, Value>) -> Result<Option<(String, Value)>, Error> {
        let entry = if self.ttl { map.remove_entry("ttl") } else { None };
        match entry {
            Some((name, value))
                if value.as_f64().is_some_and(|ttl| ttl.fract() == 0.0 && (0.0..=MAX_TTL as f64).contains(&ttl)) =>
            {
                Ok(Some((name, value)))
            }
            Some((name, _)) => {
                Err(Error::invalid_options(Value::Object(Map::from_iter([(name, message::TTL.into())]))))
            }
            None => Ok(None),
        }
    }

    fn processor<'a>(&self, mode: Mode, cx: &'a Context<'a>) -> Processor<'a> {
        Processor { mode, context: Some(cx) }
    }

    fn process(&self, map: &mut Map<String, Value>, operation: Operation, cx: &Context<'_>) -> Result<(), Error> {
        let mode = if operation == Operation::Update { Mode::Patch } else { Mode::Write };
        let lookup = self.lookup(map);
        self.processor(mode, cx).record(lookup, map).map_err(violation)
    }

    fn to_resolve(&self, map: &Map<String, Value>, cx: &Context<'_>) -> Vec<(String, String, String, Value)> {
        let mut out = Vec::new();
        for (name, entity) in self.foreign_fields() {
            let (Some(given), Some(target)) = (map.get(name), cx.schemas.entity(entity)) else { continue };
            let Value::Object(value) = given else { continue };
            if target.primary_key.iter().all(|key| value.contains_key(key)) {
                let key = target.primary_key_of(given);
                if target.validate_primary_key(&key, cx).is_ok() {
                    continue;
                }
            }
            let endpoint = target.endpoint_key.as_deref();
            let unique = target.fields().filter(|(n, field)| field.is(Flag::Unique) || endpoint == Some(*n));
            for (unique, field) in unique {
                let Some(wanted) = value.get(unique).filter(|wanted| !wanted.is_null()) else { continue };
                let validator = Validator { cx, updating: false };
                if validator.field(field, wanted).is_ok() {
                    out.push((name.to_owned(), entity.to_owned(), unique.to_owned(), wanted.clone()));
                }
            }
        }
        out
    }

    fn resolve(
        &self,
        map: &mut Map<String, Value>,
        cx: &Context<'_>,
        resolver: &mut dyn Resolver,
    ) -> Result<(), Error> {
        let wanted = self.to_resolve(map, cx);
        let mut errors = Map::new();
        let mut found: Option<String> = None;
        for (name, entity, unique, value) in wanted {
            if found.as_ref() == Some(&name) {
                continue;
            }
            match resolver.resolve(&entity, &unique, &value)? {
                Some(key) => {
                    errors.remove(&name);
                    map.insert(name.clone(), key);
                    found = Some(name);
                }
                None => {
                    let slot = errors.entry(name).or_insert_with(|| Value::Object(Map::new()));
                    if let (Value::Object(slot), Value::Object(text)) = (slot, unresolved(&unique, &value, &entity)) {
                        slot.extend(text);
                    }
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::foreign_keys_unresolved(Value::Object(errors))) }
    }

    fn merged(&self, stored: &Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
        let changed = self
            .subschema_key
            .as_ref()
            .is_some_and(|key| patch.get(key).is_some_and(|new| stored.get(key).is_some_and(|old| old != new)));
        let mut out = if changed {
            // Another plugin's configuration is no ground to build on.
            let kept = stored.iter().filter(|(name, _)| !self.is_abstract(name));
            let kept: Map<String, Value> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            merge(self.lookup(&patch), &kept, patch)
        } else {
            merge(self.lookup(stored), stored, patch)
        };
        // Stored entities are complete; records that the patch brought in may not be.
        let lookup = self.lookup(&out);
        let _ = Processor { mode: Mode::Fill, context: None }.record(lookup, &mut out);
        out
    }

    fn check_map(&self, map: &Map<String, Value>, cx: &Context<'_>, update: Option<Change<'_>>) -> Result<(), Error> {
        self.errors(map, cx, update).map_err(violation)
    }

    /// What is wrong with a whole entity; `update` is the patch and what it changed.
    fn errors(
        &self,
        map: &Map<String, Value>,
        cx: &Context<'_>,
        update: Option<Change<'_>>,
    ) -> Result<(), Map<String, Value>> {
        let validator = Validator { cx, updating: update.is_some() };
        let mut errors = self.validate_map(&validator, map, true).err().unwrap_or_default();
        if let Some((patch, stored)) = update {
            for (name, _) in self.fields().filter(|(_, field)| field.is(Flag::Immutable)) {
                if patch.get(name).is_some_and(|new| Some(new) != stored.get(name)) {
                    errors.insert(name.to_owned(), message::IMMUTABLE.into());
                }
            }
        }
        let (original, stored) = update.map_or((map, None), |(patch, stored)| (patch, Some(stored)));
        for record in self.records(map) {
            Validator::transformations(record, map, original, stored, &mut errors);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The entity's record and its subschema's.
    fn records(&self, map: &Map<String, Value>) -> impl Iterator<Item = &RecordSchema> {
        std::iter::once(&*self.record).chain(self.subschema_of(map).map(|sub| &sub.record))
    }

    /// A foreign value is stored as the other entity's primary key alone.
    fn reduce_foreign(&self, map: &mut Map<String, Value>, cx: &Context<'_>) {
        for (name, entity) in self.foreign_fields() {
            let Some(value @ Value::Object(_)) = map.get_mut(name) else { continue };
            *value = match cx.schemas.entity(entity) {
                Some(target) => target.primary_key_of(value),
                None => {
                    value.get("id").map_or(Value::Null, |id| Value::Object(Map::from_iter([("id".into(), id.clone())])))
                }
            };
        }
    }

    /// The transformations alone, on a valid entity.
    ///
    /// # Errors
    /// Code 15.
    pub fn transform(&self, entity: Value, cx: &Context<'_>) -> Result<Value, Error> {
        self.transformed(object(entity), None, cx).map(Value::Object)
    }

    fn transformed(
        &self,
        map: Map<String, Value>,
        original: Option<&Map<String, Value>>,
        cx: &Context<'_>,
    ) -> Result<Map<String, Value>, Error> {
        let mut changes = Vec::new();
        for transformation in self.records(&map).flat_map(|record| &record.transformations) {
            let given = |source: &Map<String, Value>, name: &String| {
                get_path(source, name).is_some_and(crate::check::is_nonempty)
            };
            let runs = transformation.input.iter().all(|name| given(original.unwrap_or(&map), name))
                && transformation.needs.iter().all(|name| given(&map, name));
            if runs {
                changes.push((transformation.transform)(&map, cx).map_err(|reason| Error::transformation(&reason))?);
            }
        }
        let mut out = map;
        for change in changes {
            let lookup = self.lookup(&out);
            out = merge(lookup, &out, change);
        }
        Ok(out)
    }
}

impl RecordSchema {
    /// A record by itself: defaults and validation, as for a field that holds it.
    ///
    /// # Errors
    /// The error tree: an object by field, or the record's own validator's message.
    pub fn process(&self, input: Value, cx: &Context<'_>) -> Result<Value, Value> {
        let mut map = object(input);
        let lookup = Lookup { record: self, subschema: None };
        Processor { mode: Mode::Write, context: Some(cx) }.record(lookup, &mut map).map_err(Value::Object)?;
        let validator = Validator { cx, updating: false };
        validator.record(lookup, &map, true).map_err(Value::Object)?;
        let value = Value::Object(map);
        if let Some(custom) = &self.validator {
            (custom.0)(&value).map_err(Value::String)?;
        }
        Ok(value)
    }

    /// Fills defaults without validation.
    pub fn fill(&self, input: Value) -> Value {
        let mut map = object(input);
        let lookup = Lookup { record: self, subschema: None };
        let _ = Processor { mode: Mode::Fill, context: None }.record(lookup, &mut map);
        Value::Object(map)
    }
}

impl Subschema {
    /// A plugin's configuration by itself: defaults, validation and the subschema's checks.
    ///
    /// # Errors
    /// The error tree: `config` and, for checks, `@entity`.
    pub fn process_config(&self, config: Value, cx: &Context<'_>) -> Result<Value, Value> {
        let record = self.record.clone().only("config");
        let lookup = Lookup { record: &record, subschema: None };
        let mut map = Map::from_iter([("config".to_owned(), config)]);
        Processor { mode: Mode::Write, context: Some(cx) }.record(lookup, &mut map).map_err(Value::Object)?;
        Validator { cx, updating: false }.record(lookup, &map, true).map_err(Value::Object)?;
        Ok(map.swap_remove("config").unwrap_or(Value::Null))
    }
}

impl Field {
    /// A value against this field by itself.
    ///
    /// # Errors
    /// The message, or the tree of messages.
    pub fn validate(&self, value: &Value, cx: &Context<'_>) -> Result<(), Value> {
        Validator { cx, updating: false }.field(self, value)
    }
}
