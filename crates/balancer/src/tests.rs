//! The contract that every algorithm keeps, and what the tests of the single ones share.

mod beyond;
mod breaker;
mod consistent_hashing;
mod hash_value;
mod latency;
mod least_connections;
mod round_robin;
mod settings;
mod states;
mod tournament;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::{
    AddressId, AlgorithmKind, Balancer, Beyond, Checks, HashOn, Limits, Pick, PickError, Record, Resolution,
    ResolvedTarget, Settings, States, Which, hash_of_value,
};

pub(crate) const ALGORITHMS: [AlgorithmKind; 4] = [
    AlgorithmKind::RoundRobin,
    AlgorithmKind::LeastConnections,
    AlgorithmKind::Latency,
    AlgorithmKind::ConsistentHashing,
];

pub(crate) fn settings(algorithm: AlgorithmKind) -> Settings {
    Settings {
        id: Uuid::from_u128(7),
        name: "pool".into(),
        algorithm,
        hash_on: HashOn::Path,
        hash_fallback: HashOn::None,
        use_srv_name: false,
        threshold: 0.0,
        checks: Some(checks()),
        beyond: Beyond::default(),
    }
}

/// One failure of any kind turns an address, one success turns it back.
pub(crate) fn checks() -> Checks {
    let limits = Limits {
        healthy_statuses: [200].into_iter().collect(),
        successes: 1,
        unhealthy_statuses: [500].into_iter().collect(),
        http_failures: 1,
        tcp_failures: 1,
        timeouts: 1,
    };
    Checks { active: limits.clone(), passive: limits }
}

/// Target `number` at 127.0.0.1 with that port.
pub(crate) fn target(port: u16, weight: u32) -> Arc<ResolvedTarget> {
    let resolution = ResolvedTarget::literal_resolution("127.0.0.1").unwrap();
    named("127.0.0.1", port, weight, resolution)
}

pub(crate) fn named(host: &str, port: u16, weight: u32, resolution: Resolution) -> Arc<ResolvedTarget> {
    let id = Uuid::from_u128(u128::from(hash_of_value(host.as_bytes())) << 16 | u128::from(port));
    Arc::new(ResolvedTarget {
        id,
        host: host.into(),
        port,
        weight,
        created_at: f64::from(port),
        is_failover: false,
        locality: None,
        resolution,
    })
}

pub(crate) fn ips(ips: &[&str]) -> Resolution {
    let record = |ip: &&str| Record { ip: ip.parse().unwrap(), port: None, weight: None, name: None };
    Resolution::Records { dns: "A", records: ips.iter().map(record).collect() }
}

pub(crate) fn balancer(settings: Settings, targets: Vec<Arc<ResolvedTarget>>) -> Balancer {
    let now = Instant::now();
    let states = States::default();
    let upstream = states.upstream(settings.id, 12_345, now);
    Balancer::new(Arc::new(settings), targets, upstream, now)
}

/// Targets at ports 1, 2, ... with these weights.
pub(crate) fn weighted(algorithm: AlgorithmKind, weights: &[u32]) -> Balancer {
    let targets = weights.iter().zip(1..).map(|(&weight, port)| target(port, weight)).collect();
    balancer(settings(algorithm), targets)
}

pub(crate) fn set_health(balancer: &Balancer, port: u16, is_healthy: bool) {
    let member = balancer.addresses().iter().find(|member| member.address().port == port).unwrap();
    balancer.set_health(member.address().target, Which::All, is_healthy, SystemTime::UNIX_EPOCH).unwrap();
}

/// The port that request `number` goes to.
pub(crate) fn port_of(balancer: &Balancer, number: u32) -> Result<u16, PickError> {
    let pick = balancer.pick(Some(hash_of_value(&number.to_be_bytes())), &[])?;
    // Every answer takes the same time, a second after the one before.
    pick.measured(Duration::from_millis(5), later());
    Ok(pick.address().port)
}

