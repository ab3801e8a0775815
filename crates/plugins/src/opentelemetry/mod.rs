//! # opentelemetry
//!
//! Reports the spans of sampled requests to an OpenTelemetry collector (OTLP over HTTP, protobuf): one of the request,
//! and of each step that `tracing_instrumentations` names (routing, plugins' phases, name resolution, tries). Every
//! request's trace context goes on to the upstream in the formats that `propagation` says.
//!
//! A request is sampled where its context says so; where it says nothing, by `sampling_rate`, else the node's
//! `tracing_sampling_rate`. While `tracing_instrumentations` is off, nothing is recorded, and upstreams are told that
//! nothing is.
//!
//! Beyond Kong: `protocol` `grpc` sends by OTLP over gRPC; `metrics_endpoint` (also alone) gets what the plugin `prometheus` counts;
//! `sampling_rules` sample some requests otherwise than the rest.
//!
//! With `logs_endpoint`, what the error log says of a request goes to the collector too, with the ids of its trace.

mod grpc;
mod logs;
mod metrics;
mod otlp;
mod proto;
mod report;
mod resource;
mod rules;

use crate::post::{Post, Settings};
use crate::propagation::{Incoming, Outgoing, Propagation, Settings as PropagationSettings, Text, TraceId};
use crate::queue::{self, Entries, Failure, Parameters, Queue, Sender, Sending};
use entities::PluginSchema;
use grpc::Grpc;
use indexmap::IndexMap;
use logs::Wanted;
use metrics::Metrics;
use pdk::trace::{Instrumentations, Tracing};
use pdk::{BuildError, Context, Definition, Instance, Node, Phases, Plugin, Step};
use prost::Message;
use report::Spans;
use resource::Attributes;
use rules::Rule;
use schema::{Deprecation, Record, Value, json, typedefs};
use serde::Deserialize;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use logs::note_log;

pub const DEFINITION: Definition = Definition {
    name: "opentelemetry",
    priority: 14,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER).union(Phases::LOG),
    schema,
    build,
};

const HEADER_TYPES: [&str; 11] =
    ["preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp", "datadog", "instana"];
/// What Kong calls the part of it that makes spans, and its version.
const SCOPE: (&str, &str) = ("kong-internal", "0.1.0");

#[derive(Record, Deserialize, Clone, Debug)]
#[check(at_least_one_of(["traces_endpoint", "logs_endpoint"]).unless(["metrics_endpoint"]))]
struct Config {
    /// The URL that spans are sent to, for example `http://collector:4318/v1/traces`.
    #[field(typedef = url, referenceable)]
    traces_endpoint: Option<String>,
    /// The URL that messages of the error log that are about a request are sent to, for example
    /// `http://collector:4318/v1/logs`.
    #[field(typedef = url, referenceable)]
    logs_endpoint: Option<String>,
    /// More header fields to send.
    #[field(keys(typedef = header_name), values(referenceable))]
    headers: Option<IndexMap<String, String>>,
    /// Attributes of the resource, beside or instead of `service.name`, `service.instance.id` and `service.version`. Values may
    /// be templates, as in request-transformer: `$(headers.host)`.
    #[field(keys(required), values(required))]
    resource_attributes: Option<IndexMap<String, String>>,
    /// How spans wait and are put together.
    #[field(default = json!({ "max_batch_size": 200 }))]
    queue: Parameters,
    /// Now `queue.max_batch_size`.
    #[field(deprecation(deprecated("batch_span_count", "queue.max_batch_size").old_default(200)))]
    batch_span_count: Option<i64>,
    /// Now `queue.max_coalescing_delay`.
    #[field(deprecation(deprecated("batch_flush_delay", "queue.max_coalescing_delay").old_default(3)))]
    batch_flush_delay: Option<i64>,
    /// How long connecting may take, in milliseconds.
    #[field(typedef = timeout, default = 1000)]
    connect_timeout: Option<u64>,
    /// How long sending may take, in milliseconds.
    #[field(typedef = timeout, default = 5000)]
    send_timeout: Option<u64>,
    /// How long the answer may take, in milliseconds.
    #[field(typedef = timeout, default = 5000)]
    read_timeout: Option<u64>,
    /// A header field of the response that tells the trace's id.
    http_response_header_for_traceid: Option<String>,
    /// Now `propagation`: a format that is written beside the one that was read; `preserve`: no other; `ignore`: none
    /// is read.
    #[field(required = false, default = "preserve", one_of(HEADER_TYPES), deprecation(old_header_type()))]
    header_type: Option<String>,
    /// The share of requests that are sampled where they do not say themselves; unset, as the node says.
    #[field(required = false, between(0, 1))]
    sampling_rate: Option<f64>,
    /// How trace contexts are read and written.
    #[field(default = json!({ "default_format": "w3c" }))]
    propagation: PropagationSettings,
    /// How endpoints are spoken to; `http/protobuf` unless it is said, or an endpoint is a URL of `grpc` or `grpcs`. For `grpc` the
    /// path of a URL has no meaning. Not in Kong.
    #[field(hidden, one_of(["http/protobuf", "grpc"]))]
    protocol: Option<String>,
    /// The URL that metrics are sent to, for example `http://collector:4318/v1/metrics`: those that the plugin `prometheus`
    /// counts. It may stand alone. Not in Kong.
    #[field(typedef = url, required = false, hidden, referenceable)]
    metrics_endpoint: Option<String>,
    /// How often metrics are sent, in seconds; 60 unless it is said. Not in Kong.
    #[field(hidden, between(1, 86400))]
    metrics_interval: Option<f64>,
    /// Requests that are sampled at a rate of their own, where they do not say themselves; the first rule that fits counts.
    /// Not in Kong.
    #[field(hidden)]
    sampling_rules: Option<Vec<Rule>>,
}

