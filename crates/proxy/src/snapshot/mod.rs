//! An immutable, ready-to-serve form of the configuration. A request pins one from start to end.

mod asked;
mod builder;
mod certificates;
mod endpoint;
mod handle;
mod instances;
mod links;
mod make;
mod named;
mod plan;
mod services;
mod terms;
#[cfg(test)]
mod tests;

pub(crate) use asked::{Asked, Hints};
pub use builder::Builder;
pub(crate) use certificates::Certificates;
pub use certificates::pair as certificate_pair;
pub(crate) use endpoint::{Endpoint, Routed};
pub use handle::SnapshotHandle;
pub(crate) use instances::Instances;
pub(crate) use named::NamedUpstreams;
pub(crate) use plan::{Built, Chosen, Plan};
pub(crate) use services::{Destination, ServiceTarget};
pub use terms::Terms;

use crate::upstream::Upstreams;
use pdk::trace::Tracing;
use pdk::{Consumers, Definition};
use router::{Flavor, Router};
use services::Services;
use std::borrow::Cow;
use std::sync::Arc;

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

/// The configuration, ready. Its parts are shared with the snapshots before and after it, as far as they are the same; those
/// of a route do not hold its service's, so that a change of one service touches no route.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) router: Arc<Router<Endpoint>>,
    services: Arc<Services>,
    pub(crate) upstreams: Arc<NamedUpstreams>,
    /// What runs where no route was found, and before routing.
    pub(crate) global: Arc<Plan>,
    pub(crate) instances: Arc<Instances>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) certificates: Arc<Certificates>,
    /// Which clients are asked for certificates.
    pub(crate) asked: Arc<Asked>,
    /// What is recorded, and of which share of requests at least; `None` where no plugin reports traces.
    pub(crate) traced: Option<(Tracing, f64)>,
}

impl Snapshot {
    /// Nothing configured.
    fn empty(env: &Environment) -> Self {
        Self {
            router: Arc::new(Router::build(env.flavor, []).0),
            services: Arc::default(),
            upstreams: Arc::default(),
            global: Arc::default(),
            instances: Arc::new(Instances::new(env.plugins.len())),
            consumers: Arc::default(),
            certificates: Arc::new(Certificates::new(env)),
            asked: Arc::default(),
            traced: None,
        }
    }

    pub fn flavor(&self) -> Flavor {
        self.router.flavor()
    }

    /// What a request that matched a route has to do with.
    pub(crate) fn routed<'a>(&'a self, endpoint: &'a Endpoint) -> Routed<'a> {
        let entry = endpoint.service().and_then(|number| self.services.get(number));
        let own = endpoint.plan.as_ref().or_else(|| entry?.plan.as_ref());
        let service = entry.and_then(|entry| entry.target.as_ref());
        Routed { endpoint, service, plan: own.unwrap_or(&self.global) }
    }
}
