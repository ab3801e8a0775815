//! What some entities ask for beyond their schemas, because it takes other rows: plugins' protocols, certificates' SNIs,
//! certificate authorities in use.
use crate::dispatch::Call;
use crate::failure::{Failure, Outcome};
use crate::keys::{foreign_id, id_of};
use crate::{Api, entity};
use schema::{EntitySchema, Error};
use serde_json::{Map, Value, json};
use store::{Query, Reader, Writer};

/// What is left to do when the row itself has been written.
pub(crate) enum Rest {
    Nothing,
    /// The certificate's SNIs are to be these.
    Snis(Vec<String>),
}

pub(crate) fn before_insert(api: &Api, reader: &dyn Reader, schema: &EntitySchema, input: &mut Value) -> Outcome<Rest> {
    match schema.name.as_str() {
        "plugins" => check_protocols(api, reader, input),
        "certificates" => Ok(Rest::Snis(take_snis(api, reader, input, None)?.unwrap_or_default())),
        "tags" => {
            let message = "does not support insert/upsert/update/delete operations";
            Err(Error::schema_violation(json!({ "tags": message })).into())
        }
        _ => Ok(Rest::Nothing),
    }
}

pub(crate) fn before_upsert(api: &Api, reader: &dyn Reader, schema: &EntitySchema, input: &mut Value) -> Outcome<Rest> {
    match schema.name.as_str() {
        "plugins" => check_protocols(api, reader, input),
        "certificates" => {
            let id = input.get("id").and_then(Value::as_str).map(str::to_owned);
            Ok(Rest::Snis(take_snis(api, reader, input, id.as_deref())?.unwrap_or_default()))
        }
        _ => Ok(Rest::Nothing),
    }
}

pub(crate) fn before_update(
    api: &Api,
    reader: &dyn Reader,
    schema: &EntitySchema,
    stored: &Value,
    patch: &mut Value,
) -> Outcome<Rest> {
    match schema.name.as_str() {
        "plugins" => {
            let of_both = |field: &&str| patch.get(*field).or_else(|| stored.get(*field)).cloned();
            let fields = ["protocols", "route", "service"];
            let merged: Map<String, Value> =
                fields.iter().filter_map(|field| Some(((*field).to_owned(), of_both(field)?))).collect();
            check_protocols(api, reader, &Value::Object(merged))
        }
        "certificates" => match take_snis(api, reader, patch, Some(id_of(stored)))? {
            Some(snis) => Ok(Rest::Snis(snis)),
            None => Ok(Rest::Nothing),
        },
        _ => Ok(Rest::Nothing),
    }
}

/// The row without what is kept elsewhere.
pub(crate) fn stored(schema: &EntitySchema, mut row: Value) -> Value {
    if schema.name == "certificates"
        && let Some(fields) = row.as_object_mut()
    {
        fields.shift_remove("snis");
    }
    row
}

pub(crate) fn after_write(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    row: &Value,
    rest: Rest,
) -> Outcome<()> {
    let Rest::Snis(wanted) = rest else { return Ok(()) };
    let certificate = id_of(row).to_owned();
    debug_assert_eq!(schema.name, "certificates");
    let existing = snis(writer.reader(), &certificate)?;
    let snis_schema = api.schema("snis")?;
    for sni in existing.iter().filter(|sni| !wanted.iter().any(|name| name == name_of(sni))) {
        entity::erase(api, call, writer, snis_schema, sni)?;
    }
    for name in wanted.iter().filter(|name| !existing.iter().any(|sni| name_of(sni) == name.as_str())) {
        entity::insert(api, call, writer, snis_schema, json!({ "name": name, "certificate": { "id": certificate } }))?;
    }
    Ok(())
}

pub(crate) fn before_delete(
    api: &Api,
    call: &Call<'_>,
    writer: &mut dyn Writer,
    schema: &EntitySchema,
    row: &Value,
) -> Outcome<()> {
    match schema.name.as_str() {
        "certificates" => {
            for sni in snis(writer.reader(), id_of(row))? {
                entity::erase(api, call, writer, api.schema("snis")?, &sni)?;
            }
            Ok(())
        }
        // Who sees a part of the configuration cannot tell whether the rest needs it.
        "ca_certificates" if call.caller.scope().is_some() => {
            Err(Failure::message(403, "Forbidden: certificate authorities are deleted by users without a scope"))
        }
        "ca_certificates" => check_unreferenced(writer.reader(), id_of(row)),
        _ => Ok(()),
    }
}

