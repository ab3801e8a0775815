//! The spans of a request, as Kong names them and what they tell.

use super::Traced;
use super::otlp::Kind;
use super::proto::{Message, Value, field_length};
use pdk::digits::{LONGEST, address};
use pdk::trace::{Instrumentations, Part, Trace};
use pdk::{Attempt, Context};
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The field of a `Span` that holds its attributes.
const ATTRIBUTES: u64 = 9;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// Encoded spans, one behind another.
#[derive(Default)]
pub(super) struct Spans {
    bytes: Message,
    ends: Vec<usize>,
}

/// What all spans have.
struct Span<'a> {
    id: u64,
    parent: Option<u64>,
    /// Its name in two pieces.
    name: [&'a str; 2],
    kind: Kind,
    start: Duration,
    end: Duration,
    is_error: bool,
}

impl Spans {
    /// Forgets all, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.0.clear();
        self.ends.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.0.get(start..*end))
    }

    fn push(&mut self, trace: u128, span: &Span<'_>, attributes: impl FnOnce(&mut Message)) {
        let out = &mut self.bytes;
        let nanos = |time: Duration| time.as_nanos() as u64;
        out.bytes(1, &trace.to_be_bytes());
        out.bytes(2, &span.id.to_be_bytes());
        if let Some(parent) = span.parent {
            out.bytes(4, &parent.to_be_bytes());
        }
        out.open(5, span.name.iter().map(|piece| piece.len()).sum());
        span.name.iter().for_each(|piece| out.0.extend_from_slice(piece.as_bytes()));
        out.number(6, span.kind as u64);
        out.fixed64(7, nanos(span.start));
        out.fixed64(8, nanos(span.end));
        attributes(out);
        if span.is_error {
            // A `Status` without a message.
            out.open(15, 2);
            out.number(3, ERROR);
        }
        // The flags of `traceparent`, as the W3C numbers them: sampled.
        out.fixed32(16, 1);
        self.ends.push(self.bytes.0.len());
    }
}

/// Adds the spans of a request: itself first, then its steps in the order of their ends, then its tries.
pub(super) fn spans(cx: &Context, trace: &Trace, traced: &Traced, out: &mut Spans) {
    let started_at = cx.timing.started_at;
    let wall = |when: Instant| started_at + when.saturating_duration_since(cx.timing.start);
    let end = wall(cx.timing.end.unwrap_or_else(Instant::now));
    let has = |what| trace.tracing.instrumentations.contains(what);
    let id = traced.trace.value;
    // Without a span of the request there is none above its steps.
    let root = has(Instrumentations::REQUEST).then_some(traced.root);
    if root.is_some() {
        let span = Span {
            id: traced.root,
            parent: traced.parent,
            name: ["kong", ""],
            kind: Kind::Server,
            start: started_at,
            end,
            is_error: cx.response.status >= 500,
        };
        out.push(id, &span, |out| request(cx, out));
    }
    // A name is resolved for each try; one that came to nothing is the last.
    let mut resolved = cx.attempts.iter().map(|attempt| attempt.address.ip);
    for part in &trace.spans {
        let is_dns = part.part == Part::Dns;
        let answer = if is_dns { resolved.next() } else { None };
        let span = Span {
            id: fastrand::u64(1..),
            parent: root,
            name: name(part.part),
            kind: if is_dns { Kind::Client } else { Kind::Internal },
            start: wall(part.start),
            end: wall(part.end),
            is_error: is_dns && answer.is_none(),
        };
        let question = cx.upstream.as_ref().filter(|_| is_dns);
        out.push(id, &span, |out| {
            if let Some(upstream) = question {
                text(out, "dns.record.domain", upstream.host.as_bytes());
                number(out, "dns.record.port", upstream.port.into());
            }
            if let Some(address) = answer {
                ip(out, "dns.record.ip", address);
            }
        });
    }
    if has(Instrumentations::BALANCER) {
        let answered = cx.timing.upstream_end.map_or(end, wall);
        let ends = cx.attempts.iter().skip(1).map(|next| next.started_at).chain([answered]);
        let last = cx.attempts.len().saturating_sub(1);
        for ((at, attempt), end) in cx.attempts.iter().enumerate().zip(ends) {
            let span = Span {
                id: traced.balancer.filter(|_| at == last).unwrap_or_else(|| fastrand::u64(1..)),
                parent: root,
                name: ["kong.balancer", ""],
                kind: Kind::Client,
                start: attempt.started_at,
                end,
                is_error: attempt.failure.is_some(),
            };
            out.push(id, &span, |out| tried(trace, at, attempt, out));
        }
    }
}

