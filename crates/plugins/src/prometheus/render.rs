//! The scrape: the node's figures and the series of requests, in Prometheus's text format.

use super::series::{self, Syntax, head};
use super::{Exports, escape};
use pdk::Node;
use std::fmt::{Display, Write};

/// What the node tells of itself at a scrape.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub is_datastore_reachable: bool,
    pub connections: Connections,
    /// Requests since the start.
    pub requests: u64,
    /// Tasks that wait for a time, and tasks that run.
    pub timers_pending: u64,
    pub timers_running: u64,
    /// The bytes each Lua VM uses, with the process's id.
    pub lua_vms: Vec<(u32, u64)>,
    pub shared_dicts: Vec<SharedDict>,
    pub targets: Vec<TargetHealth>,
}

/// Client connections: the first three since the start, the others now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    pub accepted: u64,
    pub handled: u64,
    pub total: u64,
    pub active: u64,
    pub reading: u64,
    pub writing: u64,
    pub waiting: u64,
}

/// A bounded store of the node's memory, under the name of Kong's shared dictionary.
#[derive(Clone, Debug)]
pub struct SharedDict {
    pub name: &'static str,
    pub used: u64,
    pub capacity: u64,
}

/// The health of one address of a target.
#[derive(Clone, Debug)]
pub struct TargetHealth {
    pub upstream: String,
    pub target: String,
    /// `ip:port`; empty where the name could not be resolved.
    pub address: String,
    /// `healthchecks_off`, `healthy`, `unhealthy` or `dns_error`.
    pub state: &'static str,
}

const STATES: [&str; 4] = ["healthchecks_off", "healthy", "unhealthy", "dns_error"];

/// The media types of the two formats.
const TEXT: &str = "text/plain; charset=UTF-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The body of `/metrics` and its media type. Who asks for OpenMetrics gets it where exemplars are on: it is the format that
/// has them.
pub fn render(node: &Node, figures: &Figures, exports: Exports, accept: Option<&str>) -> (&'static str, String) {
    let is_asked = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let syntax = if is_asked && exports.has_exemplars { Syntax::OpenMetrics } else { Syntax::Prometheus };
    let mut out = String::with_capacity(16 * 1024);
    if exports.has_series {
        series::BANDWIDTH.write(&mut out, syntax);
    }
    gauge(&mut out, "kong_datastore_reachable", "Datastore reachable from Kong, 0 is unreachable");
    line(&mut out, "kong_datastore_reachable", "", u8::from(figures.is_datastore_reachable));
    if exports.has_series {
        series::REQUESTS.write(&mut out, syntax);
        series::KONG_LATENCY.write(&mut out, syntax);
    }
    memory(&mut out, node, figures);
    connections(&mut out, node, figures, syntax);
    gauge(&mut out, "kong_node_info", "Kong Node metadata information");
    line(&mut out, "kong_node_info", &format!("node_id=\"{}\",version=\"{}\"", node.id, escape(&node.version)), 1);
    if exports.has_series {
        series::REQUEST_LATENCY.write(&mut out, syntax);
        series::UPSTREAM_LATENCY.write(&mut out, syntax);
    }
    if exports.has_upstream_health {
        targets(&mut out, &figures.targets);
    }
    if exports.has_logs {
        let name = "silverback_log_messages_dropped_total";
        head(&mut out, name, "Messages of logging plugins that were dropped", "counter", syntax);
        line(&mut out, name, "", crate::dropped_log_messages());
    }
    if syntax == Syntax::Prometheus {
        return (TEXT, out);
    }
    out.push_str("# EOF\n");
    (OPEN_METRICS, out)
}

fn gauge(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ =
        if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

fn memory(out: &mut String, node: &Node, figures: &Figures) {
    let dict = |d: &SharedDict| format!("node_id=\"{}\",shared_dict=\"{}\",kong_subsystem=\"http\"", node.id, d.name);
    if !figures.shared_dicts.is_empty() {
        let name = "kong_memory_lua_shared_dict_bytes";
        gauge(out, name, "Allocated slabs in bytes in a shared_dict");
        figures.shared_dicts.iter().for_each(|d| line(out, name, &dict(d), d.used));
        let name = "kong_memory_lua_shared_dict_total_bytes";
        gauge(out, name, "Total capacity in bytes of a shared_dict");
        figures.shared_dicts.iter().for_each(|d| line(out, name, &dict(d), d.capacity));
    }
    if !figures.lua_vms.is_empty() {
        let name = "kong_memory_workers_lua_vms_bytes";
        gauge(out, name, "Allocated bytes in worker Lua VM");
        for (pid, bytes) in &figures.lua_vms {
            line(out, name, &format!("node_id=\"{}\",pid=\"{pid}\",kong_subsystem=\"http\"", node.id), bytes);
        }
    }
}

fn connections(out: &mut String, node: &Node, figures: &Figures, syntax: Syntax) {
    let name = "kong_nginx_connections_total";
    gauge(out, name, "Number of connections by subsystem");
    let now = &figures.connections;
    for (state, value) in [
        ("accepted", now.accepted),
        ("active", now.active),
        ("handled", now.handled),
        ("reading", now.reading),
        ("total", now.total),
        ("waiting", now.waiting),
        ("writing", now.writing),
    ] {
        line(out, name, &format!("node_id=\"{}\",subsystem=\"http\",state=\"{state}\"", node.id), value);
    }
    let name = "kong_nginx_metric_errors_total";
    head(out, name, "Number of nginx-lua-prometheus errors", "counter", syntax);
    line(out, name, "", series::errors());
    let name = "kong_nginx_requests_total";
    gauge(out, name, "Number of requests total");
    line(out, name, &format!("node_id=\"{}\",subsystem=\"http\"", node.id), figures.requests);
    let name = "kong_nginx_timers";
    gauge(out, name, "Number of nginx timers");
    line(out, name, "state=\"pending\"", figures.timers_pending);
    line(out, name, "state=\"running\"", figures.timers_running);
}

fn targets(out: &mut String, targets: &[TargetHealth]) {
    if targets.is_empty() {
        return;
    }
    let name = "kong_upstream_target_health";
    gauge(
        out,
        name,
        "Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, \
         value is 1 when state is populated.",
    );
    for target in targets {
        for state in STATES {
            let labels = format!(
                "upstream=\"{}\",target=\"{}\",address=\"{}\",state=\"{state}\",subsystem=\"http\"",
                escape(&target.upstream),
                escape(&target.target),
                escape(&target.address)
            );
            line(out, name, &labels, u8::from(target.state == state));
        }
    }
}