/// What a row is shown with beyond its own fields.
pub(crate) fn show(reader: &dyn Reader, schema: &EntitySchema, row: &mut Value) -> Outcome<()> {
    match schema.name.as_str() {
        "certificates" => {
            let snis = snis(reader, id_of(row))?;
            let mut names: Vec<&str> = snis.iter().map(name_of).collect();
            names.sort_unstable();
            row["snis"] = json!(names);
        }
        // Kong's open source edition does not know the field.
        "plugins" if row.get("consumer_group").is_some_and(Value::is_null) => {
            if let Some(fields) = row.as_object_mut() {
                fields.shift_remove("consumer_group");
            }
        }
        _ => {}
    }
    Ok(())
}

fn name_of(row: &Value) -> &str {
    row.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// All rows of a collection, or those with a foreign key.
pub(crate) fn every(
    reader: &dyn Reader,
    entity: &str,
    foreign: Option<(&str, &str)>,
    mut visit: impl FnMut(Value) -> Outcome<()>,
) -> Outcome<()> {
    let mut offset = None;
    loop {
        let page = reader.page(entity, &Query { size: 1000, offset: offset.as_deref(), foreign, tags: None })?;
        page.rows.into_iter().try_for_each(&mut visit)?;
        offset = page.offset;
        if offset.is_none() {
            return Ok(());
        }
    }
}

fn snis(reader: &dyn Reader, certificate: &str) -> Outcome<Vec<Value>> {
    let mut snis = Vec::new();
    every(reader, "snis", Some(("certificate", certificate)), |sni| {
        snis.push(sni);
        Ok(())
    })?;
    Ok(snis)
}

/// The SNIs that a certificate's body names, out of the body, if they are free for it.
fn take_snis(
    api: &Api,
    reader: &dyn Reader,
    input: &mut Value,
    certificate: Option<&str>,
) -> Outcome<Option<Vec<String>>> {
    let violation = |message: String| Error::schema_violation(json!({ "snis": message }));
    let given = match input.as_object_mut().and_then(|fields| fields.shift_remove("snis")) {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some(Vec::new())),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(violation("expected an array".to_owned()).into()),
    };
    let schema = api.schema("snis")?;
    let mut names: Vec<String> = Vec::with_capacity(given.len());
    for name in given {
        api.with_context(|cx| schema.validate_unique("name", &name, cx))?;
        let Value::String(name) = name else { continue };
        if names.contains(&name) {
            return Err(violation(format!("{name} is duplicated")).into());
        }
        let existing = reader.select_by("snis", "name", &[&name])?;
        let owner = existing.as_ref().and_then(|sni| foreign_id(sni, "certificate"));
        if let Some(owner) = owner.filter(|owner| Some(*owner) != certificate) {
            let message = format!("{name} already associated with existing certificate '{owner}'");
            return Err(violation(message).into());
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(Some(names))
}

/// A plugin's protocols, where given, must suit its route, or one of its service's routes. As in Kong the check sees the
/// body as it came: a route named by its name is not looked up, and a service named so has no fitting route.
fn check_protocols(api: &Api, reader: &dyn Reader, plugin: &Value) -> Outcome<Rest> {
    if !plugin.get("protocols").is_some_and(Value::is_array) {
        return Ok(Rest::Nothing);
    }
    let mut routes = Vec::new();
    let mut route = None;
    if plugin.get("route").is_some_and(Value::is_object) {
        route = foreign_id(plugin, "route").map(|id| reader.select("routes", id)).transpose()?.flatten();
    } else if plugin.get("service").is_some_and(Value::is_object) {
        match foreign_id(plugin, "service") {
            None => routes.push(json!({ "protocols": [] })),
            Some(id) => every(reader, "routes", Some(("service", id)), |route| {
                routes.push(route);
                Ok(())
            })?,
        }
    }
    match api.catalog.protocols_mismatch(plugin, route.as_ref(), &mut routes.iter()) {
        Some(mismatch) => Err(Error::schema_violation(mismatch).into()),
        None => Ok(Rest::Nothing),
    }
}

/// Services and plugins name their certificate authorities in a list, which no foreign key guards.
fn check_unreferenced(reader: &dyn Reader, authority: &str) -> Outcome<()> {
    let names = |list: Option<&Value>| {
        let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).any(|id| id.eq_ignore_ascii_case(authority))
    };
    let referenced = |entity: &str, row: &Value| {
        let id = id_of(row);
        Error::referenced_by_others(&format!("ca certificate {authority} is still referenced by {entity} (id = {id})"))
    };
    every(reader, "services", None, |service| {
        if names(service.get("ca_certificates")) { Err(referenced("services", &service).into()) } else { Ok(()) }
    })?;
    every(reader, "plugins", None, |plugin| {
        let list = plugin.get("config").and_then(|config| config.get("ca_certificates"));
        if names(list) { Err(referenced("plugins", &plugin).into()) } else { Ok(()) }
    })
}
