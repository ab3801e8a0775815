//! `/upstreams/:upstreams/targets`: targets newest first, by id or by `host:port`.
use crate::body::Body;
use crate::crud::{self, Relation};
use crate::dispatch::{Call, Routes};
use crate::entity::{delete, shown, update};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, id_of, is_uuid};
use crate::listing::{self, Repeats, lua_number};
use crate::special::every;
use crate::{Api, Response};
use schema::Error;
use serde_json::{Value, json};
use store::{HealthMark, Reader, Writer};
use uuid::Uuid;

const LIST: &str = "/upstreams/:upstreams/targets";
const ALL: &str = "/upstreams/:upstreams/targets/all";
const ONE: &str = "/upstreams/:upstreams/targets/:targets";

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", LIST, list);
    routes.on("POST", LIST, create);
    routes.on("GET", ALL, |api, call| crud::list_nested(api, call, &relation()));
    routes.on("GET", ONE, get);
    routes.on("PUT", ONE, change);
    routes.on("PATCH", ONE, change);
    routes.on("DELETE", ONE, remove);
    for (name, healthy) in [("healthy", true), ("unhealthy", false)] {
        routes.on("PUT", &format!("{ONE}/{name}"), move |api, call| mark(api, call, false, healthy));
        routes.on("PUT", &format!("{ONE}/:address/{name}"), move |api, call| mark(api, call, true, healthy));
    }
}

fn relation() -> Relation {
    Relation { child: "targets".to_owned(), field: "upstream".to_owned(), parent: "upstreams".to_owned() }
}

/// A page of an upstream's targets as shown, newest first, and the offset of the next: their count so far.
pub(super) fn newest(
    api: &Api,
    reader: &dyn Reader,
    call: &Call<'_>,
    upstream: &Value,
) -> Outcome<(Vec<Value>, Option<String>)> {
    let schema = api.schema("targets")?;
    // As in Kong tags are checked, and choose nothing.
    listing::tags(call, schema)?;
    let size = listing::any_size(call)?;
    let mut targets: Vec<Value> = Vec::new();
    every(reader, "targets", Some(("upstream", id_of(upstream))), |target| {
        targets.push(target);
        Ok(())
    })?;
    let created = |target: &Value| target.get("created_at").and_then(Value::as_f64).unwrap_or_default();
    targets.sort_by(|a, b| created(b).total_cmp(&created(a)).then_with(|| id_of(b).cmp(id_of(a))));
    let start =
        call.argument("offset").flatten().and_then(|text| lua_number(&text)).unwrap_or_default().max(0.0).trunc();
    let next = start + size;
    let has_next = next >= 0.0 && next.fract() == 0.0 && next < targets.len() as f64;
    let offset = has_next.then(|| (next as usize).to_string());
    // A negative count is none.
    let page = targets.into_iter().skip(start as usize).take(size as usize);
    let shown: Outcome<Vec<Value>> = page.map(|row| shown(reader, schema, row)).collect();
    Ok((shown?, offset))
}

fn list(api: &Api, call: &Call<'_>) -> Outcome {
    let (data, offset) = api.reading(call, |reader| {
        let upstream = api.named(reader, call, 0, "upstreams")?;
        newest(api, reader, call, &upstream)
    })?;
    let path = call.request.path.trim_end_matches('/');
    Ok(listing::respond(call, path, data, offset, Repeats::Nothing))
}

/// As in Kong a target that is no address is all that is told of a new one.
fn create(api: &Api, call: &Call<'_>) -> Outcome {
    let input = Body::of(call)?.entity(api.schema("targets")?, None)?;
    if let Some(Value::String(target)) = input.get("target")
        && entities::normalize_target(target).is_none()
    {
        api.reading(call, |reader| api.named(reader, call, 0, "upstreams"))?;
        let message = "Invalid target; not a valid hostname or ip address";
        return Err(Error::schema_violation(json!({ "target": message })).into());
    }
    crud::create_nested(api, call, &relation())
}

/// The target that the path names, where it is the upstream's.
fn target(api: &Api, reader: &dyn Reader, call: &Call<'_>) -> Outcome<(Value, Value)> {
    let upstream = api.named(reader, call, 0, "upstreams")?;
    let text = call.parameter(1)?;
    let found = if is_uuid(&text) {
        reader.select("targets", &text)?
    } else {
        reader.select_by("targets", "cache_key", &[id_of(&upstream), &text])?
    };
    let target = found.filter(|row| crud::belongs(row, &relation(), &upstream)).ok_or_else(Failure::not_found)?;
    Ok((upstream, target))
}

fn get(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("targets")?;
    let row = api.reading(call, |reader| shown(reader, schema, target(api, reader, call)?.1))?;
    Ok(Response::json(200, &row))
}

/// PUT does no more than PATCH: it never creates. A new address is answered with as it was given, and kept in its normal form.
fn change(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("targets")?;
    let input = Body::of(call)?.entity(schema, None)?;
    let given = input.get("target").cloned();
    let mut row = api.writing(call, |writer: &mut dyn Writer| {
        let (_, stored) = target(api, writer.reader(), call)?;
        update(api, call, writer, schema, &Key::Id(id_of(&stored).to_owned()), stored, input)
    })?;
    if let Some(given) = given {
        row["target"] = given;
    }
    Ok(Response::json(200, &row))
}

fn remove(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("targets")?;
    api.writing(call, |writer: &mut dyn Writer| {
        let (_, row) = target(api, writer.reader(), call)?;
        delete(api, call, writer, schema, &Key::Id(id_of(&row).to_owned()), &row)
    })?;
    Ok(super::no_content())
}

fn mark(api: &Api, call: &Call<'_>, has_address: bool, healthy: bool) -> Outcome {
    let (upstream, target) = api.reading(call, |reader| target(api, reader, call))?;
    let address = if has_address { Some(call.parameter(2)?) } else { None };
    let name = target.get("target").and_then(Value::as_str).unwrap_or_default();
    let id = Uuid::parse_str(id_of(&upstream)).unwrap_or_default();
    if let Err(message) = api.node.set_health(id, name, address.as_deref(), healthy) {
        return Ok(Response::message(400, &message));
    }
    let (host, port) = host_and_port(name);
    let (ip, port) = address.as_deref().map_or((None, port), |address| {
        let (ip, port) = host_and_port(address);
        (Some(ip.to_owned()), port)
    });
    let upstream_name = upstream.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mark = HealthMark { host: host.to_owned(), ip, port, is_healthy: healthy, upstream: id, upstream_name };
    if let Err(error) = api.store.tell_mark(&mark) {
        log::warn!("other nodes are not told that target {name} was marked: {error}");
    }
    Ok(super::no_content())
}

/// Of a target, or of one of its addresses; where it has no port it is Kong's 8000.
fn host_and_port(text: &str) -> (&str, u16) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().map_or((text, 8000), |port| (host, port))
        }
        _ => (text, 8000),
    }
}
