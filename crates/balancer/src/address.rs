//! What is balanced over: targets, the addresses their names resolve to, and the state an address keeps for as long as
//! the process knows it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use entities::Target;
use uuid::Uuid;

use crate::health::Health;
use crate::outliers::Tally;

/// One record of a DNS answer. Port and weight are SRV's; A and AAAA records carry none and take the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub ip: IpAddr,
    pub port: Option<u16>,
    pub weight: Option<u16>,
    /// The name an SRV record points to.
    pub name: Option<Arc<str>>,
}

/// What a target's host resolved to.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The type of the records as the health report shows it (`A`, `AAAA`, `SRV`) and the records.
    Records { dns: &'static str, records: Vec<Record> },
    /// The resolver's error text.
    Failed(Arc<str>),
}

/// A target of an upstream with its resolved addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedTarget {
    pub id: Uuid,
    /// Host as the entity has it; an IPv6 literal in brackets.
    pub host: Arc<str>,
    pub port: u16,
    pub weight: u32,
    /// Seconds since the Unix epoch; targets are listed in the order of their creation.
    pub created_at: f64,
    /// Used only while the others are down.
    pub is_failover: bool,
    /// Where it is.
    pub locality: Option<Arc<str>>,
    pub resolution: Resolution,
}

/// Where a target without a port is.
const DEFAULT_PORT: u16 = 8000;

/// The host and port of `targets.target`; an IPv6 host keeps its brackets.
pub fn host_and_port(target: &str) -> (&str, u16) {
    match target.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().map_or((target, DEFAULT_PORT), |port| (host, port))
        }
        _ => (target, DEFAULT_PORT),
    }
}

impl ResolvedTarget {
    pub fn new(target: &Target, resolution: Resolution) -> Self {
        let (host, port) = host_and_port(&target.target);
        Self {
            id: target.id,
            host: host.into(),
            port,
            weight: target.weight.map_or(100, |weight| weight.clamp(0, 65_535) as u32),
            created_at: target.created_at,
            is_failover: target.failover == Some(true),
            locality: target.locality.as_deref().map(Arc::from),
            resolution,
        }
    }

    /// The host when it is an IP literal: such a target needs no resolver.
    pub fn literal(host: &str) -> Option<IpAddr> {
        host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
    }

    /// The resolution of an IP literal.
    pub fn literal_resolution(host: &str) -> Option<Resolution> {
        let ip = Self::literal(host)?;
        let dns = if ip.is_ipv4() { "A" } else { "AAAA" };
        Some(Resolution::Records { dns, records: vec![Record { ip, port: None, weight: None, name: None }] })
    }

    pub(crate) fn addresses(&self, use_srv_name: bool) -> Vec<Address> {
        let Resolution::Records { records, .. } = &self.resolution else { return Vec::new() };
        let mut addresses = Vec::with_capacity(records.len());
        for record in records {
            let address = Address {
                ip: record.ip,
                port: record.port.filter(|&port| port != 0).unwrap_or(self.port),
                // A drained target is drained whatever its SRV records say.
                weight: if self.weight == 0 { 0 } else { record.weight.map_or(self.weight, |w| u32::from(w.max(1))) },
                hostname: record.name.as_ref().filter(|_| use_srv_name).unwrap_or(&self.host).clone(),
                target: self.id,
                text: self.text_of(record.ip),
            };
            if !addresses.iter().any(|known: &Address| known.same_place(&address)) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Kong writes an IPv6 address in brackets, and a literal as the entity has it.
    fn text_of(&self, ip: IpAddr) -> Arc<str> {
        if Self::literal(&self.host) == Some(ip) {
            return self.host.clone();
        }
        match ip {
            IpAddr::V4(ip) => ip.to_string().into(),
            IpAddr::V6(ip) => format!("[{ip}]").into(),
        }
    }
}

/// A place to send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub port: u16,
    /// Share of the traffic; 0 takes none.
    pub weight: u32,
    /// The name for the Host header: the target's host, or an SRV record's name with `use_srv_name`.
    pub hostname: Arc<str>,
    /// Id of the target entity.
    pub target: Uuid,
    pub(crate) text: Arc<str>,
}

impl Address {
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// The IP as Kong writes it, IPv6 in brackets.
    pub fn ip_text(&self) -> &str {
        &self.text
    }

    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.ip == other.ip && self.port == other.port && self.hostname == other.hostname
    }
}

