//! The spans of a request, as Kong names them and what they tell.

use super::Traced;
use super::otlp::{Attribute, Kind, Span, Status, attribute};
use pdk::trace::{Instrumentations, Part, Trace};
use pdk::{Attempt, Context};
use std::time::{Duration, Instant};

/// Nanoseconds after the epoch.
fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// The spans of a request: itself first, then its steps in the order of their ends, then its tries.
pub(super) fn spans(cx: &Context, trace: &Trace, traced: &Traced) -> Vec<Span> {
    let started_at = cx.timing.started_at;
    let wall = |when: Instant| started_at + when.saturating_duration_since(cx.timing.start);
    let end = wall(cx.timing.end.unwrap_or_else(Instant::now));
    let span = |id: u64, parent: Option<u64>, name: String, kind: Kind, start: Duration, end: Duration| Span {
        trace_id: traced.trace.value.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: parent.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
        name,
        kind: kind as i32,
        start_time_unix_nano: nanos(start),
        end_time_unix_nano: nanos(end),
        flags: 1,
        ..Span::default()
    };
    let mut out = Vec::with_capacity(1 + trace.spans.len() + cx.attempts.len());
    let has = |what| trace.tracing.instrumentations.contains(what);
    // Without a span of the request there is none above its steps.
    let root = has(Instrumentations::REQUEST).then_some(traced.root);
    if root.is_some() {
        let root = span(traced.root, traced.parent, "kong".to_owned(), Kind::Server, started_at, end);
        let status = (cx.response.status >= 500).then(Status::error);
        out.push(Span { attributes: request(cx), status, ..root });
    }
    for part in &trace.spans {
        let (name, attributes) = told(cx, part.part);
        let step = span(fastrand::u64(1..), root, name, Kind::Internal, wall(part.start), wall(part.end));
        out.push(Span { attributes, ..step });
    }
    if has(Instrumentations::BALANCER) {
        let answered = cx.timing.upstream_end.map_or(end, wall);
        let ends = cx.attempts.iter().skip(1).map(|next| next.started_at).chain([answered]);
        let last = cx.attempts.len().saturating_sub(1);
        for ((at, attempt), end) in cx.attempts.iter().enumerate().zip(ends) {
            let id = traced.balancer.filter(|_| at == last).unwrap_or_else(|| fastrand::u64(1..));
            let tried_span = span(id, root, "kong.balancer".to_owned(), Kind::Client, attempt.started_at, end);
            let (attributes, status) = tried(trace, at, attempt);
            out.push(Span { attributes, status, ..tried_span });
        }
    }
    out
}

fn request(cx: &Context) -> Vec<Attribute> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = text(&cx.request.host_name());
    let scheme = if cx.client.scheme.is_tls() { "https" } else { "http" };
    let flavor = cx.request.version.protocol().trim_start_matches("HTTP/");
    let mut out = vec![
        attribute("http.method", cx.request.method.as_str()),
        attribute("http.url", format!("{scheme}://{host}{}", text(cx.request.target()))),
        attribute("http.host", host),
        attribute("http.scheme", scheme),
        attribute("http.flavor", flavor),
        attribute("http.client_ip", cx.client.ip.to_string()),
        attribute("net.peer.ip", cx.client.peer.ip().to_string()),
        attribute("kong.request.id", cx.request_id()),
        attribute("http.status_code", i64::from(cx.response.status)),
    ];
    let path = cx.route.as_ref().and_then(|route| route.paths.as_ref()?.first());
    out.extend(path.map(|path| attribute("http.route", path.as_str())));
    out
}

fn told(cx: &Context, part: Part) -> (String, Vec<Attribute>) {
    match part {
        Part::Router => ("kong.router".to_owned(), Vec::new()),
        Part::Dns => {
            let host = cx.upstream.as_ref().map(|upstream| attribute("dns.record.domain", &*upstream.host));
            ("kong.dns".to_owned(), host.into_iter().collect())
        }
        Part::Rewrite(plugin) => (format!("kong.rewrite.plugin.{plugin}"), Vec::new()),
        Part::Access(plugin) => (format!("kong.access.plugin.{plugin}"), Vec::new()),
        Part::HeaderFilter(plugin) => (format!("kong.header_filter.plugin.{plugin}"), Vec::new()),
    }
}

fn tried(trace: &Trace, at: usize, attempt: &Attempt) -> (Vec<Attribute>, Option<Status>) {
    let mut out = vec![
        attribute("try_count", at as i64 + 1),
        attribute("net.peer.ip", attempt.address.ip.to_string()),
        attribute("net.peer.port", i64::from(attempt.address.port)),
    ];
    out.extend(trace.peers.get(at).map(|name| attribute("net.peer.name", &**name)));
    out.extend(attempt.failure.map(|(_, status)| attribute("http.status_code", i64::from(status))));
    (out, attempt.failure.map(|_| Status::error()))
}
