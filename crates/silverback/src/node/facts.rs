//! What the Admin API and the status pages know of the running node.

use super::config_line::ConfigLine;
use super::{insight, plugin_endpoints};
use crate::conf::{Conf, Database, Level};
use crate::error_log::ErrorLog;
use admin::{
    AddressHealth, CircuitHealth, HostHealth, MemoryUse, Pids, PluginEndpoint, Request, Response, RetryCounts, Status,
    UpstreamHealth,
};
use balancer::{Balancer, Member, ResolvedTarget, Which};
use entities::Upstream;
use pdk::Definition;
use plugins::prometheus::{Circuit, Connections, Exports, Figures, Resolver, SharedDict, TargetHealth};
use proxy::Proxy;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use store::{Change, Store};
use uuid::Uuid;

pub(super) struct Facts {
    proxy: Arc<Proxy>,
    line: Arc<ConfigLine>,
    store: Arc<dyn Store>,
    plugins: Arc<[Definition]>,
    log: ErrorLog,
    configuration: Map<String, Value>,
    is_dbless: bool,
    /// Announced by `POST /status/ready`.
    is_leaving: AtomicBool,
}

impl Facts {
    pub(super) fn new(
        conf: &Conf,
        proxy: Arc<Proxy>,
        line: Arc<ConfigLine>,
        store: Arc<dyn Store>,
        plugins: Arc<[Definition]>,
        log: ErrorLog,
    ) -> anyhow::Result<Self> {
        let Value::Object(configuration) = conf.dump() else { anyhow::bail!("the configuration cannot be shown") };
        let is_dbless = conf.database == Database::Off;
        Ok(Self { proxy, line, store, plugins, log, configuration, is_dbless, is_leaving: AtomicBool::new(false) })
    }

    pub(super) fn is_dbless(&self) -> bool {
        self.is_dbless
    }

    pub(super) fn is_draining(&self) -> bool {
        self.proxy.is_draining()
    }

    pub(super) fn announce_draining(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Why load balancers should not send requests here; `None` where they may.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        if self.is_leaving.load(Ordering::Relaxed) || self.is_draining() {
            return Some("draining");
        }
        let is_empty = self.is_dbless && self.line.is_empty();
        is_empty.then_some("no configuration available (empty configuration present)")
    }
}

impl admin::Node for Facts {
    fn apply(&self, changes: &[Change]) {
        self.line.apply(changes);
    }

    fn replace(&self, rows: &[Change]) {
        self.line.replace(rows);
    }

    fn node_id(&self) -> Uuid {
        self.proxy.settings.node.id
    }

    fn hostname(&self) -> String {
        self.proxy.settings.node.hostname.clone()
    }

    fn pids(&self) -> Pids {
        let master = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
        Pids { master: master.unsigned_abs(), workers: vec![std::process::id()] }
    }

    fn configuration(&self) -> Map<String, Value> {
        let mut shown = self.configuration.clone();
        shown.insert("log_level".to_owned(), self.log.level().as_str().into());
        shown
    }

    fn status(&self) -> Status {
        let view = self.proxy.stats.view();
        Status {
            connections_active: view.active,
            connections_reading: 0,
            connections_writing: view.writing,
            connections_waiting: view.waiting,
            connections_accepted: view.accepted,
            connections_handled: view.accepted,
            total_requests: view.requests,
            memory: vec![MemoryUse { pid: std::process::id(), bytes: resident() }],
        }
    }

    fn timers(&self) -> (u64, u64) {
        (0, 0)
    }

    fn log_level(&self) -> String {
        self.log.level().as_str().to_owned()
    }

    fn set_log_level(&self, level: &str, revert_after: Option<Duration>) {
        let all = [
            Level::Debug,
            Level::Info,
            Level::Notice,
            Level::Warn,
            Level::Error,
            Level::Crit,
            Level::Alert,
            Level::Emerg,
        ];
        if let Some(level) = all.into_iter().find(|l| l.as_str() == level) {
            self.log.set_level(level, revert_after);
        }
    }

