//! Services, made ready: where they are and how they are spoken to. A request finds them by numbers, which its route knows.

use super::{NamedUpstreams, Plan, Terms};
use crate::upstream::UpstreamTarget;
use crate::upstream::tls::{ClientTls, TlsTarget};
use ahash::{HashMap, HashSet};
use entities::{HttpVersion, Service};
use pdk::{Scheme, Upstream};
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

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
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) scheme: Scheme,
    /// Whether it is spoken to by HTTP/2, and nothing else.
    pub(crate) is_http2: bool,
    /// Whether requests get a path of the service's as a prefix: most do not, and need not look at the entity.
    has_path: bool,
    pub(crate) destination: Destination,
    pub(crate) tls: Option<Arc<TlsTarget>>,
    pub(crate) terms: Arc<Terms>,
}

/// A service as routes find it. It lies in one pair of lines of the processor's caches, which are fetched together: a request
/// reads most of it.
#[derive(Clone, Default)]
#[repr(align(128))]
pub(super) struct ServiceEntry {
    /// `None` where there is none, or none that can be called.
    pub(super) target: Option<ServiceTarget>,
    /// Where the service has plugins of its own.
    pub(super) plan: Option<Arc<Plan>>,
}

/// How many services are copied where one of them changes.
const PART: usize = 16;

/// The services by their numbers. Snapshots share it, as far as it is the same.
#[derive(Clone, Default)]
pub(super) struct Services {
    parts: Vec<Arc<[ServiceEntry; PART]>>,
}

impl Services {
    pub(super) fn get(&self, number: u32) -> Option<&ServiceEntry> {
        let number = number as usize;
        self.parts.get(number / PART)?.get(number % PART)
    }

    pub(super) fn set(&mut self, number: u32, entry: ServiceEntry) {
        let number = number as usize;
        while self.parts.len() <= number / PART {
            self.parts.push(Arc::default());
        }
        Arc::make_mut(&mut self.parts[number / PART])[number % PART] = entry;
    }

    /// How many services can be called.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().flat_map(|part| part.iter()).filter(|entry| entry.target.is_some()).count()
    }

    /// How many parts are the very same as another's, and how many there are.
    #[cfg(test)]
    pub(super) fn shared_with(&self, other: &Self) -> (usize, usize) {
        let same = self.parts.iter().zip(&other.parts).filter(|(one, two)| Arc::ptr_eq(one, two));
        (same.count(), self.parts.len())
    }
}

/// Which number a service has, as long as it is there or any route names it.
#[derive(Default)]
pub(super) struct Numbers {
    known: HashMap<Uuid, u32>,
    free: Vec<u32>,
}

impl Numbers {
    pub(super) fn of(&mut self, service: Uuid) -> u32 {
        let next = self.known.len() + self.free.len();
        let free = &mut self.free;
        *self.known.entry(service).or_insert_with(|| free.pop().unwrap_or(u32::try_from(next).unwrap_or(u32::MAX)))
    }

    /// Takes back a number: of what is no longer there, and named by no route.
    pub(super) fn forget(&mut self, service: Uuid) {
        self.free.extend(self.known.remove(&service));
    }
}

/// What services have in common is kept once: a request finds it where the one before has left it, in the processor's caches.
#[derive(Default)]
pub(super) struct Alike {
    hosts: HashSet<Arc<str>>,
    /// How many hosts there may be before those that no service has any more are forgotten.
    most_hosts: usize,
    terms: Vec<Arc<Terms>>,
}

impl Alike {
    /// As many different ones are shared; services with others have them for themselves.
    const MOST_TERMS: usize = 16;

    fn host(&mut self, host: &str) -> Arc<str> {
        if let Some(known) = self.hosts.get(host) {
            return known.clone();
        }
        if self.hosts.len() >= self.most_hosts {
            self.hosts.retain(|known| Arc::strong_count(known) > 1);
            self.most_hosts = self.hosts.len() * 2 + 16;
        }
        let own: Arc<str> = host.into();
        self.hosts.insert(own.clone());
        own
    }

    fn terms(&mut self, terms: Terms) -> Arc<Terms> {
        if let Some(known) = self.terms.iter().find(|known| ***known == terms) {
            return known.clone();
        }
        let own = Arc::new(terms);
        if self.terms.len() == Self::MOST_TERMS {
            self.terms.retain(|known| Arc::strong_count(known) > 1);
        }
        if self.terms.len() < Self::MOST_TERMS {
            self.terms.push(own.clone());
        }
        own
    }
}

impl ServiceTarget {
    /// `Ok(None)` for a service that is no HTTP.
    pub(super) fn new(
        service: &Arc<Service>,
        upstream: Option<Arc<UpstreamTarget>>,
        tls: &mut ClientTls<'_>,
        alike: &mut Alike,
    ) -> Result<Option<Self>, String> {
        let Some(scheme) = Scheme::from_name(&service.protocol) else { return Ok(None) };
        let tls = scheme.is_tls().then(|| tls.target(service, upstream.as_deref())).transpose();
        let tls =
            tls.map_err(|error| format!("service '{}': {error}", service.name.as_deref().unwrap_or(&service.host)))?;
        Ok(Some(Self {
            scheme,
            is_http2: scheme.is_grpc() || (scheme == Scheme::Http && service.http_version == Some(HttpVersion::Http2)),
            has_path: service.path.is_some(),
            host: alike.host(&service.host),
            port: u16::try_from(service.port).unwrap_or(80),
            destination: Destination::of(&service.host, upstream),
            terms: alike.terms(Terms::of_service(service)),
            tls,
            service: service.clone(),
        }))
    }

    /// The path that requests get as a prefix.
    pub(crate) fn path(&self) -> Option<&str> {
        if self.has_path { self.service.path.as_deref() } else { None }
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
