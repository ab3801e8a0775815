//! latency prefers the quick, and gives the slow another chance in time.

use std::time::{Duration, Instant};

use super::{balancer, ips, later, named, settings, spread, target, weighted};
use crate::AlgorithmKind::Latency;
use crate::Balancer;

const MILLI: Duration = Duration::from_millis(1);

fn ewma(balancer: &Balancer, port: u16) -> f64 {
    let member = balancer.addresses().iter().find(|member| member.address().port == port).unwrap();
    member.state.with_ewma(|ewma| ewma.unwrap().seconds)
}

/// One answer of each address that takes this long per port.
fn answer_all(balancer: &Balancer, now: Instant, millis: &[u32]) {
    let mut tried = Vec::new();
    for _ in millis {
        let pick = balancer.pick(None, &tried).unwrap();
        let millis = millis.get(usize::from(pick.address().port) - 1).unwrap();
        pick.measured(MILLI * *millis, now);
        tried.push(pick.id());
    }
}

#[test]
fn averages_decay_over_ten_seconds() {
    let start = Instant::now();
    let balancer = weighted(Latency, &[100]);
    let pick = balancer.pick(None, &[]).unwrap();
    // Seconds since the start, the time it took, the average after it: old * e^(-dt/10) + new * (1 - e^(-dt/10)).
    let cases = [
        (1000, 2.0, 2.0),
        (1010, 4.0, 3.264_241),
        (1010, 9.0, 3.264_241),
        (1012, 0.0, 2.672_535),
        (1005, 5.0, 2.672_535),
    ];
    for (second, seconds, expected) in cases {
        pick.measured(Duration::from_secs_f64(seconds), start + Duration::from_secs(second));
        let average = ewma(&balancer, 1);
        assert!((average - expected).abs() < 1e-5, "at {second}: {average}");
    }
}

#[test]
fn the_quickest_per_weight_is_picked() {
    let cases: [(&[u32], &[u32], u16); 4] = [
        (&[100, 100, 100], &[30, 10, 20], 2),
        (&[100, 100], &[10, 11], 1),
        (&[100, 400], &[10, 30], 2),
        (&[1, 1], &[1, 0], 2),
    ];
    for (weights, millis, expected) in cases {
        let balancer = weighted(Latency, weights);
        answer_all(&balancer, Instant::now() + Duration::from_secs(60), millis);
        let picked: Vec<u16> = (0..5).map(|_| balancer.pick(None, &[]).unwrap().address().port).collect();
        assert_eq!(picked, [expected; 5], "{weights:?} {millis:?}");
    }
}

#[test]
fn a_slow_address_is_tried_again_after_a_while() {
    let balancer = weighted(Latency, &[100, 100]);
    let start = Instant::now() + Duration::from_secs(60);
    answer_all(&balancer, start, &[10, 100]);
    // The quick one answers each second; the slow one's average decays to a tenth within 23 seconds.
    let mut slow_at = None;
    for second in 1..40_u32 {
        let pick = balancer.pick(None, &[]).unwrap();
        if pick.address().port == 2 {
            slow_at = Some(second);
            break;
        }
        pick.measured(MILLI * 10, start + Duration::from_secs(u64::from(second)));
    }
    assert!(slow_at.is_some_and(|second| (23..=26).contains(&second)), "{slow_at:?}");
}

#[test]
fn unmeasured_addresses_take_turns_so_that_none_is_flooded() {
    let balancer = weighted(Latency, &[100; 4]);
    let picks: Vec<_> = (0..8).map(|_| balancer.pick(None, &[]).unwrap()).collect();
    let mut ports: Vec<u16> = picks.iter().map(|pick| pick.address().port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn a_new_address_starts_with_the_mean_of_the_others() {
    let moving = named("a.test", 3, 100, ips(&[]));
    let id = moving.id;
    let old = balancer(settings(Latency), vec![target(1, 100), target(2, 100), moving]);
    answer_all(&old, later(), &[10, 30]);
    let new = old.with_target_addresses(id, ips(&["10.0.0.1"]), later());
    assert!((ewma(&new, 3) - 0.02).abs() < 1e-6, "{}", ewma(&new, 3));
    assert!((ewma(&new, 1) - 0.01).abs() < 1e-6);
    assert_eq!(spread(&new, 200).len(), 3);
}
