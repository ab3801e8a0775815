//! least-connections counts what is under way, over changes of the configuration too.

use std::time::Instant;

use super::{balancer, ips, named, set_health, settings, spread, target, weighted};
use crate::AlgorithmKind::LeastConnections;
use crate::{Balancer, Pick};

fn held(balancer: &Balancer, requests: u32) -> Vec<Pick> {
    (0..requests).map(|_| balancer.pick(None, &[]).unwrap()).collect()
}

fn count(picks: &[Pick], port: u16) -> usize {
    picks.iter().filter(|pick| pick.address().port == port).count()
}

#[test]
fn requests_under_way_follow_the_weights() {
    let cases: [(&[u32], u32, &[usize]); 5] = [
        (&[300, 100], 8, &[6, 2]),
        (&[100, 100, 100], 9, &[3, 3, 3]),
        (&[1, 2, 3], 60, &[10, 20, 30]),
        (&[65_535, 1], 1000, &[1000, 0]),
        (&[100, 0], 5, &[5, 0]),
    ];
    for (weights, requests, expected) in cases {
        let picks = held(&weighted(LeastConnections, weights), requests);
        let counts: Vec<usize> = (1..=weights.len() as u16).map(|port| count(&picks, port)).collect();
        assert_eq!(counts, expected, "{weights:?}");
    }
}

#[test]
fn equals_take_turns() {
    let balancer = weighted(LeastConnections, &[100, 100, 100]);
    assert_eq!(spread(&balancer, 30).into_iter().collect::<Vec<_>>(), [(1, 10), (2, 10), (3, 10)]);
}

#[test]
fn a_request_that_ends_makes_room() {
    let balancer = weighted(LeastConnections, &[100, 100]);
    let mut picks = held(&balancer, 10);
    picks.retain(|pick| pick.address().port == 2);
    let more = held(&balancer, 5);
    assert_eq!((count(&picks, 2), count(&more, 1), count(&more, 2)), (5, 5, 0));
    drop((picks, more));
    assert!(balancer.addresses().iter().all(|member| member.state().connections() == 0));
}

#[test]
fn an_address_that_comes_back_takes_what_the_others_have_too_much() {
    let balancer = weighted(LeastConnections, &[100, 100]);
    set_health(&balancer, 1, false);
    let picks = held(&balancer, 4);
    assert_eq!(count(&picks, 2), 4);
    set_health(&balancer, 1, true);
    assert_eq!(count(&held(&balancer, 4), 1), 4);
}

#[test]
fn a_new_balancer_knows_the_requests_of_the_old_one() {
    let moving = named("a.test", 3, 1, ips(&["10.0.0.1"]));
    let id = moving.id;
    let old = balancer(settings(LeastConnections), vec![target(1, 100), target(2, 100), moving]);
    let mut picks = held(&old, 6);
    picks.retain(|pick| pick.address().port == 1);
    assert_eq!(picks.len(), 3);
    let new = old.with_target_addresses(id, ips(&["10.0.0.2"]), Instant::now());
    assert_eq!(count(&held(&new, 3), 2), 3);
    // A pick by the old one, and the end of its requests, count for the new one as well.
    let late = old.pick(None, &[]).unwrap();
    assert_eq!(late.address().port, 2);
    let more = held(&new, 2);
    assert_eq!(count(&more, 2), 2);
    drop((more, late, picks));
    let after = held(&new, 4);
    assert_eq!((count(&after, 1), count(&after, 2)), (2, 2));
}
