//! The log document: what every logging plugin writes (`kong.log.serialize`), built on demand in the log phase.

use crate::args::Args;
use crate::{Attempt, Context, Headers, Node, Source, Version, host_without_port};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

/// A member that a plugin adds to the log document (`kong.log.set_serialize_value`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogField {
    /// A path of names joined by dots; a backslash before a dot makes it part of the name.
    pub path: Cow<'static, str>,
    /// `None` takes the member out.
    pub value: Option<Value>,
}

struct Document(Rc<Value>);

/// The log document of a request; all plugins of one request share it.
pub fn document(cx: &mut Context) -> Rc<Value> {
    if let Some(Document(known)) = cx.data.get::<Document>() {
        return known.clone();
    }
    let document = Rc::new(serialize(cx));
    cx.data.set(Document(document.clone()));
    document
}

fn serialize(cx: &Context) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("request", request(cx));
    put("upstream_uri", upstream_uri(cx).into());
    put("upstream_status", upstream_status(cx).into());
    put(
        "response",
        json!({
            "status": cx.response.status,
            "headers": response_headers(cx),
            "size": cx.sent,
        }),
    );
    put("latencies", latencies(cx));
    put("tries", cx.attempts.iter().map(attempt).collect::<Vec<_>>().into());
    if let Some(credential) = &cx.credential {
        put("authenticated_entity", json!({ "id": credential.id }));
    }
    if let Some(route) = &cx.route {
        put("route", entity(cx, &**route));
    }
    if let Some(service) = &cx.service {
        put("service", entity(cx, &**service));
    }
    if let Some(consumer) = &cx.consumer {
        put("consumer", without_nulls(&**consumer));
    }
    put("client_ip", cx.client.ip.to_string().into());
    put("started_at", millis(cx.timing.started_at()).into());
    put("source", if cx.source == Source::Upstream { "upstream" } else { "kong" }.into());
    put("workspace", cx.shared.node.workspace_id.to_string().into());
    put("workspace_name", Node::WORKSPACE.into());
    let mut document = Value::Object(out);
    for field in &cx.log_fields {
        set(&mut document, &field.path, field.value.clone());
    }
    document
}

fn request(cx: &Context) -> Value {
    let request = &cx.request;
    let uri = String::from_utf8_lossy(request.target()).into_owned();
    let host = String::from_utf8_lossy(host_without_port(request.host())).to_ascii_lowercase();
    let scheme = if cx.client.scheme.is_tls() { "https" } else { "http" };
    let mut out = json!({
        "id": cx.request_id(),
        "url": format!("{scheme}://{host}:{}{uri}", cx.client.public_port),
        "uri": uri,
        "querystring": querystring(cx),
        "method": request.method.as_str(),
        "headers": headers(&request.headers, true),
        "size": cx.received,
    });
    if let Some(tls) = &cx.client.tls {
        let verified = if tls.client_certificates.is_empty() { "NONE" } else { "FAILED:unverified" };
        out["tls"] = json!({ "version": tls.version, "cipher": tls.cipher, "client_verify": verified });
    }
    out
}

fn querystring(cx: &Context) -> Value {
    let mut out = Map::new();
    for (name, value) in Args::parse(cx.request.query().unwrap_or_default()).iter() {
        let value = value.map_or(Value::Bool(true), text);
        add(&mut out, String::from_utf8_lossy(name).into_owned(), value);
    }
    Value::Object(out)
}

fn headers(headers: &Headers, is_request: bool) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in headers.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let is_secret = is_request && matches!(name.as_str(), "authorization" | "proxy-authorization");
        add(&mut out, name, if is_secret { "REDACTED".into() } else { text(value) });
    }
    out
}

/// The response's fields as sent. Those of the connection are the HTTP engine's, so they are told where it tells nothing.
fn response_headers(cx: &Context) -> Value {
    let mut out = headers(&cx.response.headers, false);
    if cx.request.version < Version::Http2 && !out.contains_key("connection") {
        let asked = cx.request.headers.get("connection").unwrap_or_default().to_ascii_lowercase();
        let says = |token: &[u8]| asked.split(|b| *b == b',').any(|t| t.trim_ascii() == token);
        let is_kept = if cx.request.version == Version::Http10 { says(b"keep-alive") } else { !says(b"close") };
        out.insert("connection".to_owned(), if is_kept { "keep-alive" } else { "close" }.into());
    }
    Value::Object(out)
}

