//! Which addresses are probed, and when: what a round of the loop in `Upstreams::check` does.

use super::super::Upstreams;
use super::probe::Probing;
use super::wheel::{Turn, Wheel};
use ahash::{HashMap, HashSet};
use balancer::health::Report;
use balancer::{Address, AddressId, Balancer};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use uuid::Uuid;

/// Probes under way at the same time, over all upstreams: each holds a socket.
const MOST_PROBES: usize = 512;

/// What is probed, and what is under way.
pub(super) struct Checks<P> {
    upstreams: Arc<Upstreams>,
    probe: P,
    pub(super) wheel: Wheel<Entry>,
    pools: HashMap<Uuid, Pool>,
    /// Counts the pools that were made.
    made: u64,
    pub(super) running: JoinSet<Report>,
    jobs: HashMap<Id, Job>,
    free: Arc<Semaphore>,
}

/// An upstream that is probed, as one configuration and one DNS answer have it.
struct Pool {
    number: u64,
    probing: Arc<Probing>,
    balancer: Arc<Balancer>,
    /// For each address of the balancer.
    places: Vec<Place>,
    running: usize,
    /// Addresses whose time has come while as many as may be were under way.
    waiting: VecDeque<usize>,
}

/// An address that is probed.
struct Place {
    address: AddressId,
    state: PlaceState,
    /// When it is looked at next; `None` = never: it takes no traffic, or is in the list twice.
    next: Option<Turn>,
    /// When it was probed last.
    probed: Option<Turn>,
}

enum PlaceState {
    Idle,
    Waiting,
    Running(AbortHandle),
}

/// An address on the wheel. One of an older pool, or for another turn than the place has by now, counts for nothing.
pub(super) struct Entry {
    upstream: Uuid,
    pool: u64,
    at: usize,
}

/// A probe under way: of which address, and where it stood when it began.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub(super) upstream: Uuid,
    pub(super) address: AddressId,
    pub(super) at: usize,
}

impl Pool {
    fn is_of(&self, probing: &Arc<Probing>, balancer: &Arc<Balancer>) -> bool {
        Arc::ptr_eq(&self.probing, probing) && Arc::ptr_eq(&self.balancer, balancer)
    }

    fn is_healthy(&self, at: usize) -> bool {
        self.balancer.addresses().get(at).is_some_and(|member| member.state().health().is_healthy())
    }

    /// The turns between two probes of an address that is healthy, or that is not.
    fn every(&self, is_healthy: bool) -> Option<Turn> {
        let interval = if is_healthy { self.probing.healthy } else { self.probing.unhealthy };
        interval.map(Wheel::<Entry>::turns)
    }

    /// Addresses that are new begin at different times within their interval, so that they are not all probed at once.
    fn first_after(&self, at: usize) -> Turn {
        let is_healthy = self.is_healthy(at);
        let every = self.every(is_healthy).or_else(|| self.every(!is_healthy)).unwrap_or(1);
        fastrand::u64(1..=every.max(1))
    }

    /// Looks at an address whose turn has come: whether it is to be probed.
    fn look(&mut self, at: usize, turn: Turn) -> bool {
        let is_healthy = self.is_healthy(at);
        let (every, other) = (self.every(is_healthy), self.every(!is_healthy));
        let Some(place) = self.places.get_mut(at) else { return false };
        let again = |probed: Option<Turn>| every.map(|every| probed.map_or(turn, |probed| probed + every));
        // A probe that takes longer than the interval is not overtaken by the next.
        let is_due = matches!(place.state, PlaceState::Idle) && again(place.probed).is_some_and(|due| due <= turn);
        if is_due {
            place.probed = Some(turn);
        }
        // Or earlier: it may have turned by the time that it would then be probed at.
        let own = again(place.probed).map(|due| if due > turn { due } else { again(Some(turn)).unwrap_or(due) });
        place.next = own.into_iter().chain(other.map(|other| turn + other)).min();
        is_due
    }
}

