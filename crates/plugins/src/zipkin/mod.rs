//! # zipkin
//!
//! Reports the spans of sampled requests to a Zipkin server (v2 API, JSON): one of the request, one of proxying it, and one
//! a try to reach the upstream. Every request's trace context goes on to the upstream, sampled or not, in the formats that
//! `propagation` says. A request is sampled where its context says so, and by `sample_ratio` where it says nothing.

mod report;

use crate::post::{Post, Settings};
use crate::propagation::{Incoming, Outgoing, Propagation, Settings as PropagationSettings, Text, TraceId};
use crate::queue::{self, Entries, Parameters, Queue, Sender, Sending};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Step};
use schema::{Deprecation, Record, Value, json};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const DEFINITION: Definition = Definition {
    name: "zipkin",
    priority: 100_000,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER).union(Phases::LOG),
    schema,
    build,
};

/// Tags that are the plugin's own to set.
const OWN_TAGS: [&str; 13] = [
    "error",
    "http.method",
    "http.path",
    "http.status_code",
    "kong.balancer.state",
    "kong.balancer.try",
    "kong.consumer",
    "kong.credential",
    "kong.node.id",
    "kong.route",
    "kong.service",
    "lc",
    "peer.hostname",
];
const HEADER_TYPES: [&str; 11] =
    ["preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot", "aws", "datadog", "gcp", "instana"];
const DEFAULT_HEADER_TYPES: [&str; 9] = ["b3", "b3-single", "w3c", "jaeger", "ot", "aws", "datadog", "gcp", "instana"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// What Zipkin calls this service.
    #[field(default = "kong")]
    local_service_name: String,
    /// The URL of Zipkin's API, for example `http://zipkin:9411/api/v2/spans`. Without one nothing is reported.
    #[field(typedef = url)]
    http_endpoint: Option<String>,
    /// The share of requests that are sampled where they do not say themselves.
    #[field(default = json!(0.001), between(0, 1))]
    sample_ratio: Option<f64>,
    /// What the other end is called where it has no name.
    default_service_name: Option<String>,
    /// Whether the credential is told.
    #[field(default = true)]
    include_credential: bool,
    /// The size of new trace ids in bytes.
    #[field(default = 16, one_of([8, 16]))]
    traceid_byte_count: i64,
    /// Now `propagation`: a format that is written beside the one that was read; `preserve`: no other; `ignore`: none is read.
    #[field(default = "preserve", one_of(HEADER_TYPES), deprecation(old_header_type()))]
    header_type: String,
    /// The format that is written where none was read, as long as `propagation` says nothing but its `default_format`, which
    /// counts otherwise.
    #[field(default = "b3", one_of(DEFAULT_HEADER_TYPES), deprecation(old_default_header_type()))]
    default_header_type: String,
    /// The header field of the request that holds tags as `name=value; name=value`.
    #[field(default = "Zipkin-Tags")]
    tags_header: String,
    /// Tags of every request.
    #[field(validator(has_no_repeated_tags))]
    static_tags: Option<Vec<StaticTag>>,
    /// Whether names of spans are the method, or method and path.
    #[field(default = "method", one_of(["method", "method_path"]))]
    http_span_name: String,
    /// How long connecting may take, in milliseconds.
    #[field(typedef = timeout, default = 2000)]
    connect_timeout: Option<u64>,
    /// How long sending may take, in milliseconds.
    #[field(typedef = timeout, default = 5000)]
    send_timeout: Option<u64>,
    /// How long the answer may take, in milliseconds.
    #[field(typedef = timeout, default = 5000)]
    read_timeout: Option<u64>,
    /// A header field of the response that tells the trace's id.
    http_response_header_for_traceid: Option<String>,
    /// Whether phases are told as annotations, or their durations as tags.
    #[field(default = "annotations", one_of(["annotations", "tags"]))]
    phase_duration_flavor: String,
    /// How spans wait and are put together.
    queue: Parameters,
    /// How trace contexts are read and written.
    #[field(default = json!({ "default_format": "b3" }))]
    propagation: PropagationSettings,
}

/// A tag of every request.
#[derive(Record, Deserialize, Clone, Debug)]
struct StaticTag {
    /// The tag's name.
    #[field(not_one_of(OWN_TAGS))]
    name: String,
    /// Its value.
    value: String,
}

fn old_header_type() -> Deprecation {
    Deprecation::new("zipkin: config.header_type is deprecated, please use config.propagation options instead", "4.0")
        .old_default("preserve")
}

fn old_default_header_type() -> Deprecation {
    let message =
        "zipkin: config.default_header_type is deprecated, please use config.propagation.default_format instead";
    Deprecation::new(message, "4.0").old_default("b3")
}

