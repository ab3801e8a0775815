//! Consumer groups, with the paths and shapes of Kong Enterprise: which consumers are members of which groups.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::entity::{insert, shown};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, foreign_id, id_of};
use crate::special::every;
use crate::{Api, Response, generate};
use entities::Catalog;
use schema::Error;
use serde_json::{Value, json};
use store::{Reader, Writer};

const MEMBERS: &str = "consumer_group_consumers";

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

fn list(api: &Api, call: &Call<'_>, owner: Side, listed: Side, plural: &str) -> Outcome {
    let schema = api.schema(listed.entity)?;
    let rows: Vec<Value> = api.reading(|reader| {
        let row = api.named(reader, call, 0, owner.entity)?;
        let ids = memberships(reader, owner, &row)?;
        let members = ids.iter().filter_map(|membership| foreign_id(membership, listed.field));
        let rows = members.filter_map(|id| reader.select(listed.entity, id).transpose());
        rows.map(|row| shown(reader, schema, row?)).collect()
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
    let (row, added) = api.writing(|writer: &mut dyn Writer| {
        let row = api.named(writer.reader(), call, 0, owner.entity)?;
        let mut added = Vec::new();
        for name in names {
            let key = Key::parse(api, listed_schema, name)?;
            let other = key.find(writer.reader(), listed.entity)?.ok_or_else(|| key.not_found())?;
            let membership = json!({ owner.field: { "id": id_of(&row) }, listed.field: { "id": id_of(&other) } });
            insert(api, writer, schema, membership)?;
            added.push(shown(writer.reader(), listed_schema, other)?);
        }
        let row = shown(writer.reader(), api.schema(owner.entity)?, row)?;
        Ok((row, added))
    })?;
    let plural = if listed.field == CONSUMER.field { "consumers" } else { "consumer_groups" };
    Ok(Response::json(201, &json!({ owner.field: row, plural: added })))
}

fn leave_all(api: &Api, call: &Call<'_>, owner: Side) -> Outcome {
    api.writing(|writer: &mut dyn Writer| {
        let row = api.named(writer.reader(), call, 0, owner.entity)?;
        for membership in memberships(writer.reader(), owner, &row)? {
            writer.delete(MEMBERS, id_of(&membership))?;
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
    let row = api.reading(|reader| {
        let (_, other) = membership(api, reader, call, owner, listed)?;
        shown(reader, schema, other)
    })?;
    Ok(Response::json(200, &json!({ listed.field: row })))
}

fn leave(api: &Api, call: &Call<'_>, owner: Side, listed: Side) -> Outcome {
    api.writing(|writer: &mut dyn Writer| {
        let (membership, _) = membership(api, writer.reader(), call, owner, listed)?;
        writer.delete(MEMBERS, id_of(&membership))?;
        Ok(())
    })?;
    Ok(super::no_content())
}