impl<P, F> Checks<P>
where
    P: Fn(Arc<Probing>, Address) -> F,
    F: Future<Output = Report> + Send + 'static,
{
    pub(super) fn new(upstreams: Arc<Upstreams>, probe: P) -> Self {
        Self {
            upstreams,
            probe,
            wheel: Wheel::new(),
            pools: HashMap::default(),
            made: 0,
            running: JoinSet::new(),
            jobs: HashMap::default(),
            free: Arc::new(Semaphore::new(MOST_PROBES)),
        }
    }

    /// Takes over what a configuration, or a DNS answer, has changed.
    pub(super) fn update(&mut self) {
        let mut gone = std::mem::take(&mut self.pools);
        let mut changed = Vec::new();
        for (id, upstream) in &*self.upstreams.lock() {
            let Some(probing) = &upstream.probing else { continue };
            let balancer = upstream.balancer.load_full();
            match gone.remove(id) {
                Some(pool) if pool.is_of(probing, &balancer) => {
                    self.pools.insert(*id, pool);
                }
                before => changed.push((*id, probing.clone(), balancer, before)),
            }
        }
        for (id, probing, balancer, before) in changed {
            self.change(id, probing, balancer, before);
        }
        gone.into_values().flat_map(|pool| pool.places).for_each(break_off);
        // Entries that count for nothing stay until their turn, but never more than those that count.
        let places: usize = self.pools.values().map(|pool| pool.places.len()).sum();
        if self.wheel.len() > 2 * places + 1000 {
            let pools = &self.pools;
            self.wheel.retain(|entry| pools.get(&entry.upstream).is_some_and(|pool| pool.number == entry.pool));
        }
    }

    fn change(&mut self, id: Uuid, probing: Arc<Probing>, balancer: Arc<Balancer>, before: Option<Pool>) {
        self.made += 1;
        let running = before.as_ref().map_or(0, |pool| pool.running);
        let keeps_rhythm = before.as_ref().is_some_and(|pool| pool.probing.has_rhythm_of(&probing));
        let old = before.into_iter().flat_map(|pool| pool.places).filter(|place| place.next.is_some());
        let mut old: HashMap<AddressId, Place> = old.map(|place| (place.address, place)).collect();
        let mut pool =
            Pool { number: self.made, probing, balancer, places: Vec::new(), running, waiting: VecDeque::new() };
        let mut known = HashSet::default();
        let now = self.wheel.now();
        for (at, member) in pool.balancer.clone().addresses().iter().enumerate() {
            let is_probed = member.address().weight > 0 && known.insert(member.id());
            let before = if is_probed { old.remove(&member.id()) } else { None };
            let new = || Place { address: member.id(), state: PlaceState::Idle, next: None, probed: None };
            let mut place = before.unwrap_or_else(new);
            if matches!(place.state, PlaceState::Waiting) {
                pool.waiting.push_back(at);
            }
            if is_probed && !(keeps_rhythm && place.next.is_some()) {
                (place.next, place.probed) = (Some(now + pool.first_after(at)), None);
            }
            let entry = Entry { upstream: id, pool: pool.number, at };
            place.next = place.next.map(|next| self.wheel.insert(next, entry));
            pool.places.push(place);
        }
        old.into_values().for_each(break_off);
        self.pools.insert(id, pool);
        self.begin(id);
    }

    /// Looks at the addresses whose turn has come.
    pub(super) fn turn(&mut self) {
        let now = self.wheel.now();
        for (turn, entry) in self.wheel.due() {
            let Some(pool) = self.pools.get_mut(&entry.upstream).filter(|pool| pool.number == entry.pool) else {
                continue;
            };
            if pool.places.get(entry.at).is_none_or(|place| place.next != Some(turn)) {
                continue;
            }
            let is_due = pool.look(entry.at, turn);
            let (at, upstream) = (entry.at, entry.upstream);
            if let Some(place) = pool.places.get_mut(at) {
                // Turns that were missed, as when the machine slept, are not made up for.
                let next = place.next.map(|next| if next > now { next } else { now + next - turn });
                place.next = next.map(|next| self.wheel.insert(next, entry));
                if is_due {
                    place.state = PlaceState::Waiting;
                    pool.waiting.push_back(at);
                }
            }
            self.begin(upstream);
        }
    }

    /// Begins as many probes of an upstream as are due and may run beside each other.
    fn begin(&mut self, upstream: Uuid) {
        let Some(pool) = self.pools.get_mut(&upstream) else { return };
        while pool.running < pool.probing.concurrency {
            let Some(at) = pool.waiting.pop_front() else { return };
            let (Some(member), Some(place)) = (pool.balancer.addresses().get(at), pool.places.get_mut(at)) else {
                continue;
            };
            let probing = (self.probe)(pool.probing.clone(), member.address().clone());
            let free = self.free.clone();
            let handle = self.running.spawn(async move {
                let _permit = free.acquire_owned().await;
                probing.await
            });
            self.jobs.insert(handle.id(), Job { upstream, address: place.address, at });
            place.state = PlaceState::Running(handle);
            pool.running += 1;
        }
    }

    /// A probe has come to its end; `None` = it was broken off.
    pub(super) fn ended(&mut self, task: Id, report: Option<Report>) {
        let Some(job) = self.jobs.remove(&task) else { return };
        let Some(pool) = self.pools.get_mut(&job.upstream) else { return };
        pool.running = pool.running.saturating_sub(1);
        let is_of = |place: &Place| matches!(&place.state, PlaceState::Running(handle) if handle.id() == task);
        // It may stand elsewhere by now.
        let at =
            if pool.places.get(job.at).is_some_and(is_of) { Some(job.at) } else { pool.places.iter().position(is_of) };
        if let Some(place) = at.and_then(|at| pool.places.get_mut(at)) {
            place.state = PlaceState::Idle;
            if let Some(report) = report {
                self.upstreams.tell(job, report);
            }
        }
        self.begin(job.upstream);
    }
}

/// The probe of an address that is gone.
fn break_off(place: Place) {
    if let PlaceState::Running(handle) = place.state {
        handle.abort();
    }
}
