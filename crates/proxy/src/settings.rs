//! What the node's configuration says to the data plane. Fixed for the life of a worker process.

use crate::http::Limits;
use crate::trusted::TrustedIps;
use pdk::{Format, Node, Templates};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which response fields the gateway adds (`headers`).
#[derive(Clone, Copy, Debug)]
pub struct HeaderTokens {
    pub server: bool,
    pub via: bool,
    pub proxy_latency: bool,
    pub response_latency: bool,
    pub upstream_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
}

impl Default for HeaderTokens {
    fn default() -> Self {
        Self {
            server: true,
            via: true,
            proxy_latency: true,
            response_latency: true,
            upstream_latency: true,
            upstream_status: false,
            request_id: true,
        }
    }
}

/// Where a trusted peer tells the client's address (`real_ip_header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealIpHeader {
    Field(String),
    ProxyProtocol,
}

/// Connections kept to upstreams, a thread and destination (`upstream_keepalive_*`).
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// 0: none are kept.
    pub size: usize,
    /// 0: no limit.
    pub max_requests: u64,
    pub idle_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { size: 512, max_requests: 10_000, idle_timeout: Duration::from_secs(60) }
    }
}

/// Everything the data plane is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub tokens: HeaderTokens,
    /// What `Server` says.
    pub server: String,
    /// What `Via` says of an upstream that spoke HTTP/1.1, and of one that spoke HTTP/2.
    pub via: [String; 2],
    /// Whether upstreams get `X-Kong-Request-Id` (`headers_upstream`).
    pub upstream_request_id: bool,
    pub trusted_ips: TrustedIps,
    pub real_ip_header: RealIpHeader,
    pub real_ip_recursive: bool,
    pub error_default: Format,
    pub error_templates: Templates,
    /// `allow_debug_header`.
    pub debug_header: bool,
    /// Who is not on this machine needs this token to see where the time of a request went (`request_debug_token`);
    /// `None`: nobody is told.
    pub request_debug: Option<String>,
    /// `client_max_body_size`; 0: no limit.
    pub max_body: u64,
    /// How much of a request body is held in memory before it goes upstream, where `request_buffering` asks for that; the
    /// rest goes into a file.
    pub body_buffer: usize,
    /// The folder of these files.
    pub spool: PathBuf,
    /// How much of a response body is held for plugins that need it whole.
    pub response_buffer: usize,
    pub pool: PoolSettings,
    /// Listener port to the port that clients know (`port_maps`).
    pub port_maps: Vec<(u16, u16)>,
    /// `lua_max_req_headers`: how many fields routing looks at.
    pub max_request_headers: usize,
    pub node: Arc<Node>,
}

impl Settings {
    pub(crate) fn public_port(&self, port: u16) -> u16 {
        self.port_maps.iter().find(|(listen, _)| *listen == port).map_or(port, |(_, public)| *public)
    }
}

/// The name under which the gateway is known on the wire.
const SERVER: &str = concat!("silverback/", env!("CARGO_PKG_VERSION"));

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tokens: HeaderTokens::default(),
            server: SERVER.to_owned(),
            via: [format!("1.1 {SERVER}"), format!("2 {SERVER}")],
            upstream_request_id: true,
            trusted_ips: TrustedIps::default(),
            real_ip_header: RealIpHeader::Field("X-Real-IP".to_owned()),
            real_ip_recursive: false,
            error_default: Format::Plain,
            error_templates: Templates::default(),
            debug_header: false,
            request_debug: None,
            max_body: 0,
            body_buffer: 1024 * 1024,
            spool: PathBuf::from("/tmp"),
            response_buffer: 16 * 1024 * 1024,
            pool: PoolSettings::default(),
            port_maps: Vec::new(),
            max_request_headers: 100,
            node: Arc::default(),
        }
    }
}
