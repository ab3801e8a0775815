//! consistent-hashing: few keys move, and those move once. The expected ports of known keys were worked out by a program of its
//! own from the description of the ring, not by this crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{balancer, ips, named, set_health, settings, target, weighted};
use crate::AlgorithmKind::ConsistentHashing;
use crate::{Balancer, Beyond, Record, Resolution, ResolvedTarget, Settings, hash_of_value};

const KEYS: u32 = 20_000;

fn port_of(balancer: &Balancer, key: u32) -> u16 {
    balancer.pick(Some(hash_of_value(&key.to_be_bytes())), &[]).unwrap().address().port
}

fn ports_of(balancer: &Balancer) -> Vec<u16> {
    (0..KEYS).map(|key| port_of(balancer, key)).collect()
}

/// Targets at ports 1, 2, ... but for one.
fn all_but(count: u16, out: u16) -> Balancer {
    let targets = (1..=count).filter(|port| *port != out).map(|port| target(port, 100)).collect();
    balancer(settings(ConsistentHashing), targets)
}

fn shares(ports: &[u16]) -> BTreeMap<u16, f64> {
    let mut shares = BTreeMap::new();
    for port in ports {
        *shares.entry(*port).or_default() += 1.0 / ports.len() as f64;
    }
    shares
}

#[test]
fn hashes_as_xxhash32() {
    let cases = [("", 0x02cc_5d05), ("a", 0x550d_7456), ("abc", 0x32d1_53ff)];
    for (value, hash) in cases {
        assert_eq!(hash_of_value(value.as_bytes()), hash, "{value}");
    }
}

/// All nodes have to send a key to the same target, those of later versions too.
#[test]
fn keys_go_where_they_always_went() {
    let v6 = |ip: &str| {
        let records = vec![Record { ip: ip.parse().unwrap(), port: None, weight: None, name: None }];
        Resolution::Records { dns: "AAAA", records }
    };
    let five = || (15_555..15_560).map(|port| target(port, 100)).collect();
    let named = vec![
        named("b.test", 80, 10, ips(&["10.0.0.2"])),
        named("a.test", 83, 300, ips(&["10.0.0.3"])),
        named("v6.test", 81, 300, v6("2001:db8::1")),
    ];
    let cases: [(Vec<Arc<ResolvedTarget>>, &str); 2] = [
        (
            five(),
            "15557 15557 15559 15558 15555 15558 15559 15559 15555 15559 15559 15557 15555 15556 15558 15555 15559 15557 15558 15558 15556 15556 15558 15559 15558 15558 15559 15557 15555 15556",
        ),
        (named, "83 83 83 83 83 81 83 83 83 81 81 83 81 81 81 83 81 83 81 83 81 83 83 83 81 81 83 83 83 83"),
    ];
    for (targets, expected) in cases {
        let balancer = balancer(settings(ConsistentHashing), targets);
        let port = |value: &str| balancer.pick(Some(hash_of_value(value.as_bytes())), &[]).unwrap().address().port;
        let ports: Vec<String> = (0..30).map(|key| port(&format!("k{key}")).to_string()).collect();
        assert_eq!(ports.join(" "), expected);
        let port = |hash| balancer.pick(hash, &[]).unwrap().address().port;
        assert_eq!(port(None), port(Some(hash_of_value(b""))), "no hash counts as that of the empty string");
    }
}

/// By its health or for good: in both cases the others keep what they have.
#[test]
fn only_the_keys_of_a_lost_target_move_and_they_come_back() {
    let full = all_but(7, 0);
    let before = ports_of(&full);
    set_health(&full, 3, false);
    let unhealthy = ports_of(&full);
    let gone = ports_of(&all_but(7, 3));
    for after in [&unhealthy, &gone] {
        for (before, after) in before.iter().zip(after) {
            assert!(if *before == 3 { *after != 3 } else { after == before });
        }
    }
    assert_eq!(unhealthy, gone);
    // Its keys are spread over all others.
    let heirs: Vec<u16> =
        before.iter().zip(&gone).filter(|(before, _)| **before == 3).map(|(_, after)| *after).collect();
    assert!(shares(&heirs).values().all(|share| *share < 1.5 / 6.0), "{:?}", shares(&heirs));
    set_health(&full, 3, true);
    assert_eq!(ports_of(&full), before);
}