    fn health(&self, upstream: Uuid) -> Option<UpstreamHealth> {
        let balancer = self.line.upstreams().balancer(upstream)?;
        let beyond = &balancer.settings().beyond;
        let state = balancer.upstream();
        let circuit = beyond.breaker.as_ref().map(|_| CircuitHealth {
            state: state.breaker.state().name(),
            requests: self.line.upstreams().gate(upstream).map(|gate| (gate.active, gate.pending, gate.refused)),
        });
        let retries = beyond.budget.as_ref().map(|_| {
            let (made, refused) = state.budget.counts();
            RetryCounts { made, refused }
        });
        let hosts = balancer.targets().map(|(target, members)| HostHealth {
            target: format!("{}:{}", target.host, target.port),
            host: target.host.to_string(),
            port: target.port,
            dns: match &target.resolution {
                balancer::Resolution::Records { dns, .. } => (*dns).to_owned(),
                balancer::Resolution::Failed(error) => error.to_string(),
            },
            node_weight: target.weight,
            is_failover: target.is_failover,
            locality: target.locality.as_deref().map(str::to_owned),
            addresses: members.iter().map(|member| address_health(&balancer, member)).collect(),
        });
        Some(UpstreamHealth {
            checked: balancer.settings().checks.is_some() || beyond.outliers.is_some(),
            healthy: balancer.is_healthy(),
            hosts: hosts.collect(),
            circuit,
            retries,
        })
    }

    fn dns(&self) -> Map<String, Value> {
        self.line.upstreams().dns().stats()
    }

    fn set_health(&self, upstream: Uuid, target: &str, address: Option<&str>, healthy: bool) -> Result<(), String> {
        let (name, id) = {
            let current = self.line.current();
            let name = current.upstreams.get(&upstream).map(|u| u.name.clone()).unwrap_or_default();
            let mut targets = current.targets.values();
            let id = targets.find(|t| t.upstream.id == upstream && t.target == target).map(|t| t.id);
            (name, id)
        };
        let balancer =
            self.line.upstreams().balancer(upstream).ok_or_else(|| format!("Upstream {name} has no balancer"))?;
        let id = id.ok_or_else(|| format!("no target {target} in upstream {name}"))?;
        let which = address.map_or(Ok(Which::All), which)?;
        let set = balancer.set_health(id, which, healthy, SystemTime::now());
        let count = set.map_err(|_| format!("no healthchecker found for {name}"))?;
        let state = if healthy { "healthy" } else { "unhealthy" };
        let address = address.unwrap_or("all");
        // Kong says 204 to an address that it does not know, too.
        log::warn!("upstream {name}: target {target}, address {address}: {count} set {state} through the Admin API");
        Ok(())
    }

    fn cached(&self, _key: &str) -> Option<Value> {
        None
    }

    fn uncache(&self, _key: Option<&str>) {}

    fn explain(&self, asked: &admin::Asked) -> Result<admin::Explained, String> {
        let consumer = asked.consumer.as_ref().map(|name| {
            let current = self.line.current();
            let is_it = |c: &&Arc<entities::Consumer>| {
                c.username.as_deref() == Some(name.as_str()) || c.id.to_string() == name.to_ascii_lowercase()
            };
            let found = current.consumers.values().find(is_it).map(|consumer| consumer.id);
            found.ok_or_else(|| format!("there is no consumer '{name}'"))
        });
        insight::explain(&self.proxy, asked, consumer.transpose()?)
    }

    fn lint(&self) -> Vec<Value> {
        let flavor = self.proxy.snapshots.load().flavor();
        // A copy of pointers: writes do not wait for the end of this.
        let current = self.line.current().clone();
        let findings = crate::lint::lint(&current, flavor);
        findings.iter().map(crate::lint::Finding::to_json).collect()
    }

    fn endpoints(&self) -> Vec<PluginEndpoint> {
        plugin_endpoints::of(|name| self.plugins.iter().any(|plugin| plugin.name == name))
    }

    fn call(&self, endpoint: &str, parameters: &[(String, String)], request: &Request) -> Response {
        if endpoint == plugin_endpoints::METRICS {
            let exports = Exports::of(self.line.current().plugins.values().map(|p| &**p));
            let node = &self.proxy.settings.node;
            let (kind, pieces) = plugins::prometheus::render(node, &self.figures(), exports, request.header("accept"));
            return Response::pieces(200, kind, pieces.map(String::into_bytes));
        }
        plugin_endpoints::proxy_cache(&self.line.current(), parameters, request)
    }
}

