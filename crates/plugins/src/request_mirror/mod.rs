//! # request-mirror
//!
//! Copies requests, or a share of them, to other servers, while the originals go to the service as ever: a new version sees real
//! traffic and nobody sees its answers. It is not one of Kong's plugins.
//!
//! A copy is what the service gets: method, path, query and fields as all other plugins have left them, `X-Forwarded-*` included. The
//! original waits for no copy. A body is copied while it passes; once it has passed whole, the copy is sent by a thread that does
//! nothing else. Copies that would exceed a bound are given up and counted, and the originals pass all the same.
//!
//! Requests that have the fields of `add_headers` already are copies themselves, and are not copied again. Nor are upgrades
//! (WebSocket) and gRPC, whose bodies have no end to wait for.

mod copy;
mod outcome;
mod target;
mod tee;

use crate::post;
use copy::{Copy, Head, Sending, Way};
use entities::PluginSchema;
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;
use outcome::Outcome;
use pdk::{Body, BuildError, Context, Definition, Headers, Instance, Phases, Plugin, Step};
use schema::{Record, Value, json};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use tee::{Held, Tee};

pub(crate) use outcome::counts;

pub const DEFINITION: Definition =
    Definition { name: "request-mirror", priority: 1, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

/// Fields that belong to the connection, or to the body as it is framed.
const OWN_HEADERS: [(&str, &str); 4] = [
    ("^[Hh][Oo][Ss][Tt]$", "cannot contain 'Host' header"),
    ("^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][Nn][Gg][Tt][Hh]$", "cannot contain 'Content-Length' header"),
    (
        "^[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]%-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]$",
        "cannot contain 'Transfer-Encoding' header",
    ),
    ("^[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]$", "cannot contain 'Connection' header"),
];

const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

#[derive(Record, Deserialize, Clone)]
struct Config {
    /// Who gets a copy each: URLs of `http` or `https`, whose path goes before the request's. A host may be the name of an
    /// upstream entity, whose targets then take turns; user and password become an `Authorization` field.
    #[field(len_min = 1, len_max = 8, elements(validator(target::check)))]
    targets: Vec<String>,
    /// The share of the requests that is copied, in percent, by chance.
    #[field(default = 100, between(0, 100))]
    percentage: f64,
    /// The methods of requests that are copied; all where it is not given.
    #[field(typedef = methods)]
    methods: Option<Vec<String>>,
    /// Whether bodies are copied; otherwise copies have none.
    #[field(default = true)]
    copy_body: bool,
    /// The longest body that is copied, in bytes: requests with a longer one are not. It is held in memory until its copies
    /// were sent.
    #[field(default = 262_144, between(0, 16_777_216))]
    max_body_size: usize,
    /// Fields that copies get, instead of any they have of these names.
    #[field(default = mark(), keys(typedef = header_name, match_none(OWN_HEADERS)), values(validator(is_value)))]
    add_headers: IndexMap<String, String>,
    /// Fields that copies do not get: by default those that hold credentials.
    #[field(set, default = CREDENTIALS, elements(typedef = header_name))]
    remove_headers: Vec<String>,
    /// Whether copies have the `Host` that the client sent, instead of the target's.
    #[field(default = false)]
    preserve_host: bool,
    /// How long connecting to a target may take, in milliseconds.
    #[field(typedef = timeout, default = 5000)]
    connect_timeout: u64,
    /// How long a copy may take in all, from the first byte sent to the last byte of the answer, in milliseconds.
    #[field(typedef = timeout, default = 30_000)]
    timeout: u64,
    /// How long an idle connection is kept, in milliseconds.
    #[field(typedef = timeout, default = 60_000)]
    keepalive: u64,
    /// How many copies may be under way to one target; further ones are not made.
    #[field(default = 100, between(1, 10_000))]
    max_in_flight: usize,
    /// Whether the certificates of `https` targets are verified.
    #[field(default = true)]
    ssl_verify: bool,
}

fn mark() -> Value {
    json!({ "X-Mirrored": "1" })
}

fn is_value(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    HeaderValue::from_str(text).map(drop).map_err(|_| "not the value of a header field".to_owned())
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let targets = config.targets.iter().map(|url| Target::new(url, config.max_in_flight).map(Arc::new));
    let targets: Result<Vec<_>, _> = targets.collect();
    let name = |name: &str| name.parse::<HeaderName>().map_err(|_| format!("'{name}' is no name of a header field"));
    let add = config.add_headers.iter().map(|(field, value)| {
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of {field} is no header field's"))?;
        Ok((name(field)?, value))
    });
    let (connect, keepalive) = (Duration::from_millis(config.connect_timeout), Duration::from_millis(config.keepalive));
    let made = || -> Result<Mirror, String> {
        Ok(Mirror {
            targets: targets?,
            percentage: config.percentage,
            methods: config.methods,
            body_limit: config.copy_body.then_some(config.max_body_size),
            preserves_host: config.preserve_host,
            sending: Arc::new(Sending {
                client: post::client(connect, keepalive, config.ssl_verify)?,
                timeout: Duration::from_millis(config.timeout),
                remove: config.remove_headers.iter().map(|field| name(field)).collect::<Result<_, _>>()?,
                add: add.collect::<Result<_, String>>()?,
            }),
        })
    };
    Ok(Arc::new(RequestMirror(Arc::new(made().map_err(|reason| BuildError(format!("request-mirror: {reason}")))?))))
}

struct RequestMirror(Arc<Mirror>);

struct Mirror {
    targets: Vec<Arc<Target>>,
    percentage: f64,
    methods: Option<Vec<String>>,
    /// `None`: bodies are not copied.
    body_limit: Option<usize>,
    preserves_host: bool,
    sending: Arc<Sending>,
}

impl Plugin for RequestMirror {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if self.0.wants(cx) {
            let mirror = self.0.clone();
            cx.before_upstream(move |cx, fields| mirror.begin(cx, fields));
        }
        Step::Continue
    }
}

