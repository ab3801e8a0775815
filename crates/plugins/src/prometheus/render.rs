//! The scrape: the node's figures and the series of requests, in Prometheus's text format.

use super::series::{self, Family, Syntax, Value, head};
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
    /// Upstreams with a circuit breaker or a retry budget.
    pub circuits: Vec<Circuit>,
    pub resolver: Resolver,
}

/// The circuit breaker and the retry budget of an upstream.
#[derive(Clone, Debug, Default)]
pub struct Circuit {
    pub upstream: String,
    /// `closed`, `open` or `half_open`.
    pub state: Option<&'static str>,
    /// Requests under way, requests that wait, and requests that were refused since the start.
    pub requests: Option<(usize, usize, u64)>,
    /// Retries that were made, and that were not to be had.
    pub retries: Option<(u64, u64)>,
}

/// What the node's DNS client counts.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// Look-ups by their result.
    pub lookups: [(&'static str, u64); 3],
    /// Failed look-ups after which an expired answer went on serving.
    pub stale: u64,
    /// The time of all look-ups.
    pub seconds: f64,
    /// Names in the cache.
    pub names: usize,
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

/// The media type of `/metrics` and its body, in pieces: with a hundred thousand series it has megabytes. Who asks for
/// OpenMetrics gets it where exemplars are on: it is the format that has them.
pub fn render(
    node: &Node,
    figures: &Figures,
    exports: Exports,
    accept: Option<&str>,
) -> (&'static str, impl Iterator<Item = String> + Send + use<>) {
    let is_asked = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let syntax = if is_asked && exports.has_exemplars { Syntax::OpenMetrics } else { Syntax::Prometheus };
    let has_series = exports.has_series;
    let mut reachable = String::new();
    gauge(&mut reachable, "kong_datastore_reachable", "Datastore reachable from Kong, 0 is unreachable");
    line(&mut reachable, "kong_datastore_reachable", "", u8::from(figures.is_datastore_reachable));
    let mut of_node = String::new();
    memory(&mut of_node, node, figures);
    connections(&mut of_node, node, figures, syntax);
    gauge(&mut of_node, "kong_node_info", "Kong Node metadata information");
    line(&mut of_node, "kong_node_info", &format!("node_id=\"{}\",version=\"{}\"", node.id, escape(&node.version)), 1);
    let pieces = text(&series::BANDWIDTH, has_series, syntax)
        .chain([reachable])
        .chain(text(&series::REQUESTS, has_series, syntax))
        .chain(text(&series::KONG_LATENCY, has_series, syntax))
        .chain([of_node])
        .chain(text(&series::REQUEST_LATENCY, has_series, syntax))
        .chain(text(&series::UPSTREAM_LATENCY, has_series, syntax))
        .chain([optional(figures, exports, syntax)]);
    (if syntax == Syntax::OpenMetrics { OPEN_METRICS } else { TEXT }, pieces.filter(|piece| !piece.is_empty()))
}

fn text<T: Value>(family: &'static Family<T>, is_shown: bool, syntax: Syntax) -> impl Iterator<Item = String> {
    is_shown.then(|| family.text(syntax)).into_iter().flatten()
}

/// What is only shown where it is asked for, and the end.
fn optional(figures: &Figures, exports: Exports, syntax: Syntax) -> String {
    let mut out = String::new();
    if exports.has_upstream_health {
        targets(&mut out, &figures.targets);
    }
    if exports.has_balancing {
        circuits(&mut out, &figures.circuits, syntax);
        resolver(&mut out, &figures.resolver, syntax);
    }
    if exports.has_logs {
        let name = "silverback_log_messages_dropped_total";
        head(&mut out, name, "Messages of logging plugins that were dropped", "counter", syntax);
        for (plugin, count) in crate::dropped_log_messages() {
            line(&mut out, name, &format!("plugin=\"{plugin}\""), count);
        }
    }
    if exports.has_mirrors {
        let name = "silverback_mirrored_requests_total";
        head(&mut out, name, "Copies of requests by what became of them", "counter", syntax);
        for (outcome, count) in crate::request_mirror::counts() {
            line(&mut out, name, &format!("outcome=\"{outcome}\""), count);
        }
    }
    if syntax == Syntax::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
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

const CIRCUIT_STATES: [&str; 3] = ["closed", "open", "half_open"];

fn circuits(out: &mut String, circuits: &[Circuit], syntax: Syntax) {
    let label = |circuit: &Circuit| format!("upstream=\"{}\"", escape(&circuit.upstream));
    if circuits.iter().any(|circuit| circuit.state.is_some()) {
        let name = "silverback_upstream_circuit";
        gauge(out, name, "State of an upstream's circuit breaker, value is 1 when state is populated");
        for circuit in circuits {
            let Some(now) = circuit.state else { continue };
            for state in CIRCUIT_STATES {
                line(out, name, &format!("{},state=\"{state}\"", label(circuit)), u8::from(state == now));
            }
        }
    }
    if circuits.iter().any(|circuit| circuit.requests.is_some()) {
        let name = "silverback_upstream_requests";
        gauge(out, name, "Requests of an upstream under way and waiting, where their number is limited");
        for circuit in circuits {
            let Some((active, pending, _)) = circuit.requests else { continue };
            for (state, count) in [("active", active), ("pending", pending)] {
                line(out, name, &format!("{},state=\"{state}\"", label(circuit)), count);
            }
        }
        let name = "silverback_upstream_requests_refused_total";
        head(out, name, "Requests that were refused as there were too many", "counter", syntax);
        for circuit in circuits {
            if let Some((.., refused)) = circuit.requests {
                line(out, name, &label(circuit), refused);
            }
        }
    }
    if circuits.iter().any(|circuit| circuit.retries.is_some()) {
        let name = "silverback_upstream_retries_total";
        head(out, name, "Retries of an upstream with a retry budget, made and refused", "counter", syntax);
        for circuit in circuits {
            let Some((made, refused)) = circuit.retries else { continue };
            for (outcome, count) in [("made", made), ("refused", refused)] {
                line(out, name, &format!("{},outcome=\"{outcome}\"", label(circuit)), count);
            }
        }
    }
}

fn resolver(out: &mut String, resolver: &Resolver, syntax: Syntax) {
    let name = "silverback_dns_lookups_total";
    head(out, name, "DNS look-ups by result", "counter", syntax);
    for (result, count) in resolver.lookups.iter().filter(|(result, _)| !result.is_empty()) {
        line(out, name, &format!("result=\"{result}\""), count);
    }
    let name = "silverback_dns_lookup_seconds_total";
    head(out, name, "Time that DNS look-ups took together", "counter", syntax);
    line(out, name, "", resolver.seconds);
    let name = "silverback_dns_stale_total";
    head(out, name, "Failed DNS look-ups after which an expired answer went on serving", "counter", syntax);
    line(out, name, "", resolver.stale);
    let name = "silverback_dns_names";
    gauge(out, name, "Names in the DNS cache");
    line(out, name, "", resolver.names);
}
