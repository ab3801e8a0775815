//! # datadog
//!
//! Sends metrics of each request to a service, as DogStatsD datagrams with tags, to a Datadog agent. Without `host` or
//! `port` the agent is the one that `KONG_DATADOG_AGENT_HOST` and `KONG_DATADOG_AGENT_PORT` of the environment name.

use crate::queue::{self, Parameters, Queue};
use crate::stats::{Collector, ConsumerIdentifier, Figure, Transport, one_line, rate, tag_piece};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::{Deprecation, Record, Value, is, json};
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "datadog", priority: 10, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The agent's host.
    #[field(typedef = host, referenceable, default = "localhost")]
    host: Option<String>,
    /// The agent's port.
    #[field(typedef = port, default = 8125)]
    port: Option<u16>,
    /// What names of metrics begin with.
    #[field(default = "kong")]
    prefix: Option<String>,
    /// The tag of the service's name.
    #[field(default = "name")]
    service_name_tag: Option<String>,
    /// The tag of the response's status.
    #[field(default = "status")]
    status_tag: Option<String>,
    /// The tag of the consumer.
    #[field(default = "consumer")]
    consumer_tag: Option<String>,
    /// No longer used.
    #[field(deprecation(deprecated("retry_count no longer works", "max_retry_time").old_default(10)))]
    #[serde(rename = "retry_count")]
    _retry_count: Option<i64>,
    /// Now `queue.max_batch_size`.
    #[field(deprecation(deprecated("queue_size is deprecated", "max_batch_size").old_default(1)))]
    queue_size: Option<i64>,
    /// Now `queue.max_coalescing_delay`.
    #[field(deprecation(deprecated("flush_timeout is deprecated", "max_coalescing_delay").old_default(2)))]
    flush_timeout: Option<f64>,
    /// How metrics wait and are put together.
    queue: Parameters,
    /// The metrics to send.
    #[field(default = default_metrics())]
    metrics: Vec<Metric>,
}

#[derive(Record, Deserialize, Clone, Debug)]
#[check(conditional("stat_type", is().one_of(["counter", "gauge"]), "sample_rate", is().required(true)))]
struct Metric {
    /// What is counted or measured.
    name: Figure,
    /// The kind of metric.
    stat_type: StatType,
    /// More tags.
    #[field(elements(match_("^.*[^:]$")))]
    tags: Option<Vec<String>>,
    /// The rate that the agent is told.
    #[field(between(0, 1))]
    sample_rate: Option<f64>,
    /// How consumers are called; without it they are not.
    consumer_identifier: Option<ConsumerIdentifier>,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum StatType {
    Counter,
    Gauge,
    Histogram,
    Meter,
    Set,
    Timer,
    Distribution,
}

impl StatType {
    fn letters(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Gauge => "g",
            Self::Histogram => "h",
            Self::Meter => "m",
            Self::Set => "s",
            Self::Timer => "ms",
            Self::Distribution => "d",
        }
    }
}

fn deprecated(what: &str, instead: &str) -> Deprecation {
    Deprecation::new(&format!("datadog: config.{what}, please use config.queue.{instead} instead"), "4.0")
}

fn default_metrics() -> Value {
    let timer = |name: &str| json!({ "name": name, "stat_type": "timer", "tags": ["app:kong"], "consumer_identifier": "custom_id" });
    json!([
        {
            "name": "request_count", "stat_type": "counter", "sample_rate": 1, "tags": ["app:kong"],
            "consumer_identifier": "custom_id",
        },
        timer("latency"),
        timer("request_size"),
        timer("response_size"),
        timer("upstream_latency"),
        timer("kong_latency"),
    ])
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

#[expect(
    clippy::disallowed_methods,
    reason = "these two are Kong's names of the agent, and no properties of kong.conf"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let missing =
        |field: &str, variable: &str| BuildError(format!("datadog: neither config.{field} nor {variable} is set"));
    let host = config.host.clone().or_else(|| environment("KONG_DATADOG_AGENT_HOST"));
    let host = host.ok_or_else(|| missing("host", "KONG_DATADOG_AGENT_HOST"))?;
    let port = config.port.or_else(|| environment("KONG_DATADOG_AGENT_PORT")?.parse().ok());
    let port = port.ok_or_else(|| missing("port", "KONG_DATADOG_AGENT_PORT"))?;
    let parameters = config.queue.clone().with_deprecated(config.queue_size, config.flush_timeout);
    let name = format!("datadog:{}", instance.entity.id);
    let collector = Arc::new(Collector::new(&host, port, Transport::Udp { packet_size: 0 }));
    let queue = queue::named(&name, &format!("datadog to {host}:{port}"), parameters, collector);
    Ok(Arc::new(Datadog { config, queue }))
}

struct Datadog {
    config: Config,
    queue: Arc<Queue>,
}

impl Config {
    /// The line of a metric; a figure that the request does not have is -1, as in Kong.
    fn line(&self, cx: &Context, service: &str, metric: &Metric) -> String {
        let or = |name: &Option<String>, default: &str| name.clone().unwrap_or_else(|| default.to_owned());
        let mut tags = vec![
            format!("{}:{service}", or(&self.service_name_tag, "name")),
            format!("{}:{}", or(&self.status_tag, "status"), cx.response.status),
        ];
        if let Some(identifier) = metric.consumer_identifier
            && let Some(mut consumer) = identifier.of(cx, tag_piece)
        {
            if matches!(identifier, ConsumerIdentifier::ConsumerId) {
                consumer = consumer.replace('-', "_");
            }
            tags.push(format!("{}:{consumer}", or(&self.consumer_tag, "consumer")));
        }
        tags.extend(metric.tags.iter().flatten().map(|tag| one_line(tag)));
        format!(
            "{}.{}:{}|{}{}|#{}",
            or(&self.prefix, "kong"),
            metric.name.stat(),
            metric.name.of(cx).map_or_else(|| "-1".to_owned(), |value| value.to_string()),
            metric.stat_type.letters(),
            rate(metric.sample_rate),
            tags.join(","),
        )
    }
}

impl Plugin for Datadog {
    fn log(&self, cx: &mut Context) {
        let service = cx.service.map(|service| service.name.as_deref().unwrap_or(&service.host));
        let name = tag_piece(service.unwrap_or_default()).replace('.', "_");
        let lines: Vec<String> = self.config.metrics.iter().map(|metric| self.config.line(cx, &name, metric)).collect();
        if !lines.is_empty() {
            self.queue.push(lines.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests;