impl Mirror {
    /// Whether a request is to be copied.
    fn wants(&self, cx: &Context) -> bool {
        let method = cx.request.method.as_str();
        let has_end = cx.upstream.as_ref().is_some_and(|to| !to.scheme.is_grpc()) && !cx.request.is_websocket();
        has_end
            && self.methods.as_ref().is_none_or(|methods| methods.iter().any(|known| known == method))
            && !self.is_copy(&cx.request.headers)
            && (self.percentage >= 100.0 || fastrand::f64() * 100.0 < self.percentage)
    }

    /// Whether a request has been copied already, by this gateway or another one like it.
    fn is_copy(&self, headers: &Headers) -> bool {
        let add = &self.sending.add;
        !add.is_empty() && add.iter().all(|(name, value)| headers.get(name.as_str()) == Some(value.as_bytes()))
    }

    /// Begins the copies of a request whose head is as the service gets it.
    fn begin(&self, cx: &mut Context, fields: &Headers) {
        let Some(upstream) = &cx.upstream else { return };
        let ways: Vec<Way> = self.targets.iter().filter_map(|target| Way::to(target, &*cx.shared.upstreams)).collect();
        if ways.is_empty() {
            return;
        }
        let mut path = upstream.path.clone();
        if let Some(query) = cx.upstream_query().filter(|query| !query.is_empty()) {
            path.push(b'?');
            path.extend_from_slice(query);
        }
        let head = Head {
            method: upstream.method.clone().unwrap_or_else(|| cx.request.method.clone()),
            path,
            fields: fields.clone(),
            host: self.preserves_host.then(|| cx.request.host().to_vec()),
        };
        let copy = Copy { head, ways, sending: self.sending.clone() };
        let length = cx.request.body.len();
        let limit = match self.body_limit {
            Some(limit) if length != Some(0) => limit,
            _ => return copy.send(Held::default()),
        };
        if length.is_some_and(|length| length > limit as u64) {
            return copy.give_up(Outcome::TooLarge);
        }
        cx.request.body = match std::mem::take(&mut cx.request.body) {
            Body::Empty => Body::Empty,
            Body::Bytes(bytes) => {
                copy.end(Held::of(bytes.clone()));
                Body::Bytes(bytes)
            }
            body @ Body::Stream(_) => Body::Stream(Box::pin(Tee::new(body, limit, move |end| copy.end(end)))),
        };
    }
}

#[cfg(test)]
mod tests;
