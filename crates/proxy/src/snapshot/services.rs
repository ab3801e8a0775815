//! Services, made ready: where they are and how they are spoken to.

use super::{Plan, Terms};
use crate::upstream::UpstreamTarget;
use crate::upstream::tls::{ClientTls, TlsTarget};
use entities::Service;
use pdk::Scheme;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a service's host leads.
pub(crate) enum Destination {
    /// An upstream entity of that name balances.
    Upstream(Arc<UpstreamTarget>),
    Address(IpAddr),
    /// DNS knows.
    Name,
}

/// A service, ready to be called.
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
        let destination = match (upstream, service.host.trim_matches(['[', ']']).parse()) {
            (Some(upstream), _) => Destination::Upstream(upstream),
            (None, Ok(ip)) => Destination::Address(ip),
            (None, Err(_)) => Destination::Name,
        };
        Ok(Some(Self {
            scheme,
            host: service.host.as_str().into(),
            port: u16::try_from(service.port).unwrap_or(80),
            destination,
            terms: Terms::of_service(service),
            tls,
            service: service.clone(),
        }))
    }
}