fn text(out: &mut Message, key: &str, value: &[u8]) {
    out.attribute(ATTRIBUTES, key, Value::Text(&[value]));
}

fn number(out: &mut Message, key: &str, value: u64) {
    out.attribute(ATTRIBUTES, key, Value::Number(value));
}

fn ip(out: &mut Message, key: &str, ip: IpAddr) {
    text(out, key, address(ip, &mut [0; LONGEST]));
}

/// Protobuf's texts are UTF-8.
fn utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(_) => bytes.into(),
        Cow::Owned(mended) => mended.into_bytes().into(),
    }
}

fn request(cx: &Context, out: &mut Message) {
    let host_name = cx.request.host_name();
    let (host, target) = (utf8(&host_name), utf8(cx.request.target()));
    let scheme: &[u8] = if cx.client.scheme.is_tls() { b"https" } else { b"http" };
    let flavor = cx.request.version.protocol().trim_start_matches("HTTP/");
    text(out, "http.method", cx.request.method.as_str().as_bytes());
    out.attribute(ATTRIBUTES, "http.url", Value::Text(&[scheme, b"://", &host, &target]));
    text(out, "http.host", &host);
    text(out, "http.scheme", scheme);
    text(out, "http.flavor", flavor.as_bytes());
    ip(out, "http.client_ip", cx.client.ip);
    ip(out, "net.peer.ip", cx.client.peer.ip());
    text(out, "kong.request.id", cx.request_id_bytes());
    number(out, "http.status_code", cx.response.status.into());
    if let Some(path) = cx.route.and_then(|route| route.paths.as_ref()?.first()) {
        text(out, "http.route", path.as_bytes());
    }
}

fn name(part: Part) -> [&'static str; 2] {
    match part {
        Part::Router => ["kong.router", ""],
        Part::Dns => ["kong.dns", ""],
        Part::Rewrite(plugin) => ["kong.rewrite.plugin.", plugin],
        Part::Access(plugin) => ["kong.access.plugin.", plugin],
        Part::HeaderFilter(plugin) => ["kong.header_filter.plugin.", plugin],
    }
}

fn tried(trace: &Trace, at: usize, attempt: &Attempt, out: &mut Message) {
    number(out, "try_count", at as u64 + 1);
    ip(out, "net.peer.ip", attempt.address.ip);
    number(out, "net.peer.port", attempt.address.port.into());
    if let Some(name) = trace.peers.get(at) {
        text(out, "net.peer.name", name.as_bytes());
    }
    if let Some((_, status)) = attempt.failure {
        number(out, "http.status_code", status.into());
    }
}

/// An `ExportTraceServiceRequest`, or the same of other items: encoded resource and scope, and encoded items.
pub(super) fn export<'a>(resource: &[u8], scope: &[u8], items: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let of_items: usize = items.clone().map(|item| field_length(item.len())).sum();
    let of_scope = field_length(scope.len()) + of_items;
    let of_resource = field_length(resource.len()) + field_length(of_scope);
    let mut out = Message(Vec::with_capacity(field_length(of_resource)));
    out.open(1, of_resource);
    out.bytes(1, resource);
    out.open(2, of_scope);
    out.bytes(1, scope);
    items.for_each(|item| out.bytes(2, item));
    out.0
}
