//! What Kong's upstreams do not have: who comes first, slow starts, rests of those that do worse.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use super::hash_value::Request;
use super::{ALGORITHMS, balancer, set_health, settings, spread, target, weighted};
use crate::health::{Report, Source};
use crate::{
    AddressId, AlgorithmKind, Balancer, Beyond, Fault, OutlierLimits, PickError, ResolvedTarget, Settings, States,
    Sticky,
};

fn with(algorithm: AlgorithmKind, beyond: Beyond) -> Settings {
    Settings { beyond, ..settings(algorithm) }
}

/// Targets at ports 1, 2, ... of which those of `failover` are for failover.
fn some_for_failover(count: u16, failover: &[u16]) -> Vec<Arc<ResolvedTarget>> {
    let of = |port| {
        let plain = target(port, 100);
        Arc::new(ResolvedTarget { is_failover: failover.contains(&port), ..ResolvedTarget::clone(&plain) })
    };
    (1..=count).map(of).collect()
}

fn ports_of(balancer: &Balancer) -> Vec<u16> {
    spread(balancer, 1000).into_keys().collect()
}

#[test]
fn failover_targets_serve_only_while_the_others_are_down() {
    for algorithm in ALGORITHMS {
        let balancer = balancer(settings(algorithm), some_for_failover(4, &[3, 4]));
        assert_eq!(ports_of(&balancer), [1, 2], "{algorithm:?}");
        set_health(&balancer, 1, false);
        assert_eq!(ports_of(&balancer), [2], "{algorithm:?}");
        set_health(&balancer, 2, false);
        assert_eq!(ports_of(&balancer), [3, 4], "{algorithm:?}");
        set_health(&balancer, 3, false);
        set_health(&balancer, 4, false);
        assert_eq!(balancer.pick(None, &[]).unwrap_err(), PickError::BalancerUnhealthy, "{algorithm:?}");
        set_health(&balancer, 2, true);
        assert_eq!(ports_of(&balancer), [2], "{algorithm:?}");
    }
}

#[test]
fn failover_targets_stand_in_for_an_upstream_below_its_threshold() {
    let settings = Settings { threshold: 60.0, ..settings(AlgorithmKind::RoundRobin) };
    let balancer = balancer(settings, some_for_failover(3, &[3]));
    set_health(&balancer, 1, false);
    assert_eq!((ports_of(&balancer), balancer.is_healthy()), (vec![3], true));
    set_health(&balancer, 3, false);
    assert!(balancer.pick(None, &[]).is_err() && !balancer.is_healthy());
}

#[test]
fn a_retry_meets_the_targets_for_failover_when_it_has_tried_all_others() {
    for algorithm in ALGORITHMS {
        let balancer = balancer(settings(algorithm), some_for_failover(4, &[2, 4]));
        let mut tried: Vec<AddressId> = Vec::new();
        let mut met = Vec::new();
        for _ in 0..4 {
            let pick = balancer.pick(Some(7), &tried).unwrap();
            tried.push(pick.id());
            met.push(pick.address().port % 2);
        }
        assert_eq!(met, [1, 1, 0, 0], "{algorithm:?}");
    }
}