fn deprecated(what: &str, instead: &str) -> Deprecation {
    let message = format!("opentelemetry: config.{what} is deprecated, please use config.{instead} instead");
    Deprecation::new(&message, "4.0")
}

fn old_header_type() -> Deprecation {
    deprecated("header_type", "propagation options").old_default("preserve")
}

fn schema() -> PluginSchema {
    let message = "OpenTelemetry: config.endpoint is deprecated, please use config.traces_endpoint instead";
    let endpoint = typedefs::url().referenceable(true).deprecation(Deprecation::new(message, "4.0"));
    let record = (**Config::record()).clone().shorthand("endpoint", endpoint, |value: &Value| {
        [("traces_endpoint".to_owned(), value.clone())].into_iter().collect()
    });
    PluginSchema::plugin(DEFINITION.name, &Arc::new(record)).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let attributes = Arc::new(Attributes::new(config.resource_attributes.as_ref()));
    let sink = |what: &str, url: &Option<String>| {
        url.as_deref().map(|url| Sink::new(instance, &config, &attributes, what, url)).transpose()
    };
    let propagation = Propagation::new(&config.propagation, config.header_type.as_deref(), None);
    let traces = sink("traces", &config.traces_endpoint)?.map(|sink| Traces { propagation, sink });
    let logs = sink("logs", &config.logs_endpoint)?;
    let metrics = sink("metrics", &config.metrics_endpoint)?;
    let interval = Duration::from_secs_f64(config.metrics_interval.unwrap_or(60.0));
    Ok(Arc::new(OpenTelemetry {
        traces,
        rules: config.sampling_rules.unwrap_or_default(),
        metrics: metrics.map(|sink| Metrics::new(sink, interval)),
        logs: logs.map(|sink| (sink, Wanted::new())),
        sampling_rate: config.sampling_rate,
        response_header: config.http_response_header_for_traceid,
        attributes,
    }))
}

struct OpenTelemetry {
    traces: Option<Traces>,
    logs: Option<(Sink, Wanted)>,
    rules: Vec<Rule>,
    metrics: Option<Metrics>,
    sampling_rate: Option<f64>,
    response_header: Option<String>,
    attributes: Arc<Attributes>,
}

struct Traces {
    propagation: Propagation,
    sink: Sink,
}

/// The way to an endpoint.
struct Sink {
    queue: Arc<Queue>,
}

/// Where spans or log records go, and what they come from.
struct Collector {
    way: Way,
    attributes: Arc<Attributes>,
}

/// The most bytes of entries in one request; more are sent in several. Collectors that speak gRPC refuse more than 4 MiB.
const LARGEST: usize = 1 << 20;

/// Known with the first request. It is not a collector's: an instance made anew takes the queue over, with what waits in it.
static NODE: OnceLock<Arc<Node>> = OnceLock::new();

/// How a collector is spoken to.
enum Way {
    Http(Box<Post>),
    Grpc(Box<Grpc>),
}

