//! The spans of a request as Zipkin takes them (v2 JSON).

use super::{Config, Traced};
use pdk::Context;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Microseconds after the epoch.
fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// When something happened after the epoch, by how long after the request's start.
struct Wall {
    start: Instant,
    started_at: Duration,
}

impl Wall {
    fn at(&self, when: Instant) -> Duration {
        self.started_at + when.saturating_duration_since(self.start)
    }
}

struct Phase {
    /// The letter in names of annotations.
    letter: char,
    name: &'static str,
    times: Option<(Duration, Duration)>,
}

/// The spans of a request: its tries, the proxying, and the request itself.
pub(super) fn spans(config: &Config, cx: &Context, traced: &Traced) -> Vec<Vec<u8>> {
    let wall = Wall { start: cx.timing.start, started_at: cx.timing.started_at };
    let end = wall.at(cx.timing.end.unwrap_or_else(Instant::now));
    let mut out = tries(config, cx, traced, &wall, end);
    out.push(proxy(config, cx, traced, &wall, end));
    out.push(request(config, cx, traced, &wall, end));
    out.iter().map(|span| span.to_string().into_bytes()).collect()
}

fn span(
    config: &Config,
    traced: &Traced,
    name: String,
    id: u64,
    (start, end): (Duration, Duration),
) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("traceId".into(), format!("{:0digits$x}", traced.trace.value, digits = traced.digits).into());
    out.insert("id".into(), format!("{id:016x}").into());
    out.insert("name".into(), name.into());
    out.insert("timestamp".into(), micros(start).into());
    // To Zipkin no duration is an unknown one.
    out.insert("duration".into(), micros(end.saturating_sub(start)).max(1).into());
    out.insert("localEndpoint".into(), json!({ "serviceName": config.local_service_name }));
    out
}

/// The name of the request's span, with which those of the others begin.
fn name(config: &Config, cx: &Context) -> String {
    let method = cx.request.method.as_str();
    match config.http_span_name.as_str() {
        "method_path" => format!("{method} {}", String::from_utf8_lossy(cx.request.path())),
        _ => method.to_owned(),
    }
}