#[test]
fn local_targets_come_first_and_overflow_as_they_fail() {
    let of = |(port, place): (u16, &str)| {
        let plain = target(port, 100);
        Arc::new(ResolvedTarget { locality: Some(place.into()), ..ResolvedTarget::clone(&plain) })
    };
    let targets = || [(1, "here"), (2, "here"), (3, "here"), (4, "here"), (5, "there"), (6, "there")].map(of).to_vec();
    // How many local targets are down, and the percentage of requests that stay.
    for (down, stays) in [(0_u16, 100), (1, 100), (2, 70), (3, 35), (4, 0)] {
        let here = Beyond { locality: Some("here".into()), ..Beyond::default() };
        let balancer = balancer(with(AlgorithmKind::RoundRobin, here), targets());
        (1..=down).for_each(|port| set_health(&balancer, port, false));
        let counts = spread(&balancer, 1000);
        let local: u32 = counts.iter().filter(|(port, _)| **port <= 4).map(|(_, count)| count).sum();
        assert_eq!(local, stays * 10, "{down} down: {counts:?}");
    }
    for elsewhere in [None, Some("nowhere".into())] {
        let beyond = Beyond { locality: elsewhere, ..Beyond::default() };
        let balancer = balancer(with(AlgorithmKind::RoundRobin, beyond), targets());
        assert_eq!(ports_of(&balancer), [1, 2, 3, 4, 5, 6]);
    }
    let here = Beyond { locality: Some("here".into()), ..Beyond::default() };
    let remote_down = super::balancer(with(AlgorithmKind::RoundRobin, here), targets());
    (2..=6).for_each(|port| set_health(&remote_down, port, false));
    assert_eq!(ports_of(&remote_down), [1], "there is nowhere to overflow to");
}

#[test]
fn a_session_stays_with_its_target_while_that_is_up() {
    let sticky = Some(Sticky { cookie: "full".into(), path: "/p".into() });
    let settings = with(AlgorithmKind::StickySessions, Beyond { sticky, ..Beyond::default() });
    let make = |weight| balancer(settings.clone(), vec![target(1, 100), target(2, weight), target(3, 100)]);
    let pool = make(100);
    assert_eq!(ports_of(&pool), [1, 2, 3], "who has no session is spread");
    let nobody = pool.hash_value(&Request { has_all: false });
    let pick = pool.pick(nobody.hash, &[]).unwrap();
    let (port, cookie) = (pick.address().port, pick.session_cookie(nobody.hash).unwrap());
    assert_eq!((&*cookie.name, &*cookie.path), ("full", "/p"));
    assert!(!cookie.value.contains("127"), "a cookie does not tell the address: {}", cookie.value);
    drop(pick);
    // Another node, or this one after a restart: the token is the same.
    let second = {
        let picks = (0..3).map(|_| pool.pick(None, &[]).unwrap());
        picks.into_iter().find(|pick| pick.address().port == 2).unwrap().session_cookie(None).unwrap().value
    };
    for weight in [100, 0] {
        let pool = make(weight);
        let hash = pool.hash_value(&Session(second.clone())).hash;
        for _ in 0..20 {
            let pick = pool.pick(hash, &[]).unwrap();
            assert_eq!((pick.address().port, pick.session_cookie(hash)), (2, None), "weight {weight}");
        }
        let first = pool.pick(hash, &[]).unwrap();
        let again = pool.pick(hash, &[first.id()]).unwrap();
        assert_ne!(again.address().port, 2, "a retry goes elsewhere");
        set_health(&pool, 2, false);
        let moved = pool.pick(hash, &[]).unwrap();
        assert!(moved.address().port != 2 && moved.session_cookie(hash).is_some());
    }
    assert_eq!(pool.hash_value(&Session("forged".to_owned())).hash, None);
    assert!((1..=3).contains(&port));
}

/// A request with this session cookie.
struct Session(String);

impl crate::Inputs for Session {
    fn consumer(&self) -> Option<std::borrow::Cow<'_, str>> {
        None
    }
    fn ip(&self) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn header(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
    fn cookie(&self, _: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        Some(self.0.as_bytes().into())
    }
    fn path(&self) -> std::borrow::Cow<'_, [u8]> {
        b"/"[..].into()
    }
    fn query_arg(&self, _: &str, _: &mut dyn FnMut(Option<&[u8]>)) {}
    fn uri_capture(&self, _: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        None
    }
    fn new_cookie(&self) -> String {
        String::new()
    }
}

fn slow(algorithm: AlgorithmKind) -> Settings {
    with(algorithm, Beyond { slow_start: Some(Duration::from_secs(10)), ..Beyond::default() })
}

