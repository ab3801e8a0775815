//! Names that need no query: those of the hosts file, and localhost.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::answers::Answers;
use super::settings::{Kind, Settings};

#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<Box<str>, Arc<Answers>, ahash::RandomState>,
    localhost: Option<Arc<Answers>>,
}

impl Hosts {
    /// `text` is the hosts file.
    pub(super) fn parse(text: &str, settings: &Settings) -> Self {
        let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let known = addresses.entry(name.to_ascii_lowercase()).or_default();
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        let kinds = settings.kinds(None);
        let by_name = addresses.iter().filter_map(|(name, ips)| Some((name.as_str().into(), choose(&kinds, ips)?)));
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        Self { by_name: by_name.collect(), localhost: choose(&kinds, &loopback) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Answers>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        // RFC 6761: these names mean this machine, whatever a file or a server says.
        if name == "localhost" || name.ends_with(".localhost") {
            return self.localhost.as_ref();
        }
        self.by_name.get(name)
    }
}

/// The addresses of the first family in the order that has any.
fn choose(kinds: &[Kind], ips: &[IpAddr]) -> Option<Arc<Answers>> {
    let of_kind = |kind: Kind| {
        let ips = ips.iter().copied().filter(|ip| kind == if ip.is_ipv4() { Kind::A } else { Kind::Aaaa });
        Answers::fixed(kind, ips)
    };
    kinds.iter().find_map(|&kind| of_kind(kind)).map(Arc::new)
}
