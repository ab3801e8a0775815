//! round-robin: a wheel on which every available address has as many places as its weight says. The wheel is not laid
//! out in memory: a step that has no divisor in common with its length visits every place once a turn, well mixed.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::address::{AddressId, Members};
use crate::algorithm::Algorithm;
use crate::states::UpstreamState;

pub(crate) struct RoundRobin {
    /// Its pointer is shared with the balancers before and after this one, so that a change does not start anew.
    upstream: Arc<UpstreamState>,
    wheel: ArcSwap<Wheel>,
}

/// The addresses that are available now.
#[derive(Default)]
struct Wheel {
    /// Positions in `Members`.
    addresses: Box<[u32]>,
    /// For each address the place behind its last one; empty where all have one place.
    ends: Box<[u64]>,
    places: u64,
    step: u64,
}

impl RoundRobin {
    pub(crate) fn new(upstream: Arc<UpstreamState>) -> Self {
        Self { upstream, wheel: ArcSwap::from_pointee(Wheel::default()) }
    }
}

impl Algorithm for RoundRobin {
    fn refresh(&self, members: &Members) {
        self.wheel.store(Arc::new(Wheel::new(members)));
    }

    fn pick(&self, members: &Members, _hash: Option<u32>, tried: &[AddressId]) -> Option<usize> {
        let wheel = self.wheel.load();
        if wheel.places == 0 {
            return None;
        }
        let first = wheel.at(self.upstream.pointer.advance())?;
        if !members.was_tried(first, tried) {
            return Some(first);
        }
        // A few further places usually have one that is left; where few are, look at each address.
        for _ in 0..8 {
            let next = wheel.at(self.upstream.pointer.advance())?;
            if !members.was_tried(next, tried) {
                return Some(next);
            }
        }
        let left = wheel.addresses.iter().map(|&index| index as usize).find(|&index| !members.was_tried(index, tried));
        Some(left.unwrap_or(first))
    }
}

impl Wheel {
    fn new(members: &Members) -> Self {
        // Looked at once: health and shares change meanwhile.
        let addresses: Box<[u32]> =
            (0..members.len()).filter(|&index| members.is_available(index)).map(|index| index as u32).collect();
        let shares: Vec<u64> = addresses.iter().map(|&index| members.share(index as usize)).collect();
        let divisor = shares.iter().fold(0, |divisor, share| gcd(divisor, *share)).max(1);
        let mut places = 0;
        let ends: Box<[u64]> = shares
            .iter()
            .map(|share| {
                places += share / divisor;
                places
            })
            .collect();
        Self {
            addresses,
            ends: if places == ends.len() as u64 { Box::default() } else { ends },
            places,
            step: step_of(places),
        }
    }

    fn at(&self, turn: u64) -> Option<usize> {
        let turn = turn % self.places;
        let place = match turn.checked_mul(self.step) {
            Some(product) => product % self.places,
            None => (u128::from(turn) * u128::from(self.step) % u128::from(self.places)) as u64,
        };
        let position =
            if self.ends.is_empty() { place as usize } else { self.ends.partition_point(|&end| end <= place) };
        self.addresses.get(position).map(|&index| index as usize)
    }
}

/// The step nearest to the golden section of the wheel that visits every place: it spreads an address's places evenly.
fn step_of(places: u64) -> u64 {
    let golden = ((places as f64 * 0.618_033_988_749_895) as u64).max(1);
    (golden..golden + places.max(1)).find(|&step| gcd(step, places) == 1).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
