//! # prometheus
//!
//! Counts requests, bytes and latencies a service and route, shown with the node's own figures at `/metrics` of the Admin
//! and Status APIs. Each thread counts for itself; a scrape adds the threads up. Only requests that matched a route count.

mod render;
mod series;

use entities::{Consumer, Plugin as PluginEntity, PluginSchema, Route, Service};
use pdk::log::{kong_latency, upstream_latency};
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Source};
use schema::Record;
use serde::Deserialize;
use series::{Counter, Histogram};
use std::cell::RefCell;
use std::sync::Arc;
use uuid::Uuid;

pub use render::{Circuit, Connections, Figures, Resolver, SharedDict, TargetHealth, render};
pub(crate) use series::{Point, Points, snapshot};

pub const DEFINITION: Definition =
    Definition { name: "prometheus", priority: 13, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Whether request and bandwidth series are split by consumer.
    #[field(default = false)]
    per_consumer: Option<bool>,
    /// Whether requests are counted by status.
    #[field(default = false)]
    status_code_metrics: Option<bool>,
    /// Whether requests to language models are counted.
    #[field(default = false)]
    #[expect(dead_code, reason = "the AI plugins, which are not built yet, read it")]
    ai_metrics: Option<bool>,
    /// Whether latencies are observed.
    #[field(default = false)]
    latency_metrics: Option<bool>,
    /// Whether bytes are counted.
    #[field(default = false)]
    bandwidth_metrics: Option<bool>,
    /// Whether the health of upstream targets is shown.
    #[field(default = false)]
    #[expect(dead_code, reason = "`Exports` reads it from the entity")]
    upstream_health_metrics: Option<bool>,
    /// Whether metrics of Wasm filters are shown.
    #[field(default = false)]
    #[expect(dead_code, reason = "Wasm filters, which are not built yet, read it")]
    wasm_metrics: Option<bool>,
    /// Whether circuit breakers, retry budgets and the DNS client are shown.
    #[field(hidden)]
    #[expect(dead_code, reason = "`Exports` reads it from the entity")]
    balancing_metrics: Option<bool>,
    /// Whether latencies name the traces of requests that opentelemetry or zipkin has sampled, for scrapers that ask for
    /// OpenMetrics. Not in Kong.
    #[field(hidden)]
    exemplars: Option<bool>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let is_on = |flag: Option<bool>| flag.unwrap_or_default();
    Ok(Arc::new(Prometheus {
        has_consumer: is_on(config.per_consumer),
        has_status: is_on(config.status_code_metrics),
        has_latency: is_on(config.latency_metrics),
        has_bandwidth: is_on(config.bandwidth_metrics),
        has_exemplars: is_on(config.exemplars),
    }))
}

/// What a scrape shows, by the enabled instances of the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Whether the series of requests are shown, and not the node's figures alone.
    pub has_series: bool,
    pub has_upstream_health: bool,
    /// What there is beyond Kong of balancing and DNS.
    pub has_balancing: bool,
    pub has_exemplars: bool,
    /// Whether there are plugins whose messages may be dropped.
    pub has_logs: bool,
    /// Whether requests are copied.
    pub has_mirrors: bool,
}

/// The plugins that have queues.
const LOGGING: [&str; 10] =
    ["file-log", "http-log", "tcp-log", "udp-log", "syslog", "loggly", "datadog", "statsd", "zipkin", "opentelemetry"];

impl Exports {
    pub fn of<'a>(plugins: impl IntoIterator<Item = &'a PluginEntity>) -> Self {
        let mut exports = Self::default();
        for plugin in plugins.into_iter().filter(|p| p.enabled) {
            exports.has_logs |= LOGGING.contains(&&*plugin.name);
            exports.has_mirrors |= plugin.name == crate::request_mirror::DEFINITION.name;
            if plugin.name == DEFINITION.name {
                exports.has_series = true;
                exports.has_upstream_health |= plugin.config["upstream_health_metrics"] == true;
                exports.has_balancing |= plugin.config["balancing_metrics"] == true;
                exports.has_exemplars |= plugin.config["exemplars"] == true;
            }
        }
        exports
    }
}

struct Prometheus {
    has_consumer: bool,
    has_status: bool,
    has_latency: bool,
    has_bandwidth: bool,
    has_exemplars: bool,
}

/// Slots a thread keeps; they are but a cache of what the families hold.
const SLOTS: usize = 16 * 1024;

/// The counters that a thread uses for one route, service and consumer, with the entities whose names they bear.
struct Slot {
    route: Arc<Route>,
    service: Option<Arc<Service>>,
    consumer: Option<Arc<Consumer>>,
    requests: Vec<(u16, bool, Arc<Counter>)>,
    ingress: Option<Arc<Counter>>,
    egress: Option<Arc<Counter>>,
    kong: Option<Arc<Histogram>>,
    upstream: Option<Arc<Histogram>>,
    request: Option<Arc<Histogram>>,
}

/// What a thread counts.
#[derive(Default)]
struct Counted {
    slots: ahash::HashMap<[Uuid; 3], Slot>,
    /// As many shortages of series were seen.
    shortages: u64,
}

impl Counted {
    /// Lets go of routes that are gone where there was no room for a series, and of everything where there is too much.
    fn tidy(&mut self, id: &[Uuid; 3]) {
        let shortages = series::shortages();
        if self.shortages != shortages {
            self.shortages = shortages;
            self.slots.retain(|_, slot| !slot.is_gone());
        }
        if self.slots.len() >= SLOTS && !self.slots.contains_key(id) {
            self.slots.clear();
        }
    }
}