fn endpoint(service: Option<&str>, ip: Option<IpAddr>, port: Option<u16>) -> Option<Value> {
    let mut out = Map::new();
    if let Some(service) = service {
        out.insert("serviceName".into(), service.into());
    }
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => out.insert("ipv4".into(), ip.to_string().into()),
        Some(IpAddr::V6(ip)) => out.insert("ipv6".into(), ip.to_string().into()),
        None => None,
    };
    if let Some(port) = port {
        out.insert("port".into(), port.into());
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

fn service_name<'a>(config: &'a Config, cx: &'a Context) -> Option<&'a str> {
    let own = cx.service.and_then(|service| service.name.as_deref());
    own.or(config.default_service_name.as_deref())
}

/// The tags that say which service and route a span is of.
fn entity_tags(cx: &Context) -> Map<String, Value> {
    let mut tags = Map::new();
    if let Some(service) = cx.service {
        tags.insert("kong.service".into(), service.id.to_string().into());
        if let Some(name) = &service.name {
            tags.insert("kong.service_name".into(), name.as_str().into());
        }
    }
    if let Some(route) = cx.route {
        tags.insert("kong.route".into(), route.id.to_string().into());
        if let Some(name) = &route.name {
            tags.insert("kong.route_name".into(), (&**name).into());
        }
    }
    tags
}

fn tries(config: &Config, cx: &Context, traced: &Traced, wall: &Wall, end: Duration) -> Vec<Value> {
    let last = cx.attempts.len().saturating_sub(1);
    let answered = cx.timing.upstream_head.map_or(end, |head| wall.at(head));
    let ends = cx.attempts.iter().skip(1).map(|next| next.started_at).chain([answered]);
    let each = cx.attempts.iter().zip(ends).enumerate().map(|(at, (attempt, end))| {
        let name = format!("{} (balancer try {})", name(config, cx), at + 1);
        let mut out = span(config, traced, name, fastrand::u64(1..), (attempt.started_at, end));
        let mut tags = entity_tags(cx);
        tags.insert("kong.balancer.try".into(), (at + 1).to_string().into());
        // How the last try ended is the response's status.
        if let Some((state, status)) = attempt.failure.filter(|_| at < last) {
            tags.insert("error".into(), "true".into());
            tags.insert("kong.balancer.state".into(), state.into());
            tags.insert("http.status_code".into(), status.to_string().into());
        }
        let remote = endpoint(service_name(config, cx), Some(attempt.address.ip), Some(attempt.address.port));
        finish(&mut out, "CLIENT", Some(traced.request), remote, tags)
    });
    each.collect()
}

fn finish(
    span: &mut Map<String, Value>,
    kind: &str,
    parent: Option<u64>,
    remote: Option<Value>,
    mut tags: Map<String, Value>,
) -> Value {
    span.insert("kind".into(), kind.into());
    if let Some(parent) = parent {
        span.insert("parentId".into(), format!("{parent:016x}").into());
    }
    span.insert("remoteEndpoint".into(), remote.unwrap_or_default());
    // To Zipkin a tag without a value is an error.
    tags.retain(|_, value| value.as_str() != Some(""));
    if !tags.is_empty() {
        span.insert("tags".into(), Value::Object(tags));
    }
    Value::Object(std::mem::take(span))
}

/// Tells phases as annotations or as tags.
fn tell(config: &Config, span: &mut Map<String, Value>, tags: &mut Map<String, Value>, order: &str, phases: &[Phase]) {
    if config.phase_duration_flavor == "tags" {
        for phase in phases {
            if let Some((start, end)) = phase.times {
                let ms = micros(end.saturating_sub(start)) as f64 / 1000.0;
                tags.insert(format!("kong.{}.duration_ms", phase.name), ms.to_string().into());
            }
        }
        return;
    }
    // Each pair of letters is a phase and whether it starts or finishes there.
    let annotations = order.split(' ').filter_map(|mark| {
        let phase = phases.iter().find(|phase| mark.starts_with(phase.letter))?;
        let (start, end) = phase.times?;
        let time = if mark.ends_with('s') { start } else { end };
        Some(json!({ "value": format!("k{mark}"), "timestamp": micros(time) }))
    });
    span.insert("annotations".into(), annotations.collect());
}

fn proxy(config: &Config, cx: &Context, traced: &Traced, wall: &Wall, end: Duration) -> Value {
    let header_filter = traced.header_filter.zip(traced.body_filter);
    let header_filter = header_filter.map(|(start, end)| (wall.at(start), wall.at(end)));
    // Without a route there is no access phase, which is told nevertheless.
    let answered = header_filter.map_or(end, |(start, _)| start);
    let start = traced.access.map_or(answered, |start| wall.at(start));
    let access = match cx.timing.access_end.filter(|_| traced.access.is_some()) {
        Some(end) => (start, wall.at(end)),
        None => (start, header_filter.map_or(start, |(start, _)| start)),
    };
    let mut out = span(config, traced, format!("{} (proxy)", name(config, cx)), traced.proxy, (start, end));
    let mut tags = entity_tags(cx);
    let phases = [
        Phase { letter: 'a', name: "access", times: Some(access) },
        Phase { letter: 'h', name: "header_filter", times: header_filter },
        Phase { letter: 'b', name: "body_filter", times: header_filter.map(|(_, start)| (start, end)) },
    ];
    tell(config, &mut out, &mut tags, "hs hf bs as af bf", &phases);
    let last = cx.attempts.last().map(|attempt| attempt.address);
    let upstream = cx.upstream.as_ref();
    if let Some(upstream) = upstream.filter(|_| last.is_some()) {
        tags.insert("peer.hostname".into(), (*upstream.host).into());
    }
    let port = last.map(|address| address.port).or(upstream.map(|upstream| upstream.port));
    let remote = endpoint(service_name(config, cx), last.map(|address| address.ip), port);
    finish(&mut out, "CLIENT", Some(traced.request), remote, tags)
}

fn request(config: &Config, cx: &Context, traced: &Traced, wall: &Wall, end: Duration) -> Value {
    let start = wall.started_at;
    let mut out = span(config, traced, name(config, cx), traced.request, (start, end));
    let mut tags = Map::new();
    let mut tag = |name: &str, value: Value| {
        tags.insert(name.to_owned(), value);
    };
    tag("lc", "kong".into());
    tag("http.method", cx.request.method.as_str().into());
    tag("http.host", String::from_utf8_lossy(&cx.request.host_name()).into());
    tag("http.path", String::from_utf8_lossy(cx.request.path()).into());
    tag("http.protocol", format!("HTTP/{}", cx.request.version.as_str()).into());
    for fixed in config.static_tags.iter().flatten() {
        tag(&fixed.name, fixed.value.as_str().into());
    }
    tag("http.status_code", cx.response.status.to_string().into());
    tag("kong.node.id", cx.shared.node.id.to_string().into());
    if let Some(consumer) = &cx.consumer {
        tag("kong.consumer", consumer.id.to_string().into());
    }
    if let Some(credential) = cx.credential.as_ref().filter(|_| config.include_credential) {
        tag("kong.credential", (&*credential.id).into());
    }
    let rewritten = traced.access.or(traced.header_filter).map_or(end, |end| wall.at(end));
    let rewrite = Phase { letter: 'r', name: "rewrite", times: Some((start, rewritten)) };
    tell(config, &mut out, &mut tags, "rf rs", &[rewrite]);
    // A client names no tag anew that says something already.
    for (name, value) in tags_of_client(config, cx) {
        tags.entry(name).or_insert(value);
    }
    let remote = endpoint(config.default_service_name.as_deref(), Some(cx.client.ip), Some(cx.client.port));
    finish(&mut out, "SERVER", traced.parent, remote, tags)
}

/// The tags in the client's fields: `name=value; name=value`. What has no name or no value is no tag; of several with one name
/// the last counts.
fn tags_of_client(config: &Config, cx: &Context) -> Map<String, Value> {
    let fields = cx.request.headers.get_all(&config.tags_header);
    let texts = fields.filter_map(|field| std::str::from_utf8(field).ok());
    let tags = texts.flat_map(|text| text.split(';')).filter_map(tag_of_client);
    tags.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// The name is as long as it can be: it may have `=`, but no spaces.
pub(super) fn tag_of_client(item: &str) -> Option<(&str, &str)> {
    item.rmatch_indices('=').find_map(|(at, _)| {
        let (name, value) = item.split_at_checked(at)?;
        let (name, value) = (name.trim(), value.strip_prefix('=')?.trim());
        (!name.is_empty() && !value.is_empty() && !name.contains(char::is_whitespace)).then_some((name, value))
    })
}
