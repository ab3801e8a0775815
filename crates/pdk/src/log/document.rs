//! The log document, written member by member: a request pays for its text and for nothing in between.

use super::writer::Writer;
use super::{CONSUMERS, ROUTES, SERVICES, entity, kong_latency, receive_time, shown, upstream_latency, without_nulls};
use crate::args::Args;
use crate::swift::is_same_name;
use crate::{Attempt, Context, Headers, Method, Node, Response, Source, Version};
use indexmap::IndexMap;
use std::borrow::Cow;
use std::time::Duration;

/// What a document has at its top, at most.
pub(super) const MEMBERS: [&str; 15] = [
    "request",
    "upstream_uri",
    "upstream_status",
    "response",
    "latencies",
    "tries",
    "authenticated_entity",
    "route",
    "service",
    "consumer",
    "client_ip",
    "started_at",
    "source",
    "workspace",
    "workspace_name",
];

pub(super) fn write(cx: &Context, out: &mut Writer) {
    request(cx, out);
    out.raw(",\"upstream_uri\":\"");
    upstream_uri(cx, out);
    out.raw("\",\"upstream_status\":\"");
    upstream_status(cx, out);
    out.raw("\",\"response\":{\"status\":");
    out.number(cx.response.status.into());
    out.raw(",\"headers\":{");
    headers(&cx.response.headers, false, out);
    connection(cx, out);
    out.raw("},\"size\":");
    out.number(cx.sent);
    out.raw("},\"latencies\":{\"kong\":");
    out.number(kong_latency(cx));
    out.raw(",\"proxy\":");
    match upstream_latency(cx) {
        Some(latency) => out.number(latency),
        None => out.raw("-1"),
    }
    out.raw(",\"request\":");
    out.number(cx.timing.total_ms());
    out.raw(",\"receive\":");
    out.number(receive_time(cx));
    out.raw("}");
    if cx.route.is_some() {
        out.raw(",\"tries\":[");
        for (at, attempt) in cx.attempts.iter().enumerate() {
            out.comma(at > 0);
            try_(attempt, out);
        }
        out.raw("]");
    }
    entities(cx, out);
    out.raw(",\"client_ip\":");
    out.address(cx.client.ip);
    out.raw(",\"started_at\":");
    out.number(millis(cx.timing.started_at));
    out.raw(",\"source\":");
    out.raw(if cx.source == Source::Upstream { "\"upstream\"" } else { "\"kong\"" });
    out.raw(",\"workspace\":");
    let mut id = uuid::Uuid::encode_buffer();
    out.text(cx.shared.node.workspace_id.hyphenated().encode_lower(&mut id).as_bytes());
    out.raw(",\"workspace_name\":");
    out.text(Node::WORKSPACE.as_bytes());
    out.raw("}");
}

fn request(cx: &Context, out: &mut Writer) {
    let request = &cx.request;
    out.raw("{\"request\":{\"id\":");
    out.text(cx.request_id().as_bytes());
    out.raw(if cx.client.scheme.is_tls() { ",\"url\":\"https://" } else { ",\"url\":\"http://" });
    out.part(&request.host_name());
    out.raw(":");
    out.number(cx.client.public_port.into());
    out.part(request.target());
    out.raw("\",\"uri\":");
    out.text(request.target());
    out.raw(",\"querystring\":{");
    querystring(cx, out);
    out.raw("},\"method\":");
    out.text(cx.upstream_method().as_str().as_bytes());
    out.raw(",\"headers\":{");
    match without_hop_by_hop(cx) {
        Some(left) => headers(&left, true, out),
        None => headers(&request.headers, true, out),
    }
    out.raw("},\"size\":");
    out.number(cx.received);
    if let Some(tls) = &cx.client.tls {
        out.raw(",\"tls\":{\"version\":");
        out.text(tls.version.as_bytes());
        out.raw(",\"cipher\":");
        out.text(tls.cipher.as_bytes());
        out.raw(",\"client_verify\":");
        out.raw(match (tls.client_certificates.is_empty(), cx.is_certificate_verified) {
            (true, _) => "\"NONE\"}",
            (false, true) => "\"SUCCESS\"}",
            (false, false) => "\"FAILED:unverified\"}",
        });
    }
    out.raw("}");
}