fn has_no_repeated_tags(tags: &Value) -> Result<(), String> {
    let names = || tags.as_array().into_iter().flatten().filter_map(|tag| tag.get("name").and_then(Value::as_str));
    let repeated = names().enumerate().find(|(at, name)| names().take(*at).any(|before| before == *name));
    repeated.map_or(Ok(()), |(_, name)| Err(format!("repeated tags are not allowed: {name}")))
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let queue = config.http_endpoint.as_deref().map(|url| reporter(instance, &config, url)).transpose()?;
    let (old, old_default) = (&*config.header_type, &*config.default_header_type);
    Ok(Arc::new(Zipkin {
        propagation: Propagation::new(&config.propagation, Some(old), Some(old_default)),
        sample_ratio: config.sample_ratio.unwrap_or(0.001),
        queue,
        config,
    }))
}

fn reporter(instance: &Instance<'_>, config: &Config, url: &str) -> Result<Arc<Queue>, BuildError> {
    let ms = |value: Option<u64>, default| Duration::from_millis(value.unwrap_or(default));
    let connect_timeout = ms(config.connect_timeout, 2000);
    let post = Post::new(&Settings {
        url,
        connect_timeout,
        timeout: connect_timeout + ms(config.send_timeout, 5000) + ms(config.read_timeout, 5000),
        ..Settings::default()
    });
    let post = post.map_err(|reason| BuildError(format!("zipkin: config.http_endpoint: {reason}")))?;
    let label = format!("zipkin to {}", post.authority());
    let name = format!("zipkin:{}", instance.entity.id);
    Ok(queue::named(&name, &label, config.queue.clone(), Arc::new(Collector(post))))
}

struct Collector(Post);

impl Sender for Collector {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        let spans = batch.joined(b"[", b",", b"]");
        Box::pin(self.0.send(spans.into(), |status| (200..300).contains(&status)))
    }
}

struct Zipkin {
    config: Config,
    propagation: Propagation,
    sample_ratio: f64,
    queue: Option<Arc<Queue>>,
}

/// The spans of a request, by their ids, and when its phases began or ended.
#[derive(Clone, Copy)]
struct Traced {
    trace: TraceId,
    /// Of the trace's id where it is reported: as many as a new one is made of, and 32 of one that came.
    digits: usize,
    request: u64,
    parent: Option<u64>,
    proxy: u64,
    is_sampled: bool,
    access: Option<Instant>,
    header_filter: Option<Instant>,
    body_filter: Option<Instant>,
}

/// The id of a request's trace, where its spans are sent.
pub(crate) fn sampled_trace(cx: &Context) -> Option<u128> {
    cx.data.get::<Traced>().filter(|traced| traced.is_sampled).map(|traced| traced.trace.value)
}

impl Zipkin {
    fn begin(&self, incoming: Option<&Incoming>) -> Traced {
        let sampled = incoming.and_then(|incoming| incoming.sampled);
        let known = incoming.and_then(|incoming| incoming.trace);
        let is_short = known.is_none() && self.config.traceid_byte_count == 8;
        let new_id = || if is_short { fastrand::u64(1..).into() } else { fastrand::u128(1..) };
        Traced {
            trace: known.unwrap_or_else(|| TraceId { value: new_id(), is_short: None }),
            digits: if is_short { 16 } else { 32 },
            request: incoming.and_then(|incoming| incoming.span).unwrap_or_else(|| fastrand::u64(1..)),
            parent: incoming.and_then(|incoming| incoming.parent),
            proxy: fastrand::u64(1..),
            is_sampled: sampled.unwrap_or_else(|| fastrand::f64() < self.sample_ratio),
            access: None,
            header_filter: None,
            body_filter: None,
        }
    }

    /// What is known of the request's trace. Where no access phase ran (no route matched), it begins here.
    fn traced(&self, cx: &mut Context) -> Traced {
        if let Some(traced) = cx.data.get::<Traced>() {
            return *traced;
        }
        let traced = self.begin(self.propagation.extract(&cx.request.headers).as_ref());
        cx.data.set(traced);
        traced
    }
}

impl Plugin for Zipkin {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let incoming = self.propagation.extract(&cx.request.headers);
        let mut traced = self.begin(incoming.as_ref());
        if traced.is_sampled {
            traced.access = Some(Instant::now());
        }
        cx.data.set(traced);
        let out = Outgoing {
            trace: traced.trace,
            span: traced.proxy,
            parent: Some(traced.request),
            // As in Kong: where there is nothing to report, formats that can do without a decision get none.
            sampled: traced.is_sampled.then_some(true),
        };
        self.propagation.inject(cx, incoming.as_ref(), &out);
        Step::Continue
    }

    fn header_filter(&self, cx: &mut Context) {
        let traced = self.traced(cx);
        if let Some(name) = &self.config.http_response_header_for_traceid {
            cx.response.headers.append(name, Text::hex(traced.trace.value, traced.digits).as_bytes());
        }
        if let Some(traced) = cx.data.get_mut::<Traced>().filter(|traced| traced.is_sampled) {
            let now = Instant::now();
            traced.header_filter = Some(cx.timing.upstream_head.unwrap_or(now));
            traced.body_filter = Some(now);
        }
    }

    fn log(&self, cx: &mut Context) {
        let Some(queue) = &self.queue else { return };
        let traced = self.traced(cx);
        if traced.is_sampled {
            queue.push_all(report::spans(&self.config, cx, &traced));
        }
    }
}

#[cfg(test)]
mod tests;
