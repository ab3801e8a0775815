//! Services, made ready: where they are and how they are spoken to.

use super::{NamedUpstreams, Plan, Terms};
use crate::upstream::UpstreamTarget;
use crate::upstream::tls::{ClientTls, TlsTarget};
use entities::Service;
use pdk::{Scheme, Upstream};
use std::net::IpAddr;
use std::sync::Arc;

/// Where a host leads.
#[derive(Clone)]
pub(crate) enum Destination {
    /// An upstream entity of that name balances.
    Upstream(Arc<UpstreamTarget>),
    Address(IpAddr),
    /// DNS knows.
    Name,
}

impl Destination {
    fn of(host: &str, upstream: Option<Arc<UpstreamTarget>>) -> Self {
        match (upstream, host.trim_matches(['[', ']']).parse()) {
            (Some(upstream), _) => Self::Upstream(upstream),
            (None, Ok(ip)) => Self::Address(ip),
            (None, Err(_)) => Self::Name,
        }
    }
}

/// A service, ready to be called.
#[derive(Clone)]
pub(crate) struct ServiceTarget {
    pub(crate) service: Arc<Service>,
    pub(crate) scheme: Scheme,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) destination: Destination,
    pub(crate) terms: Terms,
    pub(crate) tls: Option<Arc<TlsTarget>>,
}

/// A service as routes find it.
#[derive(Clone)]
pub(super) struct ServiceEntry {
    /// `None` where it cannot be called.
    pub(super) target: Option<Arc<ServiceTarget>>,
    /// Where the service has plugins of its own.
    pub(super) plan: Option<Arc<Plan>>,
}

impl ServiceTarget {
    /// `Ok(None)` for a service that is no HTTP.
    pub(super) fn new(
        service: &Arc<Service>,
        upstream: Option<Arc<UpstreamTarget>>,
        tls: &mut ClientTls<'_>,
    ) -> Result<Option<Self>, String> {
        let Some(scheme) = Scheme::from_name(&service.protocol) else { return Ok(None) };
        let tls = scheme.is_tls().then(|| tls.target(service, upstream.as_deref())).transpose();
        let tls =
            tls.map_err(|error| format!("service '{}': {error}", service.name.as_deref().unwrap_or(&service.host)))?;
        Ok(Some(Self {
            scheme,
            host: service.host.as_str().into(),
            port: u16::try_from(service.port).unwrap_or(80),
            destination: Destination::of(&service.host, upstream),
            terms: Terms::of_service(service),
            tls,
            service: service.clone(),
        }))
    }

    /// Whether a request goes where the service is.
    pub(crate) fn is_at(&self, to: &Upstream) -> bool {
        to.port == self.port && (Arc::ptr_eq(&to.host, &self.host) || to.host == self.host)
    }

    /// The same service at the host that a plugin has chosen for a request.
    pub(crate) fn at(&self, to: &Upstream, upstreams: &NamedUpstreams) -> Self {
        let destination = Destination::of(&to.host, upstreams.get(&to.host).cloned());
        Self { host: to.host.clone(), port: to.port, destination, ..self.clone() }
    }
}
