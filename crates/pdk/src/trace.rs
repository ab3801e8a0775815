//! What is recorded of a request for plugins that report traces: when its steps began and ended.
//!
//! A request is recorded only where the node's configuration asks for it and a plugin may want it; for all others a step
//! costs looking at an `Option`.

use crate::{Context, Headers};
use std::ops::BitOr;
use std::sync::Arc;
use std::time::Instant;

/// Steps that are recorded (`tracing_instrumentations`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instrumentations(u16);

impl Instrumentations {
    pub const NONE: Self = Self(0);
    pub const REQUEST: Self = Self(1);
    pub const DB_QUERY: Self = Self(2);
    pub const ROUTER: Self = Self(4);
    pub const HTTP_CLIENT: Self = Self(8);
    pub const DNS_QUERY: Self = Self(16);
    pub const BALANCER: Self = Self(32);
    pub const PLUGIN_REWRITE: Self = Self(64);
    pub const PLUGIN_ACCESS: Self = Self(128);
    pub const PLUGIN_HEADER_FILTER: Self = Self(256);
    pub const ALL: Self = Self(511);

    /// Those of a name of the property `tracing_instrumentations`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "off" => Self::NONE,
            "all" => Self::ALL,
            "request" => Self::REQUEST,
            "db_query" => Self::DB_QUERY,
            "router" => Self::ROUTER,
            "http_client" => Self::HTTP_CLIENT,
            "dns_query" => Self::DNS_QUERY,
            "balancer" => Self::BALANCER,
            "plugin_rewrite" => Self::PLUGIN_REWRITE,
            "plugin_access" => Self::PLUGIN_ACCESS,
            "plugin_header_filter" => Self::PLUGIN_HEADER_FILTER,
            _ => return None,
        })
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Instrumentations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the node's configuration says of traces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tracing {
    pub instrumentations: Instrumentations,
    /// The share of requests that are sampled where neither they nor a plugin says (`tracing_sampling_rate`); 0 to 1.
    pub sampling_rate: f64,
}

/// A step of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Router,
    /// Resolving the name of the upstream.
    Dns,
    /// A plugin's phase.
    Rewrite(&'static str),
    Access(&'static str),
    HeaderFilter(&'static str),
}

/// When a step began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub part: Part,
    pub start: Instant,
    pub end: Instant,
}

/// The record of a request.
#[derive(Debug)]
pub struct Trace {
    pub tracing: Tracing,
    /// Drawn once for the request, evenly from 0 to 1: a plugin that samples a share takes the requests below it.
    pub chance: f64,
    pub spans: Vec<Span>,
    /// The names of the addresses that were tried.
    pub peers: Vec<Arc<str>>,
}

/// Spans, and peers, of one request; there are no more however often it is tried.
const RECORDED: usize = 128;

impl Trace {
    pub fn new(tracing: Tracing, chance: f64) -> Self {
        Self { tracing, chance, spans: Vec::with_capacity(8), peers: Vec::new() }
    }

    /// Notes the name of the address that is tried next.
    pub fn note_peer(&mut self, name: &Arc<str>) {
        if self.peers.len() < RECORDED {
            self.peers.push(name.clone());
        }
    }
}

impl Context<'_> {
    /// The time, where steps of this kind are recorded.
    pub fn mark(&self, kind: Instrumentations) -> Option<Instant> {
        let trace = self.trace.as_ref()?;
        trace.tracing.instrumentations.contains(kind).then(Instant::now)
    }

    /// Records a step that ends now; `start` is its [`mark`](Self::mark).
    pub fn record(&mut self, start: Option<Instant>, part: Part) {
        if let (Some(start), Some(trace)) = (start, &mut self.trace)
            && trace.spans.len() < RECORDED
        {
            trace.spans.push(Span { part, start, end: Instant::now() });
        }
    }
}

/// Whether any field may tell of a trace that the request is part of.
pub fn has_context(headers: &Headers) -> bool {
    headers.iter().any(|(name, _)| {
        let begins = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        match (name.len(), name.first()) {
            (2, Some(b'b' | b'B')) => begins(b"b3"),
            (10 | 11, Some(b't' | b'T')) => begins(b"trace"),
            (13, Some(b'u' | b'U')) => begins(b"uber-trace-id"),
            (16.., Some(b'o' | b'O')) => begins(b"ot-tracer-"),
            (10.., Some(b'x' | b'X')) => {
                [&b"x-b3-"[..], b"x-datadog-", b"x-amzn-trace-id", b"x-cloud-trace-", b"x-instana-"]
                    .iter()
                    .any(|prefix| begins(prefix))
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
