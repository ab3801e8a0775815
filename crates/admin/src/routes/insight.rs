//! `POST /debug/route` and `GET /lint`: why a request goes where it goes, and what of the configuration has no effect. Not
//! endpoints of Kong.
//!
//! The body of the first is a request: `{"url": "http://host/path", "method": "GET", "http_version": "1.1", "headers": {}, "sni": "",
//! "client": "ip:port", "listener": "ip:port", "consumer": "id or username"}`, of which only `url` must be given.
use crate::audit::masked;
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::node::{Asked, HttpVersion};
use crate::{Api, Response};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

pub(super) fn add(routes: &mut Routes) {
    routes.on("POST", "/debug/route", explain);
    routes.on("GET", "/lint", |api, _| Ok(Response::json(200, &json!({ "findings": api.node.lint() }))));
    routes.unlist(|path| matches!(path, "/debug/route" | "/lint"));
}

fn refused(message: &str) -> Failure {
    Failure::message(400, message)
}

fn explain(api: &Api, call: &Call<'_>) -> Outcome {
    let Body::Json(fields) = Body::of(call)? else {
        return Err(refused("expected a JSON object with 'url'"));
    };
    let explained = api.node.explain(&asked(fields)?).map_err(|message| refused(&message))?;
    let schema = api.schema("plugins")?;
    let plugins = explained.plugins.iter().map(|(row, phases)| {
        let row = masked(schema, row);
        let field = |name: &str| row.get(name).cloned().unwrap_or_default();
        let scope = ["route", "service", "consumer", "consumer_group"].map(|name| (name, field(name)));
        let scope: Map<String, Value> = scope
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        json!({
            "id": field("id"),
            "name": field("name"),
            "instance_name": field("instance_name"),
            "scope": scope,
            "phases": phases,
            "config": field("config"),
        })
    });
    let plugins: Vec<Value> = plugins.collect();
    Ok(Response::json(
        200,
        &json!({
            "client": explained.client,
            "matched": explained.matched,
            "answer": explained.answer,
            "plugins": plugins,
            "others": explained.others,
        }),
    ))
}

fn asked(mut fields: Map<String, Value>) -> Outcome<Asked> {
    let mut text = |name: &str| match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refused(&format!("'{name}' must be a string"))),
    };
    let url = text("url")?.ok_or_else(|| refused("'url' is missing"))?;
    let method = text("method")?.unwrap_or_else(|| "GET".to_owned());
    let http_version = match text("http_version")?.as_deref() {
        Some("1.0") => HttpVersion::Http10,
        None | Some("1.1") => HttpVersion::Http11,
        Some("2") => HttpVersion::Http2,
        Some(_) => return Err(refused("'http_version' must be 1.0, 1.1 or 2")),
    };
    let (sni, consumer) = (text("sni")?, text("consumer")?);
    let mut address = |name: &str| {
        let parsed = text(name)?.map(|text| text.parse::<SocketAddr>());
        parsed.transpose().map_err(|_| refused(&format!("'{name}' must be an address and a port, as 127.0.0.1:8000")))
    };
    let (client, listener) = (address("client")?, address("listener")?);
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("'url' must begin with http:// or https://"))?;
    let is_tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(refused("'url' must begin with http:// or https://")),
    };
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, target) =
        (host.to_owned(), if target.starts_with('?') { format!("/{target}") } else { target.to_owned() });
    let headers = match fields.shift_remove("headers") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(headers)) => headers.into_iter().map(header).collect::<Outcome<Vec<_>>>()?.concat(),
        Some(_) => return Err(refused("'headers' must be an object")),
    };
    if let Some(name) = fields.keys().next() {
        return Err(refused(&format!("'{name}' is not known here")));
    }
    let sni = sni.or_else(|| is_tls.then(|| host.split(':').next().unwrap_or_default().to_owned()));
    Ok(Asked { is_tls, http_version, method, host, target, headers, sni, client, listener, consumer })
}

/// A field with one value or several.
fn header((name, value): (String, Value)) -> Outcome<Vec<(String, String)>> {
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    let text = |value: Value| match value {
        Value::String(text) => Ok((name.clone(), text)),
        _ => Err(refused(&format!("the header '{name}' must be a string or a list of strings"))),
    };
    values.into_iter().map(text).collect()
}
