//! An upstream entity, ready for balancing: names become types, status lists become sets.

use std::sync::Arc;

use uuid::Uuid;

/// `upstreams.algorithm`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmKind {
    RoundRobin,
    LeastConnections,
    Latency,
    ConsistentHashing,
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
    pub slots: u32,
    pub hash_on: HashOn,
    pub hash_fallback: HashOn,
    pub use_srv_name: bool,
    /// `healthchecks.threshold`: the percentage of the weight that must be exceeded for the upstream to be healthy.
    pub threshold: f64,
    /// `None` while nothing can mark an address unhealthy.
    pub checks: Option<Checks>,
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