/// What is left of the fields of a request that went on: those of its connection are gone by then. `None` where all are left.
fn without_hop_by_hop(cx: &Context) -> Option<Headers> {
    let headers = &cx.request.headers;
    let only =
        |value: &[u8]| [&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|it| value.eq_ignore_ascii_case(it));
    // Kong reads one line of it.
    let named = headers.get("connection").filter(|value| !only(value));
    let proxys = ["proxy", "proxy-connection"];
    if cx.attempts.is_empty() || named.is_none() && !proxys.iter().any(|name| headers.contains(name)) {
        return None;
    }
    let is_upgraded = headers.get("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    let mut left = headers.clone();
    left.retain(|name, _| {
        let is = |other: &[u8]| is_same_name(name, other.trim_ascii());
        let is_named = named.is_some_and(|named| named.split(|byte| *byte == b',').any(is));
        let stays = is(b"upgrade") && is_upgraded;
        !(is_named && !stays || proxys.iter().any(|proxy| is(proxy.as_bytes())))
    });
    Some(left)
}

/// Writes the values of one name: one as itself, several as an array.
fn values<T>(first: T, others: impl Iterator<Item = T>, out: &mut Writer, write: impl Fn(T, &mut Writer)) {
    let mut others = others.peekable();
    if others.peek().is_none() {
        return write(first, out);
    }
    out.raw("[");
    write(first, out);
    for other in others {
        out.raw(",");
        write(other, out);
    }
    out.raw("]");
}

/// Arguments by their names, in the order in which they first come.
fn querystring(cx: &Context, out: &mut Writer) {
    let Some(query) = cx.upstream_query().filter(|query| !query.is_empty()) else { return };
    let args = Args::parse(query);
    let mut lists: IndexMap<Cow<'_, str>, Vec<Option<&[u8]>>, ahash::RandomState> = IndexMap::default();
    for (name, value) in args.iter() {
        lists.entry(String::from_utf8_lossy(name)).or_default().push(value);
    }
    for (at, (name, list)) in lists.iter().enumerate() {
        out.comma(at > 0);
        out.text(name.as_bytes());
        out.raw(":");
        let mut list = list.iter();
        let Some(first) = list.next() else { continue };
        values(first, list, out, |value, out| match value {
            Some(value) => out.text(value),
            // An argument without a value.
            None => out.raw("true"),
        });
    }
}

/// With more fields, those of one name are found by a map.
const FEW: usize = 64;

/// One of 256 places: names that are the same have the same one, others mostly not.
fn place(name: &[u8]) -> usize {
    // Names differ most at their ends.
    let end = match name.last_chunk() {
        Some(end) => u64::from_ne_bytes(*end),
        None => name.iter().fold(0, |all, byte| (all << 8) | u64::from(*byte)),
    };
    // The same for letters of either size.
    let hash = ((end & 0xdfdf_dfdf_dfdf_dfdf) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 56) as usize
}

/// Places, a bit each.
type Places = [u64; 4];

fn is_in(places: &Places, place: usize) -> bool {
    places[place / 64] >> (place % 64) & 1 != 0
}

/// Fields by their names in small letters, in the order in which they first come.
fn headers(headers: &Headers, is_request: bool, out: &mut Writer) {
    if headers.len() > FEW {
        return many_headers(headers, is_request, out);
    }
    let (mut once, mut twice, mut repeats) = (Places::default(), Places::default(), false);
    for (name, _) in headers.iter() {
        let place = place(name);
        if is_in(&once, place) {
            twice[place / 64] |= 1 << (place % 64);
            repeats = true;
        }
        once[place / 64] |= 1 << (place % 64);
    }
    let mut is_first = true;
    for (at, (name, value)) in headers.iter().enumerate() {
        let may_repeat = repeats && is_in(&twice, place(name));
        if may_repeat && headers.iter().take(at).any(|(earlier, _)| is_same_name(earlier, name)) {
            continue;
        }
        out.comma(!is_first);
        is_first = false;
        if !may_repeat {
            field(name, value, std::iter::empty(), is_request, out);
            continue;
        }
        let others = headers.iter().skip(at + 1).filter(|(other, _)| is_same_name(other, name));
        field(name, value, others.map(|(_, value)| value), is_request, out);
    }
}

fn many_headers(headers: &Headers, is_request: bool, out: &mut Writer) {
    let mut lists: IndexMap<Vec<u8>, Vec<&[u8]>, ahash::RandomState> = IndexMap::default();
    for (name, value) in headers.iter() {
        lists.entry(name.to_ascii_lowercase()).or_default().push(value);
    }
    for (at, (name, list)) in lists.iter().enumerate() {
        out.comma(at > 0);
        let mut list = list.iter().copied();
        let Some(first) = list.next() else { continue };
        field(name, first, list, is_request, out);
    }
}

fn field<'a>(name: &[u8], first: &'a [u8], others: impl Iterator<Item = &'a [u8]>, is_request: bool, out: &mut Writer) {
    let secrets: [&[u8]; 2] = [b"authorization", b"proxy-authorization"];
    let is_secret = is_request && secrets.iter().any(|secret| is_same_name(secret, name));
    out.name(name);
    values(first, others, out, |value, out| if is_secret { out.raw("\"REDACTED\"") } else { out.text(value) });
}

