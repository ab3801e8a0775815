//! The balancer of one upstream: its addresses, whether enough of them are healthy, and the pick of one for a request.

use std::net::IpAddr;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::address::{Address, AddressId, Member, Members, Resolution, ResolvedTarget};
use crate::algorithm::{self, Algorithm};
use crate::health::{Change, Report, Source};
use crate::settings::Settings;
use crate::states::UpstreamState;

/// Balances over the addresses of one upstream. Never changes but in health and counts: a new configuration or DNS
/// answer makes a new balancer on the same states. Clones are cheap and the same balancer.
#[derive(Clone)]
pub struct Balancer(Arc<Inner>);

/// Aligned, so that counting references does not take the line of the fields that every pick reads from other cores.
#[repr(align(64))]
struct Inner {
    settings: Arc<Settings>,
    upstream: Arc<UpstreamState>,
    /// In the order of their creation, each with its range in `members`.
    targets: Box<[Arc<ResolvedTarget>]>,
    ranges: Box<[Range<usize>]>,
    members: Members,
    algorithm: Box<dyn Algorithm>,
    /// This balancer's number among those of its upstream.
    number: u64,
    /// The generation of the upstream that `is_healthy` and the algorithm know of.
    seen: AtomicU64,
    is_healthy: AtomicBool,
    refreshing: Mutex<()>,
}

/// No address can be had. Displays as the message of Kong's 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failure to get a peer from the ring-balancer")]
pub enum PickError {
    /// The healthy part of the weight is not above `healthchecks.threshold`, or there is no weight at all.
    BalancerUnhealthy,
    /// Every address is down, or was tried.
    NoPeersAvailable,
}

impl PickError {
    /// The cause, for the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BalancerUnhealthy => "Balancer is unhealthy",
            Self::NoPeersAvailable => "No peers are available",
        }
    }
}

/// Health checks are off: nothing can be set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no healthchecker found")]
pub struct NoHealthchecker;

impl Balancer {
    /// A balancer for `targets` (in any order), on the state that `States::upstream` gives for this upstream.
    pub fn new(
        settings: Arc<Settings>,
        targets: impl IntoIterator<Item = Arc<ResolvedTarget>>,
        upstream: Arc<UpstreamState>,
        now: Instant,
    ) -> Self {
        let mut targets: Box<[_]> = targets.into_iter().collect();
        targets.sort_by(|a, b| a.created_at.total_cmp(&b.created_at).then(a.id.cmp(&b.id)));
        let mut list = Vec::with_capacity(targets.len());
        let mut ranges = Vec::with_capacity(targets.len());
        for target in &targets {
            let start = list.len();
            for address in target.addresses(settings.use_srv_name) {
                let state = upstream.address(&address);
                if settings.checks.is_none() {
                    state.health.reset();
                }
                list.push(Member { address, state });
            }
            ranges.push(start..list.len());
        }
        upstream.sweep(now);
        let members = Members { list: list.into(), checked: settings.checks.is_some() };
        let algorithm = algorithm::new(&settings, &members, &targets, &upstream, now);
        let inner = Inner {
            number: upstream.newest.fetch_add(1, Ordering::AcqRel) + 1,
            settings,
            upstream,
            targets,
            ranges: ranges.into(),
            members,
            algorithm,
            seen: AtomicU64::new(0),
            is_healthy: AtomicBool::new(false),
            refreshing: Mutex::new(()),
        };
        inner.refresh();
        Self(Arc::new(inner))
    }

    /// This balancer with another DNS answer for one target; the others keep their addresses and states. The same
    /// balancer when nothing has changed.
    #[must_use]
    pub fn with_target_addresses(&self, target: Uuid, resolution: Resolution, now: Instant) -> Self {
        let is_new = |known: &&Arc<ResolvedTarget>| known.id == target && known.resolution != resolution;
        let Some(changed) = self.0.targets.iter().find(is_new) else { return self.clone() };
        let changed = Arc::new(ResolvedTarget { resolution, ..ResolvedTarget::clone(changed) });
        let targets = self.0.targets.iter().map(|known| if known.id == target { &changed } else { known });
        Self::new(Arc::clone(&self.0.settings), targets.map(Arc::clone), Arc::clone(&self.0.upstream), now)
    }

