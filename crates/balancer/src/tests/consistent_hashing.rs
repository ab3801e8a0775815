//! consistent-hashing sends a key where Kong sends it. The expected ports were worked out by a program of its own from
//! the description of Kong's ring, not by this crate.

use std::sync::Arc;

use super::{balancer, ips, named, set_health, settings, spread, target, weighted};
use crate::AlgorithmKind::ConsistentHashing;
use crate::{Balancer, Record, Resolution, ResolvedTarget, Settings, hash_of_value};

fn ports(balancer: &Balancer) -> String {
    let port = |value: &str| balancer.pick(Some(hash_of_value(value.as_bytes())), &[]).unwrap().address().port;
    let ports: Vec<String> = (0..30).map(|key| port(&format!("k{key}")).to_string()).collect();
    ports.join(" ")
}

fn five() -> Vec<Arc<ResolvedTarget>> {
    (15_555..15_560).map(|port| target(port, 100)).collect()
}

#[test]
fn hashes_as_xxhash32() {
    let cases = [("", 0x02cc_5d05), ("a", 0x550d_7456), ("abc", 0x32d1_53ff)];
    for (value, hash) in cases {
        assert_eq!(hash_of_value(value.as_bytes()), hash, "{value}");
    }
}

#[test]
fn keys_go_where_kong_sends_them() {
    let v6 = |ip: &str| {
        let records = vec![Record { ip: ip.parse().unwrap(), port: None, weight: None, name: None }];
        Resolution::Records { dns: "AAAA", records }
    };
    let srv = |ip: &str, port| Record { ip: ip.parse().unwrap(), port: Some(port), weight: Some(10), name: None };
    let two = Resolution::Records { dns: "SRV", records: vec![srv("10.0.0.2", 81), srv("10.0.0.10", 82)] };
    let uneven = vec![
        named("b.test", 80, 10, two),
        named("a.test", 83, 1000, ips(&["10.0.0.3"])),
        named("c.test", 80, 100, Resolution::Failed("dns server error: 3 name error".into())),
    ];
    let cases = [
        (
            10_000,
            five(),
            "15558 15559 15558 15555 15556 15559 15557 15559 15558 15557 15559 15558 15556 15559 15555 15555 15558 15555 15559 15558 15558 15556 15557 15559 15555 15555 15556 15558 15558 15556",
        ),
        (
            10,
            five(),
            "15557 15559 15557 15559 15559 15559 15557 15558 15559 15559 15556 15555 15559 15555 15559 15557 15555 15556 15559 15559 15559 15557 15557 15556 15557 15555 15556 15555 15559 15558",
        ),
        (
            65_536,
            five(),
            "15556 15559 15556 15559 15559 15559 15559 15557 15559 15557 15555 15557 15555 15559 15559 15555 15558 15557 15559 15559 15556 15557 15559 15555 15557 15556 15557 15557 15557 15557",
        ),
        (
            10_000,
            vec![target(15_555, 300), target(15_556, 100)],
            "15555 15555 15555 15555 15555 15556 15555 15555 15556 15555 15555 15555 15556 15555 15555 15555 15555 15555 15556 15555 15555 15555 15555 15555 15555 15555 15555 15555 15555 15555",
        ),
        (10_000, uneven, "83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83 83"),
        (
            10_000,
            vec![named("x", 83, 10, ips(&["10.0.0.3"])), named("v6.test", 81, 10, v6("2001:db8::1"))],
            "83 81 83 83 81 83 81 83 83 83 83 81 83 83 81 83 81 83 83 81 81 81 83 83 81 83 83 83 83 83",
        ),
    ];
    for (slots, targets, expected) in cases {
        let balancer = balancer(Settings { slots, ..settings(ConsistentHashing) }, targets);
        assert_eq!(ports(&balancer), expected);
    }
}

#[test]
fn no_hash_counts_as_that_of_the_empty_string() {
    let balancer = balancer(settings(ConsistentHashing), five());
    let port = |hash| balancer.pick(hash, &[]).unwrap().address().port;
    assert_eq!((port(None), port(Some(hash_of_value(b"")))), (15_558, 15_558));
}

#[test]
fn only_the_keys_of_a_lost_target_move() {
    let full = balancer(settings(ConsistentHashing), five());
    let port = |balancer: &Balancer, key: u32| {
        balancer.pick(Some(hash_of_value(&key.to_be_bytes())), &[]).unwrap().address().port
    };
    let before: Vec<u16> = (0..2000).map(|key| port(&full, key)).collect();
    set_health(&full, 15_557, false);
    for (key, &before) in (0..).zip(&before) {
        let after = port(&full, key);
        assert!(if before == 15_557 { after != 15_557 } else { after == before }, "key {key}");
    }
}

/// Health moves only the lost target's keys; without the target the ring itself is another one, with Kong's collisions.
#[test]
fn a_target_that_is_taken_out_moves_few_keys() {
    const KEYS: u32 = 20_000;
    // Points that fill more than a third of the slots get into each other's way: many targets need more slots.
    for (slots, count) in [(10_000, 2_u16), (10_000, 3), (10_000, 5), (10_000, 10), (10_000, 20), (65_536, 48)] {
        let pool = |out: Option<u16>| {
            let targets = (15_555..15_555 + count).filter(|port| Some(*port) != out).map(|port| target(port, 100));
            balancer(Settings { slots, ..settings(ConsistentHashing) }, targets.collect())
        };
        let ports = |pool: &Balancer| -> Vec<u16> {
            let port = |key: u32| pool.pick(Some(hash_of_value(&key.to_be_bytes())), &[]).unwrap().address().port;
            (0..KEYS).map(port).collect()
        };
        let before = ports(&pool(None));
        let mut moved = 0;
        let leaving = (15_555..15_555 + count).step_by(usize::from(count / 10).max(1));
        let left = leaving.len();
        for out in leaving {
            let after = ports(&pool(Some(out)));
            moved += before.iter().zip(&after).filter(|(before, after)| before != after).count();
        }
        let mean = moved as f64 / left as f64 / f64::from(KEYS);
        assert!(mean <= 1.2 / f64::from(count), "{count} targets: {:.1} % of the keys moved", mean * 100.0);
    }
}

#[test]
fn targets_get_about_their_weights() {
    let counts = spread(&weighted(ConsistentHashing, &[100, 200, 100]), 40_000);
    let share = |port| f64::from(*counts.get(&port).unwrap()) / 40_000.0;
    assert!((share(1) - 0.25).abs() < 0.06 && (share(2) - 0.5).abs() < 0.06, "{counts:?}");
}

/// Kong's ring stays empty when its slots do not suffice, and every request fails.
#[test]
fn a_ring_with_too_few_slots_grows() {
    let ips: Vec<String> = (0..200).map(|n| format!("10.0.{}.{}", n / 100, n % 100)).collect();
    let targets: Vec<_> =
        ips.iter().map(|ip| named(ip, 80, 100, ResolvedTarget::literal_resolution(ip).unwrap())).collect();
    let balancer = balancer(Settings { slots: 10, ..settings(ConsistentHashing) }, targets);
    let mut met = std::collections::BTreeSet::new();
    for key in 0..20_000_u32 {
        met.insert(balancer.pick(Some(hash_of_value(&key.to_be_bytes())), &[]).unwrap().address().ip);
    }
    assert_eq!(met.len(), 200);
}
