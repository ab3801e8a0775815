//! The queries: hickory-resolver sends them (retries, several servers, TCP where UDP was cut short); order, search list
//! and SRV targets are followed here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

use super::answers::Record;
use super::counts::Counts;
use super::error::ResolveError;
use super::resolv_conf::ResolvConf;
use super::settings::{Kind, Settings, SetupError};

/// Most addresses that an answer keeps.
const MOST_RECORDS: usize = 1024;

/// Records for a name with the type and time to live they share.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) records: Vec<Record>,
    pub(super) ttl: Duration,
}

#[derive(Clone)]
pub(super) struct Client {
    resolver: TokioResolver,
    /// Who is asked, for the log.
    pub(super) servers: Arc<str>,
    conf: ResolvConf,
}

impl Client {
    pub(super) fn new(settings: &Settings, conf: ResolvConf) -> Result<Self, SetupError> {
        let addresses = if settings.nameservers.is_empty() { &conf.nameservers } else { &settings.nameservers };
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let servers = addresses.iter().map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut options = ResolverOpts::default();
        options.timeout = conf.timeout;
        // hickory counts the tries after the first.
        options.attempts = conf.attempts.saturating_sub(1);
        // The cache, the search list and the hosts file are ours.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        if conf.rotates {
            options.server_ordering_strategy = ServerOrderingStrategy::RoundRobin;
        }
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::new());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| SetupError::Client(error.to_string()))?;
        Ok(Self { resolver, servers: names.join(", ").into(), conf })
    }

    /// The first records for one of the name's candidates: of the type that was found `last`, where that comes first in
    /// the order, else of the first type in the order that the first known candidate has.
    pub(super) async fn find(
        &self,
        name: &str,
        kinds: &[Kind],
        last: Option<Kind>,
        counts: &Counts,
    ) -> Result<Found, ResolveError> {
        let mut names = Vec::new();
        for candidate in self.conf.candidates(name) {
            names.extend(Name::from_ascii(&candidate));
        }
        let (first, others) = match kinds.split_first() {
            Some((first, others)) if Some(*first) == last => (Some(*first), others),
            _ => (None, kinds),
        };
        let mut questions = Vec::new();
        questions.extend(first.into_iter().flat_map(|kind| names.iter().map(move |name| (name.clone(), kind))));
        questions.extend(names.iter().flat_map(|name| others.iter().map(move |&kind| (name.clone(), kind))));

        let mut failure = ResolveError::InvalidName;
        for (name, kind) in questions {
            let start = Instant::now();
            let found = match kind {
                Kind::Srv => self.services(name, kinds).await,
                _ => self.addresses(name, kind).await,
            };
            counts.queried(kind, &found, start.elapsed());
            match found {
                Ok(found) => return Ok(found),
                Err(error) => failure = failure.or_worse(error),
            }
        }
        Err(failure)
    }

    async fn addresses(&self, name: Name, kind: Kind) -> Result<Found, ResolveError> {
        let record_type = if kind == Kind::Aaaa { RecordType::AAAA } else { RecordType::A };
        let lookup = self.resolver.lookup(name, record_type).await.map_err(|error| failure_of(&error))?;
        let mut records: Vec<Record> = Vec::new();
        let mut ttl = u32::MAX;
        for answer in lookup.answers() {
            let ip = match &answer.data {
                RData::A(ip) if kind != Kind::Aaaa => ip.0.into(),
                RData::AAAA(ip) if kind == Kind::Aaaa => ip.0.into(),
                // An alias lives as long as its chain's shortest link.
                RData::CNAME(_) => {
                    ttl = ttl.min(answer.ttl);
                    continue;
                }
                _ => continue,
            };
            ttl = ttl.min(answer.ttl);
            if records.len() < MOST_RECORDS && records.iter().all(|known| known.ip != ip) {
                records.push(Record { ip, port: None, weight: None, name: None });
            }
        }
        if records.is_empty() {
            return Err(ResolveError::EmptyRecord);
        }
        Ok(Found { kind, records, ttl: Duration::from_secs(u64::from(ttl)) })
    }

    /// SRV records of the best priority with the addresses of their targets.
    async fn services(&self, name: Name, kinds: &[Kind]) -> Result<Found, ResolveError> {
        let lookup = self.resolver.lookup(name, RecordType::SRV).await.map_err(|error| failure_of(&error))?;
        let mut services = Vec::new();
        let mut ttl = u32::MAX;
        for answer in lookup.answers() {
            if let RData::SRV(srv) = &answer.data {
                services.push((srv.priority, srv.port, srv.weight.max(1), srv.target.clone()));
            }
            if matches!(&answer.data, RData::SRV(_) | RData::CNAME(_)) {
                ttl = ttl.min(answer.ttl);
            }
        }
        let best = services.iter().map(|&(priority, ..)| priority).min().ok_or(ResolveError::EmptyRecord)?;
        // A target of "." says that the service is not offered here (RFC 2782).
        services.retain(|(priority, _, _, target)| *priority == best && !target.is_root());
        services.truncate(MOST_RECORDS);

        let mut queries = JoinSet::new();
        for (place, (_, port, weight, target)) in services.into_iter().enumerate() {
            let client = self.clone();
            let families: Vec<Kind> = kinds.iter().copied().filter(|&kind| kind != Kind::Srv).collect();
            queries.spawn(async move {
                let found = client.target(target.clone(), &families).await;
                (place, port, weight, target, found)
            });
        }
        let mut failure = ResolveError::EmptyRecord;
        let mut hosts = Vec::new();
        for (place, port, weight, target, found) in queries.join_all().await {
            match found {
                Ok(found) => hosts.push((place, port, weight, target, found)),
                Err(error) => failure = failure.or_worse(error),
            }
        }
        if hosts.is_empty() {
            return Err(failure);
        }
        // The order of the answer, not that in which the targets' addresses came.
        hosts.sort_by_key(|&(place, ..)| place);
        let most = hosts.iter().map(|(.., found)| found.records.len()).max().unwrap_or(1) as u32;
        let mut records = Vec::new();
        for (_, port, weight, target, found) in hosts {
            ttl = ttl.min(found.ttl.as_secs().try_into().unwrap_or(u32::MAX));
            let text = target.to_ascii();
            let name: Arc<str> = text.strip_suffix('.').unwrap_or(&text).into();
            let weight = share(weight, found.records.len(), most);
            records.extend(found.records.into_iter().map(|record| Record {
                ip: record.ip,
                port: Some(port),
                weight: Some(weight),
                name: Some(Arc::clone(&name)),
            }));
        }
        records.truncate(MOST_RECORDS);
        Ok(Found { kind: Kind::Srv, records, ttl: Duration::from_secs(u64::from(ttl)) })
    }

    async fn target(&self, name: Name, families: &[Kind]) -> Result<Found, ResolveError> {
        let default = [Kind::A];
        let families = if families.is_empty() { &default } else { families };
        let mut failure = ResolveError::EmptyRecord;
        for &family in families {
            match self.addresses(name.clone(), family).await {
                Ok(found) => return Ok(found),
                Err(error) => failure = failure.or_worse(error),
            }
        }
        Err(failure)
    }
}

/// The weight of each of `count` addresses of one SRV target, so that the target as a whole keeps its share beside others
/// that have up to `most` addresses. Nothing changes while every target has one address.
fn share(weight: u16, count: usize, most: u32) -> u16 {
    let scaled = u32::from(weight) * most / (count.max(1) as u32);
    u16::try_from(scaled.max(1)).unwrap_or(u16::MAX)
}

fn failure_of(error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            ResolveError::NameError
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => ResolveError::EmptyRecord,
        NetError::Dns(DnsError::ResponseCode(code)) => {
            let text = match *code {
                ResponseCode::FormErr => "format error",
                ResponseCode::ServFail => "server failure",
                ResponseCode::NotImp => "not implemented",
                ResponseCode::Refused => "refused",
                _ => "unknown",
            };
            ResolveError::Server { code: u16::from(*code), text }
        }
        NetError::Timeout => ResolveError::Timeout,
        error => ResolveError::Client(error.to_string().into()),
    }
}
