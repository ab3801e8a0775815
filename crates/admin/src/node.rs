//! What the Admin API needs of the running node.
use crate::{Request, Response};
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::time::Duration;
use store::Change;
use uuid::Uuid;

pub trait Node: Send + Sync {
    /// Returns when the next proxied request sees the changes. Called within the store's commit: it must not call the store.
    fn apply(&self, changes: &[Change]);
    /// The whole configuration was replaced; these are all rows.
    fn replace(&self, rows: &[Change]);

    fn node_id(&self) -> Uuid;
    fn hostname(&self) -> String;
    fn pids(&self) -> Pids;
    /// What `/` shows as `configuration`, secrets masked.
    fn configuration(&self) -> Map<String, Value>;
    fn version(&self) -> String {
        "3.10.0".to_owned()
    }
    fn status(&self) -> Status;
    /// Timers running and pending.
    fn timers(&self) -> (u64, u64);

    fn log_level(&self) -> String;
    /// `None`: for good.
    fn set_log_level(&self, level: &str, revert_after: Option<Duration>);

    /// `None` where the upstream has no balancer yet.
    fn health(&self, upstream: Uuid) -> Option<UpstreamHealth>;
    /// What the resolver counts, by name and type.
    fn dns(&self) -> Map<String, Value>;
    /// Marks a target (as stored, `host:port`) or one of its addresses; the error is told to the client.
    fn set_health(&self, upstream: Uuid, target: &str, address: Option<&str>, healthy: bool) -> Result<(), String>;

    fn cached(&self, key: &str) -> Option<Value>;
    /// Forgets one key, or all.
    fn uncache(&self, key: Option<&str>);

    /// What would become of a request; the error is told to the client.
    fn explain(&self, asked: &Asked) -> Result<Explained, String>;
    /// What of the configuration has no effect.
    fn lint(&self) -> Vec<Value>;

    /// Endpoints that plugins bring.
    fn endpoints(&self) -> Vec<PluginEndpoint>;
    fn call(&self, endpoint: &str, parameters: &[(String, String)], request: &Request) -> Response;
}

/// A request that is only asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    pub is_tls: bool,
    pub http_version: HttpVersion,
    pub method: String,
    pub host: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub sni: Option<String>,
    pub client: Option<SocketAddr>,
    pub listener: Option<SocketAddr>,
    /// By id or username.
    pub consumer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

/// What would become of a request.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// Whom it is taken to come from.
    pub client: Value,
    pub matched: Value,
    /// The gateway's own answer, where there is one before any plugin of a route.
    pub answer: Value,
    /// The rows of the plugins that would run, with all their secrets, and their phases.
    pub plugins: Vec<(Value, Vec<&'static str>)>,
    pub others: Vec<Value>,
}

#[derive(Clone, Debug, Default)]
pub struct Pids {
    pub master: u32,
    pub workers: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub connections_active: u64,
    pub connections_reading: u64,
    pub connections_writing: u64,
    pub connections_waiting: u64,
    pub connections_accepted: u64,
    pub connections_handled: u64,
    pub total_requests: u64,
    pub memory: Vec<MemoryUse>,
}

/// What one process holds of the Lua heap (Kong's field), or simply of the heap.
#[derive(Clone, Debug, Default)]
pub struct MemoryUse {
    pub pid: u32,
    pub bytes: u64,
}

#[derive(Clone, Debug)]
pub struct PluginEndpoint {
    /// `/proxy-cache/:cache_key`
    pub path: &'static str,
    pub methods: &'static [&'static str],
}

#[derive(Clone, Debug, Default)]
pub struct UpstreamHealth {
    /// Whether any health check of the upstream is on.
    pub checked: bool,
    /// Whether enough of the balancer's weight is available.
    pub healthy: bool,
    pub hosts: Vec<HostHealth>,
    /// What it has beyond Kong: shown with `details=1`.
    pub circuit: Option<CircuitHealth>,
    pub retries: Option<RetryCounts>,
}

/// The state of an upstream's circuit breaker.
#[derive(Clone, Debug, Default)]
pub struct CircuitHealth {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Where the number of requests is limited: those under way, those that wait, and those that were refused.
    pub requests: Option<(usize, usize, u64)>,
}

/// Of an upstream with a retry budget: retries that were made, and that were not to be had.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryCounts {
    pub made: u64,
    pub refused: u64,
}

#[derive(Clone, Debug, Default)]
pub struct HostHealth {
    /// As stored: `host:port`.
    pub target: String,
    pub host: String,
    pub port: u16,
    /// The type of the DNS record, or the error of the look-up.
    pub dns: String,
    pub node_weight: u32,
    pub is_failover: bool,
    pub locality: Option<String>,
    pub addresses: Vec<AddressHealth>,
}

#[derive(Clone, Debug, Default)]
pub struct AddressHealth {
    pub ip: String,
    pub port: u16,
    pub weight: u32,
    pub healthy: bool,
    /// When it became healthy or unhealthy (seconds since 1970), and why; `None` = healthy from the start.
    pub last_change: Option<(f64, String)>,
    /// Seconds it will rest, after it did worse than the others.
    pub rest: Option<f64>,
    /// The part of its weight that it takes, less than 1 in a slow start.
    pub share: f64,
}
