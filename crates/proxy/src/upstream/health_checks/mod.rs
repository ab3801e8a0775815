//! Active health checks: one task probes the targets of all upstreams, each upstream in its own rhythm. What it finds
//! goes into the states of the addresses, which outlive configurations.

mod probe;
mod schedule;
#[cfg(test)]
mod tests;

pub(super) use probe::Probing;

use super::{UpstreamTarget, Upstreams};
use ahash::{HashMap, HashSet};
use balancer::health::{Report, Source};
use balancer::{Address, AddressId, Balancer};
use probe::probe;
use schedule::{Job, Schedule};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Probes under way at the same time, over all upstreams: each holds a socket.
const MOST_PROBES: usize = 512;

/// An address to be probed: where it stood in the balancer, and which it is.
type Place = (usize, AddressId);

impl Upstreams {
    /// Probes the targets of upstreams that ask for it. Runs for the life of the node, on any runtime.
    pub async fn check(self: Arc<Self>) {
        self.check_by(|how, address| async move { probe(&how, &address).await }).await;
    }

    async fn check_by<P, F>(self: Arc<Self>, probe: P)
    where
        P: Fn(Arc<Probing>, Address) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Report> + Send + 'static,
    {
        let mut changed = self.changed.subscribe();
        let free = Arc::new(Semaphore::new(MOST_PROBES));
        let mut schedule = Schedule::default();
        let mut rounds = JoinSet::new();
        let mut running: HashMap<Job, AbortHandle> = HashMap::default();
        loop {
            for gone in schedule.update(self.jobs(), Instant::now(), first_after) {
                if let Some(round) = running.remove(&gone) {
                    round.abort();
                }
            }
            loop {
                tokio::select! {
                    _ = changed.changed() => break,
                    () = until(schedule.next()) => {}
                    Some(_) = rounds.join_next(), if !rounds.is_empty() => {}
                }
                while let Some(job) = schedule.due(Instant::now()) {
                    // A round that takes longer than the interval is not overtaken by the next.
                    if running.get(&job).is_some_and(|round| !round.is_finished()) {
                        continue;
                    }
                    let Some((concurrency, places)) = self.places(job) else { continue };
                    let round = Round { upstreams: self.clone(), job, free: free.clone(), probe: probe.clone() };
                    running.insert(job, rounds.spawn(round.run(concurrency, places)));
                }
            }
        }
    }

    fn jobs(&self) -> Vec<(Job, Duration)> {
        let all = self.lock();
        let jobs = all.iter().flat_map(|(id, upstream)| {
            let intervals = upstream.probing.iter().flat_map(|p| [(true, p.healthy), (false, p.unhealthy)]);
            intervals.filter_map(|(is_healthy, every)| Some((Job { upstream: *id, is_healthy }, every?)))
        });
        jobs.collect()
    }

    /// The addresses that a round is about, and how many of them are probed at once; `None` = there is nothing to do.
    fn places(&self, job: Job) -> Option<(usize, Vec<Place>)> {
        let upstream = self.by_id(job.upstream)?;
        let concurrency = upstream.probing.as_ref()?.concurrency;
        let balancer = upstream.balancer.load();
        let mut known = HashSet::default();
        let members = balancer.addresses().iter().enumerate();
        let places: Vec<Place> = members
            .filter(|(_, m)| m.address().weight > 0 && m.state().health().is_healthy() == job.is_healthy)
            .map(|(at, m)| (at, m.id()))
            .filter(|(_, id)| known.insert(*id))
            .collect();
        (!places.is_empty()).then_some((concurrency, places))
    }

    /// Where an address stands by now; `None` = it has left.
    fn find(&self, job: Job, (at, id): Place) -> Option<(Arc<UpstreamTarget>, Arc<Balancer>, usize)> {
        let upstream = self.by_id(job.upstream)?;
        let balancer = upstream.balancer.load_full();
        let members = balancer.addresses();
        let is_there = members.get(at).is_some_and(|m| m.id() == id);
        let at = if is_there { at } else { members.iter().position(|m| m.id() == id)? };
        (members.get(at)?.address().weight > 0).then_some((upstream, balancer, at))
    }
}

/// One turn of probing an upstream's healthy, or unhealthy, addresses.
#[derive(Clone)]
struct Round<P> {
    upstreams: Arc<Upstreams>,
    job: Job,
    free: Arc<Semaphore>,
    probe: P,
}

impl<P, F> Round<P>
where
    P: Fn(Arc<Probing>, Address) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Report> + Send + 'static,
{
    /// `concurrency` tasks share the places, each going from one to the next.
    async fn run(self, concurrency: usize, places: Vec<Place>) {
        let mut probing = JoinSet::new();
        let (places, next): (Arc<[Place]>, Arc<AtomicUsize>) = (places.into(), Arc::default());
        for _ in 0..concurrency.min(places.len()) {
            let (round, places, next) = (self.clone(), places.clone(), next.clone());
            probing.spawn(async move {
                while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(_permit) = round.free.acquire().await else { return };
                    round.check(*place).await;
                }
            });
        }
        probing.join_all().await;
    }

    /// The configuration may change at any time: an address is probed, and reported on, as it is then.
    async fn check(&self, place: Place) {
        let Some((upstream, balancer, at)) = self.upstreams.find(self.job, place) else { return };
        let (Some(how), Some(member)) = (upstream.probing.clone(), balancer.addresses().get(at)) else { return };
        let report = (self.probe)(how, member.address().clone()).await;
        drop((upstream, balancer));
        let Some((upstream, balancer, at)) = self.upstreams.find(self.job, place) else { return };
        if upstream.probing.is_none() {
            return;
        }
        let Some(member) = balancer.addresses().get(at) else { return };
        if let Some(change) = balancer.report(member, Source::Active, report, SystemTime::now()) {
            let state = if change.is_healthy { "healthy" } else { "unhealthy" };
            let (name, address) = (&upstream.entity.name, member.address());
            let (host, at) = (&address.hostname, address.socket());
            log::warn!("upstream {name}: target {host} ({at}) is {state} now: {}", change.reason);
        }
    }
}

/// New upstreams begin at different times within their interval, so that many of them do not probe all at once.
fn first_after(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64())
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
