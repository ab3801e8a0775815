//! An immutable, ready-to-serve form of the configuration. A request pins one from start to end.

mod asked;
mod certificates;
mod endpoint;
mod plan;
mod services;

pub(crate) use asked::{Asked, Hints};
pub(crate) use certificates::Certificates;
pub use certificates::pair as certificate_pair;
pub(crate) use endpoint::Endpoint;
pub(crate) use plan::{Built, Chosen, Plan};
pub(crate) use services::{Destination, ServiceTarget};

use crate::upstream::Upstreams;
use ahash::HashMap;
use arc_swap::ArcSwap;
use entities::{Configuration, Touched};
use pdk::trace::Tracing;
use pdk::{Consumers, Definition};
use plan::Instances;
use router::{Flavor, Router};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Finds what a reference stands for.
pub type Secrets = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What a snapshot is built with, beside the configuration.
pub struct Environment {
    pub flavor: Flavor,
    /// The plugins there are, in execution order.
    pub plugins: Arc<[Definition]>,
    /// Resolves `{vault://...}` references.
    pub secrets: Arc<Secrets>,
    /// Balancers and their state; they outlive snapshots.
    pub upstreams: Arc<Upstreams>,
    /// The certificate where no name fits.
    pub default_certificate: Option<Arc<rustls::sign::CertifiedKey>>,
    /// Verification of upstreams where a service does not say.
    pub verify_upstreams: bool,
    /// The longest chain of an upstream's certificate where a service does not say (`proxy_ssl_verify_depth`): certificates
    /// between its own and a trusted one.
    pub verify_depth: usize,
    /// What is shown to upstreams where neither service nor upstream has a certificate (`client_ssl_cert`).
    pub client_certificate: Option<Arc<rustls::sign::CertifiedKey>>,
    /// Whether every `https` service asks for HTTP/2 (`proxy_http_version 2`).
    pub upstream_http2: bool,
    /// `lua_ssl_trusted_certificate`, DER.
    pub trusted_certificates: Vec<rustls_pki_types::CertificateDer<'static>>,
    /// What is recorded of requests for traces.
    pub tracing: Tracing,
}

impl Environment {
    /// A text, or what it refers to; nothing where that is not to be had (Kong's rule).
    pub(crate) fn secret<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.starts_with("{vault://") { (self.secrets)(text).unwrap_or_default().into() } else { text.into() }
    }
}

/// The configuration, ready.
pub struct Snapshot {
    pub(crate) router: Arc<Router>,
    pub(crate) endpoints: Arc<HashMap<Uuid, Arc<Endpoint>>>,
    /// What runs where no route was found, and before routing.
    pub(crate) global: Arc<Plan>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) certificates: Arc<Certificates>,
    /// Which clients are asked for certificates.
    pub(crate) asked: Arc<Asked>,
    /// What is recorded, and of which share of requests at least; `None` where no plugin reports traces.
    pub(crate) traced: Option<(Tracing, f64)>,
    instances: Arc<Instances>,
}

impl Snapshot {
    /// Nothing configured: every request finds no route.
    pub fn empty(env: &Environment) -> Self {
        Self::build(&Configuration::default(), None, env).0
    }

    /// The snapshot after some rows were changed, which the configuration has already. Where all of them are of clients
    /// (consumers, their groups and credentials), everything else is shared with this one.
    pub fn changed(&self, touched: &[Touched], from: &Configuration, env: &Environment) -> (Self, Vec<String>) {
        let (consumers, is_all) = self.consumers.updated(touched, from);
        let consumers = Arc::new(consumers);
        if !is_all {
            return Self::build_with(from, Some(self), env, consumers);
        }
        let snapshot = Self {
            router: self.router.clone(),
            endpoints: self.endpoints.clone(),
            global: self.global.clone(),
            consumers,
            certificates: self.certificates.clone(),
            asked: self.asked.clone(),
            traced: self.traced,
            instances: self.instances.clone(),
        };
        (snapshot, Vec::new())
    }

    /// Builds a snapshot; what did not change is taken over from the previous one. The strings tell what of the
    /// configuration could not be used: it is left out, the rest serves.
    pub fn build(from: &Configuration, previous: Option<&Self>, env: &Environment) -> (Self, Vec<String>) {
        Self::build_with(from, previous, env, Arc::new(Consumers::new(from)))
    }

    fn build_with(
        from: &Configuration,
        previous: Option<&Self>,
        env: &Environment,
        consumers: Arc<Consumers>,
    ) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let instances = Instances::build(from, previous.map(|p| &*p.instances), env, &mut problems);
        let certificates = Certificates::build(from, env, &mut problems);
        env.upstreams.update(from, env, &mut problems);
        let services = services::build(from, env, &mut problems);
        let global = instances.global();
        let traced = instances.share_of_traces(env.tracing).map(|share| (env.tracing, share));
        let mut endpoints = HashMap::default();
        let mut asked = Asked::default();
        for route in from.routes.values() {
            let service = route.service.as_ref().and_then(|s| services.get(&s.id));
            if service.is_some_and(|s| !s.service.enabled) {
                continue;
            }
            let plan = instances.plan(route, &global);
            asked.add(route, &plan);
            endpoints.insert(route.id, Arc::new(Endpoint::new(route.clone(), service.cloned(), plan, env.flavor)));
        }
        let routes = from.routes.values().filter(|r| endpoints.contains_key(&r.id)).cloned();
        let (router, errors) = Router::build(env.flavor, routes);
        problems.extend(errors.iter().map(ToString::to_string));
        let snapshot = Self {
            router: Arc::new(router),
            endpoints: Arc::new(endpoints),
            global,
            consumers,
            certificates: Arc::new(certificates),
            asked: Arc::new(asked),
            traced,
            instances: Arc::new(instances),
        };
        (snapshot, problems)
    }
}

/// Where threads find the current snapshot. Reading it costs a load of a counter while nothing changes.
pub struct SnapshotHandle {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
}

impl SnapshotHandle {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot), version: AtomicU64::new(1) }
    }

    /// Makes a snapshot the current one: the next request of every thread sees it.
    pub fn swap(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::Release);
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}
