//! The buckets that clients fall into.

use pdk::Context;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What decides on the bucket of a request.
pub(super) enum By {
    Consumer,
    Ip,
    Header(String),
    /// Each bucket gets as many requests as any other.
    Turns,
}

pub(super) struct Buckets {
    count: u64,
    by: By,
    turn: AtomicU64,
    /// From one turn's bucket to the next one's.
    stride: u64,
}

impl Buckets {
    pub(super) fn new(steps: f64, by: By) -> Self {
        let count = (steps as u64).max(1);
        Self { count, by, turn: AtomicU64::new(0), stride: stride(count) }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The bucket of a request, below the count.
    pub(super) fn of(&self, cx: &Context) -> u64 {
        let header = match &self.by {
            By::Turns => {
                let turn = self.turn.fetch_add(1, Relaxed) % self.count;
                return (u128::from(turn) * u128::from(self.stride) % u128::from(self.count)) as u64;
            }
            By::Header(name) => cx.request.headers.get(name),
            By::Consumer | By::Ip => None,
        };
        let hash = match (&self.by, header) {
            (_, Some(value)) => hash(value),
            (By::Ip, _) => of_address(cx),
            _ => match (&cx.consumer, &cx.credential) {
                (Some(consumer), _) => hash(consumer.id.as_bytes()),
                (None, Some(credential)) => hash(credential.id.as_bytes()),
                (None, None) => of_address(cx),
            },
        };
        hash % self.count
    }
}

fn of_address(cx: &Context) -> u64 {
    match cx.client.ip.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// FNV-1a with the finalizer of SplitMix64: the same on every node and in every version, unlike the hashes of maps.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A stride near the golden section that meets every bucket once in as many turns as there are buckets, so that any share of
/// them is spread evenly over time.
fn stride(count: u64) -> u64 {
    let near = (count as f64 * 0.618_033_988_749_895) as u64;
    (near.max(1)..).find(|stride| gcd(*stride, count) == 1).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_meet_every_bucket() {
        for count in [1, 2, 3, 4, 6, 10, 97, 100, 1000] {
            let stride = stride(count);
            let mut met: Vec<u64> = (0..count).map(|turn| turn * stride % count).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(0..count), "{count} buckets, stride {stride}");
        }
    }

    #[test]
    fn hashes_are_the_same_for_ever_and_fill_buckets_evenly() {
        // Other values would move clients from one side to the other at an upgrade.
        let known = [0xf52a_15e9_a9b5_e89b, 0x02c0_bdbf_4814_20f8, 0xe7a7_7091_5e3a_6bb4];
        assert_eq!([hash(b""), hash(b"a"), hash(&[10, 0, 0, 1])], known);
        let mut buckets = [0_u32; 10];
        for number in 0..10_000_u32 {
            buckets[(hash(&number.to_be_bytes()) % 10) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
    }
}
