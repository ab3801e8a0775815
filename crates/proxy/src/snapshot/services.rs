//! Services, made ready: where they are and how they are spoken to.

use super::Environment;
use crate::upstream::tls::{ClientTls, TlsTarget};
use crate::upstream::{Patience, UpstreamTarget};
use ahash::HashMap;
use entities::{Configuration, Service};
use pdk::Scheme;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

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
    /// Tries beyond the first.
    pub(crate) retries: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) patience: Patience,
    pub(crate) tls: Option<Arc<TlsTarget>>,
}

pub(crate) fn build(
    from: &Configuration,
    env: &Environment,
    problems: &mut Vec<String>,
) -> HashMap<Uuid, Arc<ServiceTarget>> {
    let mut tls = ClientTls::new(from, env);
    let mut all = HashMap::default();
    for service in from.services.values() {
        let Some(scheme) = Scheme::from_name(&service.protocol) else { continue };
        let upstream = env.upstreams.by_name(&service.host);
        let tls = match scheme.is_tls().then(|| tls.target(service, upstream.as_deref())).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                problems.push(format!("service '{}': {error}", service.name.as_deref().unwrap_or(&service.host)));
                continue;
            }
        };
        let destination = match (upstream, service.host.trim_matches(['[', ']']).parse()) {
            (Some(upstream), _) => Destination::Upstream(upstream),
            (None, Ok(ip)) => Destination::Address(ip),
            (None, Err(_)) => Destination::Name,
        };
        let ms = |value: Option<i64>| Duration::from_millis(value.and_then(|v| v.try_into().ok()).unwrap_or(60_000));
        let target = ServiceTarget {
            scheme,
            host: service.host.as_str().into(),
            port: u16::try_from(service.port).unwrap_or(80),
            destination,
            retries: service.retries.and_then(|r| r.try_into().ok()).unwrap_or(5),
            connect_timeout: ms(service.connect_timeout),
            patience: Patience { write: ms(service.write_timeout), read: ms(service.read_timeout) },
            tls,
            service: service.clone(),
        };
        all.insert(service.id, Arc::new(target));
    }
    all
}