#[test]
fn a_target_that_comes_back_takes_on_its_share_little_by_little() {
    let pool = balancer(slow(AlgorithmKind::RoundRobin), vec![target(1, 100), target(2, 100)]);
    assert_eq!(spread(&pool, 200).get(&1), Some(&100), "the first targets of an upstream start at once");
    set_health(&pool, 1, false);
    set_health(&pool, 1, true);
    let mut shares = Vec::new();
    for _ in 0..11 {
        shares.push(spread(&pool, 1100).get(&1).copied().unwrap_or_default());
        pool.tick(Duration::from_secs(1));
    }
    assert_eq!(shares.first(), Some(&100), "a tenth of its weight: {shares:?}");
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!(shares.last(), Some(&550), "{shares:?}");
    assert!(pool.has_clock());
}

#[test]
fn a_new_target_starts_slowly_too_whatever_the_algorithm() {
    for algorithm in [AlgorithmKind::RoundRobin, AlgorithmKind::LeastConnections] {
        let (states, start) = (States::default(), Instant::now());
        let settings = Arc::new(slow(algorithm));
        let make = |ports: &[u16], now: Instant| {
            let targets: Vec<_> = ports.iter().map(|&port| target(port, 100)).collect();
            Balancer::new(settings.clone(), targets, states.upstream(Uuid::nil(), 0, now), now)
        };
        drop(make(&[1], start));
        let first = make(&[1, 2], start + Duration::from_secs(5));
        assert!(first.addresses().iter().all(|member| member.state().warmth() == 1000), "names come one by one");
        let pool = make(&[1, 2, 3], start + Duration::from_secs(60));
        let count = |pool: &Balancer| {
            let held: Vec<_> = (0..210).map(|_| pool.pick(None, &[]).unwrap()).collect();
            held.iter().filter(|pick| pick.address().port == 3).count()
        };
        assert!((8..=12).contains(&count(&pool)), "{algorithm:?}: {}", count(&pool));
        pool.tick(Duration::from_secs(10));
        assert_eq!(count(&pool), 70, "{algorithm:?}");
    }
}

fn watched(outliers: OutlierLimits, count: u16) -> Balancer {
    let settings = with(AlgorithmKind::RoundRobin, Beyond { outliers: Some(outliers), ..Beyond::default() });
    balancer(Settings { checks: None, ..settings }, (1..=count).map(|port| target(port, 100)).collect())
}

fn limits() -> OutlierLimits {
    OutlierLimits {
        consecutive_failures: 3,
        deviation: 1.5,
        min_requests: 10,
        min_targets: 4,
        interval: Duration::from_secs(10),
        ejection_time: Duration::from_secs(30),
        max_ejected_percent: 50.0,
    }
}

/// Requests, of which those to one port fail; the ports that were sent to rest.
fn requests(balancer: &Balancer, count: u32, failing: u16) -> Vec<u16> {
    let mut rest = Vec::new();
    for _ in 0..count {
        let Ok(pick) = balancer.pick(None, &[]) else { continue };
        let ended = pick.ended(pick.address().port == failing, Instant::now());
        rest.extend(ended.turn.filter(|turn| turn.fault.is_some()).map(|turn| turn.address.port));
    }
    rest
}

#[test]
fn a_target_that_fails_again_and_again_rests_longer_each_time() {
    let pool = watched(OutlierLimits { deviation: 0.0, ..limits() }, 3);
    for rest in [30, 60] {
        assert_eq!(requests(&pool, 9, 2), [2]);
        assert_eq!(ports_of(&pool), [1, 3]);
        assert!(pool.is_healthy());
        let resting = pool.addresses().iter().find(|member| member.address().port == 2).unwrap();
        assert_eq!((resting.state().rest(), pool.is_up(resting)), (Some(Duration::from_secs(rest)), false));
        // Not within an interval's comparison: that would make the next rest shorter.
        for _ in 0..rest / 5 - 1 {
            assert_eq!(pool.tick(Duration::from_secs(5)), []);
        }
        assert_eq!(ports_of(&pool), [1, 3]);
        let turns = pool.tick(Duration::from_secs(5));
        assert_eq!(turns.iter().map(|turn| (turn.address.port, turn.fault)).collect::<Vec<_>>(), [(2, None)]);
        assert_eq!(ports_of(&pool), [1, 2, 3]);
    }
}

