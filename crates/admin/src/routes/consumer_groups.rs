//! Consumer groups, with the paths and shapes of Kong Enterprise: which consumers are members of which groups.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::entity::{erase, insert, shown, upsert};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, foreign_id, id_of};
use crate::special::every;
use crate::{Api, Response, generate};
use entities::Catalog;
use schema::Error;
use serde_json::{Value, json};
use store::{Reader, Writer};

const MEMBERS: &str = "consumer_group_consumers";
const OVERRIDES: &str = "consumer_group_plugins";
/// The plugin that groups have limits of their own for.
const LIMITED: &str = "rate-limiting-advanced";
const OVERRIDE: &str = "/consumer_groups/:consumer_groups/overrides/plugins/rate-limiting-advanced";

/// One side of a membership: what the path names, and what it lists.
#[derive(Clone, Copy)]
struct Side {
    entity: &'static str,
    field: &'static str,
}

const GROUP: Side = Side { entity: "consumer_groups", field: "consumer_group" };
const CONSUMER: Side = Side { entity: "consumers", field: "consumer" };

pub(super) fn add(routes: &mut Routes, catalog: &Catalog) {
    if let (Some(groups), Some(plugins)) = (catalog.entity(GROUP.entity), catalog.entity("plugins")) {
        generate::add_entity(routes, groups);
        generate::add_relation(routes, plugins, GROUP.field, groups);
    }
    routes.on("GET", "/consumer_groups/:consumer_groups", get_group);
    routes.on("PUT", OVERRIDE, put_override);
    routes.on("DELETE", OVERRIDE, remove_override);
    add_memberships(routes);
    routes.unlist(|path| path.contains("consumer_group"));
}

fn add_memberships(routes: &mut Routes) {
    let paths = [
        ("/consumer_groups/:consumer_groups/consumers", GROUP, CONSUMER, "consumers", "consumer"),
        ("/consumers/:consumers/consumer_groups", CONSUMER, GROUP, "consumer_groups", "group"),
    ];
    for (path, owner, listed, plural, argument) in paths {
        routes.on("GET", path, move |api, call| list(api, call, owner, listed, plural));
        routes.on("POST", path, move |api, call| join(api, call, owner, listed, argument));
        routes.on("DELETE", path, move |api, call| leave_all(api, call, owner));
        let path = format!("{path}/:{}", listed.entity);
        routes.on("GET", &path, move |api, call| get(api, call, owner, listed));
        routes.on("DELETE", &path, move |api, call| leave(api, call, owner, listed));
    }
}

/// The memberships of a group or of a consumer.
fn memberships(reader: &dyn Reader, side: Side, row: &Value) -> Outcome<Vec<Value>> {
    let mut found = Vec::new();
    every(reader, MEMBERS, Some((side.field, id_of(row))), |membership| {
        found.push(membership);
        Ok(())
    })?;
    Ok(found)
}

/// What a row is joined with, as shown.
fn others(api: &Api, reader: &dyn Reader, owner: Side, row: &Value, listed: Side) -> Outcome<Vec<Value>> {
    let schema = api.schema(listed.entity)?;
    let memberships = memberships(reader, owner, row)?;
    let ids = memberships.iter().filter_map(|membership| foreign_id(membership, listed.field));
    let rows = ids.filter_map(|id| reader.select(listed.entity, id).transpose());
    rows.map(|row| shown(reader, schema, row?)).collect()
}

fn list(api: &Api, call: &Call<'_>, owner: Side, listed: Side, plural: &str) -> Outcome {
    let rows = api.reading(call, |reader| {
        let row = api.named(reader, call, 0, owner.entity)?;
        others(api, reader, owner, &row, listed)
    })?;
    Ok(Response::json(200, &json!({ "data": rows, plural: rows, "next": Value::Null })))
}

