//! Reading and writing one entity by its schema: validation, the entity's own rules, the store, and how it is shown.
use crate::audit::Action;
use crate::dispatch::Call;
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, id_of, is_uuid};
use crate::{Api, special};
use schema::{EntitySchema, Error};
use serde_json::{Value, json};
use store::{Off, Reader, Ttl, Writer};

/// Finds the rows that foreign fields name by a unique field.
struct Resolving<'a>(&'a dyn Reader);

impl schema::Resolver for Resolving<'_> {
    fn resolve(&mut self, entity: &str, field: &str, value: &Value) -> Result<Option<Value>, Error> {
        let Some(text) = value.as_str() else { return Ok(None) };
        let found = self.0.select_by(entity, field, &[text])?;
        Ok(found.map(|row| json!({ "id": id_of(&row) })))
    }
}

pub(crate) fn insert(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    mut input: Value,
) -> Outcome<Value> {
    let ttl = take_ttl(schema, &mut input)?.unwrap_or(Ttl::Keep);
    let rest = special::before_insert(api, writer.reader(), schema, &mut input)?;
    let row = api.with_context(|cx| schema.insert(input, cx, &mut Resolving(writer.reader())))?;
    check_writable(api, "create", schema, None)?;
    call.caller.check_row(api, writer.reader(), schema, &row)?;
    let row = writer.insert(&schema.name, special::stored(schema, row), ttl)?;
    call.note(Action::Create, schema, None, Some(&row));
    special::after_write(api, call, writer, schema, &row, rest)?;
    shown(writer.reader(), schema, row)
}

/// Creates or replaces the row that a path names.
pub(crate) fn upsert(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    key: &Key,
    mut input: Value,
) -> Outcome<Value> {
    let ttl = take_ttl(schema, &mut input)?.unwrap_or(Ttl::Set(0.0));
    match key {
        Key::Id(id) => input["id"] = Value::from(id.as_str()),
        Key::Unique { field, value } => {
            input[field] = Value::from(value.as_str());
            if let Some(existing) = key.find(writer.reader(), &schema.name)? {
                input["id"] = Value::from(id_of(&existing));
            }
        }
    }
    let rest = special::before_upsert(api, writer.reader(), schema, &mut input)?;
    let row = api.with_context(|cx| schema.upsert(input, cx, &mut Resolving(writer.reader())))?;
    check_writable(api, "create or update", schema, key.by())?;
    call.caller.check_row(api, writer.reader(), schema, &row)?;
    let before = if call.takes_notes() { writer.select(&schema.name, id_of(&row))? } else { None };
    let row = writer.upsert(&schema.name, special::stored(schema, row), ttl)?;
    let action = if before.is_some() { Action::Update } else { Action::Create };
    call.note(action, schema, before.as_ref(), Some(&row));
    special::after_write(api, call, writer, schema, &row, rest)?;
    shown(writer.reader(), schema, row)
}

/// Changes a stored row; `key` is what named it.
pub(crate) fn update(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    key: &Key,
    stored: Value,
    mut patch: Value,
) -> Outcome<Value> {
    let ttl = take_ttl(schema, &mut patch)?.unwrap_or(Ttl::Keep);
    let stored = without_ttl(schema, stored);
    if patch["id"].is_null()
        && let Some(fields) = patch.as_object_mut()
    {
        fields.shift_remove("id");
    }
    if let Some(id) = patch.get("id").and_then(Value::as_str).filter(|id| is_uuid(id)) {
        // Kong's statement then asks for a row that has both ids.
        if key.by().is_none() && !id.eq_ignore_ascii_case(id_of(&stored)) {
            return Err(key.not_found());
        }
        patch["id"] = Value::from(id_of(&stored));
    }
    let rest = special::before_update(api, writer.reader(), schema, &stored, &mut patch)?;
    let row = api.with_context(|cx| schema.update(patch, &stored, cx, &mut Resolving(writer.reader())))?;
    check_writable(api, "update", schema, key.by())?;
    call.caller.check_row(api, writer.reader(), schema, &row)?;
    let row = writer.update(&schema.name, special::stored(schema, row), ttl)?;
    call.note(Action::Update, schema, Some(&stored), Some(&row));
    special::after_write(api, call, writer, schema, &row, rest)?;
    shown(writer.reader(), schema, row)
}

pub(crate) fn delete(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    key: &Key,
    row: &Value,
) -> Outcome<()> {
    special::before_delete(api, call, writer, schema, row)?;
    check_writable(api, "remove", schema, key.by())?;
    erase(api, call, writer, schema, row)
}

/// Deletes a row, which no path need name, and notes what goes with it.
pub(crate) fn erase(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    row: &Value,
) -> Outcome<()> {
    call.note(Action::Delete, schema, Some(row), None);
    writer.delete_along(&schema.name, id_of(row), &mut |entity, before, after| {
        if let Some(schema) = api.catalog.entity(entity) {
            let action = if after.is_some() { Action::Update } else { Action::Delete };
            call.note(action, schema, Some(before), after);
        }
    })?;
    Ok(())
}

/// A stored row as it is answered with.
pub(crate) fn shown(reader: &dyn Reader, schema: &EntitySchema, row: Value) -> Outcome<Value> {
    let mut row = shown_plainly(schema, row);
    special::show(reader, schema, &mut row)?;
    Ok(row)
}

/// The row's own fields alone.
pub(crate) fn shown_plainly(schema: &EntitySchema, mut row: Value) -> Value {
    let ttl = take_shown_ttl(schema, &mut row);
    let mut row = schema.read(row);
    if let (Some(ttl), Some(fields)) = (ttl, row.as_object_mut()) {
        fields.insert("ttl".to_owned(), ttl);
    }
    row
}

fn take_shown_ttl(schema: &EntitySchema, row: &mut Value) -> Option<Value> {
    if schema.ttl { row.as_object_mut()?.shift_remove("ttl") } else { None }
}

fn without_ttl(schema: &EntitySchema, mut row: Value) -> Value {
    take_shown_ttl(schema, &mut row);
    row
}

/// The time to live that a body asks for, out of the body.
fn take_ttl(schema: &EntitySchema, input: &mut Value) -> Outcome<Option<Ttl>> {
    const LONGEST: f64 = 100_000_000.0;
    let Some(given) = take_shown_ttl(schema, input) else { return Ok(None) };
    let seconds = match &given {
        Value::Null => return Ok(Some(Ttl::Set(0.0))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    match seconds.filter(|seconds| seconds.fract() == 0.0 && (0.0..=LONGEST).contains(seconds)) {
        Some(seconds) => Ok(Some(Ttl::Set(seconds))),
        None => {
            let message = "must be an integer between 0 and 100000000";
            Err(Error::invalid_options(json!({ "ttl": message })).into())
        }
    }
}

fn check_writable(api: &Api, verb: &str, schema: &EntitySchema, by: Option<&str>) -> Outcome<()> {
    if api.store.is_writable() {
        return Ok(());
    }
    Err(Failure::from(Off::refusal(verb, &schema.name, by)))
}
