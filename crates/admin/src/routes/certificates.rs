//! `/certificates/:certificates`: a certificate by its id or by one of its SNIs.
use crate::body::Body;
use crate::crud::{self, Relation, subschema};
use crate::dispatch::{Call, Routes};
use crate::entity::{delete, insert, shown, update, upsert};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, foreign_id, id_of, is_uuid};
use crate::{Api, Response};
use serde_json::Value;
use store::{Reader, Writer};
use uuid::Uuid;

const PATH: &str = "/certificates/:certificates";
const SNIS: &str = "/certificates/:certificates/snis";
const SNI: &str = "/certificates/:certificates/snis/:snis";

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", PATH, get);
    routes.on("PUT", PATH, put);
    routes.on("PATCH", PATH, patch);
    routes.on("DELETE", PATH, remove);
    routes.on("GET", SNIS, |api, call| {
        let certificate = api.reading(call, |reader| certificate(api, reader, call))?;
        crud::list_children(api, call, &relation(), &certificate)
    });
    routes.on("POST", SNIS, create_sni);
    routes.on("GET", SNI, get_sni);
    routes.on("PUT", SNI, put_sni);
    routes.on("PATCH", SNI, patch_sni);
    routes.on("DELETE", SNI, remove_sni);
}

fn relation() -> Relation {
    Relation { child: "snis".to_owned(), field: "certificate".to_owned(), parent: "certificates".to_owned() }
}

/// The id that the path names by itself or by an SNI; `None` for an SNI nobody has.
fn key(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<Option<Key>> {
    let text = call.parameter(0)?;
    if is_uuid(&text) {
        return Ok(Some(Key::Id(text.to_ascii_lowercase())));
    }
    let schema = api.schema("snis")?;
    api.with_context(|cx| schema.validate_unique("name", &Value::from(text.as_str()), cx))?;
    let sni = reader.select_by("snis", "name", &[&text])?;
    Ok(sni.as_ref().and_then(|sni| foreign_id(sni, "certificate")).map(|id| Key::Id(id.to_owned())))
}

fn known_key(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<Key> {
    key(api, reader, call)?.ok_or_else(|| Failure::message(404, "SNI not found"))
}

fn certificate(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<Value> {
    known_key(api, reader, call)?.find(reader, "certificates")?.ok_or_else(Failure::not_found)
}

fn get(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("certificates")?;
    let row = api.reading(call, |reader| {
        let key = known_key(api, reader, call)?;
        let row = key.find(reader, "certificates")?.ok_or_else(|| key.not_found())?;
        shown(reader, schema, row)
    })?;
    Ok(Response::json(200, &row))
}

/// The SNI that the path names joins those of the body, but is not added where the body has none.
fn put(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("certificates")?;
    let mut input = Body::of(call)?.entity(schema, None)?;
    list_of_snis(&mut input);
    let name = call.parameter(0)?;
    if let Some(Value::Array(names)) = input.get_mut("snis")
        && !is_uuid(&name)
        && !names.iter().any(|given| *given == name.as_str())
    {
        names.push(name.into());
    }
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let key = key(api, writer.reader(), call)?.unwrap_or_else(|| Key::Id(Uuid::new_v4().to_string()));
        upsert(api, call, writer, schema, &key, input)
    })?;
    Ok(Response::json(200, &row))
}

fn patch(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("certificates")?;
    let mut patch = Body::of(call)?.entity(schema, None)?;
    list_of_snis(&mut patch);
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let key = known_key(api, writer.reader(), call)?;
        let stored = key.find(writer.reader(), "certificates")?.ok_or_else(|| key.not_found())?;
        update(api, call, writer, schema, &key, stored, patch)
    })?;
    Ok(Response::json(200, &row))
}

/// Here, but not where certificates are made, a single name may stand for a list.
fn list_of_snis(input: &mut Value) {
    if let Some(snis @ Value::String(_)) = input.get_mut("snis") {
        *snis = Value::Array(vec![snis.take()]);
    }
}

fn remove(api: &Api, call: &Call<'_>) -> Outcome {
    let key = api.reading(call, |reader| known_key(api, reader, call))?;
    crud::remove_by(api, call, api.schema("certificates")?, &key)
}

fn create_sni(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("snis")?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let certificate = certificate(api, writer.reader(), call)?;
        insert(api, call, writer, schema, crud::of_parent(input, &relation(), &certificate))
    })?;
    Ok(Response::json(201, &row))
}

/// The SNI, where it is the certificate's.
fn sni(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<(Key, Value)> {
    let certificate = certificate(api, reader, call)?;
    let key = Key::of(api, api.schema("snis")?, call, 1)?;
    let row = key.find(reader, "snis")?.filter(|row| crud::belongs(row, &relation(), &certificate));
    Ok((key, row.ok_or_else(Failure::not_found)?))
}

fn get_sni(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("snis")?;
    let row = api.reading(call, |reader| shown(reader, schema, sni(api, reader, call)?.1))?;
    Ok(Response::json(200, &row))
}

fn put_sni(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("snis")?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let certificate = certificate(api, writer.reader(), call)?;
        let key = Key::of(api, schema, call, 1)?;
        upsert(api, call, writer, schema, &key, crud::of_parent(input, &relation(), &certificate))
    })?;
    Ok(Response::json(200, &row))
}

fn patch_sni(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("snis")?;
    let body = Body::of(call)?;
    let row = api.writing(call, |writer: &mut dyn Writer| {
        let (key, stored) = sni(api, writer.reader(), call)?;
        let patch = body.entity(schema, subschema(schema, &stored))?;
        update(api, call, writer, schema, &key, stored, patch)
    })?;
    Ok(Response::json(200, &row))
}

fn remove_sni(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("snis")?;
    api.writing(call, |writer: &mut dyn Writer| {
        let (_, row) = sni(api, writer.reader(), call)?;
        delete(api, call, writer, schema, &Key::Id(id_of(&row).to_owned()), &row)
    })?;
    Ok(Response::empty(204))
}
