//! Services: where requests go.

use std::num::NonZeroU32;
use std::sync::Arc;

use schema::{Field, Foreign, Map, Record, Uuid, Value, is};
use serde::{Deserialize, Serialize};

use crate::RetryPolicy;
use crate::protocols::PROTOCOLS;

/// A backend: host, port and path, how it is spoken to and for how long it is waited for.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "services", endpoint_key = "name", workspaceable)]
#[shorthand("url", Field::string(), from_url)]
#[check(conditional("protocol", is().one_of(["tcp", "tls", "udp", "grpc", "grpcs"]), "path", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "client_certificate", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "tls_verify", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "tls_verify_depth", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "ca_certificates", is().null()))]
pub struct Service {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The service's name.
    #[field(typedef = utf8_name, unique)]
    pub name: Option<String>,
    /// How often a failed request is tried again.
    #[field(default = 5, between(0, 32767))]
    pub retries: Option<i64>,
    /// How the backend is spoken to.
    #[field(default = "http", one_of(PROTOCOLS))]
    pub protocol: String,
    /// The backend's host name or address, or the name of an upstream.
    #[field(typedef = host)]
    pub host: String,
    /// The backend's port.
    #[field(typedef = port, default = 80)]
    pub port: i64,
    /// The path that requests get as a prefix.
    #[field(typedef = path)]
    pub path: Option<String>,
    /// Milliseconds to wait for a connection.
    #[field(default = 60000, between(1, 2147483646))]
    pub connect_timeout: Option<i64>,
    /// Milliseconds to wait between two successive writes.
    #[field(default = 60000, between(1, 2147483646))]
    pub write_timeout: Option<i64>,
    /// Milliseconds to wait between two successive reads.
    #[field(default = 60000, between(1, 2147483646))]
    pub read_timeout: Option<i64>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// The certificate shown to the backend.
    #[field(reference = "certificates")]
    pub client_certificate: Option<Foreign>,
    /// Whether the backend's certificate is verified; null: as the gateway is configured.
    pub tls_verify: Option<bool>,
    /// The longest chain that is verified.
    #[field(default = null, between(0, 64))]
    pub tls_verify_depth: Option<i64>,
    /// The CA certificates the backend's certificate is verified against.
    pub ca_certificates: Option<Vec<Uuid>>,
    /// Whether the service's routes are in use.
    #[field(default = true)]
    pub enabled: bool,
    /// Milliseconds from the end of a request's head to the end of its answer's, all tries together.
    #[field(hidden, between(1, 2_147_483_646))]
    pub request_timeout: Option<NonZeroU32>,
    /// When a request is tried again.
    #[field(hidden)]
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// How an `http` or `https` backend is spoken to; null: by HTTP/1.1, or as the gateway is configured.
    #[field(hidden)]
    pub http_version: Option<HttpVersion>,
}

/// Versions of HTTP towards a backend. gRPC has its own.
#[derive(Record, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    #[serde(rename = "1.1")]
    Http1,
    /// With TLS where the backend agrees to it; without, it must.
    #[serde(rename = "2")]
    Http2,
}

/// `url` stands for protocol, host, port and path, all four.
fn from_url(url: &Value) -> Map<String, Value> {
    // Null is a URL that cannot be, and not one that is absent: Kong parses what Lua prints for it.
    let text = url.as_str().unwrap_or("userdata: NULL");
    let parsed = schema::validators::url::Url::parse(text).unwrap_or_default();
    let protocol = match (parsed.scheme, parsed.port) {
        (Some(scheme), _) => scheme,
        (None, Some("443")) => "https",
        _ => "http",
    };
    // What is no number goes on as text, so that the port's own check names it.
    let port = match parsed.port {
        Some(port) => port.parse::<u64>().map_or_else(|_| Value::from(port), Value::from),
        None if protocol == "https" => 443.into(),
        None => 80.into(),
    };
    Map::from_iter([
        ("protocol".into(), protocol.into()),
        ("host".into(), parsed.host.into()),
        ("port".into(), port),
        ("path".into(), parsed.path.into()),
    ])
}
