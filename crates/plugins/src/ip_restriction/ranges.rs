//! A set of addresses as sorted, disjoint ranges, with a table by the first 16 bits where there are many: a look-up ends
//! within the few ranges of its prefix, whether there are ten or a hundred thousand.

use pdk::BuildError;
use std::net::IpAddr;

/// Addresses of one family as numbers.
pub(super) trait Number: Copy + Ord {
    /// The first 16 bits.
    fn prefix(self) -> usize;
    /// The first address of a prefix.
    fn first(prefix: usize) -> Self;
}

impl Number for u32 {
    fn prefix(self) -> usize {
        (self >> 16) as usize
    }

    fn first(prefix: usize) -> Self {
        (prefix as Self) << 16
    }
}

impl Number for u128 {
    fn prefix(self) -> usize {
        (self >> 112) as usize
    }

    fn first(prefix: usize) -> Self {
        (prefix as Self) << 112
    }
}

/// With fewer ranges a table is not worth its memory (256 KiB).
const MANY: usize = 512;
const PREFIXES: usize = 1 << 16;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Set<T> {
    /// First and last addresses.
    pub(super) ranges: Vec<(T, T)>,
    /// For each prefix the first range that does not end before it; empty where there is no table.
    starts: Vec<u32>,
}

impl<T: Number> Set<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let is_joined = next.0 <= kept.1;
            if is_joined {
                kept.1 = kept.1.max(next.1);
            }
            is_joined
        });
        let mut starts = Vec::new();
        if ranges.len() >= MANY {
            let mut at = 0;
            starts.extend((0..PREFIXES).map(|prefix| {
                while ranges.get(at).is_some_and(|(_, last)| *last < T::first(prefix)) {
                    at += 1;
                }
                at as u32
            }));
        }
        Self { ranges, starts }
    }

    fn contains(&self, address: T) -> bool {
        let prefix = address.prefix();
        let start = self.starts.get(prefix).map_or(0, |start| *start as usize);
        // The range at the next prefix's start may begin in this one.
        let end = self.starts.get(prefix + 1).map_or(self.ranges.len(), |next| *next as usize + 1);
        let near = self.ranges.get(start..end.min(self.ranges.len())).unwrap_or_default();
        let after = near.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| near.get(at)).is_some_and(|(_, last)| *last >= address)
    }
}

/// Addresses of both families.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) v4: Set<u32>,
    pub(super) v6: Set<u128>,
}

impl Ranges {
    pub(super) fn parse(list: &[String]) -> Result<Self, BuildError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in list {
            let invalid = || BuildError(format!("ip-restriction: invalid ip or cidr range: '{entry}'"));
            let (ip, bits) = match entry.split_once('/') {
                Some((ip, bits)) => (ip, Some(bits.parse::<u32>().map_err(|_| invalid())?)),
                None => (entry.as_str(), None),
            };
            match ip.parse().map_err(|_| invalid())? {
                IpAddr::V4(ip) => {
                    let wild = u32::MAX.checked_shr(bits.unwrap_or(32)).unwrap_or(0);
                    v4.push((ip.to_bits() & !wild, ip.to_bits() | wild));
                }
                IpAddr::V6(ip) => {
                    let wild = u128::MAX.checked_shr(bits.unwrap_or(128)).unwrap_or(0);
                    v6.push((ip.to_bits() & !wild, ip.to_bits() | wild));
                }
            }
        }
        Ok(Self { v4: Set::new(v4), v6: Set::new(v6) })
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.contains(ip.to_bits()),
        }
    }
}