/// A time a second after the last one given.
pub(crate) fn later() -> Instant {
    static SECONDS: AtomicU64 = AtomicU64::new(3600);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + Duration::from_secs(SECONDS.fetch_add(1, Ordering::Relaxed))
}

/// How often each port is picked by so many requests, one after another.
pub(crate) fn spread(balancer: &Balancer, requests: u32) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    for number in 0..requests {
        *counts.entry(port_of(balancer, number).unwrap()).or_default() += 1;
    }
    counts
}

fn ports(counts: &BTreeMap<u16, u32>) -> Vec<u16> {
    counts.keys().copied().collect()
}

#[test]
fn every_address_takes_traffic() {
    for algorithm in ALGORITHMS {
        for count in [1, 2, 3, 10, 64, 100] {
            let balancer = weighted(algorithm, &vec![100; count]);
            assert_eq!(spread(&balancer, 20_000).len(), count, "{algorithm:?}, {count} targets");
        }
    }
}

#[test]
fn an_address_of_weight_0_takes_none_but_is_listed() {
    for algorithm in ALGORITHMS {
        let balancer = weighted(algorithm, &[100, 0, 100]);
        assert_eq!(ports(&spread(&balancer, 500)), [1, 3], "{algorithm:?}");
        assert_eq!(balancer.addresses().len(), 3);
        let drained = weighted(algorithm, &[0, 0]);
        assert_eq!(drained.pick(None, &[]).unwrap_err(), PickError::BalancerUnhealthy, "{algorithm:?}");
    }
}

#[test]
fn a_request_never_meets_an_address_twice_while_another_is_left() {
    for algorithm in ALGORITHMS {
        for weights in [vec![1, 1], vec![1000, 1, 1], vec![5; 20], vec![65_535, 0, 1, 7]] {
            let balancer = weighted(algorithm, &weights);
            let available = weights.iter().filter(|&&weight| weight > 0).count();
            for number in 0..50_u32 {
                let hash = Some(hash_of_value(&number.to_be_bytes()));
                let mut tried: Vec<AddressId> = Vec::new();
                for _ in 0..available {
                    let pick = balancer.pick(hash, &tried).unwrap();
                    assert!(!tried.contains(&pick.id()), "{algorithm:?} {weights:?}");
                    tried.push(pick.id());
                }
                // All were tried: only `latency` gives up, as in Kong; the others begin again.
                let again = balancer.pick(hash, &tried).map(|pick| pick.address().weight > 0);
                let expected = match algorithm {
                    AlgorithmKind::Latency => Err(PickError::NoPeersAvailable),
                    _ => Ok(true),
                };
                assert_eq!(again, expected, "{algorithm:?} {weights:?}");
            }
        }
    }
}

#[test]
fn the_only_address_is_tried_again() {
    for algorithm in ALGORITHMS {
        let balancer = weighted(algorithm, &[100, 0]);
        let tried = [balancer.pick(None, &[]).unwrap().id()];
        assert_eq!(balancer.pick(None, &tried).map(|pick| pick.address().port), Ok(1), "{algorithm:?}");
    }
}

#[test]
fn nothing_to_pick_is_an_error_with_kongs_words() {
    for algorithm in ALGORITHMS {
        let down = weighted(algorithm, &[100, 100]);
        set_health(&down, 1, false);
        set_health(&down, 2, false);
        let unresolved = named("gone.test", 80, 100, Resolution::Failed("dns server error: 3 name error".into()));
        for balancer in [down, weighted(algorithm, &[]), balancer(settings(algorithm), vec![unresolved])] {
            let error = balancer.pick(None, &[]).unwrap_err();
            assert_eq!(error.to_string(), "failure to get a peer from the ring-balancer");
            assert_eq!(error.reason(), "Balancer is unhealthy");
            assert!(!balancer.is_healthy());
        }
    }
}

