//! The log document: what every logging plugin writes (`kong.log.serialize`), built on demand in the log phase.

use crate::args::Args;
use crate::{Attempt, Context, Headers, Node, Source, Version, host_without_port};
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread::LocalKey;
use std::time::Duration;
use uuid::Uuid;

/// A member that a plugin adds to the log document (`kong.log.set_serialize_value`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogField {
    /// A path of names joined by dots; a backslash before a dot makes it part of the name.
    pub path: Cow<'static, str>,
    /// `None` takes the member out.
    pub value: Option<Value>,
}

/// The text of a request's document, once a plugin has asked for it.
struct Text(Rc<str>);

/// The log document of a request, as JSON; all plugins of one request share it.
pub fn text(cx: &mut Context) -> Rc<str> {
    if let Some(Text(known)) = cx.data.get::<Text>() {
        return known.clone();
    }
    let text: Rc<str> = written(cx).unwrap_or_default().into();
    cx.data.set(Text(text.clone()));
    text
}

/// A document has no keys but texts, so that it can always be written.
fn written(cx: &Context) -> Result<String, serde_json::Error> {
    let document = Document::of(cx);
    if cx.log_fields.is_empty() {
        return serde_json::to_string(&document);
    }
    let mut document = serde_json::to_value(&document)?;
    for field in &cx.log_fields {
        set(&mut document, &field.path, field.value.clone());
    }
    serde_json::to_string(&document)
}

/// The log document of a request, for those who send another one.
pub fn document(cx: &mut Context) -> Value {
    serde_json::from_str(&text(cx)).unwrap_or_default()
}

#[derive(serde::Serialize)]
struct Document<'a> {
    request: Request<'a>,
    upstream_uri: String,
    upstream_status: String,
    response: Response<'a>,
    latencies: Latencies,
    tries: Vec<Try>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated_entity: Option<AuthenticatedEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Rc<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Rc<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<Value>,
    client_ip: IpAddr,
    started_at: u64,
    source: &'static str,
    workspace: Uuid,
    workspace_name: &'static str,
}

impl<'a> Document<'a> {
    fn of(cx: &'a Context) -> Self {
        Self {
            request: Request::of(cx),
            upstream_uri: upstream_uri(cx),
            upstream_status: upstream_status(cx),
            response: Response { status: cx.response.status, headers: response_headers(cx), size: cx.sent },
            latencies: Latencies::of(cx),
            tries: cx.attempts.iter().map(Try::of).collect(),
            authenticated_entity: cx.credential.as_ref().map(|known| AuthenticatedEntity { id: &known.id }),
            route: cx.route.as_ref().and_then(|route| shown(&ROUTES, cx, route)),
            service: cx.service.as_ref().and_then(|service| shown(&SERVICES, cx, service)),
            consumer: cx.consumer.as_deref().map(without_nulls),
            client_ip: cx.client.ip,
            started_at: millis(cx.timing.started_at()),
            source: if cx.source == Source::Upstream { "upstream" } else { "kong" },
            workspace: cx.shared.node.workspace_id,
            workspace_name: Node::WORKSPACE,
        }
    }
}

#[derive(serde::Serialize)]
struct Request<'a> {
    id: &'a str,
    url: String,
    uri: Cow<'a, str>,
    querystring: Lists<'static>,
    method: &'a str,
    headers: Lists<'a>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
}

#[derive(serde::Serialize)]
struct Tls<'a> {
    version: &'a str,
    cipher: &'a str,
    client_verify: &'static str,
}

impl<'a> Request<'a> {
    fn of(cx: &'a Context) -> Self {
        let request = &cx.request;
        let uri = String::from_utf8_lossy(request.target());
        let host = String::from_utf8_lossy(host_without_port(request.host())).to_ascii_lowercase();
        let scheme = if cx.client.scheme.is_tls() { "https" } else { "http" };
        let tls = cx.client.tls.as_ref().map(|tls| Tls {
            version: tls.version,
            cipher: &tls.cipher,
            client_verify: if tls.client_certificates.is_empty() { "NONE" } else { "FAILED:unverified" },
        });
        Self {
            id: cx.request_id(),
            url: format!("{scheme}://{host}:{}{uri}", cx.client.public_port),
            uri,
            querystring: querystring(cx),
            method: request.method.as_str(),
            headers: headers(&request.headers, true),
            size: cx.received,
            tls,
        }
    }
}

#[derive(serde::Serialize)]
struct Response<'a> {
    status: u16,
    headers: Lists<'a>,
    size: u64,
}

#[derive(serde::Serialize)]
struct AuthenticatedEntity<'a> {
    id: &'a str,
}