/// Adds a value to those of a name: one is a scalar, several are an array.
fn add(out: &mut Map<String, Value>, name: String, value: Value) {
    match out.get_mut(&name) {
        None => {
            out.insert(name, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => {
            let both = vec![first.take(), value];
            *first = Value::Array(both);
        }
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn upstream_uri(cx: &Context) -> String {
    let (path, query) = match &cx.upstream {
        Some(upstream) => (upstream.path.as_slice(), cx.upstream_query()),
        None if cx.route.is_some() => (cx.request.path(), cx.request.query()),
        None => (&[][..], None),
    };
    let mut uri = String::from_utf8_lossy(path).into_owned();
    if let Some(query) = query.filter(|q| !q.is_empty()) {
        uri.push('?');
        uri.push_str(&String::from_utf8_lossy(query));
    }
    uri
}

/// The status of each try: of a failed one the status it was given up with.
fn upstream_status(cx: &Context) -> String {
    let answered = |at: usize| cx.upstream_statuses.get(at).or(cx.upstream_statuses.last()).copied();
    let statuses = cx.attempts.iter().enumerate().filter_map(|(at, a)| a.failure.map(|f| f.1).or_else(|| answered(at)));
    statuses.map(|s| s.to_string()).collect::<Vec<_>>().join(", ")
}

fn latencies(cx: &Context) -> Value {
    json!({
        "kong": kong_latency(cx),
        "proxy": upstream_latency(cx).map_or(Value::from(-1), Value::from),
        "request": cx.timing.total_ms(),
        "receive": receive_time(cx),
    })
}

/// Milliseconds between the upstream's response head and the end of its body.
fn receive_time(cx: &Context) -> u64 {
    match (cx.timing.upstream_head, cx.timing.upstream_end) {
        (Some(head), Some(end)) => end.saturating_duration_since(head).as_millis() as u64,
        _ => 0,
    }
}

/// Milliseconds that the gateway itself took: until the upstream was contacted, and passing the response on.
pub fn kong_latency(cx: &Context) -> u64 {
    cx.timing.proxy_ms() + receive_time(cx)
}

/// Milliseconds spent waiting for the upstream's response head, or for its failure; `None` where none was tried.
pub fn upstream_latency(cx: &Context) -> Option<u64> {
    let timing = &cx.timing;
    timing.upstream_ms().or_else(|| {
        let sent = timing.access_end.filter(|_| !cx.attempts.is_empty())?;
        Some(timing.end?.saturating_duration_since(sent).as_millis() as u64)
    })
}

fn attempt(attempt: &Attempt) -> Value {
    let mut out = json!({
        "balancer_start": millis(attempt.started_at),
        "balancer_start_ns": attempt.started_at.as_nanos() as u64,
        "ip": attempt.address.ip.to_string(),
        "port": attempt.address.port,
        "balancer_latency": millis(attempt.balancer_latency),
        "balancer_latency_ns": attempt.balancer_latency.as_nanos() as u64,
    });
    if let Some((state, code)) = attempt.failure {
        out["state"] = state.into();
        out["code"] = code.into();
    }
    out
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// A route or service as plugins show it: the members that have a value, and the workspace.
pub fn entity<T: Serialize>(cx: &Context, entity: &T) -> Value {
    let mut value = without_nulls(entity);
    if let Value::Object(members) = &mut value {
        members.entry("ws_id").or_insert_with(|| cx.shared.node.workspace_id.to_string().into());
    }
    value
}

fn without_nulls<T: Serialize>(entity: &T) -> Value {
    let mut value = serde_json::to_value(entity).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Sets or removes the member at a path. Objects on the way are made; what is no object is left alone.
fn set(document: &mut Value, path: &str, value: Option<Value>) {
    let mut names = split(path);
    let Some(last) = names.pop() else { return };
    let mut at = document;
    for name in names {
        let Value::Object(members) = at else { return };
        if value.is_none() && !members.contains_key(&name) {
            return;
        }
        at = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    let Value::Object(members) = at else { return };
    match value {
        Some(value) => {
            members.insert(last, value);
        }
        None => {
            members.shift_remove(&last);
        }
    }
}

fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        let is_escaped_dot = c == '\\' && chars.peek() == Some(&'.');
        match names.last_mut() {
            Some(name) if is_escaped_dot => {
                chars.next();
                name.push('.');
            }
            Some(name) if c != '.' => name.push(c),
            _ => names.push(String::new()),
        }
    }
    names
}

#[cfg(test)]
mod tests;