impl Way {
    fn new(config: &Config, what: &str, url: &str) -> Result<Self, String> {
        let ms = |value: Option<u64>, default| Duration::from_millis(value.unwrap_or(default));
        let connect_timeout = ms(config.connect_timeout, 1000);
        let timeout = connect_timeout + ms(config.send_timeout, 5000) + ms(config.read_timeout, 5000);
        let headers = config.headers.iter().flatten().map(|(n, v)| (n.as_str(), v.as_str()));
        let is_grpc =
            config.protocol.as_deref() == Some("grpc") || ["grpc:", "grpcs:"].iter().any(|s| url.starts_with(s));
        if is_grpc {
            Grpc::new(url, what, headers, connect_timeout, timeout).map(|grpc| Way::Grpc(Box::new(grpc)))
        } else {
            let content_type = "application/x-protobuf";
            let headers = headers.collect();
            Post::new(&Settings { url, content_type, headers, connect_timeout, timeout, ..Settings::default() })
                .map(|post| Way::Http(Box::new(post)))
        }
    }
}

impl Sink {
    /// `what` is sent to the URL in the field `<what>_endpoint`.
    fn new(
        instance: &Instance<'_>,
        config: &Config,
        attributes: &Arc<Attributes>,
        what: &str,
        url: &str,
    ) -> Result<Self, BuildError> {
        let way = Way::new(config, what, url);
        let way = way.map_err(|reason| BuildError(format!("opentelemetry: config.{what}_endpoint: {reason}")))?;
        let label = match &way {
            Way::Http(post) => format!("opentelemetry to {}", post.authority()),
            Way::Grpc(grpc) => format!("opentelemetry to {}", grpc.authority()),
        };
        let name = format!("opentelemetry:{}:{what}", instance.entity.id);
        let collector = Arc::new(Collector { way, attributes: attributes.clone() });
        let batch = config.batch_span_count.filter(|count| *count != 200);
        let delay = config.batch_flush_delay.filter(|delay| *delay != 3).map(|delay| delay as f64);
        let parameters = config.queue.clone().batching(batch, delay);
        Ok(Self { queue: queue::named(&name, &label, parameters, collector) })
    }

    /// Takes what a request has to send, and its resource where that is its own.
    fn push(&self, cx: &Context, resource: Option<&[u8]>, items: impl Iterator<Item: AsRef<[u8]>>) {
        know(cx);
        match resource {
            Some(resource) => self.queue.push_all(items.map(|item| resource::entry(resource, item.as_ref()))),
            None => self.queue.push_all(items),
        }
    }
}

/// What is sent comes from this request's node.
fn know(cx: &Context) {
    NODE.get_or_init(|| cx.shared.node.clone());
}

impl Collector {
    async fn export(&self, entries: &[&[u8]]) -> Result<(), Failure> {
        let resource = self.attributes.of_node(NODE.get().map(|node| &**node));
        let export = resource::export(&resource, entries.iter().copied());
        match &self.way {
            Way::Http(post) => post.send(export.into(), |status| status == 200).await,
            Way::Grpc(grpc) => grpc.call(export.into()).await,
        }
    }
}

/// How many entries, at least one, go into a request.
fn fitting(entries: &[&[u8]]) -> usize {
    let sizes = entries.iter().scan(0, |sum, entry| {
        *sum += entry.len();
        Some(*sum)
    });
    sizes.take_while(|sum| *sum <= LARGEST).count().max(1)
}

impl Sender for Collector {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async move {
            let all: Vec<&[u8]> = batch.iter().collect();
            let mut left = all.as_slice();
            while !left.is_empty() {
                let (part, others) = left.split_at(fitting(left).min(left.len()));
                if let Err(failure) = self.export(part).await {
                    let is_whole = left.len() == all.len();
                    // What has come must not come again.
                    return Err(if is_whole {
                        failure
                    } else {
                        Failure::partial(failure.reason, left.iter().collect(), 0)
                    });
                }
                left = others;
            }
            Ok(())
        })
    }
}

/// The spans of a request that others must know of, by their ids.
#[derive(Clone, Copy)]
struct Traced {
    trace: TraceId,
    root: u64,
    parent: Option<u64>,
    /// The span of the last try, where tries are recorded: the one that calls the upstream.
    balancer: Option<u64>,
    is_sampled: bool,
}

/// The id of a request's trace, where its spans are sent.
pub(crate) fn sampled_trace(cx: &Context) -> Option<u128> {
    cx.data.get::<Traced>().filter(|traced| traced.is_sampled).map(|traced| traced.trace.value)
}

#[cfg(test)]
pub(crate) fn note_sampled(cx: &mut Context, trace: u128) {
    let trace = TraceId { value: trace, is_short: None };
    cx.data.set(Traced { trace, root: 1, parent: None, balancer: None, is_sampled: true });
}

