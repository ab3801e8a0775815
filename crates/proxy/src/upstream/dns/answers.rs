//! What a name resolved to, and whose turn it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::settings::Kind;

/// One address. Port and weight are those of an SRV record; other records have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub ip: IpAddr,
    pub port: Option<u16>,
    pub weight: Option<u16>,
    /// The name that an SRV record points to.
    pub name: Option<Arc<str>>,
}

/// At least one address for a name.
#[derive(Debug)]
pub struct Answers {
    /// The type of the records as Kong's health report shows it: `A`, `AAAA` or `SRV`.
    pub kind: &'static str,
    pub records: Box<[Record]>,
    /// When to ask again; `None` = never.
    pub valid_until: Option<Instant>,
    is_single_use: bool,
    /// For SRV records: how far each one's places on the wheel reach.
    ends: Box<[u32]>,
    /// Shared with the answers before and after, so that a new answer does not begin with the first record again.
    turn: Arc<AtomicU32>,
}

impl Answers {
    /// `None` where there are no records.
    pub(super) fn new(
        kind: Kind,
        records: Vec<Record>,
        valid_until: Option<Instant>,
        is_single_use: bool,
        turn: Arc<AtomicU32>,
    ) -> Option<Self> {
        if records.is_empty() {
            return None;
        }
        let mut places = 0_u32;
        let ends = if kind == Kind::Srv {
            // Kong gives a weight of 0 a little traffic.
            records
                .iter()
                .map(|record| {
                    places = places.saturating_add(u32::from(record.weight.unwrap_or(1).max(1)));
                    places
                })
                .collect()
        } else {
            Box::default()
        };
        Some(Self { kind: kind.name(), records: records.into(), valid_until, is_single_use, ends, turn })
    }

    /// Addresses that never expire.
    pub(super) fn fixed(kind: Kind, ips: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let records = ips.into_iter().map(|ip| Record { ip, port: None, weight: None, name: None }).collect();
        Self::new(kind, records, None, false, Arc::default())
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.valid_until.is_none_or(|end| now < end)
    }

    /// A time to live of 0 allows the answer to serve the requests that wait for it, and no others.
    pub(super) fn is_single_use(&self) -> bool {
        self.is_single_use
    }

    /// The next address that is none of `tried`, as long as there is one.
    pub fn next_but(&self, port: u16, tried: &[SocketAddr]) -> SocketAddr {
        let (first, _) = self.next(port);
        if !tried.contains(&first) {
            return first;
        }
        let addresses = self.records.iter().map(|record| at(record, port));
        addresses.into_iter().find(|address| !tried.contains(address)).unwrap_or(first)
    }

    /// The next address, turn by turn, SRV records by weight. `port` is used where the record has none.
    pub fn next(&self, port: u16) -> (SocketAddr, Option<&Arc<str>>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = match self.ends.last() {
            None => turn as usize % self.records.len().max(1),
            Some(&places) => {
                let places = u64::from(places.max(1));
                let place = u64::from(turn) % places * step(places) % places;
                self.ends.partition_point(|&end| u64::from(end) <= place)
            }
        };
        self.records
            .get(index)
            .map_or((SocketAddr::from(([0, 0, 0, 0], port)), None), |record| (at(record, port), record.name.as_ref()))
    }
}

fn at(record: &Record, port: u16) -> SocketAddr {
    SocketAddr::new(record.ip, record.port.filter(|&port| port != 0).unwrap_or(port))
}

/// A step that visits every place of the wheel once a turn and mixes the records well.
fn step(places: u64) -> u64 {
    let golden = (places * 618 / 1000).max(1);
    (golden..golden + places).find(|&step| gcd(step, places) == 1).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