#[test]
fn a_target_that_is_taken_out_moves_at_most_its_part_and_a_fifth() {
    for count in [2, 3, 5, 10, 20, 50] {
        let before = ports_of(&all_but(count, 0));
        for out in (1..=count).step_by(usize::from(count / 10).max(1)) {
            let after = ports_of(&all_but(count, out));
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            let part = moved as f64 / f64::from(KEYS) * f64::from(count);
            assert!(part <= 1.2, "{out} of {count} targets: {part:.2} of its part");
        }
    }
}

/// What a target has is what moves without it: the test above. Keys are as many as make chance small.
#[test]
fn a_thousand_targets_have_equal_parts() {
    let ips: Vec<String> = (0..1000).map(|n| format!("10.0.{}.{}", n / 100, n % 100)).collect();
    let target = |ip: &String| named(ip, 80, 100, ResolvedTarget::literal_resolution(ip).unwrap());
    let pool = balancer(settings(ConsistentHashing), ips.iter().map(target).collect());
    let mut counts = BTreeMap::new();
    // Every place of the ring at equal distances: its parts, without the chance of keys.
    for step in 0..1_000_000_u32 {
        *counts.entry(pool.pick(Some(step.wrapping_mul(4295)), &[]).unwrap().address().ip).or_insert(0) += 1;
    }
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(counts.len() == 1000 && *most <= 1200 && *least >= 800, "{least} to {most} of 1,000");
}

#[test]
fn targets_get_their_weights() {
    let pool = weighted(ConsistentHashing, &[100, 200, 0, 100, 1]);
    let shares = shares(&ports_of(&pool));
    for (port, part) in [(1, 100.0), (2, 200.0), (4, 100.0)] {
        let is = shares.get(&port).unwrap() / (part / 401.0);
        assert!((0.88..1.12).contains(&is), "{port}: {is}");
    }
    assert!(!shares.contains_key(&3) && shares.get(&5).is_some_and(|share| *share < 0.006), "{shares:?}");
}

/// Others' points do not depend on it: not even a target of another weight moves their keys.
#[test]
fn a_target_of_another_weight_takes_keys_and_leaves_those_between_the_others() {
    let before = ports_of(&weighted(ConsistentHashing, &[100, 100, 100]));
    let after = ports_of(&weighted(ConsistentHashing, &[100, 100, 100, 30]));
    let moved: Vec<u16> =
        before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, after)| *after).collect();
    assert!(!moved.is_empty() && moved.iter().all(|port| *port == 4));
}

#[test]
fn with_nearly_all_down_the_few_that_are_left_share_the_keys() {
    let pool = all_but(200, 0);
    for port in (1..=200).filter(|port| ![50, 150].contains(port)) {
        set_health(&pool, port, false);
    }
    let shares = shares(&ports_of(&pool));
    assert!(shares.len() == 2 && shares.values().all(|share| *share > 0.4), "{shares:?}");
}

/// A key comes back to a target that warms up once, at a time of its own.
#[test]
fn a_target_that_warms_up_gets_its_keys_back_one_by_one() {
    let beyond = Beyond { slow_start: Some(Duration::from_secs(10)), ..Beyond::default() };
    let targets = (1..=4).map(|port| target(port, 100)).collect();
    let pool = balancer(Settings { beyond, ..settings(ConsistentHashing) }, targets);
    let full = ports_of(&pool);
    set_health(&pool, 2, false);
    let without = ports_of(&pool);
    set_health(&pool, 2, true);
    let mut before = without;
    let mut back = Vec::new();
    for _ in 0..11 {
        let after = ports_of(&pool);
        for ((before, after), full) in before.iter().zip(&after).zip(&full) {
            assert!(before == after || (*after, *full) == (2, 2), "from {before} to {after}, at home {full}");
        }
        back.push(shares(&after).get(&2).copied().unwrap_or_default());
        before = after;
        pool.tick(Duration::from_secs(1));
    }
    assert_eq!(before, full);
    let home = back.last().copied().unwrap_or_default();
    assert!(back.is_sorted() && back.first().is_some_and(|first| (0.05..0.15).contains(&(first / home))), "{back:?}");
}
