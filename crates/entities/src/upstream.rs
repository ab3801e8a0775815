//! Upstreams: names that stand for several targets, how requests are spread over them and how their health is known.

use indexmap::IndexMap;
use schema::validators::{HostKind, normalize_ip};
use schema::{CheckError, Field, Foreign, Map, Record, Uuid, Value, is};
use serde::{Deserialize, Serialize};

const ALGORITHMS: [&str; 4] = ["consistent-hashing", "least-connections", "round-robin", "latency"];
/// Kong Enterprise's.
const MORE_ALGORITHMS: [&str; 1] = ["sticky-sessions"];
const HASH_INPUTS: [&str; 8] = ["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"];
const CHECK_TYPES: [&str; 5] = ["tcp", "http", "https", "grpc", "grpcs"];
const PASSIVE_HEALTHY: [i64; 19] =
    [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308];
const PASSIVE_UNHEALTHY: [i64; 3] = [429, 500, 503];
const ACTIVE_HEALTHY: [i64; 2] = [200, 302];
const ACTIVE_UNHEALTHY: [i64; 8] = [429, 404, 500, 501, 502, 503, 504, 505];

/// A virtual host name with targets behind it.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "upstreams", endpoint_key = "name", workspaceable)]
#[shorthand("algorithm", Field::string(), from_algorithm)]
#[shorthand("hash_on", Field::string(), from_hash_on)]
#[check(conditional("hash_on", is().pattern("^header$"), "hash_on_header", is().required(true)))]
#[check(conditional("hash_fallback", is().pattern("^header$"), "hash_fallback_header", is().required(true)))]
#[check(conditional("hash_on", is().pattern("^cookie$"), "hash_on_cookie", is().required(true)))]
#[check(conditional("hash_fallback", is().pattern("^cookie$"), "hash_on_cookie", is().required(true)))]
#[check(conditional("hash_on", is().pattern("^none$"), "hash_fallback", is().one_of(["none"])))]
#[check(conditional("hash_on", is().pattern("^cookie$"), "hash_fallback", is().one_of(["none"])))]
#[check(conditional("hash_on", is().pattern("^consumer$"), "hash_fallback", is().one_of(["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"])))]
#[check(conditional("hash_on", is().pattern("^ip$"), "hash_fallback", is().one_of(["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"])))]
#[check(conditional("hash_on", is().pattern("^path$"), "hash_fallback", is().one_of(["none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"])))]
#[check(distinct(["hash_on_header", "hash_fallback_header"]))]
#[check(conditional("hash_on", is().pattern("^query_arg$"), "hash_on_query_arg", is().required(true)))]
#[check(conditional("hash_fallback", is().pattern("^query_arg$"), "hash_fallback_query_arg", is().required(true)))]
#[check(distinct(["hash_on_query_arg", "hash_fallback_query_arg"]))]
#[check(conditional("hash_on", is().pattern("^uri_capture$"), "hash_on_uri_capture", is().required(true)))]
#[check(conditional("hash_fallback", is().pattern("^uri_capture$"), "hash_fallback_uri_capture", is().required(true)))]
#[check(distinct(["hash_on_uri_capture", "hash_fallback_uri_capture"]))]
#[check(custom(["algorithm", "sticky_sessions_cookie"], has_session_cookie).run_with_missing_fields())]
#[record(transformation([""; 0], [""; 0], algorithm_in_step))]
pub struct Upstream {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// The name that services use as their host.
    #[field(unique, validator(virtual_host))]
    pub name: String,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// How a target is chosen.
    #[field(default = "round-robin", one_of(ALGORITHMS), beyond(MORE_ALGORITHMS))]
    pub algorithm: Option<String>,
    /// What requests are hashed by.
    #[field(default = "none", one_of(HASH_INPUTS))]
    pub hash_on: Option<String>,
    /// What they are hashed by when they do not have the first.
    #[field(default = "none", one_of(HASH_INPUTS))]
    pub hash_fallback: Option<String>,
    /// The header for `hash_on` = header.
    #[field(typedef = header_name)]
    pub hash_on_header: Option<String>,
    /// The header for `hash_fallback` = header.
    #[field(typedef = header_name)]
    pub hash_fallback_header: Option<String>,
    /// The cookie for cookie hashing; set by the gateway where absent.
    #[field(typedef = cookie_name)]
    pub hash_on_cookie: Option<String>,
    /// The path of that cookie.
    #[field(typedef = path, default = "/")]
    pub hash_on_cookie_path: Option<String>,
    /// The query argument for `hash_on` = query_arg.
    #[field(len_min = 1)]
    pub hash_on_query_arg: Option<String>,
    /// The query argument for `hash_fallback` = query_arg.
    #[field(len_min = 1)]
    pub hash_fallback_query_arg: Option<String>,
    /// The capture of the route's path for `hash_on` = uri_capture.
    #[field(len_min = 1)]
    pub hash_on_uri_capture: Option<String>,
    /// The capture of the route's path for `hash_fallback` = uri_capture.
    #[field(len_min = 1)]
    pub hash_fallback_uri_capture: Option<String>,
    /// The number of slots of the hashing ring in Kong; without effect here.
    #[field(default = 10000, between(10, 65536))]
    pub slots: Option<i64>,
    /// How the targets' health is known.
    #[field(default = default_healthchecks())]
    pub healthchecks: Healthchecks,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// The Host header that targets get.
    #[field(typedef = host_with_optional_port)]
    pub host_header: Option<String>,
    /// The certificate shown to targets.
    #[field(reference = "certificates")]
    pub client_certificate: Option<Foreign>,
    /// Whether the name of the SRV record is sent as Host header.
    #[field(default = false)]
    pub use_srv_name: Option<bool>,
    /// The cookie that names a session's target, for the algorithm sticky-sessions (Kong Enterprise's field).
    #[field(hidden, typedef = cookie_name)]
    pub sticky_sessions_cookie: Option<String>,
    /// The path of that cookie; `/` where it is not given.
    #[field(hidden, typedef = path)]
    pub sticky_sessions_cookie_path: Option<String>,
    /// Seconds in which a target that is new or comes back takes on its whole share.
    #[field(hidden, between(0, 3600))]
    pub slow_start: Option<f64>,
    /// Targets that do worse than the others rest for a while.
    #[field(hidden)]
    pub outlier_detection: Option<OutlierDetection>,
    /// When requests are refused rather than sent.
    #[field(hidden)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How many of the requests may be tried again.
    #[field(hidden)]
    pub retry_budget: Option<RetryBudget>,
}

