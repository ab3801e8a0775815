//! # statsd
//!
//! Sends metrics of each request to a StatsD server over UDP or TCP: what was counted or measured under a name that says
//! the service, or with tags in one of four styles. What is not tagged by any style (status codes, users) is sent without
//! tags only. `shdict_usage` tells, once a minute, of the memory that the plugin `proxy-cache` keeps responses in, which has the
//! name of Kong's shared dictionary for them: `kong_db_cache`.

mod metrics;

use crate::queue::{self, Parameters, Queue};
use crate::stats::{Collector, ConsumerIdentifier, Transport};
use entities::PluginSchema;
use metrics::Metric;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::{Deprecation, Record, Value, json};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const DEFINITION: Definition =
    Definition { name: "statsd", priority: 11, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The host to send to.
    #[field(typedef = host, default = "localhost")]
    host: Option<String>,
    /// The port to send to.
    #[field(typedef = port, default = 8125)]
    port: Option<u16>,
    /// What names of metrics begin with.
    #[field(default = "kong")]
    prefix: Option<String>,
    /// The metrics to send.
    #[field(default = default_metrics())]
    metrics: Option<Vec<Metric>>,
    /// Ranges of response statuses; other responses are not counted.
    #[field(elements(match_("^[0-9]+-[0-9]+$")))]
    allow_status_codes: Option<Vec<String>>,
    /// Metrics are put together into datagrams of up to this size; with 0 each has its own.
    #[field(default = 0, between(0, 65507))]
    udp_packet_size: Option<f64>,
    /// Whether TCP is used instead of UDP.
    #[field(default = false)]
    use_tcp: Option<bool>,
    /// Whether the prefix says this node's name.
    #[field(default = false)]
    hostname_in_prefix: Option<bool>,
    /// How consumers are called.
    #[field(default = "custom_id")]
    consumer_identifier_default: ConsumerIdentifier,
    /// How services are called.
    #[field(default = "service_name_or_host")]
    service_identifier_default: ServiceIdentifier,
    /// How the workspace is called.
    #[field(default = "workspace_id")]
    workspace_identifier_default: WorkspaceIdentifier,
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
    /// How tags are written; without it there are none.
    #[field(required = false)]
    tag_style: Option<TagStyle>,
    /// How metrics wait and are put together.
    queue: Parameters,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
enum ServiceIdentifier {
    #[serde(rename = "service_id")]
    Id,
    #[serde(rename = "service_name")]
    Name,
    #[serde(rename = "service_host")]
    Host,
    #[serde(rename = "service_name_or_host")]
    NameOrHost,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum WorkspaceIdentifier {
    WorkspaceId,
    WorkspaceName,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum TagStyle {
    Dogstatsd,
    Influxdb,
    Librato,
    Signalfx,
}

fn deprecated(what: &str, instead: &str) -> Deprecation {
    Deprecation::new(&format!("statsd: config.{what}, please use config.queue.{instead} instead"), "4.0")
}

fn default_metrics() -> Value {
    json!([
        { "name": "request_count", "sample_rate": 1, "stat_type": "counter" },
        { "name": "latency", "stat_type": "timer" },
        { "name": "request_size", "sample_rate": 1, "stat_type": "counter" },
        { "name": "status_count", "sample_rate": 1, "stat_type": "counter" },
        { "name": "response_size", "sample_rate": 1, "stat_type": "counter" },
        { "name": "unique_users", "stat_type": "set" },
        { "name": "request_per_user", "sample_rate": 1, "stat_type": "counter" },
        { "name": "upstream_latency", "stat_type": "timer" },
        { "name": "kong_latency", "stat_type": "timer" },
        { "name": "status_count_per_user", "sample_rate": 1, "stat_type": "counter" },
        { "name": "status_count_per_workspace", "sample_rate": 1, "stat_type": "counter" },
        { "name": "status_count_per_user_per_route", "sample_rate": 1, "stat_type": "counter" },
        { "name": "shdict_usage", "sample_rate": 1, "stat_type": "gauge" },
    ])
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let (host, port) = (config.host.as_deref().unwrap_or("localhost"), config.port.unwrap_or(8125));
    let transport = match config.use_tcp {
        Some(true) => Transport::Tcp,
        _ => Transport::Udp { packet_size: config.udp_packet_size.unwrap_or_default() as usize },
    };
    let parameters = config.queue.clone().with_deprecated(config.queue_size, config.flush_timeout);
    let name = format!("statsd:{}", instance.entity.id);
    let collector = Arc::new(Collector::new(host, port, transport));
    let queue = queue::named(&name, &format!("statsd to {host}:{port}"), parameters, collector);
    let ranges = config.allow_status_codes.as_ref().map(|ranges| ranges.iter().filter_map(|r| range(r)).collect());
    Ok(Arc::new(Statsd { ranges, has_memory: config.has_memory(), told_memory: AtomicU64::new(0), config, queue }))
}

/// Seconds between two lines of the node's memory.
const MEMORY_PAUSE: u64 = 60;

/// A range of statuses; one that is too large for numbers holds none.
fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-')?;
    Some((from.parse().ok()?, to.parse().unwrap_or(u16::MAX)))
}

struct Statsd {
    config: Config,
    ranges: Option<Vec<(u16, u16)>>,
    queue: Arc<Queue>,
    /// Whether the node's memory is asked for, and when it was last told, in seconds after the epoch.
    has_memory: bool,
    told_memory: AtomicU64,
}

impl Statsd {
    /// Whether the node's memory is to be told with this request: as in Kong with the first one, and then once a minute.
    fn tells_memory(&self, cx: &Context) -> bool {
        if !self.has_memory {
            return false;
        }
        let (now, told) = (cx.shared.clock.now().as_secs(), self.told_memory.load(Relaxed));
        // Of several threads one tells.
        told + MEMORY_PAUSE < now && self.told_memory.compare_exchange(told, now, Relaxed, Relaxed).is_ok()
    }
}

impl Plugin for Statsd {
    fn log(&self, cx: &mut Context) {
        let status = cx.response.status;
        let is_counted =
            self.ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|(from, to)| (from..=to).contains(&&status)));
        if !is_counted {
            return;
        }
        let lines = self.config.lines(cx, self.tells_memory(cx));
        if !lines.is_empty() {
            self.queue.push(lines.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests;
