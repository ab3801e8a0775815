//! The response's head on its way to the client: the plugins' header_filter phase, then the gateway's own fields.

use super::request_debug;
use crate::http::h2::is_connection_field;
use crate::snapshot::Chosen;
use crate::worker::Thread;
use entities::{Route, Service};
use pdk::digits::decimal;
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Headers, Phases, Source, Version, is_same_name};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn header_filter(thread: &Thread, cx: &mut Context, chosen: &Chosen<'_>) {
    request_debug::enter(cx, "header_filter");
    if cx.source == Source::Upstream {
        drop_hop_by_hop(cx);
    }
    for built in chosen.iter().filter(|b| b.phases.contains(Phases::HEADER_FILTER)) {
        let mark = cx.mark(Instrumentations::PLUGIN_HEADER_FILTER);
        let started = request_debug::start(cx);
        built.plugin.header_filter(cx);
        request_debug::end_plugin(cx, started, built);
        cx.record(mark, Part::HeaderFilter(built.name));
    }
    add_own(thread, cx);
    add_charset(cx);
    request_debug::tell(cx);
}

/// nginx's `charset UTF-8`, which Kong sets: text without a character set is said to be UTF-8.
fn add_charset(cx: &mut Context) {
    const TYPES: [&[u8]; 6] = [
        b"text/html",
        b"text/plain",
        b"text/xml",
        b"text/vnd.wap.wml",
        b"application/javascript",
        b"application/rss+xml",
    ];
    let headers = &cx.response.headers;
    let Some(value) = headers.get("content-type") else { return };
    if value.is_empty() {
        // nginx does not pass on a type that says nothing.
        cx.response.headers.remove("content-type");
        return;
    }
    // A type with any parameter is left as it is.
    let is_text = TYPES.iter().any(|t| value.eq_ignore_ascii_case(t));
    // nginx leaves redirects out, since old browsers took their character set for the next page's.
    if is_text && !matches!(cx.response.status, 301 | 302) {
        let value = [value, b"; charset=UTF-8"].concat();
        cx.response.headers.set("Content-Type", &value);
    }
}

/// The place of a field among those that a response has once: the first counts.
fn single(name: &[u8]) -> Option<usize> {
    let known: &[(usize, &[u8])] = match name.len() {
        4 => &[(0, b"date"), (1, b"etag")],
        6 => &[(2, b"server")],
        7 => &[(3, b"refresh")],
        8 => &[(4, b"location")],
        12 => &[(5, b"content-type")],
        13 => &[(6, b"last-modified")],
        _ => return None,
    };
    known.iter().find(|(_, known)| is_same_name(name, known)).map(|(at, _)| *at)
}

const SINGLES: usize = 7;

/// Whether a field belongs to the connection. `Proxy-Connection`, which belongs to none, passes as in nginx.
fn is_of_connection(name: &[u8], wants_trailers: bool) -> bool {
    match name.len() {
        7 if is_same_name(name, b"trailer") => !wants_trailers,
        7 | 10 | 17 => is_connection_field(name),
        _ => false,
    }
}

/// Options of `Connection` that name no field, or one that does not depend on it.
const UNNAMED: [&[u8]; 3] = [b"close", b"keep-alive", b"content-length"];

/// What was meant for us alone (RFC 9110, 7.6.1). An upgrade keeps its fields.
fn drop_hop_by_hop(cx: &mut Context) {
    if cx.response.status == 101 {
        return;
    }
    let wants_trailers = cx.request.headers.get("te").is_some();
    let headers = &mut cx.response.headers;
    let named: Vec<Vec<u8>> = headers
        .get_all("connection")
        .flat_map(|v| v.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty() && !UNNAMED.iter().any(|known| is_same_name(option, known)))
        .map(<[u8]>::to_vec)
        .collect();
    let mut seen = [false; SINGLES];
    let mut is_dropped = |name: &[u8]| {
        single(name).is_some_and(|at| std::mem::replace(&mut seen[at], true))
            || is_of_connection(name, wants_trailers)
            || named.iter().any(|n| is_same_name(name, n))
    };
    let mut places: SmallVec<[usize; 4]> = SmallVec::new();
    for (place, (name, _)) in headers.iter().enumerate() {
        if is_dropped(name) {
            places.push(place);
        }
    }
    headers.remove_at(&places);
}

fn set_number(headers: &mut Headers, name: &str, value: u64) {
    headers.set(name, decimal(value, &mut [0; 20]));
}

/// `Server`, `Via`, latencies, request id (router.md, 8).
fn add_own(thread: &Thread, cx: &mut Context) {
    let settings = &thread.proxy.settings;
    let tokens = settings.tokens;
    let was_proxied = match cx.source {
        Source::Upstream | Source::Error => !cx.attempts.is_empty(),
        Source::Cache => true,
        Source::Exit => false,
    };
    if was_proxied {
        if tokens.upstream_latency && cx.source != Source::Cache {
            // Where there is no answer, it is the time that was waited for one.
            let waited = cx.timing.access_end.map_or(0, |sent| sent.elapsed().as_millis() as u64);
            let ms = cx.timing.upstream_ms().unwrap_or(waited);
            set_number(&mut cx.response.headers, "X-Kong-Upstream-Latency", ms);
        }
        if tokens.proxy_latency {
            set_number(&mut cx.response.headers, "X-Kong-Proxy-Latency", cx.timing.proxy_ms());
        }
        if tokens.upstream_status && !cx.upstream_statuses.is_empty() {
            let all: Vec<String> = cx.upstream_statuses.iter().map(u16::to_string).collect();
            cx.response.headers.set("X-Kong-Upstream-Status", all.join(", ").as_bytes());
        }
        if tokens.via {
            let is_grpc = || cx.upstream.as_ref().is_some_and(|u| u.scheme.is_grpc());
            let is_http2 = cx.upstream_version.map_or_else(is_grpc, |version| version == Version::Http2);
            let own = settings.via[usize::from(is_http2)].as_bytes();
            match cx.response.headers.joined("via") {
                Some(before) => cx.response.headers.set("Via", &[&before, &b", "[..], own].concat()),
                None => cx.response.headers.append("Via", own),
            }
        }
        if tokens.server && !cx.response.headers.contains("server") {
            cx.response.headers.append("Server", settings.server.as_bytes());
        }
    } else {
        if tokens.response_latency {
            let ms = cx.timing.elapsed_ms(Instant::now());
            set_number(&mut cx.response.headers, "X-Kong-Response-Latency", ms);
        }
        if tokens.server {
            cx.response.headers.set("Server", settings.server.as_bytes());
        } else {
            cx.response.headers.remove("Server");
        }
    }
    if tokens.request_id {
        let id = *cx.request_id_bytes();
        cx.response.headers.set("X-Kong-Request-Id", &id);
    }
    if settings.debug_header && cx.request.headers.contains("kong-debug") {
        debug_headers(&mut cx.response.headers, cx.route, cx.service);
    }
}

/// `Kong-Route-*` and `Kong-Service-*`, for who asks with `Kong-Debug` where that is allowed.
pub(crate) fn debug_headers(headers: &mut Headers, route: Option<&Arc<Route>>, service: Option<&Arc<Service>>) {
    if let Some(route) = route {
        headers.set("Kong-Route-Id", route.id.to_string().as_bytes());
        if let Some(name) = &route.name {
            headers.set("Kong-Route-Name", name.as_bytes());
        }
    }
    if let Some(service) = service {
        headers.set("Kong-Service-Id", service.id.to_string().as_bytes());
        if let Some(name) = &service.name {
            headers.set("Kong-Service-Name", name.as_bytes());
        }
    }
}
