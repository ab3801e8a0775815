//! `/consumers/:consumers/acls/:acls`: a consumer's groups, by id or by the group's name.
use crate::body::Body;
use crate::crud::{self, Relation};
use crate::dispatch::{Call, Routes};
use crate::entity::{delete, shown, update, upsert};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, id_of, is_uuid};
use crate::{Api, Response};
use serde_json::{Value, json};
use store::{Reader, Writer};
use uuid::Uuid;

const PATH: &str = "/consumers/:consumers/acls/:acls";

pub(super) fn add(routes: &mut Routes) {
    routes.before(PATH, |api, call| api.reading(call, |reader| consumer(api, reader, call)).map(|_| ()));
    routes.on("GET", PATH, |api, call| match group(call)? {
        None => crud::get_nested(api, call, &relation()),
        Some(group) => {
            let schema = api.schema("acls")?;
            let row = api.reading(call, |reader| shown(reader, schema, existing(api, reader, call, &group)?))?;
            Ok(Response::json(200, &row))
        }
    });
    routes.on("PUT", PATH, |api, call| match group(call)? {
        None => crud::put_nested(api, call, &relation()),
        Some(group) => put(api, call, &group),
    });
    routes.on("PATCH", PATH, |api, call| match group(call)? {
        None => crud::patch_nested(api, call, &relation()),
        Some(group) => patch(api, call, &group),
    });
    routes.on("DELETE", PATH, |api, call| match group(call)? {
        None => crud::remove_nested(api, call, &relation()),
        Some(group) => remove(api, call, &group),
    });
}

fn relation() -> Relation {
    Relation { child: "acls".to_owned(), field: "consumer".to_owned(), parent: "consumers".to_owned() }
}

/// The name of a group, where the path has no id.
fn group(call: &Call<'_>) -> Outcome<Option<String>> {
    Ok(Some(call.parameter(1)?).filter(|given| !is_uuid(given)))
}

/// Kong answers this one by another way than its other 404s.
fn not_found() -> Failure {
    let request_id = Uuid::new_v4().simple().to_string();
    Response::json(404, &json!({ "message": "Not found", "request_id": request_id })).into()
}

fn consumer(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<Value> {
    let key = Key::of(api, api.schema("consumers")?, call, 0)?;
    key.find(reader, "consumers")?.ok_or_else(not_found)
}

fn find(reader: &dyn Reader, consumer: &Value, group: &str) -> Outcome<Option<Value>> {
    Ok(reader.select_by("acls", "cache_key", &[id_of(consumer), group])?)
}

fn existing(api: &Api, reader: &dyn Reader, call: &Call<'_>, group: &str) -> Outcome<Value> {
    let consumer = consumer(api, reader, call)?;
    find(reader, &consumer, group)?.ok_or_else(not_found)
}

fn put(api: &Api, call: &Call<'_>, group: &str) -> Outcome {
    let schema = api.schema("acls")?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let consumer = consumer(api, writer.reader(), call)?;
        let found = find(writer.reader(), &consumer, group)?;
        let id = found.as_ref().map_or_else(|| Uuid::new_v4().to_string(), |row| id_of(row).to_owned());
        let mut input = crud::of_parent(input, &relation(), &consumer);
        input["group"] = Value::from(group);
        upsert(api, call, writer, schema, &Key::Id(id), input)
    })?;
    Ok(Response::json(200, &row))
}

fn patch(api: &Api, call: &Call<'_>, group: &str) -> Outcome {
    let schema = api.schema("acls")?;
    let body = Body::of(call)?;
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let stored = existing(api, writer.reader(), call, group)?;
        let patch = body.entity(schema, None)?;
        update(api, call, writer, schema, &Key::Id(id_of(&stored).to_owned()), stored, patch)
    })?;
    Ok(Response::json(200, &row))
}

fn remove(api: &Api, call: &Call<'_>, group: &str) -> Outcome {
    let schema = api.schema("acls")?;
    api.writing(call, |writer: &mut dyn Writer| {
        let row = existing(api, writer.reader(), call, group)?;
        delete(api, call, writer, schema, &Key::Id(id_of(&row).to_owned()), &row)
    })?;
    Ok(Response::empty(204))
}