#[test]
fn an_address_that_is_down_takes_none_until_it_is_back() {
    for algorithm in ALGORITHMS {
        let balancer = weighted(algorithm, &[100, 100, 100]);
        assert_eq!(ports(&spread(&balancer, 500)), [1, 2, 3], "{algorithm:?}");
        set_health(&balancer, 2, false);
        assert_eq!(ports(&spread(&balancer, 500)), [1, 3], "{algorithm:?}");
        set_health(&balancer, 1, false);
        assert_eq!(ports(&spread(&balancer, 500)), [3], "{algorithm:?}");
        set_health(&balancer, 2, true);
        assert_eq!(ports(&spread(&balancer, 500)), [2, 3], "{algorithm:?}");
    }
}

#[test]
fn without_checks_every_address_counts_as_healthy() {
    for algorithm in ALGORITHMS {
        let checked = weighted(algorithm, &[100, 100]);
        set_health(&checked, 1, false);
        let unchecked = Settings { checks: None, ..settings(algorithm) };
        let now = Instant::now();
        let (states, targets) = (States::default(), vec![target(1, 100), target(2, 100)]);
        let make = |settings| {
            let upstream = states.upstream(Uuid::nil(), 0, now);
            Balancer::new(Arc::new(settings), targets.clone(), upstream, now)
        };
        let before = make(settings(algorithm));
        set_health(&before, 1, false);
        let off = make(unchecked);
        assert_eq!(ports(&spread(&off, 500)), [1, 2], "{algorithm:?}");
        let id = off.addresses().first().unwrap().address().target;
        assert!(off.set_health(id, Which::All, false, SystemTime::UNIX_EPOCH).is_err());
        // What was known before they were switched off is not remembered.
        assert_eq!(ports(&spread(&make(settings(algorithm)), 500)), [1, 2], "{algorithm:?}");
    }
}

#[test]
fn the_healthy_weight_has_to_exceed_the_threshold() {
    for algorithm in ALGORITHMS {
        // Threshold, weights, the ports that are down, whether the rest serves.
        let cases: [(f64, &[u32], &[u16], bool); 7] = [
            (60.0, &[100, 100], &[1], false),
            (60.0, &[100, 100, 100], &[1], true),
            (50.0, &[100, 100], &[1], false),
            (49.9, &[100, 100], &[1], true),
            (0.0, &[1, 1000], &[2], true),
            (100.0, &[100], &[], false),
            (99.0, &[100, 0], &[2], true),
        ];
        for (threshold, weights, down, serves) in cases {
            let targets = weights.iter().zip(1..).map(|(&weight, port)| target(port, weight)).collect();
            let balancer = balancer(Settings { threshold, ..settings(algorithm) }, targets);
            down.iter().for_each(|&port| set_health(&balancer, port, false));
            assert_eq!(balancer.pick(None, &[]).is_ok(), serves, "{algorithm:?} {threshold} {weights:?} {down:?}");
            assert_eq!(balancer.is_healthy(), serves);
        }
    }
}

#[test]
fn a_new_dns_answer_for_one_target_leaves_the_others_as_they_were() {
    for algorithm in ALGORITHMS {
        let targets = vec![target(1, 100), named("a.test", 2, 100, ips(&["10.0.0.1", "10.0.0.2"])), target(3, 100)];
        let old = balancer(settings(algorithm), targets);
        set_health(&old, 3, false);
        let moved = old.addresses().get(1).unwrap().address().target;
        let ids = |balancer: &Balancer| -> BTreeMap<IpAddr, AddressId> {
            let ip = |member: &crate::Member| (member.address().ip, member.id());
            balancer.addresses().iter().filter(|member| member.address().port == 2).map(ip).collect()
        };
        let before = ids(&old);
        let new = old.with_target_addresses(moved, ips(&["10.0.0.2", "10.0.0.3"]), Instant::now());
        let after = ids(&new);
        let kept = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(before.get(&kept), after.get(&kept));
        assert_eq!(after.len(), 2);
        let addresses: BTreeSet<String> = (0..2000)
            .map(|n| new.pick(Some(hash_of_value(&u32::to_be_bytes(n))), &[]).unwrap())
            .map(|pick| {
                pick.measured(Duration::from_millis(1), Instant::now());
                pick.address().socket().to_string()
            })
            .collect();
        let expected = ["10.0.0.2:2", "10.0.0.3:2", "127.0.0.1:1"].map(str::to_owned);
        assert_eq!(addresses, BTreeSet::from(expected), "{algorithm:?}");
        // An answer that says the same, or is for a target that has left, makes no new balancer.
        let same = new.with_target_addresses(moved, ips(&["10.0.0.2", "10.0.0.3"]), Instant::now());
        assert!(std::ptr::eq(same.addresses(), new.addresses()));
        let other = new.with_target_addresses(Uuid::from_u128(99), ips(&["10.0.0.2"]), Instant::now());
        assert!(std::ptr::eq(other.addresses(), new.addresses()));
    }
}

