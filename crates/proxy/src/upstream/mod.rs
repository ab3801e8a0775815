//! Upstream entities at run time: their targets' addresses, kept fresh, behind a balancer each.

pub(crate) mod connect;
pub mod dns;
pub(crate) mod pool;
pub(crate) mod tls;

pub(crate) use crate::http::h1::client::Patience;

use ahash::HashMap;
use arc_swap::ArcSwap;
use balancer::{Balancer, Record, Resolution, ResolvedTarget, Settings, States};
use dns::{Answers, Dns};
use entities::{Configuration, Target, Upstream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often names are looked at for a new answer.
const TICK: Duration = Duration::from_millis(500);
/// When a failed look-up is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// An upstream entity with its targets.
pub(crate) struct UpstreamTarget {
    pub(crate) entity: Arc<Upstream>,
    targets: Vec<Arc<Target>>,
    pub(crate) balancer: ArcSwap<Balancer>,
    /// Targets known by name, and when they are to be looked up (again).
    names: Mutex<HashMap<Uuid, (Arc<str>, Option<Instant>)>>,
}

impl UpstreamTarget {
    fn is_of(&self, entity: &Arc<Upstream>, targets: &[Arc<Target>]) -> bool {
        Arc::ptr_eq(&self.entity, entity)
            && self.targets.len() == targets.len()
            && self.targets.iter().zip(targets).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn due(&self, now: Instant) -> Vec<(Uuid, Arc<str>)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        names.iter().filter(|(_, (_, at))| is_due(at)).map(|(id, (name, _))| (*id, name.clone())).collect()
    }

    fn resolved(&self, target: Uuid, resolution: Resolution, again: Option<Instant>) {
        let balancer = self.balancer.load().with_target_addresses(target, resolution, Instant::now());
        self.balancer.store(Arc::new(balancer));
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, at)) = names.get_mut(&target) {
            *at = again;
        }
    }
}

/// All upstreams of a node. They and the health of their addresses outlive snapshots.
pub struct Upstreams {
    states: Arc<States>,
    dns: Dns,
    all: Mutex<HashMap<Uuid, Arc<UpstreamTarget>>>,
}

impl Upstreams {
    pub fn new(dns: Dns) -> Self {
        Self { states: Arc::default(), dns, all: Mutex::default() }
    }

    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The balancer of an upstream, by the entity's id.
    pub fn balancer(&self, id: Uuid) -> Option<Arc<Balancer>> {
        self.lock().get(&id).map(|u| u.balancer.load_full())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<UpstreamTarget>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<UpstreamTarget>> {
        self.lock().values().find(|u| u.entity.name == name).cloned()
    }

    /// Takes over a configuration; upstreams that it does not change stay as they are.
    pub(crate) fn update(&self, from: &Configuration) {
        let mut targets: HashMap<Uuid, Vec<Arc<Target>>> = HashMap::default();
        for target in from.targets.values() {
            targets.entry(target.upstream.id).or_default().push(target.clone());
        }
        let mut all = self.lock();
        for id in all.keys().filter(|id| !from.upstreams.contains_key(*id)) {
            self.states.forget(*id);
        }
        let old = std::mem::take(&mut *all);
        for entity in from.upstreams.values() {
            let mut targets = targets.remove(&entity.id).unwrap_or_default();
            targets.sort_by_key(|t| t.id);
            let kept = old.get(&entity.id).filter(|u| u.is_of(entity, &targets)).cloned();
            let upstream = kept.unwrap_or_else(|| Arc::new(self.make(entity, targets)));
            all.insert(entity.id, upstream);
        }
    }

    fn make(&self, entity: &Arc<Upstream>, targets: Vec<Arc<Target>>) -> UpstreamTarget {
        let now = Instant::now();
        let mut names = HashMap::default();
        let resolved: Vec<_> = targets
            .iter()
            .map(|target| {
                let (host, _) = balancer::host_and_port(&target.target);
                let resolution = ResolvedTarget::literal_resolution(host).unwrap_or_else(|| {
                    let known = self.dns.peek(host, now);
                    names.insert(
                        target.id,
                        (host.into(), Some(known.as_ref().and_then(|a| a.valid_until).unwrap_or(now))),
                    );
                    known.map_or_else(|| Resolution::Failed("not resolved yet".into()), |answers| records(&answers))
                });
                Arc::new(ResolvedTarget::new(target, resolution))
            })
            .collect();
        let state = self.states.upstream(entity.id, fastrand::u64(..), now);
        let balancer = Balancer::new(Arc::new(Settings::from(&**entity)), resolved, state, now);
        UpstreamTarget {
            entity: entity.clone(),
            targets,
            balancer: ArcSwap::from_pointee(balancer),
            names: Mutex::new(names),
        }
    }

    /// Keeps the addresses of targets fresh. Runs for the life of the node, on any runtime.
    pub async fn keep(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let upstreams: Vec<_> = self.lock().values().cloned().collect();
            for upstream in upstreams {
                for (target, name) in upstream.due(now) {
                    let (resolution, again) = match self.dns.resolve(&name).await {
                        Ok(answers) => (records(&answers), answers.valid_until),
                        Err(error) => {
                            log::warn!("target {name} of upstream {}: {error}", upstream.entity.name);
                            (Resolution::Failed(error.to_string().into()), Some(Instant::now() + RETRY))
                        }
                    };
                    upstream.resolved(target, resolution, again);
                }
            }
            self.states.sweep(now);
            tokio::time::sleep(TICK).await;
        }
    }
}

fn records(answers: &Answers) -> Resolution {
    let records = answers
        .records
        .iter()
        .map(|r| Record { ip: r.ip, port: r.port, weight: r.weight, name: r.name.clone() })
        .collect();
    Resolution::Records { dns: answers.kind, records }
}