/// The response's fields are told as sent. Those of the connection are the HTTP engine's, so they are told where it tells
/// nothing.
fn connection(cx: &Context, out: &mut Writer) {
    if cx.request.version >= Version::Http2 || cx.response.headers.contains("connection") {
        return;
    }
    let asked = cx.request.headers.get("connection").unwrap_or_default();
    let says = |token: &[u8]| asked.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token));
    let is_kept = if cx.request.version == Version::Http10 { says(b"keep-alive") } else { !says(b"close") };
    out.raw(if cx.response.headers.is_empty() { "\"connection\":" } else { ",\"connection\":" });
    out.raw(if is_kept { "\"keep-alive\"" } else { "\"close\"" });
    let has_body = cx.request.method != Method::Head && Response::may_have_body(cx.response.status);
    if has_body && cx.request.version == Version::Http11 && !cx.response.headers.contains("content-length") {
        out.raw(",\"transfer-encoding\":\"chunked\"");
    }
}

fn upstream_uri(cx: &Context, out: &mut Writer) {
    let (path, query) = match &cx.upstream {
        Some(upstream) => (upstream.path.as_slice(), cx.upstream_query()),
        None if cx.route.is_some() => (cx.request.path(), cx.request.query()),
        None => (&[][..], None),
    };
    out.part(path);
    // An empty one counts where the client sent it.
    if let Some(query) = query.filter(|query| !query.is_empty() || cx.request.query() == Some(b"")) {
        out.raw("?");
        out.part(query);
    }
}

/// The status of each try: of a failed one the status it was given up with.
fn upstream_status(cx: &Context, out: &mut Writer) {
    let answered = |at: usize| cx.upstream_statuses.get(at).or(cx.upstream_statuses.last()).copied();
    let statuses = cx.attempts.iter().enumerate().filter_map(|(at, a)| a.failure.map(|f| f.1).or_else(|| answered(at)));
    for (at, status) in statuses.enumerate() {
        if at > 0 {
            out.raw(", ");
        }
        out.number(status.into());
    }
}

fn try_(attempt: &Attempt, out: &mut Writer) {
    out.raw("{\"balancer_start\":");
    out.number(millis(attempt.started_at));
    out.raw(",\"balancer_start_ns\":");
    out.number(attempt.started_at.as_nanos() as u64);
    out.raw(",\"ip\":");
    out.address(attempt.address.ip);
    out.raw(",\"port\":");
    out.number(attempt.address.port.into());
    out.raw(",\"balancer_latency\":");
    out.number(millis(attempt.balancer_latency));
    out.raw(",\"balancer_latency_ns\":");
    out.number(attempt.balancer_latency.as_nanos() as u64);
    if let Some((state, code)) = attempt.failure {
        out.raw(",\"state\":");
        out.text(state.as_bytes());
        out.raw(",\"code\":");
        out.number(code.into());
    }
    out.raw("}");
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// What the request had to do with.
fn entities(cx: &Context, out: &mut Writer) {
    if let Some(known) = &cx.credential {
        out.raw(",\"authenticated_entity\":{\"id\":");
        out.text(known.id.as_bytes());
        out.raw("}");
    }
    if let Some(route) = cx.route {
        out.raw(",\"route\":");
        out.raw(&shown(&ROUTES, route, |route| entity(cx, route)));
    }
    if let Some(service) = cx.service {
        out.raw(",\"service\":");
        out.raw(&shown(&SERVICES, service, |service| entity(cx, service)));
    }
    if let Some(consumer) = &cx.consumer {
        out.raw(",\"consumer\":");
        out.raw(&shown(&CONSUMERS, consumer, without_nulls));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(h: &Headers, is_request: bool) -> Value {
        let mut out = Writer::on(b"{".to_vec());
        headers(h, is_request, &mut out);
        out.raw("}");
        serde_json::from_slice(&out.into_bytes()).unwrap()
    }

    #[test]
    fn repeated_values_become_arrays() {
        let mut h = Headers::new();
        for (n, v) in [("X-A", "1"), ("X-B", "\""), ("x-a", "2"), ("Authorization", "secret")] {
            h.append(n, v.as_bytes());
        }
        assert_eq!(written(&h, true), json!({ "x-a": ["1", "2"], "x-b": "\"", "authorization": "REDACTED" }));
        assert_eq!(written(&h, false)["authorization"], "secret");
        for n in 0..FEW {
            h.append(&format!("N-{n}"), b"v");
        }
        h.append("x-B", b"3");
        assert_eq!(written(&h, true).as_object().unwrap().len(), FEW + 3);
        assert_eq!(written(&h, true)["x-b"], json!(["\"", "3"]));
        assert_eq!(written(&h, true)["x-a"], json!(["1", "2"]));
        assert_eq!(written(&h, true)["authorization"], "REDACTED");
    }
}
