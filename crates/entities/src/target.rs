//! Targets: the addresses behind an upstream.

use schema::validators::{HostKind, normalize_ip};
use schema::{Foreign, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

const DEFAULT_PORT: u16 = 8000;

/// A host and port of an upstream, and its share of the requests.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "targets", endpoint_key = "target", cache_key(["upstream", "target"]), workspaceable)]
#[record(transformation(["target"], [""; 0], normal_form))]
pub struct Target {
    #[field(auto)]
    pub id: Uuid,
    #[field(typedef = auto_timestamp_ms)]
    pub created_at: f64,
    #[field(typedef = auto_timestamp_ms)]
    pub updated_at: f64,
    /// The upstream it belongs to.
    #[field(reference = "upstreams", on_delete = "cascade")]
    pub upstream: Foreign,
    /// Host and port.
    #[field(validator(address))]
    pub target: String,
    /// Its share; 0: none.
    #[field(default = 100, between(0, 65535))]
    pub weight: Option<i64>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// Whether it is used only when the others are down (Kong Enterprise's field).
    #[field(hidden)]
    pub failover: Option<bool>,
    /// Where it is: nodes that are there, too, prefer it.
    #[field(hidden, len_min = 1)]
    pub locality: Option<String>,
}

fn address(value: &Value) -> Result<(), String> {
    let given = value.as_str().unwrap_or_default();
    match normalize(given) {
        Some(_) => Ok(()),
        None => Err(format!("Invalid target ('{given}'); not a valid hostname or ip address")),
    }
}

fn normal_form(entity: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let target = entity.get("target").and_then(Value::as_str).and_then(normalize);
    Ok(target.map(|target| ("target".to_owned(), target.into())).into_iter().collect())
}

/// The form in which targets are stored: with a port, IPv6 expanded and in brackets.
pub fn normalize(target: &str) -> Option<String> {
    let address = normalize_ip(target).ok()?;
    let port = address.port.unwrap_or(DEFAULT_PORT);
    Some(match address.kind {
        HostKind::Ipv6 => format!("[{}]:{port}", address.host),
        HostKind::Name | HostKind::Ipv4 => format!("{}:{port}", address.host),
    })
}