#[test]
fn success_between_failures_lets_a_target_go_on() {
    let pool = watched(OutlierLimits { deviation: 0.0, ..limits() }, 1);
    for _ in 0..5 {
        for is_failure in [true, true, false] {
            assert!(pool.pick(None, &[]).unwrap().ended(is_failure, Instant::now()).turn.is_none());
        }
    }
}

#[test]
fn never_more_targets_rest_than_may() {
    for (count, percent, most) in [(1, 100.0, 0), (2, 50.0, 1), (4, 50.0, 2), (4, 100.0, 3), (10, 5.0, 0)] {
        let pool = watched(OutlierLimits { max_ejected_percent: percent, deviation: 0.0, ..limits() }, count);
        let mut rest = 0;
        for _ in 0..200 {
            rest += usize::from(pool.pick(None, &[]).unwrap().ended(true, Instant::now()).turn.is_some());
        }
        assert_eq!(rest, most, "{percent} % of {count}");
    }
}

#[test]
fn a_target_whose_answers_are_far_worse_than_the_others_rests() {
    let only_compared = OutlierLimits { consecutive_failures: 0, ..limits() };
    // How many requests each of five targets gets, and whether the failing one is found.
    for (each, is_found) in [(20, true), (5, false)] {
        let pool = watched(only_compared.clone(), 5);
        assert_eq!(requests(&pool, 5 * each, 4), [0; 0]);
        assert_eq!(pool.tick(Duration::from_secs(5)), [], "not before the interval's end");
        let turns = pool.tick(Duration::from_secs(5));
        let found: Vec<u16> = turns.iter().map(|turn| turn.address.port).collect();
        assert_eq!(found, if is_found { vec![4] } else { vec![] }, "{each} requests");
        if let Some(Fault::SuccessRate { is, least }) = turns.first().and_then(|turn| turn.fault) {
            assert!(is.abs() < 0.1 && (10.0..80.0).contains(&least), "{is} {least}");
        }
    }
    let few = watched(OutlierLimits { min_targets: 6, ..only_compared }, 5);
    requests(&few, 100, 4);
    assert_eq!(few.tick(Duration::from_secs(10)), [], "too few to compare");
}

#[test]
fn an_upstream_without_these_settings_has_no_clock_and_no_memory_of_them() {
    assert!(!weighted(AlgorithmKind::RoundRobin, &[1]).has_clock());
    let (states, now) = (States::default(), Instant::now());
    let make = |settings: Settings| {
        let targets = vec![target(1, 100), target(2, 100)];
        Balancer::new(Arc::new(settings), targets, states.upstream(Uuid::nil(), 0, now), now)
    };
    let beyond = Beyond {
        outliers: Some(OutlierLimits { deviation: 0.0, ..limits() }),
        slow_start: Some(Duration::from_secs(100)),
        ..Beyond::default()
    };
    let on = make(with(AlgorithmKind::RoundRobin, beyond));
    let member = on.addresses().first().unwrap();
    on.report(member, Source::Active, Report::TcpFailure, SystemTime::UNIX_EPOCH).unwrap();
    on.report(member, Source::Active, Report::Success, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(member.state().warmth(), 100);
    assert_eq!(requests(&on, 100, 2), [2]);
    let off = make(settings(AlgorithmKind::RoundRobin));
    assert_eq!(spread(&off, 100).into_iter().collect::<Vec<_>>(), [(1, 50), (2, 50)]);
}
