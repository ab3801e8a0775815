//! A route reduced to what matching needs, in Kong's terms but with every text parsed.

use std::net::IpAddr;

use uuid::Uuid;

use crate::{Protocol, Route};

/// The kinds of attributes a route sets; the bits order the categories of the traditional flavor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const HOST: u8 = 0x40;
    pub(crate) const HEADER: u8 = 0x20;
    pub(crate) const PATH: u8 = 0x10;
    pub(crate) const METHOD: u8 = 0x08;
    pub(crate) const SNI: u8 = 0x04;
    pub(crate) const SOURCE: u8 = 0x02;
    pub(crate) const DESTINATION: u8 = 0x01;

    fn set(&mut self, kind: u8, present: bool) {
        if present {
            self.0 |= kind;
        }
    }

    pub(crate) fn has(self, kind: u8) -> bool {
        self.0 & kind != 0
    }

    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

/// A name that may hold one `*` at its start or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    Exact(String),
    /// `*.example.com`: what the name must end with.
    Suffix(String),
    /// `example.*`: what the name must start with.
    Prefix(String),
}

impl NameRule {
    pub(crate) fn new(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix('*') {
            NameRule::Suffix(rest.to_owned())
        } else if let Some(rest) = text.strip_suffix('*') {
            NameRule::Prefix(rest.to_owned())
        } else {
            NameRule::Exact(text.to_owned())
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            NameRule::Exact(text) => name == text,
            NameRule::Suffix(text) => name.ends_with(text.as_str()),
            NameRule::Prefix(text) => name.starts_with(text.as_str()),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HostRule {
    pub(crate) name: NameRule,
    pub(crate) port: Option<u16>,
}

impl HostRule {
    fn new(text: &str) -> Self {
        let (name, port) = split_host(text.as_bytes());
        let name = text.get(..name.len()).unwrap_or(text);
        HostRule { name: NameRule::new(name), port }
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        !matches!(self.name, NameRule::Exact(_))
    }
}

/// The name and port of a Host value. What follows the colon must be a number, or else it all counts as the name.
pub(crate) fn split_host(host: &[u8]) -> (&[u8], Option<u16>) {
    let search_from =
        if host.first() == Some(&b'[') { host.iter().position(|byte| *byte == b']').unwrap_or(0) } else { 0 };
    let Some(colon) = host.iter().skip(search_from).position(|byte| *byte == b':') else {
        return (host, None);
    };
    let (name, rest) = host.split_at(search_from + colon);
    let digits = &rest[1..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return (host, None);
    }
    let port = digits.iter().try_fold(0u16, |port, digit| port.checked_mul(10)?.checked_add(u16::from(digit - b'0')));
    // A number that no port can have equals none of them: 0 is never a configured port.
    (name, Some(port.unwrap_or(0)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    network: IpAddr,
    bits: u8,
}

impl Address {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Address { network: address, bits })
    }

    pub(crate) fn is_single(&self) -> bool {
        self.bits == if self.network.is_ipv4() { 32 } else { 128 }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// One entry of `sources` or `destinations`.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// As configured.
    pub(crate) text: Option<String>,
    pub(crate) address: Option<Address>,
    pub(crate) port: Option<u16>,
}

/// A set of [`Protocol`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Protocols(u8);

impl Protocols {
    pub(crate) fn add(&mut self, protocol: Protocol) {
        self.0 |= 1 << protocol as u8;
    }

    pub(crate) fn contains(self, protocol: Protocol) -> bool {
        self.0 & (1 << protocol as u8) != 0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) id: Uuid,
    pub(crate) created_at: i64,
    pub(crate) is_stream: bool,
    /// The protocols an expression is limited to; None where Kong does not ask.
    pub(crate) protocols: Option<Protocols>,
    pub(crate) kinds: Kinds,
    pub(crate) methods: Vec<String>,
    pub(crate) hosts: Vec<HostRule>,
    pub(crate) paths: Vec<String>,
    pub(crate) headers: Vec<(String, Vec<String>)>,
    pub(crate) snis: Vec<String>,
    pub(crate) sources: Vec<Net>,
    pub(crate) destinations: Vec<Net>,
    pub(crate) regex_priority: i64,
    pub(crate) expression: Option<String>,
    pub(crate) priority: u64,
}

impl From<&Route> for Definition {
    fn from(route: &Route) -> Self {
        let list = |field: &Option<Box<[String]>>| field.as_deref().unwrap_or_default().to_vec();
        let mut definition = Definition {
            id: route.id,
            created_at: route.created_at,
            is_stream: route.protocols.first().is_some_and(|protocol| entities::route::is_stream(protocol)),
            protocols: protocols(&route.protocols),
            kinds: Kinds::default(),
            methods: list(&route.methods),
            hosts: route.hosts.iter().flatten().map(|host| HostRule::new(host)).collect(),
            paths: list(&route.paths),
            headers: headers(route),
            snis: route.snis.iter().flatten().map(|sni| server_name(sni)).collect(),
            sources: nets(route.sources.as_deref()),
            destinations: nets(route.destinations.as_deref()),
            regex_priority: route.regex_priority.unwrap_or(0),
            expression: route.expression.as_deref().map(str::to_owned),
            priority: route.priority.map_or(0, |priority| priority.max(0).cast_unsigned()),
        };
        let kinds = &mut definition.kinds;
        kinds.set(Kinds::METHOD, !definition.methods.is_empty());
        kinds.set(Kinds::HOST, !definition.hosts.is_empty());
        kinds.set(Kinds::PATH, !definition.paths.is_empty());
        kinds.set(Kinds::HEADER, !definition.headers.is_empty());
        kinds.set(Kinds::SNI, !definition.snis.is_empty());
        kinds.set(Kinds::SOURCE, !definition.sources.is_empty());
        kinds.set(Kinds::DESTINATION, !definition.destinations.is_empty());
        definition
    }
}

fn headers(route: &Route) -> Vec<(String, Vec<String>)> {
    let fields = route.headers.iter().flat_map(|headers| headers.iter());
    fields.map(|(name, values)| (name.to_ascii_lowercase(), values.clone())).collect()
}

fn nets(nets: Option<&[entities::route::Net]>) -> Vec<Net> {
    let convert = |net: &entities::route::Net| Net {
        text: net.ip.clone(),
        address: net.ip.as_deref().and_then(Address::new),
        port: net.port.and_then(|port| u16::try_from(port).ok()),
    };
    nets.unwrap_or_default().iter().map(convert).collect()
}

/// An https-only (or TLS-only) route is not limited, so that a plain request finds it and is told to upgrade.
fn protocols(names: &[String]) -> Option<Protocols> {
    if let [only] = names
        && matches!(only.as_str(), "https" | "tls" | "tls_passthrough")
    {
        return None;
    }
    let mut protocols = Protocols::default();
    for name in names {
        protocols.add(match name.as_str() {
            "http" | "grpc" => Protocol::Http,
            "https" | "grpcs" => Protocol::Https,
            "tls" => Protocol::Tls,
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        });
    }
    let has_all_http = protocols.contains(Protocol::Http) && protocols.contains(Protocol::Https);
    (!has_all_http && !names.is_empty()).then_some(protocols)
}

/// As clients' names are compared: in small letters, and without the final dot of a fully qualified name.
fn server_name(sni: &str) -> String {
    let name = if sni.len() > 1 { sni.strip_suffix('.').unwrap_or(sni) } else { sni };
    name.to_ascii_lowercase()
}