thread_local! {
    static COUNTED: RefCell<Counted> = RefCell::default();
}

impl Plugin for Prometheus {
    fn log(&self, cx: &mut Context) {
        let Some(route) = cx.route else { return };
        let consumer = cx.consumer.as_ref().filter(|_| self.has_consumer);
        let id = [route.id, cx.service.map(|s| s.id).unwrap_or_default(), consumer.map(|c| c.id).unwrap_or_default()];
        COUNTED.with_borrow_mut(|counted| {
            counted.tidy(&id);
            let slot = counted.slots.entry(id).or_insert_with(|| Slot::new(cx, route, consumer));
            if !slot.is_of(cx, consumer) {
                *slot = Slot::new(cx, route, consumer);
            }
            self.count(cx, slot);
        });
    }
}

impl Prometheus {
    fn count(&self, cx: &Context, slot: &mut Slot) {
        if self.has_status {
            slot.requests(cx.response.status, cx.source == Source::Upstream).add(1);
        }
        if self.has_bandwidth {
            if cx.received > 0 {
                slot.ingress().add(cx.received);
            }
            if cx.sent > 0 {
                slot.egress().add(cx.sent);
            }
        }
        if self.has_latency {
            let labels = |slot: &Slot| slot.labels("", false);
            if slot.request.is_none() {
                slot.request = Some(series::REQUEST_LATENCY.register(labels(slot)));
                slot.kong = Some(series::KONG_LATENCY.register(labels(slot)));
            }
            let trace = if self.has_exemplars { sampled_trace(cx) } else { None };
            if let (Some(request), Some(kong)) = (&slot.request, &slot.kong) {
                request.observe(cx.timing.total_ms(), trace);
                kong.observe(kong_latency(cx), trace);
            }
            if let Some(latency) = upstream_latency(cx) {
                if slot.upstream.is_none() {
                    slot.upstream = Some(series::UPSTREAM_LATENCY.register(labels(slot)));
                }
                if let Some(upstream) = &slot.upstream {
                    upstream.observe(latency, trace);
                }
            }
        }
    }
}

/// The id of the trace that was reported of the request.
fn sampled_trace(cx: &Context) -> Option<u128> {
    crate::opentelemetry::sampled_trace(cx).or_else(|| crate::zipkin::sampled_trace(cx))
}

fn is_same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl Slot {
    fn new(cx: &Context, route: &Arc<Route>, consumer: Option<&Arc<Consumer>>) -> Self {
        Self {
            route: route.clone(),
            service: cx.service.cloned(),
            consumer: consumer.cloned(),
            requests: Vec::new(),
            ingress: None,
            egress: None,
            kong: None,
            upstream: None,
            request: None,
        }
    }

    /// Whether the names are still those of the request's entities.
    fn is_of(&self, cx: &Context, consumer: Option<&Arc<Consumer>>) -> bool {
        is_same(Some(&self.route), cx.route)
            && is_same(self.service.as_ref(), cx.service)
            && is_same(self.consumer.as_ref(), consumer)
    }

    /// Whether nothing but this slot knows the route or consumer any longer.
    fn is_gone(&self) -> bool {
        Arc::strong_count(&self.route) == 1 || self.consumer.as_ref().is_some_and(|it| Arc::strong_count(it) == 1)
    }

    /// The labels of a series; `middle` goes after the route's.
    fn labels(&self, middle: &str, has_consumer: bool) -> String {
        let service = self.service.as_ref().map(|s| s.name.as_deref().unwrap_or(&s.host)).unwrap_or_default();
        let id = self.route.id.to_string();
        let route = self.route.name.as_deref().unwrap_or(&id);
        let mut labels = format!(
            "service=\"{}\",route=\"{}\",{middle}workspace=\"{}\"",
            escape(service),
            escape(route),
            pdk::Node::WORKSPACE
        );
        if has_consumer {
            let consumer = self.consumer.as_ref().and_then(|c| c.username.as_deref()).unwrap_or_default();
            labels.push_str(&format!(",consumer=\"{}\"", escape(consumer)));
        }
        labels
    }

    fn requests(&mut self, status: u16, is_upstream: bool) -> &Counter {
        let known = self.requests.iter().position(|(s, u, _)| (*s, *u) == (status, is_upstream));
        let at = known.unwrap_or_else(|| {
            let source = if is_upstream { "service" } else { "kong" };
            let labels = self.labels(&format!("code=\"{status}\",source=\"{source}\","), true);
            self.requests.push((status, is_upstream, series::REQUESTS.register(labels)));
            self.requests.len() - 1
        });
        &self.requests[at].2
    }

    fn ingress(&mut self) -> &Counter {
        let labels = self.ingress.is_none().then(|| self.labels("direction=\"ingress\",", true));
        self.ingress.get_or_insert_with(|| series::BANDWIDTH.register(labels.unwrap_or_default()))
    }

    fn egress(&mut self) -> &Counter {
        let labels = self.egress.is_none().then(|| self.labels("direction=\"egress\",", true));
        self.egress.get_or_insert_with(|| series::BANDWIDTH.register(labels.unwrap_or_default()))
    }
}

/// A label's value in the text format.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
