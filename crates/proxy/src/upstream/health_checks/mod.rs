//! Active health checks: one task probes the targets of all upstreams, each address in its own rhythm. What it finds
//! goes into the states of the addresses, which outlive configurations.

mod plain;
mod probe;
mod schedule;
#[cfg(test)]
mod tests;

pub(super) use probe::Probing;

use super::Upstreams;
use ahash::HashMap;
use balancer::health::{Report, Source};
use balancer::{Address, Balancer, Member};
use plain::Sockets;
use probe::probe;
use schedule::{Job, Schedule};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use uuid::Uuid;

/// Probes under way at the same time, over all upstreams: each holds a socket.
const MOST_PROBES: usize = 512;

impl Upstreams {
    /// Probes the targets of upstreams that ask for it. Runs for the life of the node, on any runtime.
    pub async fn check(self: Arc<Self>) {
        let sockets = Arc::new(Sockets::default());
        let attended = sockets.clone();
        let checks = self.check_by(move |how, address| {
            let sockets = sockets.clone();
            async move { probe(&how, &address, &sockets).await }
        });
        tokio::join!(checks, attended.attend());
    }

    async fn check_by<P, F>(self: Arc<Self>, probe: P)
    where
        P: Fn(Arc<Probing>, Address) -> F,
        F: Future<Output = Report> + Send + 'static,
    {
        let mut changed = self.changed.subscribe();
        let mut checks = Checks::new(self, probe);
        loop {
            checks.update();
            loop {
                tokio::select! {
                    biased;
                    _ = changed.changed() => break,
                    Some(ended) = checks.running.join_next_with_id(), if !checks.running.is_empty() => match ended {
                        Ok((id, report)) => checks.ended(id, Some(report)),
                        Err(error) => checks.ended(error.id(), None),
                    },
                    job = checks.schedule.due() => checks.due(job),
                }
            }
        }
    }

    /// Reports on an address as it is by now: the configuration may have changed since its probe began. `at` is where it stood.
    fn tell(&self, job: Job, at: usize, report: Report) {
        let Some(upstream) = self.by_id(job.upstream).filter(|upstream| upstream.probing.is_some()) else { return };
        let balancer = upstream.balancer.load();
        let is_meant = |member: &&Member| member.id() == job.address;
        let members = balancer.addresses();
        let found = members.get(at).filter(is_meant).or_else(|| members.iter().find(is_meant));
        let Some(member) = found.filter(|member| member.address().weight > 0) else { return };
        if let Some(change) = balancer.report(member, Source::Active, report, SystemTime::now()) {
            let state = if change.is_healthy { "healthy" } else { "unhealthy" };
            let (name, address) = (&upstream.entity.name, member.address());
            let (host, at) = (&address.hostname, address.socket());
            log::warn!("upstream {name}: target {host} ({at}) is {state} now: {}", change.reason);
        }
    }
}

/// What is probed, and what is under way.
struct Checks<P> {
    upstreams: Arc<Upstreams>,
    probe: P,
    schedule: Schedule,
    pools: HashMap<Uuid, Pool>,
    running: JoinSet<Report>,
    jobs: HashMap<Id, Job>,
    free: Arc<Semaphore>,
}

/// An upstream that is probed.
struct Pool {
    probing: Arc<Probing>,
    balancer: Arc<Balancer>,
    places: HashMap<Job, Place>,
    running: usize,
    /// Those whose time has come while as many as may be were under way.
    waiting: VecDeque<Job>,
}

/// An address in a pool.
struct Place {
    /// Where it stands in the balancer.
    at: usize,
    state: PlaceState,
}

enum PlaceState {
    Idle,
    Waiting,
    Running(AbortHandle),
}

impl Pool {
    fn is_of(&self, probing: &Arc<Probing>, balancer: &Arc<Balancer>) -> bool {
        Arc::ptr_eq(&self.probing, probing) && Arc::ptr_eq(&self.balancer, balancer)
    }

    fn member(&self, job: Job) -> Option<&Member> {
        self.balancer.addresses().get(self.places.get(&job)?.at)
    }
}

