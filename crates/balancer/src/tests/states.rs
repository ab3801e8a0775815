//! What outlives a configuration, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{balancer, set_health, settings, spread, target};
use crate::{AlgorithmKind, Balancer, KEPT, States, Which};
use uuid::Uuid;

fn make(states: &States, id: u128, ports: &[u16], now: Instant) -> Balancer {
    let settings = Arc::new(settings(AlgorithmKind::RoundRobin));
    let targets: Vec<_> = ports.iter().map(|&port| target(port, 100)).collect();
    Balancer::new(settings, targets, states.upstream(Uuid::from_u128(id), 0, now), now)
}

fn is_healthy(balancer: &Balancer, port: u16) -> bool {
    let mut members = balancer.addresses().iter();
    members.find(|member| member.address().port == port).unwrap().state().health().is_healthy()
}

#[test]
fn health_outlives_a_change_of_the_configuration() {
    let (states, now) = (States::default(), Instant::now());
    let old = make(&states, 1, &[1, 2], now);
    set_health(&old, 1, false);
    let new = make(&states, 1, &[1, 2, 3], now);
    assert!(!is_healthy(&new, 1) && is_healthy(&new, 2));
    assert_eq!(spread(&new, 4).keys().copied().collect::<Vec<_>>(), [2, 3]);
    // A report to either is known to both.
    set_health(&new, 1, true);
    assert_eq!(spread(&old, 4).keys().copied().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn upstreams_do_not_share_health() {
    let (states, now) = (States::default(), Instant::now());
    set_health(&make(&states, 1, &[1], now), 1, false);
    assert!(is_healthy(&make(&states, 2, &[1], now), 1));
}

#[test]
fn a_deleted_upstream_leaves_nothing_to_its_successor() {
    let (states, now) = (States::default(), Instant::now());
    set_health(&make(&states, 1, &[1], now), 1, false);
    assert!(!is_healthy(&make(&states, 1, &[1], now), 1));
    states.forget(Uuid::from_u128(1));
    assert!(is_healthy(&make(&states, 1, &[1], now), 1));
}

#[test]
fn a_target_that_comes_back_soon_is_remembered() {
    for (away, is_remembered) in [(KEPT - Duration::from_secs(1), true), (KEPT, false)] {
        let (states, start) = (States::default(), Instant::now());
        set_health(&make(&states, 1, &[1, 2], start), 1, false);
        let without = make(&states, 1, &[2], start);
        states.sweep(start + away);
        let with = make(&states, 1, &[1, 2], start + away);
        assert_eq!(is_healthy(&with, 1), !is_remembered, "after {away:?}");
        drop(without);
    }
}

#[test]
fn the_wheel_goes_on_where_it_was() {
    let (states, now) = (States::default(), Instant::now());
    for _ in 0..3 {
        // One request each by a new balancer: both targets get their turn.
        let ports: Vec<u16> =
            (0..2).map(|_| make(&states, 1, &[1, 2], now).pick(None, &[]).unwrap().address().port).collect();
        assert!(ports == [1, 2] || ports == [2, 1], "{ports:?}");
    }
}

#[test]
fn an_address_by_hand_is_the_one_meant() {
    let balancer = balancer(
        settings(AlgorithmKind::RoundRobin),
        vec![
            super::named("a.test", 80, 100, super::ips(&["10.0.0.1", "10.0.0.2"])),
            super::named("a.test", 90, 100, super::ips(&["10.0.0.1"])),
            target(1, 100),
        ],
    );
    let id = balancer.addresses().iter().find(|member| member.address().port == 80).unwrap().address().target;
    let down = || balancer.addresses().iter().filter(|member| !member.state().health().is_healthy()).count();
    let at = std::time::SystemTime::UNIX_EPOCH;
    let one = Which::At("10.0.0.2".parse().unwrap(), 80);
    let elsewhere = Which::At("10.0.0.2".parse().unwrap(), 81);
    let cases = [
        (elsewhere, false, 0, 0),
        (one, false, 1, 1),
        (Which::All, false, 2, 2),
        (one, true, 1, 1),
        (Which::All, true, 2, 0),
        (Which::OfHost(80), false, 2, 2),
        // Another target of the same name.
        (Which::OfHost(90), false, 1, 3),
        (Which::OfHost(1), true, 0, 3),
        (Which::OfHost(80), true, 2, 1),
    ];
    for (which, is_healthy, count, left_down) in cases {
        assert_eq!(balancer.set_health(id, which, is_healthy, at), Ok(count), "{which:?}");
        assert_eq!(down(), left_down, "{which:?} {is_healthy}");
    }
}
