//! Upstream entities at run time: their targets' addresses, kept fresh, behind a balancer each.

pub(crate) mod channels;
pub(crate) mod connect;
pub mod dns;
pub(crate) mod gate;
mod health_checks;
pub(crate) mod names;
pub(crate) mod pool;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

pub(crate) use crate::http::h1::client::Patience;

use crate::snapshot::Environment;
use ahash::{HashMap, HashSet};
use arc_swap::ArcSwap;
use balancer::{Balancer, ResolvedTarget, Settings, States};
use dns::Dns;
use entities::{Certificate, Configuration, Target, Upstream};
use gate::{Gate, GateView};
use health_checks::Probing;
use names::Name;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tls::{ClientTls, Made};
use tokio::sync::watch;
use uuid::Uuid;

/// An upstream entity with its targets.
pub(crate) struct UpstreamTarget {
    pub(crate) entity: Arc<Upstream>,
    targets: Vec<Arc<Target>>,
    client_certificate: Option<Arc<Certificate>>,
    pub(crate) balancer: ArcSwap<Balancer>,
    /// The names of targets that DNS resolves, by the target's id.
    names: Mutex<HashMap<Uuid, Name>>,
    /// `None` where there are no active health checks.
    probing: Option<Arc<Probing>>,
    /// `None` where the number of requests is not limited.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Whether anything is limited: `gate`, a circuit breaker or a retry budget.
    pub(crate) has_limits: bool,
}

impl UpstreamTarget {
    fn is_of(&self, entity: &Arc<Upstream>, targets: &[Arc<Target>], certificate: Option<&Arc<Certificate>>) -> bool {
        Arc::ptr_eq(&self.entity, entity)
            && self.client_certificate.as_ref().map(Arc::as_ptr) == certificate.map(Arc::as_ptr)
            && self.targets.len() == targets.len()
            && self.targets.iter().zip(targets).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// All upstreams of a node. They and the health of their addresses outlive snapshots.
pub struct Upstreams {
    states: Arc<States>,
    dns: Dns,
    /// Where the node is: targets that are there come first.
    locality: Option<Arc<str>>,
    all: Mutex<HashMap<Uuid, Arc<UpstreamTarget>>>,
    /// Tells those who keep names and health that there is another configuration.
    changed: watch::Sender<()>,
}

impl Upstreams {
    pub fn new(dns: Dns, locality: Option<&str>) -> Self {
        let locality = locality.map(Arc::from);
        Self { states: Arc::default(), dns, locality, all: Mutex::default(), changed: watch::Sender::default() }
    }

    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The balancer of an upstream, by the entity's id.
    pub fn balancer(&self, id: Uuid) -> Option<Arc<Balancer>> {
        self.by_id(id).map(|u| u.balancer.load_full())
    }

    /// The requests of an upstream that are under way and waiting, where their number is limited.
    pub fn gate(&self, id: Uuid) -> Option<GateView> {
        self.by_id(id)?.gate.as_ref().map(|gate| gate.view())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<UpstreamTarget>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<Arc<UpstreamTarget>> {
        self.lock().get(&id).cloned()
    }

    /// Takes over a configuration; upstreams that it does not change stay as they are.
    pub(crate) fn update(&self, from: &Configuration, env: &Environment, problems: &mut Vec<String>) {
        let mut targets: HashMap<Uuid, Vec<Arc<Target>>> = HashMap::default();
        for target in from.targets.values() {
            targets.entry(target.upstream.id).or_default().push(target.clone());
        }
        targets.values_mut().for_each(|targets| targets.sort_by_key(|t| t.id));
        let mut made = Made::default();
        let mut tls = ClientTls::new(from, env, &mut made);
        let gone: Vec<Uuid> = self.lock().keys().filter(|id| !from.upstreams.contains_key(*id)).copied().collect();
        let ids = gone.into_iter().chain(from.upstreams.keys().copied()).collect();
        let targets = |id| targets.get(&id).cloned().unwrap_or_default();
        self.change(&ids, &targets, from, &mut tls, problems);
    }

    /// Takes over some upstreams of a configuration, and gives up those that it does not have. `targets` tells those of an
    /// upstream, in the order of their ids.
    pub(crate) fn change(
        &self,
        ids: &HashSet<Uuid>,
        targets: &dyn Fn(Uuid) -> Vec<Arc<Target>>,
        from: &Configuration,
        tls: &mut ClientTls<'_>,
        problems: &mut Vec<String>,
    ) {
        if ids.is_empty() {
            return;
        }
        let mut all = self.lock();
        for id in ids {
            let Some(entity) = from.upstreams.get(id) else {
                if all.remove(id).is_some() {
                    self.states.forget(*id);
                }
                continue;
            };
            let targets = targets(*id);
            let certificate = entity.client_certificate.as_ref().and_then(|c| from.certificates.get(&c.id));
            let old = all.get(id);
            if old.is_some_and(|u| u.is_of(entity, &targets, certificate)) {
                continue;
            }
            let (balancer, names) = self.balance(entity, &targets, old.map(|u| &**u));
            let beyond = &balancer.settings().beyond;
            let gate = Gate::of(beyond.breaker.as_ref(), old.and_then(|u| u.gate.as_ref()));
            let has_limits = beyond.breaker.is_some() || beyond.budget.is_some();
            let probing = Probing::of(entity, |verify, client, offer| tls.probe(verify, client, offer), problems);
            let upstream = UpstreamTarget {
                entity: entity.clone(),
                targets,
                client_certificate: certificate.cloned(),
                balancer: ArcSwap::from_pointee(balancer),
                names: Mutex::new(names),
                probing: probing.map(Arc::new),
                gate,
                has_limits,
            };
            all.insert(*id, Arc::new(upstream));
        }
        drop(all);
        self.changed.send_replace(());
    }

    fn balance(
        &self,
        entity: &Upstream,
        targets: &[Arc<Target>],
        old: Option<&UpstreamTarget>,
    ) -> (Balancer, HashMap<Uuid, Name>) {
        let now = Instant::now();
        let before = old.map(|u| (u.balancer.load_full(), u.names.lock().unwrap_or_else(PoisonError::into_inner)));
        let known: HashMap<Uuid, _> = before
            .iter()
            .flat_map(|(balancer, names)| {
                balancer.targets().filter_map(|(t, _)| Some((t.id, (names.get(&t.id)?, &t.resolution))))
            })
            .collect();
        let mut names = HashMap::default();
        let resolved: Vec<_> = targets
            .iter()
            .map(|target| {
                let (host, _) = balancer::host_and_port(&target.target);
                let resolution = ResolvedTarget::literal_resolution(host).unwrap_or_else(|| {
                    let kept = known.get(&target.id).filter(|(name, _)| name.is(host));
                    let (name, resolution) = kept.map_or_else(
                        || Name::new(host, self.dns.peek(host, now), now),
                        |(name, resolution)| ((*name).clone(), (*resolution).clone()),
                    );
                    names.insert(target.id, name);
                    resolution
                });
                Arc::new(ResolvedTarget::new(target, resolution))
            })
            .collect();
        let state = self.states.upstream(entity.id, fastrand::u64(..), now);
        let mut settings = Settings::from(entity);
        settings.beyond.locality = self.locality.clone();
        (Balancer::new(Arc::new(settings), resolved, state, now), names)
    }
}