#[test]
fn srv_records_bring_their_own_port_weight_and_name() {
    let srv = |port, weight, name: &str| Record {
        ip: "10.0.0.1".parse().unwrap(),
        port: Some(port),
        weight: Some(weight),
        name: Some(name.into()),
    };
    let records = vec![srv(8001, 5, "one.test"), srv(0, 0, "two.test"), srv(8001, 5, "one.test")];
    let resolution = Resolution::Records { dns: "SRV", records };
    // use_srv_name, the target's weight, what comes of the records.
    let cases = [
        (false, 100, ["pool.test 8001 5", "pool.test 80 1"]),
        (true, 100, ["one.test 8001 5", "two.test 80 1"]),
        (false, 0, ["pool.test 8001 0", "pool.test 80 0"]),
    ];
    for (use_srv_name, weight, expected) in cases {
        let settings = Settings { use_srv_name, ..settings(AlgorithmKind::RoundRobin) };
        let balancer = balancer(settings, vec![named("pool.test", 80, weight, resolution.clone())]);
        let addresses = balancer.addresses().iter().map(crate::Member::address);
        let text: Vec<_> = addresses.map(|a| format!("{} {} {}", a.hostname, a.port, a.weight)).collect();
        assert_eq!(text, expected);
    }
}

#[test]
fn threads_share_a_balancer_while_health_and_addresses_change() {
    for algorithm in ALGORITHMS {
        let balancer = weighted(algorithm, &[100, 100, 100, 7, 100]);
        let picked: u32 = std::thread::scope(|scope| {
            let pickers: Vec<_> = (0..3)
                .map(|thread| {
                    let balancer = balancer.clone();
                    scope.spawn(move || {
                        let mut held: Vec<Pick> = Vec::new();
                        let mut picked = 0;
                        for number in 0..5000_u32 {
                            let hash = Some(hash_of_value(&(number * 3 + thread).to_be_bytes()));
                            if let Ok(pick) = balancer.pick(hash, &[]) {
                                pick.measured(Duration::from_micros(u64::from(number)), Instant::now());
                                held.push(pick);
                                picked += 1;
                            }
                            if number % 7 == 0 {
                                held.clear();
                            }
                        }
                        picked
                    })
                })
                .collect();
            let mut newer = balancer.clone();
            for round in 0..200_u16 {
                set_health(&balancer, round % 4 + 1, round % 3 == 0);
                let id = balancer.addresses().first().unwrap().address().target;
                let moved = if round % 2 == 0 { ips(&["127.0.0.1", "127.0.0.2"]) } else { ips(&["127.0.0.1"]) };
                newer = newer.with_target_addresses(id, moved, Instant::now());
                drop(newer.pick(Some(u32::from(round)), &[]));
            }
            pickers.into_iter().map(|picker| picker.join().unwrap()).sum()
        });
        // The fifth address never went down, so every request found one.
        assert_eq!(picked, 15_000, "{algorithm:?}");
        assert!(balancer.addresses().iter().all(|member| member.state().connections() == 0), "{algorithm:?}");
        (1..=4).for_each(|port| set_health(&balancer, port, port == 2));
        assert_eq!(ports(&spread(&balancer, 3000)), [2, 5], "{algorithm:?}");
    }
}
