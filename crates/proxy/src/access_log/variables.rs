//! nginx's variables in log formats: what each of them says of a request that has ended.

use super::local_time;
use crate::http::date::civil;
use crate::http::h1::server::push_number;
use crate::phases::upstream_head::{push_ip, target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pdk::{Context, Headers, Source, Version};
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// What a line is made from.
pub(super) struct Facts<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) now: Duration,
    pub(super) body_sent: u64,
    pub(super) hostname: &'a str,
}

/// A variable, its name understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// One of the table.
    Known(usize),
    /// `$http_user_agent`: a field of the request; the name in lower case with dashes.
    Request(String),
    /// `$sent_http_content_type`.
    Response(String),
    /// `$upstream_http_x_y`: of a response that came from the upstream.
    Upstream(String),
    /// `$cookie_name`.
    Cookie(String),
    /// `$arg_name`.
    Argument(String),
    Nothing,
}

type Writer = fn(&mut Vec<u8>, &Facts<'_>);

/// The variables with names of their own.
const KNOWN: &[(&str, Writer)] = &[
    ("args", |out, f| out.extend_from_slice(f.cx.request.query().unwrap_or_default())),
    ("body_bytes_sent", |out, f| push_number(out, f.body_sent)),
    ("bytes_sent", |out, f| push_number(out, f.cx.sent)),
    ("connection", |out, f| push_number(out, f.cx.client.connection)),
    ("connection_requests", |out, f| push_number(out, f.cx.client.connection_requests)),
    ("content_length", |out, f| field(out, &f.cx.request.headers, "content-length")),
    ("content_type", |out, f| field(out, &f.cx.request.headers, "content-type")),
    ("document_uri", |out, f| out.extend_from_slice(f.cx.request.path())),
    ("host", |out, f| out.extend_from_slice(&f.cx.request.host_name())),
    ("hostname", |out, f| out.extend_from_slice(f.hostname.as_bytes())),
    ("http2", |out, f| {
        if f.cx.request.version == Version::Http2 {
            out.extend_from_slice(if f.cx.client.tls.is_some() { b"h2" } else { b"h2c" });
        }
    }),
    ("https", |out, f| out.extend_from_slice(if f.cx.client.tls.is_some() { b"on" } else { b"" })),
    ("is_args", |out, f| out.extend_from_slice(if f.cx.request.query().is_some() { b"?" } else { b"" })),
    ("kong_request_id", |out, f| out.extend_from_slice(f.cx.request_id().as_bytes())),
    ("kong_proxy_mode", |out, f| {
        let is_grpc = f.cx.upstream.as_ref().is_some_and(|u| u.scheme.is_grpc());
        out.extend_from_slice(if is_grpc { b"grpc" } else { b"http" });
    }),
    ("msec", |out, f| seconds(out, f.now)),
    ("pid", |out, _| push_number(out, std::process::id().into())),
    ("pipe", |out, _| out.push(b'.')),
    ("query_string", |out, f| out.extend_from_slice(f.cx.request.query().unwrap_or_default())),
    ("realip_remote_addr", |out, f| push_ip(out, f.cx.client.peer.ip())),
    ("realip_remote_port", |out, f| push_number(out, f.cx.client.peer.port().into())),
    ("remote_addr", |out, f| push_ip(out, f.cx.client.ip)),
    ("binary_remote_addr", |out, f| match f.cx.client.ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }),
    ("remote_port", |out, f| push_number(out, f.cx.client.port.into())),
    ("remote_user", |out, f| remote_user(out, &f.cx.request.headers)),
    ("request", request_line),
    ("request_completion", |out, f| {
        if f.cx.timing.end.is_some() {
            out.extend_from_slice(b"OK");
        }
    }),
    ("request_id", |out, f| out.extend_from_slice(f.cx.request_id().as_bytes())),
    ("request_length", |out, f| push_number(out, f.cx.received)),
    ("request_method", |out, f| out.extend_from_slice(f.cx.request.method.as_str().as_bytes())),
    ("request_time", |out, f| seconds(out, Duration::from_millis(f.cx.timing.total_ms()))),
    ("request_uri", |out, f| out.extend_from_slice(f.cx.request.target())),
    ("scheme", |out, f| out.extend_from_slice(f.cx.client.scheme.as_str().as_bytes())),
    ("server_addr", |out, f| push_ip(out, f.cx.client.local.ip())),
    ("server_name", |out, _| out.extend_from_slice(b"kong")),
    ("server_port", |out, f| push_number(out, f.cx.client.local.port().into())),
    ("server_protocol", |out, f| out.extend_from_slice(f.cx.request.version.protocol().as_bytes())),
    ("ssl_cipher", |out, f| {
        out.extend_from_slice(f.cx.client.tls.as_ref().map(|t| t.cipher.as_bytes()).unwrap_or_default());
    }),
    ("ssl_protocol", |out, f| {
        out.extend_from_slice(f.cx.client.tls.as_ref().map(|t| t.version.as_bytes()).unwrap_or_default());
    }),
    ("ssl_server_name", |out, f| {
        let name = f.cx.client.tls.as_ref().and_then(|t| t.sni.as_deref());
        out.extend_from_slice(name.unwrap_or_default().as_bytes());
    }),
    ("status", |out, f| push_number(out, f.cx.response.status.into())),
    ("time_iso8601", |out, f| iso8601(out, f.now.as_secs())),
    ("time_local", |out, f| out.extend_from_slice(local_time(f.now.as_secs()).as_bytes())),
    ("upstream_addr", |out, f| {
        for (at, attempt) in f.cx.attempts.iter().enumerate() {
            separate(out, at);
            let address = std::net::SocketAddr::new(attempt.address.ip, attempt.address.port);
            let _ = write!(out, "{address}");
        }
    }),
    ("upstream_header_time", |out, f| {
        let own = f.cx.timing.upstream_head.zip(f.cx.timing.access_end);
        tries(out, f, own.map(|(head, start)| head.saturating_duration_since(start)));
    }),
    ("upstream_host", |out, f| {
        let upstream = f.cx.upstream.as_ref();
        out.extend_from_slice(upstream.map(|u| u.host.as_bytes()).unwrap_or_default());
    }),
    ("upstream_response_time", |out, f| {
        let end = f.cx.timing.upstream_end.or(f.cx.timing.end);
        tries(out, f, end.zip(f.cx.timing.access_end).map(|(end, start)| end.saturating_duration_since(start)));
    }),
    ("upstream_scheme", |out, f| {
        let upstream = f.cx.upstream.as_ref();
        out.extend_from_slice(upstream.map(|u| u.scheme.as_str().as_bytes()).unwrap_or_default());
    }),
    ("upstream_status", |out, f| {
        for (at, status) in f.cx.upstream_statuses.iter().enumerate() {
            separate(out, at);
            push_number(out, (*status).into());
        }
    }),
    ("upstream_uri", |out, f| {
        if let Some(upstream) = &f.cx.upstream {
            target(out, f.cx, upstream);
        }
    }),
    ("uri", |out, f| match router::path::normalize(f.cx.request.path()) {
        Ok(path) => out.extend_from_slice(&path),
        Err(_) => out.extend_from_slice(f.cx.request.path()),
    }),
];

