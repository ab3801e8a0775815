//! `/etc/resolv.conf` with the environment's LOCALDOMAIN and RES_OPTIONS: what resolv.conf(5) says, as far as Kong heeds it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Most search domains and name servers that are used.
const MOST: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) nameservers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with fewer dots is first tried with the search domains.
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: usize,
    /// Whether queries go to the servers in turn.
    pub(super) rotates: bool,
}

impl ResolvConf {
    pub(super) fn parse(text: &str, local_domain: Option<&str>, res_options: Option<&str>) -> Self {
        let mut conf = Self {
            nameservers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(2),
            attempts: 5,
            rotates: false,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next().and_then(server)),
                // The last of these lines counts.
                Some("domain" | "search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if let Some(domains) = local_domain {
            conf.search = domains.split_whitespace().map(str::to_owned).collect();
        }
        for option in res_options.unwrap_or_default().split_whitespace() {
            conf.option(option);
        }
        conf.search.retain(|domain| domain != "." && domain != "--");
        conf.search.truncate(MOST);
        conf.nameservers.truncate(MOST);
        if conf.nameservers.is_empty() {
            conf.nameservers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<u32>()) {
            ("ndots", Ok(dots)) => self.ndots = dots.min(15) as usize,
            ("timeout", Ok(seconds @ 1..)) => self.timeout = Duration::from_secs(u64::from(seconds.min(30))),
            ("attempts", Ok(attempts @ 1..)) => self.attempts = attempts.min(5) as usize,
            ("rotate", _) => self.rotates = true,
            _ => {}
        }
    }

    /// The names to ask for, fully qualified, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let as_it_is = format!("{name}.");
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_matches('.')));
        if name.matches('.').count() >= self.ndots {
            std::iter::once(as_it_is).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(as_it_is)).collect()
        }
    }
}

fn server(word: &str) -> Option<SocketAddr> {
    let host = word.trim_start_matches('[').split(']').next().unwrap_or(word);
    word.parse().ok().or_else(|| Some(SocketAddr::new(host.parse().ok()?, 53)))
}