/// When a target rests: after failures in a row, or when its share of good answers is far below that of the others.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct OutlierDetection {
    /// Failures in a row (status 500 and above, time-outs, broken connections); 0: they do not count.
    #[field(default = 5, between(0, 1000))]
    pub consecutive_failures: Option<i64>,
    /// How many standard deviations below the mean a target's share of good answers may be; 0: it is not compared.
    #[field(default = 0, between(0, 100))]
    pub success_rate_deviation: Option<f64>,
    /// Answers within an interval below which a target is not compared.
    #[field(default = 100, between(1, 1_000_000))]
    pub min_requests: Option<i64>,
    /// Targets with that many answers below which none is compared.
    #[field(default = 5, between(2, 1000))]
    pub min_targets: Option<i64>,
    /// Seconds between two comparisons.
    #[field(default = 10, between(1, 3600))]
    pub interval: Option<f64>,
    /// Seconds of the first rest; each further one is longer by as much, up to ten times.
    #[field(default = 30, between(1, 3600))]
    pub ejection_time: Option<f64>,
    /// The largest percentage of the targets that rests at the same time.
    #[field(default = 50, between(0, 100))]
    pub max_ejected_percent: Option<f64>,
}

/// Bounds of what an upstream is asked.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct CircuitBreaker {
    /// Requests at the same time, on this node; 0: no limit.
    #[field(default = 0, between(0, 1_000_000))]
    pub max_requests: Option<i64>,
    /// Requests that wait for one of these to end.
    #[field(default = 0, between(0, 1_000_000))]
    pub max_pending: Option<i64>,
    /// Seconds that they wait.
    #[field(default = 1, between(0, 60))]
    pub pending_timeout: Option<f64>,
    /// Failures in a row (status 500 and above, time-outs, broken connections) that open the circuit; 0: never.
    #[field(default = 0, between(0, 10_000))]
    pub consecutive_failures: Option<i64>,
    /// Seconds that it is open before a request is tried.
    #[field(default = 10, between(0.1, 3600))]
    pub open_time: Option<f64>,
}