/// Identity of an address in this process: the same over all configurations, for retries to name what they have tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressId(pub(crate) u64);

impl AddressId {
    /// As the hash of a request names it.
    pub(crate) fn short(self) -> u32 {
        self.0 as u32
    }
}

/// What is remembered of an address over configuration changes.
#[derive(Debug)]
pub struct AddressState {
    pub(crate) id: AddressId,
    connections: AtomicU32,
    ewma: Mutex<Option<Ewma>>,
    pub(crate) health: Health,
    pub(crate) tally: Tally,
    /// The part of its weight that it takes, in thousandths: less than all of it in a slow start.
    warmth: AtomicU32,
}

/// All of an address's weight.
pub(crate) const WARM: u32 = 1000;
/// With what part an address begins its slow start.
const COLD: u32 = 100;

/// Moving average of the response time in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ewma {
    pub(crate) seconds: f64,
    pub(crate) touched: Instant,
}

impl AddressState {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id: AddressId(id),
            connections: AtomicU32::new(0),
            ewma: Mutex::new(None),
            health: Health::default(),
            tally: Tally::default(),
            warmth: AtomicU32::new(WARM),
        }
    }

    /// How long the address rests, after it did worse than the others.
    pub fn rest(&self) -> Option<Duration> {
        self.tally.rest()
    }

    /// The thousandths of its weight that it takes.
    pub fn warmth(&self) -> u32 {
        self.warmth.load(Ordering::Relaxed)
    }

    pub(crate) fn start_slowly(&self) {
        self.warmth.store(COLD, Ordering::Relaxed);
    }

    /// Lets time pass of a slow start, all of it where none takes place; whether its part has changed.
    pub(crate) fn warm_up(&self, elapsed: Duration, slow_start: Option<Duration>) -> bool {
        let before = self.warmth();
        if before >= WARM {
            return false;
        }
        let gain = slow_start.map_or(f64::from(WARM), |whole| {
            f64::from(WARM - COLD) * elapsed.as_secs_f64() / whole.as_secs_f64().max(0.001)
        });
        let after = (f64::from(before) + gain.ceil()).min(f64::from(WARM)) as u32;
        self.warmth.store(after, Ordering::Relaxed);
        after != before
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Requests under way; counted for `least-connections` alone, as it costs cores that share an address something.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn with_ewma<T>(&self, change: impl FnOnce(&mut Option<Ewma>) -> T) -> T {
        change(&mut self.ewma.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An address within a balancer.
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) address: Address,
    pub(crate) state: Arc<AddressState>,
}

impl Member {
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn state(&self) -> &AddressState {
        &self.state
    }

    pub fn id(&self) -> AddressId {
        self.state.id
    }

    /// Its weight, less what its slow start withholds; comparable within a balancer only.
    pub(crate) fn share(&self) -> u64 {
        u64::from(self.address.weight) * u64::from(self.state.warmth())
    }
}

/// The addresses of a balancer, as the algorithms see them.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    pub(crate) list: Arc<[Member]>,
    /// Whether health decides; without checks every address counts as healthy.
    pub(crate) checked: bool,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn share(&self, index: usize) -> u64 {
        self.list.get(index).map_or(0, Member::share)
    }

    /// The weight of all addresses, and of those that may serve.
    pub(crate) fn weights(&self) -> (u64, u64) {
        self.list.iter().fold((0, 0), |(total, available), member| {
            let weight = u64::from(member.address.weight);
            (total + weight, available + if self.may_serve(member) { weight } else { 0 })
        })
    }

    pub(crate) fn is_available(&self, index: usize) -> bool {
        self.list.get(index).is_some_and(|member| self.may_serve(member))
    }

    pub(crate) fn may_serve(&self, member: &Member) -> bool {
        member.address.weight > 0 && self.is_healthy(member)
    }

    pub(crate) fn is_healthy(&self, member: &Member) -> bool {
        (!self.checked || member.state.health.is_healthy()) && !member.state.tally.is_resting()
    }

    pub(crate) fn was_tried(&self, index: usize, tried: &[AddressId]) -> bool {
        !tried.is_empty() && self.list.get(index).is_some_and(|member| tried.contains(&member.id()))
    }
}
