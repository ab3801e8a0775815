//! What every algorithm has to do. One file an algorithm; `Balancer` knows them only through this trait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::{AddressId, Members};
use crate::consistent_hashing::ConsistentHashing;
use crate::latency::Latency;
use crate::least_connections::LeastConnections;
use crate::round_robin::RoundRobin;
use crate::settings::{AlgorithmKind, Settings};
use crate::states::UpstreamState;

/// Indices are positions in `Members`.
pub(crate) trait Algorithm: Send + Sync {
    /// Availability has changed, or connections were counted by another balancer.
    fn refresh(&self, members: &Members);

    /// The next address: available, and none of `tried` while another is left. Runs on every request: no lock, no
    /// allocation.
    fn pick(&self, members: &Members, hash: Option<u32>, tried: &[AddressId]) -> Option<usize>;

    /// A request goes to this address.
    fn picked(&self, _members: &Members, _index: usize) {}

    /// A request to this address has ended.
    fn released(&self, _members: &Members, _index: usize) {}

    /// An answer took `rtt`.
    fn measured(&self, _members: &Members, _index: usize, _rtt: Duration, _now: Instant) {}
}

pub(crate) fn new(
    settings: &Settings,
    members: &Members,
    upstream: &Arc<UpstreamState>,
    now: Instant,
) -> Box<dyn Algorithm> {
    match settings.algorithm {
        AlgorithmKind::RoundRobin | AlgorithmKind::StickySessions => Box::new(RoundRobin::new(Arc::clone(upstream))),
        AlgorithmKind::LeastConnections => Box::new(LeastConnections::new(members)),
        AlgorithmKind::Latency => Box::new(Latency::new(members, upstream.epoch, now)),
        AlgorithmKind::ConsistentHashing => Box::new(ConsistentHashing::new(members)),
    }
}