/// How many requests may be tried again, so that retries do not bring down what is slow already.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct RetryBudget {
    /// Retries as a percentage of the requests.
    #[field(default = 20, between(0, 100))]
    pub percent: Option<f64>,
    /// Retries a second that are allowed beside these.
    #[field(default = 10, between(0, 10_000))]
    pub min_per_second: Option<f64>,
}

/// Health checks of an upstream.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Healthchecks {
    /// From the answers to proxied requests.
    #[field(default = default_passive())]
    pub passive: PassiveHealthchecks,
    /// From requests of the gateway's own.
    #[field(default = default_active())]
    pub active: ActiveHealthchecks,
    /// The percentage of the weight that must be available for the upstream to be healthy.
    #[field(default = 0, between(0, 100))]
    pub threshold: Option<f64>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PassiveHealthchecks {
    #[field(default = default_passive_healthy())]
    pub healthy: PassiveHealthy,
    /// Whether HTTP statuses count, or only connections.
    #[field(default = "http", one_of(CHECK_TYPES))]
    pub r#type: Option<String>,
    #[field(default = default_passive_unhealthy())]
    pub unhealthy: PassiveUnhealthy,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PassiveHealthy {
    /// The number of good answers that make a target healthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub successes: Option<i64>,
    /// What counts as good.
    #[field(default = PASSIVE_HEALTHY, elements(between(100, 999)))]
    pub http_statuses: Option<Vec<i64>>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PassiveUnhealthy {
    /// The number of time-outs that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub timeouts: Option<i64>,
    /// What counts as a failure.
    #[field(default = PASSIVE_UNHEALTHY, elements(between(100, 999)))]
    pub http_statuses: Option<Vec<i64>>,
    /// The number of such answers that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub http_failures: Option<i64>,
    /// The number of failed connections that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub tcp_failures: Option<i64>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ActiveHealthchecks {
    /// Headers of the gateway's requests.
    #[field(required = false, keys(typedef = header_name))]
    pub headers: Option<IndexMap<String, Vec<String>>>,
    /// Seconds to wait for an answer.
    #[field(default = 1, between(0, 65535))]
    pub timeout: Option<f64>,
    /// The number of targets checked at once.
    #[field(default = 10, between(1, 2147483648_u32))]
    pub concurrency: Option<i64>,
    /// The path that is requested.
    #[field(typedef = path, default = "/")]
    pub http_path: Option<String>,
    /// The server name of the gateway's TLS connections.
    #[field(typedef = sni, required = false)]
    pub https_sni: Option<String>,
    /// Whether the target's certificate is verified.
    #[field(default = true)]
    pub https_verify_certificate: bool,
    #[field(default = default_active_healthy())]
    pub healthy: ActiveHealthy,
    /// How targets are checked.
    #[field(default = "http", one_of(CHECK_TYPES))]
    pub r#type: Option<String>,
    #[field(default = default_active_unhealthy())]
    pub unhealthy: ActiveUnhealthy,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ActiveHealthy {
    /// Seconds between two checks of a healthy target; 0: none.
    #[field(default = 0, between(0, 65535))]
    pub interval: Option<f64>,
    /// What counts as good.
    #[field(default = ACTIVE_HEALTHY, elements(between(100, 999)))]
    pub http_statuses: Option<Vec<i64>>,
    /// The number of good answers that make a target healthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub successes: Option<i64>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ActiveUnhealthy {
    /// What counts as a failure.
    #[field(default = ACTIVE_UNHEALTHY, elements(between(100, 999)))]
    pub http_statuses: Option<Vec<i64>>,
    /// The number of failed connections that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub tcp_failures: Option<i64>,
    /// Seconds between two checks of an unhealthy target; 0: none.
    #[field(default = 0, between(0, 65535))]
    pub interval: Option<f64>,
    /// The number of bad answers that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub http_failures: Option<i64>,
    /// The number of time-outs that make a target unhealthy; 0: never.
    #[field(default = 0, between(0, 255))]
    pub timeouts: Option<i64>,
}

// Kong states the default of each record beside those of its fields, and shows both.

fn default_passive_healthy() -> Value {
    schema::json!({"http_statuses": PASSIVE_HEALTHY, "successes": 0})
}

fn default_passive_unhealthy() -> Value {
    schema::json!({"http_failures": 0, "http_statuses": PASSIVE_UNHEALTHY, "tcp_failures": 0, "timeouts": 0})
}

fn default_passive() -> Value {
    schema::json!({"healthy": default_passive_healthy(), "type": "http", "unhealthy": default_passive_unhealthy()})
}

fn default_active_healthy() -> Value {
    schema::json!({"http_statuses": ACTIVE_HEALTHY, "interval": 0, "successes": 0})
}

fn default_active_unhealthy() -> Value {
    schema::json!({
        "http_failures": 0, "http_statuses": ACTIVE_UNHEALTHY, "interval": 0, "tcp_failures": 0, "timeouts": 0,
    })
}

fn default_active() -> Value {
    schema::json!({
        "concurrency": 10,
        "healthy": default_active_healthy(),
        "http_path": "/",
        "https_verify_certificate": true,
        "timeout": 1,
        "type": "http",
        "unhealthy": default_active_unhealthy(),
    })
}

fn default_healthchecks() -> Value {
    schema::json!({"active": default_active(), "passive": default_passive()})
}

fn virtual_host(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    let invalid = |why: &str| Err(format!("Invalid name ('{name}'); {why}"));
    match normalize_ip(name) {
        Err(_) => invalid("must be a valid hostname"),
        Ok(address) if address.kind != HostKind::Name => invalid("no ip addresses allowed"),
        Ok(address) if address.port.is_some() => invalid("no port allowed"),
        Ok(_) => Ok(()),
    }
}

fn has_session_cookie(upstream: &Map<String, Value>) -> Result<(), CheckError> {
    let is_sticky = upstream.get("algorithm").is_some_and(|algorithm| algorithm == "sticky-sessions");
    if is_sticky && upstream.get("sticky_sessions_cookie").is_none_or(Value::is_null) {
        return Err(CheckError::field("sticky_sessions_cookie", "required field missing"));
    }
    Ok(())
}

/// Algorithms that hash nothing drop what requests are hashed by.
fn from_algorithm(value: &Value) -> Map<String, Value> {
    let mut out = Map::from_iter([("algorithm".into(), value.clone())]);
    if matches!(value.as_str(), Some("least-connections" | "latency")) {
        out.insert("hash_on".into(), Value::Null);
    }
    out
}

/// What requests are hashed by decides the algorithm; an explicit null decides nothing.
fn from_hash_on(value: &Value) -> Map<String, Value> {
    let (hash_on, algorithm) = match value {
        Value::Null => ("none".into(), None),
        Value::String(text) if text == "none" => (value.clone(), Some("round-robin")),
        _ => (value.clone(), Some("consistent-hashing")),
    };
    let mut out = Map::from_iter([("hash_on".into(), hash_on)]);
    if let Some(algorithm) = algorithm {
        out.insert("algorithm".into(), algorithm.into());
    }
    out
}

/// Kong applies its shorthands to what it reads from the store, too: there what requests are hashed by, its default included,
/// always decides the algorithm.
fn algorithm_in_step(upstream: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let text = |name: &str| upstream.get(name).and_then(Value::as_str);
    if matches!(text("algorithm"), Some("least-connections" | "latency" | "sticky-sessions")) {
        return Ok(Map::new());
    }
    Ok(upstream.get("hash_on").map(from_hash_on).unwrap_or_default())
}
