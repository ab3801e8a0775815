//! consistent-hashing: a ring on which an address has points by its weight. A key belongs to the nearest point at or below its
//! hash, or to the next one below whose address can take it.

use twox_hash::XxHash32;

use crate::address::{Address, AddressId, Member, Members, WARM};
use crate::algorithm::Algorithm;

/// The heaviest address has more than half as many points, and no more than these; each other one by its weight. The parts of
/// equal addresses then scatter by at most 4.4 % (one in the square root of their points).
const POINTS: u64 = 1024;
/// Points of all addresses, beyond which each has fewer.
const MOST_POINTS: u64 = 1 << 20;
/// Points that are looked at one after another. Where none of their addresses will do, all addresses are compared.
const STEPS: usize = 128;

pub(crate) struct ConsistentHashing {
    /// Where the points are, in ascending order, and whose they are: two lists, as a search reads the first alone.
    points: Box<[u32]>,
    owners: Box<[u32]>,
    /// For each address what its points come from: the same on every node and after every start.
    seeds: Box<[u64]>,
}

impl ConsistentHashing {
    pub(crate) fn new(members: &Members) -> Self {
        let seeds: Box<[u64]> = members.list.iter().map(|member| seed(&member.address)).collect();
        let heaviest = members.list.iter().map(|member| u64::from(member.address.weight)).max().unwrap_or(0);
        let most = POINTS.min(MOST_POINTS / (members.len() as u64).next_power_of_two()).max(1);
        // Powers of two: an address that leaves seldom changes how many points the others have.
        let points_of = |weight: u32| (u64::from(weight) * most).div_ceil(heaviest.next_power_of_two());
        let mut ring = Vec::new();
        for (index, (member, &seed)) in members.list.iter().zip(&seeds).enumerate() {
            let points = (0..points_of(member.address.weight)).map(|number| (mix(seed, number) as u32, index as u32));
            ring.extend(points);
        }
        ring.sort_unstable();
        let (points, owners): (Vec<_>, Vec<_>) = ring.into_iter().unzip();
        Self { points: points.into(), owners: owners.into(), seeds }
    }

    /// The addresses of the points at and below a hash, all around the ring.
    fn owners_from(&self, hash: u32) -> impl Iterator<Item = usize> {
        let (below, above) = self.owners.split_at(self.points.partition_point(|&point| point <= hash));
        below.iter().rev().chain(above.iter().rev()).map(|&owner| owner as usize)
    }

    fn seed(&self, index: usize) -> u64 {
        self.seeds.get(index).copied().unwrap_or_default()
    }

    /// Whether an address has warmed up so far that it takes this key: each key comes back to it once, at a time of its own.
    fn takes(&self, index: usize, member: &Member, hash: u32) -> bool {
        let warmth = member.state.warmth();
        warmth >= WARM || mix(!self.seed(index), u64::from(hash)) % u64::from(WARM) < u64::from(warmth)
    }

    /// Of some addresses the one that suits a key best (weighted rendezvous hashing): as on the ring, no key moves but those
    /// of an address that comes or goes.
    fn best(&self, members: &Members, hash: u32, is_left: impl Fn(usize) -> bool) -> Option<usize> {
        let suits = |index: usize| {
            let part = (mix(self.seed(index), u64::from(hash)) >> 11) as f64 / (1_u64 << 53) as f64;
            members.share(index) as f64 / -part.ln()
        };
        (0..members.len()).filter(|&index| is_left(index)).max_by(|&a, &b| suits(a).total_cmp(&suits(b)))
    }
}

impl Algorithm for ConsistentHashing {
    fn refresh(&self, _members: &Members) {}

    fn pick(&self, members: &Members, hash: Option<u32>, tried: &[AddressId]) -> Option<usize> {
        let hash = hash.unwrap_or_else(|| hash_of(b""));
        let mut last = None;
        for index in self.owners_from(hash).take(STEPS) {
            if last.replace(index) == Some(index) {
                continue;
            }
            let Some(member) = members.list.get(index).filter(|member| members.may_serve(member)) else { continue };
            if self.takes(index, member, hash) && !members.was_tried(index, tried) {
                return Some(index);
            }
        }
        self.best(members, hash, |index| members.is_available(index) && !members.was_tried(index, tried))
            .or_else(|| self.best(members, hash, |index| members.is_available(index)))
    }
}

pub(crate) fn hash_of(value: &[u8]) -> u32 {
    XxHash32::oneshot(0, value)
}

/// By place and name, as the states of addresses are kept.
fn seed(address: &Address) -> u64 {
    let text = format!("{}:{} {}", address.text, address.port, address.hostname);
    u64::from(XxHash32::oneshot(1, text.as_bytes())) << 32 | u64::from(XxHash32::oneshot(2, text.as_bytes()))
}

/// Number `number` of a sequence of random numbers (splitmix64).
fn mix(seed: u64, number: u64) -> u64 {
    let mut word = seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