/// Adds what the body names, one or several, by id or by name.
fn join(api: &Api, call: &Call<'_>, owner: Side, listed: Side, argument: &str) -> Outcome {
    let body = Body::of(call)?.untyped()?;
    let names: Vec<String> = match body.get(argument) {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    if names.is_empty() {
        return Err(Error::schema_violation(json!({ argument: "required field missing" })).into());
    }
    let (schema, listed_schema) = (api.schema(MEMBERS)?, api.schema(listed.entity)?);
    let (row, added) = api.writing(call, |writer: &mut dyn Writer| {
        let row = api.named(writer.reader(), call, 0, owner.entity)?;
        let mut added = Vec::new();
        for name in names {
            let key = Key::parse(api, listed_schema, name)?;
            let other = key.find(writer.reader(), listed.entity)?.ok_or_else(|| key.not_found())?;
            let membership = json!({ owner.field: { "id": id_of(&row) }, listed.field: { "id": id_of(&other) } });
            insert(api, call, writer, schema, membership)?;
            added.push(shown(writer.reader(), listed_schema, other)?);
        }
        let row = shown(writer.reader(), api.schema(owner.entity)?, row)?;
        Ok((row, added))
    })?;
    let plural = if listed.field == CONSUMER.field { "consumers" } else { "consumer_groups" };
    Ok(Response::json(201, &json!({ owner.field: row, plural: added })))
}

fn leave_all(api: &Api, call: &Call<'_>, owner: Side) -> Outcome {
    let schema = api.schema(MEMBERS)?;
    api.writing(call, |writer: &mut dyn Writer| {
        let row = api.named(writer.reader(), call, 0, owner.entity)?;
        for membership in memberships(writer.reader(), owner, &row)? {
            erase(api, call, writer, schema, &membership)?;
        }
        Ok(())
    })?;
    Ok(super::no_content())
}

/// The membership that the path names, with both of its sides.
fn membership(api: &Api, reader: &dyn Reader, call: &Call<'_>, owner: Side, listed: Side) -> Outcome<(Value, Value)> {
    let row = api.named(reader, call, 0, owner.entity)?;
    let other = api.named(reader, call, 1, listed.entity)?;
    let found = memberships(reader, owner, &row)?;
    let found = found.into_iter().find(|membership| foreign_id(membership, listed.field) == Some(id_of(&other)));
    Ok((found.ok_or_else(Failure::not_found)?, other))
}

fn get(api: &Api, call: &Call<'_>, owner: Side, listed: Side) -> Outcome {
    let schema = api.schema(listed.entity)?;
    let row = api.reading(call, |reader| {
        let (_, other) = membership(api, reader, call, owner, listed)?;
        shown(reader, schema, other)
    })?;
    Ok(Response::json(200, &json!({ listed.field: row })))
}

fn leave(api: &Api, call: &Call<'_>, owner: Side, listed: Side) -> Outcome {
    let schema = api.schema(MEMBERS)?;
    api.writing(call, |writer: &mut dyn Writer| {
        let (membership, _) = membership(api, writer.reader(), call, owner, listed)?;
        erase(api, call, writer, schema, &membership)
    })?;
    Ok(super::no_content())
}

/// The group with its members, and its plugins and limits of its own; `list_consumers=false` leaves the members out, which may
/// be many.
fn get_group(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema(GROUP.entity)?;
    let lists = call.argument("list_consumers").flatten().as_deref() != Some("false");
    let (group, consumers, plugins) = api.reading(call, |reader| {
        let row = api.named(reader, call, 0, GROUP.entity)?;
        let consumers = if lists { Some(others(api, reader, GROUP, &row, CONSUMER)?) } else { None };
        let mut plugins = Vec::new();
        for entity in ["plugins", OVERRIDES] {
            let schema = api.schema(entity)?;
            every(reader, entity, Some((GROUP.field, id_of(&row))), |plugin| {
                plugins.push(shown(reader, schema, plugin)?);
                Ok(())
            })?;
        }
        Ok((shown(reader, schema, row)?, consumers, plugins))
    })?;
    let mut body = json!({ "consumer_group": group, "plugins": plugins });
    if let Some(consumers) = consumers {
        body["consumers"] = Value::Array(consumers);
    }
    Ok(Response::json(200, &body))
}

/// The limits that the group has of its own.
fn override_of(reader: &dyn Reader, group: &Value) -> Outcome<Option<Value>> {
    let mut found = None;
    every(reader, OVERRIDES, Some((GROUP.field, id_of(group))), |own| {
        if own.get("name").and_then(Value::as_str) == Some(LIMITED) {
            found = Some(own);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Sets the limits that the group has of its own, in place of those it had.
fn put_override(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema(OVERRIDES)?;
    let body = Body::of(call)?.entity(schema, None)?;
    let Some(config) = body.get("config").filter(|config| !config.is_null()) else {
        return Err(Failure::message(400, "No configuration provided"));
    };
    let (group, own) = api.writing(call, |writer: &mut dyn Writer| {
        let group = api.named(writer.reader(), call, 0, GROUP.entity)?;
        let row = json!({ "name": LIMITED, "config": config, GROUP.field: { "id": id_of(&group) } });
        let own = match override_of(writer.reader(), &group)? {
            Some(stored) => upsert(api, call, writer, schema, &Key::Id(id_of(&stored).to_owned()), row)?,
            None => insert(api, call, writer, schema, row)?,
        };
        Ok((group, own))
    })?;
    let field = |row: &Value, field: &str| row.get(field).cloned().unwrap_or_default();
    let answer = json!({ "config": field(&own, "config"), "consumer_group": field(&group, "name"), "plugin": LIMITED });
    Ok(Response::json(201, &answer))
}

fn remove_override(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema(OVERRIDES)?;
    api.writing(call, |writer: &mut dyn Writer| {
        let group = api.named(writer.reader(), call, 0, GROUP.entity)?;
        let own = override_of(writer.reader(), &group)?.ok_or_else(Failure::not_found)?;
        erase(api, call, writer, schema, &own)
    })?;
    Ok(super::no_content())
}
