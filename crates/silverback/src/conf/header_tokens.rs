//! `headers`: which of the gateway's own headers a response carries.

use serde_json::{Map, Value};

use super::kinds::{Kind, Wrong, split_list};

/// The switched-on headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    pub server: bool,
    pub via: bool,
    pub proxy_latency: bool,
    pub response_latency: bool,
    pub admin_latency: bool,
    pub upstream_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
    tokens: Vec<String>,
}

impl Kind for Headers {
    const TYPE: &'static str = "list";
    const CHOICES: &'static [&'static str] = &[
        "server_tokens",
        "latency_tokens",
        "server",
        "via",
        "x-kong-proxy-latency",
        "x-kong-response-latency",
        "x-kong-admin-latency",
        "x-kong-upstream-latency",
        "x-kong-upstream-status",
        "x-kong-request-id",
        "off",
    ];

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut headers = Self { tokens: split_list(text), ..Self::default() };
        for token in headers.tokens.clone() {
            match token.to_ascii_lowercase().as_str() {
                "server_tokens" => (headers.server, headers.via) = (true, true),
                "latency_tokens" => {
                    (headers.proxy_latency, headers.response_latency) = (true, true);
                    (headers.admin_latency, headers.upstream_latency) = (true, true);
                }
                "server" => headers.server = true,
                "via" => headers.via = true,
                "x-kong-proxy-latency" => headers.proxy_latency = true,
                "x-kong-response-latency" => headers.response_latency = true,
                "x-kong-admin-latency" => headers.admin_latency = true,
                "x-kong-upstream-latency" => headers.upstream_latency = true,
                "x-kong-upstream-status" => headers.upstream_status = true,
                "x-kong-request-id" => headers.request_id = true,
                "off" => return Ok(Self { tokens: vec![token], ..Self::default() }),
                _ => {
                    let choices = Self::CHOICES.join(", ");
                    return Err(Wrong::Because(format!("has an invalid entry: '{token}' ({choices})")));
                }
            }
        }
        Ok(headers)
    }

    fn dump(&self) -> Value {
        Value::from(self.tokens.clone())
    }
}

impl Headers {
    /// Kong's `enabled_headers` of the dump.
    pub(super) fn dump_enabled(&self) -> Value {
        let all = [
            ("Server", self.server),
            ("server_tokens", self.server && self.via),
            ("Via", self.via),
            ("X-Kong-Proxy-Latency", self.proxy_latency),
            ("X-Kong-Response-Latency", self.response_latency),
            ("X-Kong-Admin-Latency", self.admin_latency),
            ("X-Kong-Upstream-Latency", self.upstream_latency),
            ("X-Kong-Upstream-Status", self.upstream_status),
            ("X-Kong-Request-Id", self.request_id),
            ("latency_tokens", self.proxy_latency && self.response_latency && self.upstream_latency),
        ];
        all.into_iter().map(|(name, on)| (name.to_owned(), Value::Bool(on))).collect::<Map<_, _>>().into()
    }
}