    /// The address for a request or its next try. `hash` is the value of `hash_value`, `tried` the addresses this
    /// request went to already.
    pub fn pick(&self, hash: Option<u32>, tried: &[AddressId]) -> Result<Pick, PickError> {
        let inner = &*self.0;
        if inner.seen.load(Ordering::Acquire) != inner.upstream.generation.load(Ordering::Acquire) {
            inner.refresh();
        }
        if !inner.is_healthy.load(Ordering::Acquire) {
            return Err(PickError::BalancerUnhealthy);
        }
        let index = inner.algorithm.pick(&inner.members, hash, tried).ok_or(PickError::NoPeersAvailable)?;
        inner.algorithm.picked(&inner.members, index);
        inner.tell_newest();
        Ok(Pick { balancer: self.clone(), index })
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether the healthy part of the weight exceeds the threshold.
    pub fn is_healthy(&self) -> bool {
        self.0.has_enough()
    }

    /// The targets in the order of their creation with their addresses.
    pub fn targets(&self) -> impl Iterator<Item = (&ResolvedTarget, &[Member])> {
        let ranges = self.0.ranges.iter().cloned();
        self.0
            .targets
            .iter()
            .zip(ranges)
            .map(|(target, range)| (target.as_ref(), self.0.members.list.get(range).unwrap_or_default()))
    }

    /// All addresses, for probes: those of weight 0 are not to be probed.
    pub fn addresses(&self) -> &[Member] {
        &self.0.members.list
    }

    /// Counts what was seen of an address; tells when it has turned healthy or unhealthy.
    pub fn report(&self, member: &Member, source: Source, report: Report, now: SystemTime) -> Option<Change> {
        let change = member.state.health.report(self.0.settings.checks.as_ref()?, source, report, now)?;
        self.0.upstream.availability_changed();
        Some(change)
    }

    /// Sets all addresses of a target by hand, or only the one at `ip` and `port`; gives how many there were.
    pub fn set_health(
        &self,
        target: Uuid,
        address: Option<(IpAddr, u16)>,
        is_healthy: bool,
        now: SystemTime,
    ) -> Result<usize, NoHealthchecker> {
        if self.0.settings.checks.is_none() {
            return Err(NoHealthchecker);
        }
        let is_meant = |member: &&Member| {
            member.address.target == target
                && address.is_none_or(|(ip, port)| member.address.ip == ip && member.address.port == port)
        };
        let mut count = 0;
        for member in self.0.members.list.iter().filter(is_meant) {
            member.state.health.set(is_healthy, now);
            count += 1;
        }
        self.0.upstream.availability_changed();
        Ok(count)
    }

    pub(crate) fn members(&self) -> &Members {
        &self.0.members
    }
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancer").field("settings", &self.0.settings).field("targets", &self.0.targets).finish()
    }
}

impl Inner {
    /// Takes note of what availability has become. Whoever comes while another is at it goes on with what was known.
    fn refresh(&self) {
        let Ok(_guard) = self.refreshing.try_lock() else { return };
        let generation = self.upstream.generation.load(Ordering::Acquire);
        self.is_healthy.store(self.has_enough(), Ordering::Release);
        self.algorithm.refresh(&self.members);
        self.seen.store(generation, Ordering::Release);
    }

    fn has_enough(&self) -> bool {
        let (mut total, mut available) = (0_u64, 0_u64);
        for member in &self.members.list {
            total += u64::from(member.address.weight);
            if self.members.may_serve(member) {
                available += u64::from(member.address.weight);
            }
        }
        total > 0 && available as f64 / total as f64 * 100.0 > self.settings.threshold
    }

    /// The newest balancer of the upstream keeps its own scores: let it count again after what this older one did.
    fn tell_newest(&self) {
        if self.upstream.newest.load(Ordering::Relaxed) != self.number {
            self.upstream.availability_changed();
        }
    }
}

/// An address for one try. Its connection counts until this is dropped.
#[derive(Debug)]
pub struct Pick {
    balancer: Balancer,
    index: usize,
}

impl Pick {
    /// Reports what became of the try, for the passive checks; tells when the address has turned.
    pub fn report(&self, report: Report, now: SystemTime) -> Option<Change> {
        self.balancer.report(self, Source::Passive, report, now)
    }

    /// Reports how long the connection and the answer took together, for the `latency` algorithm.
    pub fn measured(&self, rtt: Duration, now: Instant) {
        let inner = &*self.balancer.0;
        inner.algorithm.measured(&inner.members, self.index, rtt, now);
        inner.tell_newest();
    }

    pub fn address(&self) -> &Address {
        &self.deref().address
    }
}

impl Deref for Pick {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.balancer.0.members.list[self.index]
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        let inner = &*self.balancer.0;
        inner.algorithm.released(&inner.members, self.index);
        inner.tell_newest();
    }
}