/// Names and their values: one is shown as itself, several as an array.
#[derive(Default)]
struct Lists<'a>(IndexMap<Cow<'a, str>, SmallVec<[Item<'a>; 1]>, ahash::RandomState>);

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Text(Cow<'a, str>),
    /// An argument without a value.
    Bare(bool),
}

impl<'a> Lists<'a> {
    fn add(&mut self, name: Cow<'a, str>, item: Item<'a>) {
        self.0.entry(name).or_default().push(item);
    }
}

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.0.len()))?;
        for (name, items) in &self.0 {
            match items.as_slice() {
                [one] => out.serialize_entry(name, one)?,
                several => out.serialize_entry(name, several)?,
            }
        }
        out.end()
    }
}

fn querystring(cx: &Context) -> Lists<'static> {
    let owned = |bytes| Cow::Owned(String::from_utf8_lossy(bytes).into_owned());
    let mut out = Lists::default();
    for (name, value) in Args::parse(cx.request.query().unwrap_or_default()).iter() {
        out.add(owned(name), value.map_or(Item::Bare(true), |value| Item::Text(owned(value))));
    }
    out
}

fn headers(headers: &Headers, is_request: bool) -> Lists<'_> {
    let mut out = Lists::default();
    for (name, value) in headers.iter() {
        let name = match String::from_utf8_lossy(name) {
            name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(name.to_ascii_lowercase()),
            name => name,
        };
        let is_secret = is_request && matches!(&*name, "authorization" | "proxy-authorization");
        let value = if is_secret { "REDACTED".into() } else { String::from_utf8_lossy(value) };
        out.add(name, Item::Text(value));
    }
    out
}

/// The response's fields as sent. Those of the connection are the HTTP engine's, so they are told where it tells nothing.
fn response_headers(cx: &Context) -> Lists<'_> {
    let mut out = headers(&cx.response.headers, false);
    if cx.request.version < Version::Http2 && !out.0.contains_key("connection") {
        let asked = cx.request.headers.get("connection").unwrap_or_default().to_ascii_lowercase();
        let says = |token: &[u8]| asked.split(|b| *b == b',').any(|t| t.trim_ascii() == token);
        let is_kept = if cx.request.version == Version::Http10 { says(b"keep-alive") } else { !says(b"close") };
        out.add("connection".into(), Item::Text(if is_kept { "keep-alive" } else { "close" }.into()));
    }
    out
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

#[derive(serde::Serialize)]
struct Latencies {
    kong: u64,
    proxy: i64,
    request: u64,
    receive: u64,
}

impl Latencies {
    fn of(cx: &Context) -> Self {
        Self {
            kong: kong_latency(cx),
            proxy: upstream_latency(cx).map_or(-1, u64::cast_signed),
            request: cx.timing.total_ms(),
            receive: receive_time(cx),
        }
    }
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

#[derive(serde::Serialize)]
struct Try {
    balancer_start: u64,
    balancer_start_ns: u64,
    ip: IpAddr,
    port: u16,
    balancer_latency: u64,
    balancer_latency_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl Try {
    fn of(attempt: &Attempt) -> Self {
        Self {
            balancer_start: millis(attempt.started_at),
            balancer_start_ns: attempt.started_at.as_nanos() as u64,
            ip: attempt.address.ip,
            port: attempt.address.port,
            balancer_latency: millis(attempt.balancer_latency),
            balancer_latency_ns: attempt.balancer_latency.as_nanos() as u64,
            state: attempt.failure.map(|(state, _)| state),
            code: attempt.failure.map(|(_, code)| code),
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Entities that documents have shown, and their texts. An entity that is gone leaves its place in memory here, so that no
/// other one can have its address.
type Shown<T> = RefCell<HashMap<*const T, (Weak<T>, Rc<RawValue>), ahash::RandomState>>;

/// How many a thread remembers of a kind.
const MOST_SHOWN: usize = 4096;

thread_local! {
    static ROUTES: Shown<entities::Route> = RefCell::default();
    static SERVICES: Shown<entities::Service> = RefCell::default();
}

/// An entity's text, which is the same in all documents.
fn shown<T: Serialize>(all: &'static LocalKey<Shown<T>>, cx: &Context, which: &Arc<T>) -> Option<Rc<RawValue>> {
    all.with_borrow_mut(|all| {
        if let Some((_, text)) = all.get(&Arc::as_ptr(which)) {
            return Some(text.clone());
        }
        let text: Rc<RawValue> = serde_json::value::to_raw_value(&entity(cx, &**which)).ok()?.into();
        if all.len() >= MOST_SHOWN {
            all.clear();
        }
        all.insert(Arc::as_ptr(which), (Arc::downgrade(which), text.clone()));
        Some(text)
    })
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
