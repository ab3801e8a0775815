//! The resolver's settings, as the `dns_*` or `resolver_*` properties of the configuration give them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The type that was found the last time.
    Last,
    A,
    Aaaa,
    Srv,
    /// Accepted for `dns_order`; asks for nothing, as every query follows CNAMEs.
    Cname,
}

impl Kind {
    /// A member of `dns_order` or `resolver_family`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_uppercase().as_str() {
            "LAST" => Some(Self::Last),
            "A" => Some(Self::A),
            "AAAA" => Some(Self::Aaaa),
            "SRV" => Some(Self::Srv),
            "CNAME" => Some(Self::Cname),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "LAST",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Cname => "CNAME",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Types in the order to try. `dns_order` as it is; for `resolver_family` use [`Settings::family_order`].
    pub order: Vec<Kind>,
    /// `dns_resolver` or `resolver_address`; empty = those of `resolv_conf`.
    pub nameservers: Vec<SocketAddr>,
    /// `dns_hostsfile` or `resolver_hosts_file`.
    pub hosts_file: PathBuf,
    pub resolv_conf: PathBuf,
    /// The environment's LOCALDOMAIN, which overrides the search list.
    pub local_domain: Option<String>,
    /// The environment's RES_OPTIONS, which overrides the options.
    pub res_options: Option<String>,
    /// `dns_valid_ttl`, `resolver_valid_ttl`: overrides the records' own time to live.
    pub valid_ttl: Option<Duration>,
    /// `dns_stale_ttl`, `resolver_stale_ttl`: how long an expired answer still serves while a new one cannot be had.
    pub stale_ttl: Duration,
    /// `dns_not_found_ttl`, `resolver_error_ttl`
    pub not_found_ttl: Duration,
    /// `dns_error_ttl`, `resolver_error_ttl`
    pub error_ttl: Duration,
    /// `dns_cache_size`, `resolver_lru_cache_size`: names kept.
    pub cache_size: usize,
}

impl Settings {
    /// The order that `resolver_family` means: SRV, A, AAAA, of those that are listed.
    pub fn family_order(families: &[Kind]) -> Vec<Kind> {
        [Kind::Srv, Kind::A, Kind::Aaaa].into_iter().filter(|kind| families.contains(kind)).collect()
    }

    /// The types to ask for, each once; `last` in the place of LAST.
    pub(super) fn kinds(&self, last: Option<Kind>) -> Vec<Kind> {
        let mut kinds = Vec::with_capacity(4);
        for &kind in &self.order {
            let kind = match kind {
                Kind::Last => last,
                Kind::Cname => None,
                kind => Some(kind),
            };
            kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
        }
        if kinds.is_empty() {
            kinds.push(Kind::A);
        }
        kinds
    }
}

impl Default for Settings {
    /// Kong's defaults of the `dns_*` properties.
    fn default() -> Self {
        Self {
            order: vec![Kind::Last, Kind::Srv, Kind::A, Kind::Cname],
            nameservers: Vec::new(),
            hosts_file: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            local_domain: None,
            res_options: None,
            valid_ttl: None,
            stale_ttl: Duration::from_secs(3600),
            not_found_ttl: Duration::from_secs(30),
            error_ttl: Duration::from_secs(1),
            cache_size: 10_000,
        }
    }
}

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("DNS client: {0}")]
    Client(String),
}
