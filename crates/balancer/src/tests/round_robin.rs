//! round-robin keeps exact proportions, wherever it starts.

use super::{set_health, spread, weighted};
use crate::AlgorithmKind::RoundRobin;

#[test]
fn a_whole_turn_has_exactly_the_proportions_of_the_weights() {
    // Weights, requests, and how many each target gets, whatever went before.
    let cases: [(&[u32], u32, &[u32]); 9] = [
        (&[1, 1, 1], 15, &[5, 5, 5]),
        (&[300, 100], 16, &[12, 4]),
        (&[7, 3], 20, &[14, 6]),
        (&[100, 0, 100], 20, &[10, 0, 10]),
        (&[65_535, 65_535], 20, &[10, 10]),
        (&[100, 100], 2, &[1, 1]),
        (&[65_535, 1], 65_536, &[65_535, 1]),
        (&[10, 20, 30, 40], 10, &[1, 2, 3, 4]),
        (&[65_535, 65_521, 3], 131_059, &[65_535, 65_521, 3]),
    ];
    for (weights, requests, expected) in cases {
        let balancer = weighted(RoundRobin, weights);
        for ahead in [0, 1, 5] {
            spread(&balancer, ahead);
            let counts = spread(&balancer, requests);
            let counts: Vec<u32> =
                (1..=weights.len() as u16).map(|port| counts.get(&port).copied().unwrap_or(0)).collect();
            assert_eq!(counts, expected, "{weights:?} after {ahead}");
        }
    }
}

#[test]
fn the_places_of_a_target_are_spread_over_the_turn() {
    let balancer = weighted(RoundRobin, &[5, 5]);
    for number in 0..20 {
        assert_eq!(spread(&balancer, 2).len(), 2, "pair {number}");
    }
    let balancer = weighted(RoundRobin, &[9, 1]);
    let mut counts = spread(&balancer, 10);
    counts.extend(spread(&balancer, 10));
    assert_eq!(counts.get(&2), Some(&1));
}

#[test]
fn what_a_lost_target_had_goes_to_the_others_by_their_weights() {
    let balancer = weighted(RoundRobin, &[100, 100, 100]);
    spread(&balancer, 3);
    set_health(&balancer, 1, false);
    assert_eq!(spread(&balancer, 6).into_iter().collect::<Vec<_>>(), [(2, 3), (3, 3)]);
    set_health(&balancer, 1, true);
    assert_eq!(spread(&balancer, 9).into_iter().collect::<Vec<_>>(), [(1, 3), (2, 3), (3, 3)]);
}