impl Facts {
    /// What a scrape shows of the node itself.
    fn figures(&self) -> Figures {
        let view = self.proxy.stats.view();
        let (used, capacity) = plugins::proxy_cache::memory();
        Figures {
            is_datastore_reachable: self.store.was_reachable(),
            connections: Connections {
                accepted: view.accepted,
                handled: view.accepted,
                total: view.requests,
                active: view.active,
                reading: 0,
                writing: view.writing,
                waiting: view.waiting,
            },
            requests: view.requests,
            timers_pending: 0,
            timers_running: 0,
            lua_vms: vec![(std::process::id(), resident())],
            shared_dicts: vec![SharedDict { name: plugins::proxy_cache::DICTIONARY, used, capacity }],
            targets: self.target_health(),
            circuits: self.circuits(),
            resolver: self.resolver(),
        }
    }

    fn circuits(&self) -> Vec<Circuit> {
        let upstreams = self.line.upstreams();
        let current = self.line.current();
        let of = |upstream: &Upstream| {
            let balancer = upstreams.balancer(upstream.id)?;
            let beyond = &balancer.settings().beyond;
            let (breaker, gate) = (beyond.breaker.as_ref(), upstreams.gate(upstream.id));
            let retries = beyond.budget.as_ref().map(|_| balancer.upstream().budget.counts());
            (breaker.is_some() || retries.is_some()).then(|| Circuit {
                upstream: upstream.name.clone(),
                state: breaker.map(|_| balancer.upstream().breaker.state().name()),
                requests: gate.map(|gate| (gate.active, gate.pending, gate.refused)),
                retries,
            })
        };
        current.upstreams.values().filter_map(|upstream| of(upstream)).collect()
    }

    fn resolver(&self) -> Resolver {
        let figures = self.line.upstreams().dns().figures();
        Resolver {
            lookups: [("succeeded", figures.succeeded), ("unknown", figures.unknown), ("failed", figures.failed)],
            stale: figures.stale,
            seconds: figures.time.as_secs_f64(),
            names: figures.names,
        }
    }

    fn target_health(&self) -> Vec<TargetHealth> {
        let current = self.line.current();
        let mut all = Vec::new();
        for upstream in current.upstreams.values() {
            let Some(balancer) = self.line.upstreams().balancer(upstream.id) else { continue };
            for (target, members) in balancer.targets() {
                let of = |address: String, state| TargetHealth {
                    upstream: upstream.name.clone(),
                    target: format!("{}:{}", target.host, target.port),
                    address,
                    state,
                };
                if members.is_empty() {
                    all.push(of(String::new(), "dns_error"));
                }
                all.extend(members.iter().map(|member| {
                    let state = match balancer::health::json::address_health(&balancer, member) {
                        "HEALTHY" => "healthy",
                        "UNHEALTHY" => "unhealthy",
                        _ => "healthchecks_off",
                    };
                    of(member.address().socket().to_string(), state)
                }));
            }
        }
        all
    }
}

fn address_health(balancer: &Balancer, member: &Member) -> AddressHealth {
    let (address, state) = (member.address(), member.state());
    let last_change = state.health().last_change().map(|change| {
        let at = change.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        ((at * 1000.0).round() / 1000.0, change.reason.to_string())
    });
    AddressHealth {
        ip: address.ip_text().to_owned(),
        port: address.port,
        weight: address.weight,
        healthy: balancer.is_up(member),
        last_change,
        rest: state.rest().map(|rest| rest.as_secs_f64()),
        share: f64::from(state.warmth()) / 1000.0,
    }
}

/// `ip`, `[ip]` or `ip:port`; the port is 8000 where it is left out, as in Kong. Of a name the port alone counts, as in Kong.
fn which(text: &str) -> Result<Which, String> {
    let (host, port) = balancer::host_and_port(text);
    match ResolvedTarget::literal(host) {
        Some(ip) => Ok(Which::At(ip, port)),
        None if entities::normalize_target(text).is_some() => Ok(Which::OfHost(port)),
        None => Err(format!("'{text}' is no address")),
    }
}

/// Bytes of memory this process holds.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}