/// nginx's variables for what is not measured here, or does not exist: never a value, so that formats that name them work.
const WITHOUT_VALUE: &[&str] = &[
    "gzip_ratio",
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "request_body",
    "ssl_client_verify",
    "ssl_session_id",
    "ssl_session_reused",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "upstream_cache_status",
    "upstream_connect_time",
];

/// The beginning of a variable's name, and what becomes of the rest.
type Family = (&'static str, fn(String) -> Variable);

/// The families whose names go on with what they ask for.
const FAMILIES: &[Family] = &[
    ("sent_http_", |name| Variable::Response(name.replace('_', "-"))),
    ("upstream_http_", |name| Variable::Upstream(name.replace('_', "-"))),
    ("http_", |name| Variable::Request(name.replace('_', "-"))),
    ("cookie_", Variable::Cookie),
    ("arg_", Variable::Argument),
];

impl Variable {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        if let Some(at) = KNOWN.iter().position(|(known, _)| *known == name) {
            return Some(Self::Known(at));
        }
        if WITHOUT_VALUE.contains(&name) {
            return Some(Self::Nothing);
        }
        FAMILIES.iter().find_map(|(family, make)| {
            let rest = name.strip_prefix(family)?;
            (!rest.is_empty()).then(|| make(rest.to_owned()))
        })
    }

    /// Writes the value; nothing where there is none.
    pub(super) fn value(&self, out: &mut Vec<u8>, facts: &Facts<'_>) {
        let cx = facts.cx;
        match self {
            Self::Known(at) => {
                if let Some((_, write)) = KNOWN.get(*at) {
                    write(out, facts);
                }
            }
            Self::Nothing => {}
            Self::Request(name) => field(out, &cx.request.headers, name),
            Self::Response(name) => field(out, &cx.response.headers, name),
            Self::Upstream(name) => {
                if cx.source == Source::Upstream {
                    field(out, &cx.response.headers, name);
                }
            }
            Self::Cookie(name) => {
                let pairs = cx.request.headers.get_all("cookie").flat_map(|v| v.split(|b| *b == b';'));
                let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes()));
                out.extend_from_slice(values.find_map(|value| value.strip_prefix(b"=")).unwrap_or_default());
            }
            Self::Argument(name) => {
                let pairs = cx.request.query().unwrap_or_default().split(|b| *b == b'&');
                let mut pairs = pairs.filter_map(|pair| Some(pair.split_at(memchr::memchr(b'=', pair)?)));
                // Without case, as nginx looks for them.
                let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
                out.extend_from_slice(found.and_then(|(_, value)| value.get(1..)).unwrap_or_default());
            }
        }
    }
}

