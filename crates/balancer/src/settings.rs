//! An upstream entity, ready for balancing: names become types, status lists become sets.

use std::sync::Arc;

use entities::Upstream;
use entities::upstream::Healthchecks;
use uuid::Uuid;

use crate::beyond::Beyond;

/// `upstreams.algorithm`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmKind {
    RoundRobin,
    LeastConnections,
    Latency,
    ConsistentHashing,
    /// Round-robin for whoever has no session yet.
    StickySessions,
}

/// `upstreams.hash_on` and `upstreams.hash_fallback` with the name they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    None,
    Consumer,
    Ip,
    Header(Box<str>),
    Cookie { name: Box<str>, path: Box<str> },
    Path,
    QueryArg(Box<str>),
    UriCapture(Box<str>),
}

/// What balancing needs of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub id: Uuid,
    pub name: Arc<str>,
    pub algorithm: AlgorithmKind,
    pub hash_on: HashOn,
    pub hash_fallback: HashOn,
    pub use_srv_name: bool,
    /// `healthchecks.threshold`: the percentage of the weight that must be exceeded for the upstream to be healthy.
    pub threshold: f64,
    /// `None` while nothing can mark an address unhealthy.
    pub checks: Option<Checks>,
    pub beyond: Beyond,
}

/// When reports change an address's health.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    pub active: Limits,
    pub passive: Limits,
}

/// `healthchecks.active` or `.passive`: how many reports of a kind in a row turn an address; 0 = never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub healthy_statuses: Statuses,
    pub successes: u8,
    pub unhealthy_statuses: Statuses,
    pub http_failures: u8,
    pub tcp_failures: u8,
    pub timeouts: u8,
}

/// A set of HTTP statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 16]);

impl Statuses {
    pub fn contains(&self, status: u16) -> bool {
        self.0.get(usize::from(status / 64)).is_some_and(|word| word & (1 << (status % 64)) != 0)
    }
}

impl FromIterator<u16> for Statuses {
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        let mut set = Self::default();
        for status in statuses {
            if let Some(word) = set.0.get_mut(usize::from(status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
        set
    }
}

impl From<&Upstream> for Settings {
    fn from(upstream: &Upstream) -> Self {
        let cookie = HashOn::Cookie {
            name: text(&upstream.hash_on_cookie),
            path: upstream.hash_on_cookie_path.as_deref().unwrap_or("/").into(),
        };
        let hash = |kind: &Option<String>, header, query_arg, uri_capture| match kind.as_deref() {
            Some("consumer") => HashOn::Consumer,
            Some("ip") => HashOn::Ip,
            Some("header") => HashOn::Header(text(header)),
            Some("cookie") => cookie.clone(),
            Some("path") => HashOn::Path,
            Some("query_arg") => HashOn::QueryArg(text(query_arg)),
            Some("uri_capture") => HashOn::UriCapture(text(uri_capture)),
            _ => HashOn::None,
        };
        Self {
            id: upstream.id,
            name: upstream.name.as_str().into(),
            algorithm: match upstream.algorithm.as_deref() {
                Some("least-connections") => AlgorithmKind::LeastConnections,
                Some("latency") => AlgorithmKind::Latency,
                Some("consistent-hashing") => AlgorithmKind::ConsistentHashing,
                Some("sticky-sessions") => AlgorithmKind::StickySessions,
                _ => AlgorithmKind::RoundRobin,
            },
            hash_on: hash(
                &upstream.hash_on,
                &upstream.hash_on_header,
                &upstream.hash_on_query_arg,
                &upstream.hash_on_uri_capture,
            ),
            hash_fallback: hash(
                &upstream.hash_fallback,
                &upstream.hash_fallback_header,
                &upstream.hash_fallback_query_arg,
                &upstream.hash_fallback_uri_capture,
            ),
            use_srv_name: upstream.use_srv_name.unwrap_or(false),
            threshold: upstream.healthchecks.threshold.unwrap_or(0.0),
            checks: Checks::of(&upstream.healthchecks),
            beyond: Beyond::of(upstream),
        }
    }
}

impl Checks {
    /// `None` unless something can mark an address unhealthy: a probe's interval, or a passive limit.
    fn of(checks: &Healthchecks) -> Option<Self> {
        let (active, passive) = (&checks.active, &checks.passive);
        let limits = Self {
            active: Limits {
                healthy_statuses: statuses(&active.healthy.http_statuses),
                successes: limit(active.healthy.successes),
                unhealthy_statuses: statuses(&active.unhealthy.http_statuses),
                http_failures: limit(active.unhealthy.http_failures),
                tcp_failures: limit(active.unhealthy.tcp_failures),
                timeouts: limit(active.unhealthy.timeouts),
            },
            passive: Limits {
                healthy_statuses: statuses(&passive.healthy.http_statuses),
                successes: limit(passive.healthy.successes),
                unhealthy_statuses: statuses(&passive.unhealthy.http_statuses),
                http_failures: limit(passive.unhealthy.http_failures),
                tcp_failures: limit(passive.unhealthy.tcp_failures),
                timeouts: limit(passive.unhealthy.timeouts),
            },
        };
        let probes =
            [active.healthy.interval, active.unhealthy.interval].into_iter().flatten().any(|every| every > 0.0);
        let Limits { http_failures, tcp_failures, timeouts, .. } = limits.passive;
        (probes || http_failures > 0 || tcp_failures > 0 || timeouts > 0).then_some(limits)
    }
}

fn text(value: &Option<String>) -> Box<str> {
    value.as_deref().unwrap_or_default().into()
}

fn limit(value: Option<i64>) -> u8 {
    value.map_or(0, |value| u8::try_from(value.max(0)).unwrap_or(u8::MAX))
}

fn statuses(list: &Option<Vec<i64>>) -> Statuses {
    list.iter().flatten().filter_map(|&status| u16::try_from(status).ok()).collect()
}
