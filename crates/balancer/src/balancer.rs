//! The balancer of one upstream: its addresses, whether enough of them are healthy, and the pick of one for a request.

use std::net::IpAddr;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::address::{Address, AddressId, Member, Members, Resolution, ResolvedTarget};
use crate::algorithm::Algorithm;
use crate::beyond::OutlierLimits;
use crate::breaker::BreakerState;
use crate::hash_value::{HashValue, Inputs, NewCookie, hash_value};
use crate::health::{Change, Report, Source};
use crate::outliers::{self, Fault};
use crate::sessions::{self, Sessions};
use crate::settings::Settings;
use crate::states::UpstreamState;
use crate::tiers::Tiers;

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
    tiers: Tiers,
    /// For sticky-sessions.
    sessions: Option<Sessions>,
    /// This balancer's number among those of its upstream.
    number: u64,
    /// The generation of the upstream that the tiers know of.
    seen: AtomicU64,
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

/// The addresses of a target that are set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// The one there.
    At(IpAddr, u16),
    /// Those with this port, of all targets that have the target's name.
    OfHost(u16),
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
        let beyond = &settings.beyond;
        let has_slow_start = beyond.slow_start.is_some() && !upstream.is_new(now);
        let mut list = Vec::with_capacity(targets.len());
        let mut ranges = Vec::with_capacity(targets.len());
        for target in &targets {
            let start = list.len();
            for address in target.addresses(settings.use_srv_name) {
                let (state, is_new) = upstream.address(&address);
                if settings.checks.is_none() {
                    state.health.reset();
                }
                if beyond.outliers.is_none() {
                    state.tally.reset();
                }
                if beyond.slow_start.is_none() {
                    state.warm_up(Duration::ZERO, None);
                } else if is_new && has_slow_start {
                    state.start_slowly();
                }
                list.push(Member { address, state });
            }
            ranges.push(start..list.len());
        }
        if beyond.breaker.as_ref().is_none_or(|limits| limits.consecutive_failures == 0) {
            upstream.breaker.reset();
        }
        upstream.sweep(now);
        let members = Members { list: list.into(), checked: settings.checks.is_some() };
        let tiers = Tiers::new(&settings, &members, &targets, &upstream, now);
        let all_tiers = || tiers.list.iter().map(|tier| &tier.members);
        let sessions = beyond.sticky.is_some().then(|| Sessions::new(&settings.name, all_tiers()));
        let inner = Inner {
            number: upstream.newest.fetch_add(1, Ordering::AcqRel) + 1,
            settings,
            upstream,
            targets,
            ranges: ranges.into(),
            members,
            tiers,
            sessions,
            seen: AtomicU64::new(0),
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

    /// Whether it is the very same balancer.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The address for a request or its next try. `hash` is the value of `hash_value`, `tried` the addresses this
    /// request went to already.
    pub fn pick(&self, hash: Option<u32>, tried: &[AddressId]) -> Result<Pick, PickError> {
        let inner = &*self.0;
        if inner.seen.load(Ordering::Acquire) != inner.upstream.generation.load(Ordering::Acquire) {
            inner.refresh();
        }
        let (tier, index) = match inner.of_session(hash, tried) {
            Some(place) => place,
            None => {
                inner.tiers.pick(hash, tried).ok_or(PickError::BalancerUnhealthy)?.ok_or(PickError::NoPeersAvailable)?
            }
        };
        let pick = Pick { balancer: self.clone(), tier, index };
        pick.tell(|algorithm, members| algorithm.picked(members, index));
        Ok(pick)
    }

    /// What `pick` goes by: the hash of what the upstream hashes on, or the address of the client's session.
    pub fn hash_value(&self, inputs: &dyn Inputs) -> HashValue {
        let (Some(sessions), Some(sticky)) = (&self.0.sessions, &self.0.settings.beyond.sticky) else {
            return hash_value(&self.0.settings, inputs);
        };
        let id = inputs.cookie(&sticky.cookie).and_then(|token| sessions.find(&token));
        HashValue { hash: id.map(AddressId::short), cookie: None }
    }

    /// The breaker and the retry budget of the upstream, which outlive this balancer.
    pub fn upstream(&self) -> &UpstreamState {
        &self.0.upstream
    }

    /// Whether something changes here by the mere passing of time: then `tick` is to be called about twice a second.
    pub fn has_clock(&self) -> bool {
        self.0.settings.beyond.has_clock()
    }

    /// Lets time pass: slow starts go on, rests end, addresses are compared. Gives what has turned.
    pub fn tick(&self, elapsed: Duration) -> Vec<Turn> {
        let inner = &*self.0;
        let beyond = &inner.settings.beyond;
        let members = &inner.members.list;
        let mut turns = Vec::new();
        if let Some(limits) = &beyond.budget {
            inner.upstream.budget.pass(limits, elapsed);
        }
        if beyond.slow_start.is_some() {
            let warmer = |member: &Member| member.state.warm_up(elapsed, beyond.slow_start);
            if members.iter().filter(|member| warmer(member)).count() > 0 {
                inner.upstream.availability_changed();
            }
        }
        if let Some(limits) = &beyond.outliers {
            for member in members.iter().filter(|member| member.state.tally.pass(elapsed)) {
                inner.returned(member);
                turns.push(Turn { address: member.address.clone(), fault: None });
            }
            let waited = inner.upstream.compared.load(Ordering::Relaxed) + elapsed.as_millis() as u64;
            let is_due = u128::from(waited) >= limits.interval.as_millis();
            inner.upstream.compared.store(if is_due { 0 } else { waited }, Ordering::Relaxed);
            let worse = if is_due { outliers::compare(members, limits) } else { Vec::new() };
            for (index, fault) in worse {
                turns.extend(members.get(index).and_then(|member| inner.send_to_rest(member, limits, fault)));
            }
        }
        turns
    }

    /// Whether requests may go there by its health, whatever its weight.
    pub fn is_up(&self, member: &Member) -> bool {
        self.0.members.is_healthy(member)
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether the healthy part of the weight exceeds the threshold.
    pub fn is_healthy(&self) -> bool {
        self.0.tiers.is_healthy(self.0.settings.threshold)
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
        if change.is_healthy {
            self.0.returned(member);
        }
        self.0.upstream.availability_changed();
        Some(change)
    }

    /// Sets addresses of a target by hand; gives how many there were.
    pub fn set_health(
        &self,
        target: Uuid,
        which: Which,
        is_healthy: bool,
        now: SystemTime,
    ) -> Result<usize, NoHealthchecker> {
        if self.0.settings.checks.is_none() {
            return Err(NoHealthchecker);
        }
        let host = self.0.targets.iter().find(|known| known.id == target).map(|known| &known.host);
        let has_host = |id| self.0.targets.iter().any(|known| known.id == id && Some(&known.host) == host);
        let is_meant = |member: &&Member| {
            let address = &member.address;
            match which {
                Which::All => address.target == target,
                Which::At(ip, port) => address.target == target && address.ip == ip && address.port == port,
                Which::OfHost(port) => address.port == port && has_host(address.target),
            }
        };
        let mut count = 0;
        for member in self.0.members.list.iter().filter(is_meant) {
            let change = member.state.health.set(is_healthy, now);
            if change.is_some_and(|change| change.is_healthy) {
                self.0.returned(member);
            }
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
        self.tiers.refresh(self.settings.threshold);
        self.seen.store(generation, Ordering::Release);
    }

    /// The place of the address that the client's session is on, drained or not, as long as it is up.
    fn of_session(&self, id: Option<u32>, tried: &[AddressId]) -> Option<(usize, usize)> {
        let (tier, index) = self.sessions.as_ref()?.place(id?)?;
        let members = &self.tiers.list.get(tier)?.members;
        let is_up = members.list.get(index).is_some_and(|member| members.is_healthy(member));
        (is_up && !members.was_tried(index, tried)).then_some((tier, index))
    }

    /// An address is back in use.
    fn returned(&self, member: &Member) {
        if self.settings.beyond.slow_start.is_some() {
            member.state.start_slowly();
        }
        self.upstream.availability_changed();
    }

    fn send_to_rest(&self, member: &Member, limits: &OutlierLimits, fault: Fault) -> Option<Turn> {
        let _one_at_a_time = self.upstream.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if member.state.tally.is_resting() || !outliers::may_rest(&self.members.list, limits) {
            return None;
        }
        member.state.tally.begin_rest(limits);
        self.upstream.availability_changed();
        Some(Turn { address: member.address.clone(), fault: Some(fault) })
    }

    /// The newest balancer of the upstream keeps its own scores: let it count again after what this older one did.
    fn tell_newest(&self) {
        if self.upstream.newest.load(Ordering::Relaxed) != self.number {
            self.upstream.availability_changed();
        }
    }
}

/// An address was sent to rest, or is back.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub address: Address,
    /// Why it rests; `None` = it is back.
    pub fault: Option<Fault>,
}

/// What the end of a try has brought about.
#[derive(Debug, Default)]
pub struct Ended {
    pub turn: Option<Turn>,
    pub circuit: Option<BreakerState>,
}

/// An address for one try. Its connection counts until this is dropped.
#[derive(Debug)]
pub struct Pick {
    balancer: Balancer,
    tier: usize,
    index: usize,
}

impl Pick {
    /// Reports what became of the try, for the passive checks; tells when the address has turned.
    pub fn report(&self, report: Report, now: SystemTime) -> Option<Change> {
        self.balancer.report(self, Source::Passive, report, now)
    }

    /// Counts the try for outlier detection and the circuit breaker. A failure is a status of 500 and above, a time-out or
    /// a broken connection.
    pub fn ended(&self, is_failure: bool, now: Instant) -> Ended {
        let inner = &*self.balancer.0;
        let beyond = &inner.settings.beyond;
        let circuit = beyond.breaker.as_ref().and_then(|limits| inner.upstream.breaker.ended(limits, is_failure, now));
        let turn = beyond.outliers.as_ref().and_then(|limits| {
            let in_a_row = self.state.tally.count(is_failure);
            let is_too_many = limits.consecutive_failures > 0 && in_a_row >= limits.consecutive_failures;
            is_too_many.then(|| inner.send_to_rest(self, limits, Fault::FailuresInARow(in_a_row)))?
        });
        Ended { turn, circuit }
    }

    /// Reports how long the connection and the answer took together, for the `latency` algorithm.
    pub fn measured(&self, rtt: Duration, now: Instant) {
        self.tell(|algorithm, members| algorithm.measured(members, self.index, rtt, now));
    }

    /// The cookie that brings the client back here, where `hash`, which the request was picked by, would not.
    pub fn session_cookie(&self, hash: Option<u32>) -> Option<NewCookie> {
        let sticky = self.balancer.settings().beyond.sticky.as_ref()?;
        (hash != Some(self.id().short())).then(|| NewCookie {
            name: sticky.cookie.clone(),
            value: sessions::token(&self.balancer.settings().name, self.address()),
            path: sticky.path.clone(),
        })
    }

    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    pub fn address(&self) -> &Address {
        &self.deref().address
    }

    fn tell(&self, what: impl FnOnce(&dyn Algorithm, &Members)) {
        let inner = &*self.balancer.0;
        if let Some(tier) = inner.tiers.list.get(self.tier) {
            what(&*tier.algorithm, &tier.members);
        }
        inner.tell_newest();
    }
}

impl Deref for Pick {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.balancer.0.tiers.list[self.tier].members.list[self.index]
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.tell(|algorithm, members| algorithm.released(members, self.index));
    }
}
