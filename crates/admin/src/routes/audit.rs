//! `/audit`: who wrote what, the newest first. Not an endpoint of Kong's open source edition.
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::listing::Paging;
use crate::{Api, Response};
use serde_json::{Map, Value};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/audit", list);
    routes.unlist(|path| path == "/audit");
}

fn list(api: &Api, call: &Call<'_>) -> Outcome {
    let Some(audit) = &api.settings.audit else {
        return Err(Failure::message(404, "the audit log is off (admin_audit_log)"));
    };
    let paging = Paging::of(call)?;
    let before = match &paging.offset {
        None => None,
        Some(offset) => match offset.parse() {
            Ok(number) => Some(number),
            Err(_) => return Err(schema::Error::invalid_offset(offset, "not a number").into()),
        },
    };
    let filters: Vec<(&str, String)> =
        ["user", "entity", "id"].into_iter().filter_map(|name| Some((name, call.argument(name)??))).collect();
    let fits = |entry: &Value| {
        let changes = || entry.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        filters.iter().all(|(name, wanted)| {
            let is = |value: &Value| value.get(*name).and_then(Value::as_str) == Some(wanted.as_str());
            if *name == "user" { is(entry) } else { changes().iter().any(is) }
        })
    };
    let (data, next) = audit.page(before, paging.size, fits);
    let mut body = Map::new();
    body.insert("data".to_owned(), Value::Array(data));
    let offset = next.map(|next| next.to_string());
    let link = offset.as_ref().map(|offset| {
        let mut link = format!("/audit?offset={offset}&size={}", paging.size);
        for (name, value) in &filters {
            link.push_str(&format!("&{name}={}", crate::urlencoded::encode(value)));
        }
        link
    });
    if let Some(offset) = offset {
        body.insert("offset".to_owned(), Value::from(offset));
    }
    body.insert("next".to_owned(), link.map_or(Value::Null, Value::from));
    Ok(Response::json(200, &Value::Object(body)))
}