thread_local! {
    /// Where the spans of a request are written.
    static SPANS: RefCell<Spans> = RefCell::default();
}

impl OpenTelemetry {
    /// The share of requests like this one that are sampled.
    fn rate(&self, cx: &Context, tracing: Tracing) -> f64 {
        let rule = self.rules.iter().find(|rule| rule.fits(cx));
        rule.map_or_else(|| self.sampling_rate.unwrap_or(tracing.sampling_rate), Rule::rate)
    }

    fn begin(&self, cx: &mut Context, incoming: Option<&Incoming>) -> Traced {
        let tracing = cx.trace.as_ref().map(|trace| (trace.tracing, trace.chance));
        let is_sampled = tracing.is_some_and(|(tracing, chance)| {
            let told = incoming.and_then(|incoming| incoming.sampled);
            told.unwrap_or_else(|| chance < self.rate(cx, tracing))
        });
        let has_tries =
            tracing.is_some_and(|(tracing, _)| tracing.instrumentations.contains(Instrumentations::BALANCER));
        if !is_sampled {
            // Nobody will ask for what comes after.
            cx.trace = None;
        }
        let id = incoming.and_then(|incoming| incoming.trace);
        Traced {
            trace: id.unwrap_or_else(|| TraceId { value: fastrand::u128(1..), is_short: None }),
            root: fastrand::u64(1..),
            parent: incoming.and_then(|incoming| incoming.span.or(incoming.parent)),
            balancer: (is_sampled && has_tries).then(|| fastrand::u64(1..)),
            is_sampled,
        }
    }

    /// What is known of the request's trace. Where no access phase ran (no route matched), it begins here.
    fn traced(&self, cx: &mut Context, traces: &Traces) -> Traced {
        if let Some(traced) = cx.data.get::<Traced>() {
            return *traced;
        }
        let incoming = traces.propagation.extract(&cx.request.headers);
        let traced = self.begin(cx, incoming.as_ref());
        cx.data.set(traced);
        traced
    }
}

impl Plugin for OpenTelemetry {
    fn share_of_traces(&self, tracing: Tracing) -> Option<f64> {
        let rate = self.sampling_rate.unwrap_or(tracing.sampling_rate);
        self.traces.as_ref().map(|_| self.rules.iter().map(Rule::rate).fold(rate, f64::max))
    }

    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(traces) = &self.traces else { return Step::Continue };
        let incoming = traces.propagation.extract(&cx.request.headers);
        let traced = self.begin(cx, incoming.as_ref());
        // Nobody asks for what is neither sent nor told.
        if traced.is_sampled || self.response_header.is_some() || self.logs.is_some() {
            cx.data.set(traced);
        }
        let out = Outgoing {
            trace: traced.trace,
            span: traced.balancer.unwrap_or(traced.root),
            parent: if traced.balancer.is_some() { Some(traced.root) } else { traced.parent },
            sampled: Some(traced.is_sampled),
        };
        traces.propagation.inject(cx, incoming.as_ref(), &out);
        Step::Continue
    }

    fn header_filter(&self, cx: &mut Context) {
        let (Some(traces), Some(name)) = (&self.traces, &self.response_header) else { return };
        let traced = self.traced(cx, traces);
        cx.response.headers.append(name, Text::hex(traced.trace.value, 32).as_bytes());
    }

    fn log(&self, cx: &mut Context) {
        if self.metrics.is_some() {
            know(cx);
        }
        // A request that is not recorded is not sampled.
        if let Some(traces) = self.traces.as_ref().filter(|_| cx.trace.is_some()) {
            let traced = self.traced(cx, traces);
            if let Some(trace) = cx.trace.take().filter(|_| traced.is_sampled) {
                let resource = self.attributes.of_request(cx);
                SPANS.with_borrow_mut(|spans| {
                    spans.clear();
                    report::spans(cx, &trace, &traced, spans);
                    traces.sink.push(cx, resource.as_deref(), spans.iter());
                });
            }
        }
        if let Some((sink, _)) = &self.logs {
            let records = logs::take(cx, cx.data.get::<Traced>());
            if !records.is_empty() {
                let resource = self.attributes.of_request(cx);
                sink.push(cx, resource.as_deref(), records.iter().map(Message::encode_to_vec));
            }
        }
    }
}

#[cfg(test)]
mod more_tests;
#[cfg(test)]
pub(crate) mod tests;