impl<P, F> Checks<P>
where
    P: Fn(Arc<Probing>, Address) -> F,
    F: Future<Output = Report> + Send + 'static,
{
    fn new(upstreams: Arc<Upstreams>, probe: P) -> Self {
        Self {
            upstreams,
            probe,
            schedule: Schedule::new(),
            pools: HashMap::default(),
            running: JoinSet::new(),
            jobs: HashMap::default(),
            free: Arc::new(Semaphore::new(MOST_PROBES)),
        }
    }

    /// Takes over what a configuration, or a DNS answer, has changed.
    fn update(&mut self) {
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
            let (places, running, waiting) = before.map(|b| (b.places, b.running, b.waiting)).unwrap_or_default();
            let places = self.update_places(id, &probing, &balancer, places);
            self.pools.insert(id, Pool { probing, balancer, places, running, waiting });
            self.begin(id);
        }
        for (job, place) in gone.into_values().flat_map(|pool| pool.places) {
            self.forget(job, place);
        }
    }

    fn update_places(
        &mut self,
        id: Uuid,
        probing: &Probing,
        balancer: &Balancer,
        mut before: HashMap<Job, Place>,
    ) -> HashMap<Job, Place> {
        let mut places = HashMap::default();
        for (at, member) in balancer.addresses().iter().enumerate().filter(|(_, member)| member.address().weight > 0) {
            for (is_healthy, interval) in [(true, probing.healthy), (false, probing.unhealthy)] {
                let Some(interval) = interval else { continue };
                let job = Job { upstream: id, address: member.id(), is_healthy };
                self.schedule.set(job, interval, first_after);
                let state = before.remove(&job).map_or(PlaceState::Idle, |place| place.state);
                places.entry(job).or_insert(Place { at, state });
            }
        }
        for (job, place) in before {
            self.forget(job, place);
        }
        places
    }

    fn forget(&mut self, job: Job, place: Place) {
        self.schedule.remove(job);
        if let PlaceState::Running(handle) = place.state {
            handle.abort();
        }
    }

    /// A job's time has come.
    fn due(&mut self, job: Job) {
        let Some(pool) = self.pools.get_mut(&job.upstream) else { return };
        if pool.member(job).is_none_or(|member| member.state().health().is_healthy() != job.is_healthy) {
            return;
        }
        // A probe that takes longer than the interval is not overtaken by the next.
        if let Some(place) = pool.places.get_mut(&job).filter(|place| matches!(place.state, PlaceState::Idle)) {
            place.state = PlaceState::Waiting;
            pool.waiting.push_back(job);
            self.begin(job.upstream);
        }
    }

    /// Begins as many probes of an upstream as are due and may run beside each other.
    fn begin(&mut self, upstream: Uuid) {
        let Some(pool) = self.pools.get_mut(&upstream) else { return };
        while pool.running < pool.probing.concurrency {
            let Some(job) = pool.waiting.pop_front() else { return };
            let Some(member) = pool.member(job) else { continue };
            let probing = (self.probe)(pool.probing.clone(), member.address().clone());
            let free = self.free.clone();
            let handle = self.running.spawn(async move {
                let _permit = free.acquire_owned().await;
                probing.await
            });
            self.jobs.insert(handle.id(), job);
            pool.running += 1;
            if let Some(place) = pool.places.get_mut(&job) {
                place.state = PlaceState::Running(handle);
            }
        }
    }

    /// A probe has come to its end; `None` = it was broken off.
    fn ended(&mut self, task: Id, report: Option<Report>) {
        let Some(job) = self.jobs.remove(&task) else { return };
        let Some(pool) = self.pools.get_mut(&job.upstream) else { return };
        pool.running = pool.running.saturating_sub(1);
        let is_of = |place: &&mut Place| matches!(&place.state, PlaceState::Running(handle) if handle.id() == task);
        if let Some(place) = pool.places.get_mut(&job).filter(is_of) {
            place.state = PlaceState::Idle;
            let at = place.at;
            if let Some(report) = report {
                self.upstreams.tell(job, at, report);
            }
        }
        self.begin(job.upstream);
    }
}

/// New addresses begin at different times within their interval, so that they are not all probed at once.
fn first_after(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64())
}