/// All values of a field; names with underscores are asked for by their nginx form, with dashes.
fn field(out: &mut Vec<u8>, headers: &Headers, name: &str) {
    for (at, value) in headers.get_all(name).enumerate() {
        separate(out, at);
        out.extend_from_slice(value);
    }
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.extend_from_slice(b", ");
    }
}

pub(super) fn request_line(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let request = &facts.cx.request;
    if !request.target().is_empty() {
        out.extend_from_slice(request.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(request.target());
        out.push(b' ');
        out.extend_from_slice(request.version.protocol().as_bytes());
    }
}

/// The name that the client gives by Basic authentication (RFC 7617), whether or not anybody has checked it.
pub(super) fn remote_user(out: &mut Vec<u8>, headers: &Headers) {
    let Some(value) = headers.get("authorization") else { return };
    let Some((scheme, credentials)) = value.split_at_checked(6) else { return };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return;
    }
    let Ok(decoded) = STANDARD.decode(credentials.trim_ascii()) else { return };
    if let Some(colon) = memchr::memchr(b':', &decoded) {
        out.extend_from_slice(&decoded[..colon]);
    }
}

/// `0.005`
fn seconds(out: &mut Vec<u8>, time: Duration) {
    let _ = write!(out, "{}.{:03}", time.as_secs(), time.subsec_millis());
}

/// One time for each try. Those that failed took until the next one began; `total` is from the first one's start.
fn tries(out: &mut Vec<u8>, facts: &Facts<'_>, total: Option<Duration>) {
    let attempts = &facts.cx.attempts;
    let mut before = Duration::ZERO;
    for (at, attempt) in attempts.iter().enumerate() {
        separate(out, at);
        match (attempts.get(at + 1), total) {
            (Some(next), _) => {
                let took = next.started_at.saturating_sub(attempt.started_at);
                before += took;
                seconds(out, took);
            }
            (None, Some(total)) => seconds(out, total.saturating_sub(before)),
            (None, None) => out.push(b'-'),
        }
    }
}

/// `2026-11-21T09:59:59+00:00`
fn iso8601(out: &mut Vec<u8>, at: u64) {
    let (year, month, day) = civil(at / 86_400);
    let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
    let _ = write!(out, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00");
}
