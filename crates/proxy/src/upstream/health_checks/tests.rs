//! When addresses are probed, on a clock that the tests turn; and what a probe makes of a server's answer.

mod probe;

use super::super::tests::Node;
use balancer::health::Report;
use entities::upstream::{ActiveHealthchecks, ActiveHealthy, ActiveUnhealthy};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The probes that were made: when, in milliseconds, and of which port.
type Log = Arc<Mutex<Vec<(u128, u16)>>>;

fn checks(healthy: f64, unhealthy: f64) -> ActiveHealthchecks {
    ActiveHealthchecks {
        healthy: ActiveHealthy { interval: Some(healthy), successes: Some(1), ..ActiveHealthy::default() },
        unhealthy: ActiveUnhealthy { interval: Some(unhealthy), tcp_failures: Some(1), ..ActiveUnhealthy::default() },
        ..ActiveHealthchecks::default()
    }
}

/// Probes that take `long` and report what `report` says of a port.
fn start(node: &Node, long: Duration, report: fn(u16) -> Report) -> (Log, JoinHandle<()>) {
    let log = Log::default();
    let (seen, begin) = (log.clone(), Instant::now());
    let probing = node.upstreams.clone().check_by(move |_, address| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push((begin.elapsed().as_millis(), address.port));
            sleep(long).await;
            report(address.port)
        }
    });
    (log, tokio::spawn(probing))
}

fn neutral(_: u16) -> Report {
    Report::HttpStatus(299)
}

fn times(log: &Log, port: u16) -> Vec<u128> {
    log.lock().unwrap().iter().filter(|(_, p)| *p == port).map(|(at, _)| *at).collect()
}

/// Asserts that the times are `every` milliseconds apart, but for the clock's granularity.
fn assert_rhythm(times: &[u128], every: u128, case: &str) {
    for pair in times.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(every) <= 1, "{case}: {times:?}");
    }
}

fn set_health(node: &Node, upstream: Uuid, target: Uuid, is_healthy: bool) {
    let balancer = node.upstreams.balancer(upstream).unwrap();
    balancer.set_health(target, balancer::Which::All, is_healthy, SystemTime::now()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn healthy_and_unhealthy_addresses_have_intervals_of_their_own() {
    // healthy.interval, unhealthy.interval, is the address healthy, weight, milliseconds between probes
    let cases = [
        (1.0, 0.0, true, 100, Some(1000)),
        (1.0, 0.0, false, 100, None),
        (0.0, 2.5, false, 100, Some(2500)),
        (0.0, 2.5, true, 100, None),
        (1.0, 2.5, true, 100, Some(1000)),
        (1.0, 2.5, false, 100, Some(2500)),
        (0.01, 0.0, true, 100, Some(100)),
        (1.0, 2.5, true, 0, None),
    ];
    for (healthy, unhealthy, is_healthy, weight, every) in cases {
        let case = format!("{healthy} {unhealthy} {is_healthy} {weight}");
        let mut node = Node::new();
        let id = node.upstream(1, checks(healthy, unhealthy));
        let target = node.target(id, "127.0.0.1:1", weight);
        node.apply();
        set_health(&node, id, target, is_healthy);
        let (log, task) = start(&node, Duration::ZERO, neutral);
        sleep(Duration::from_secs(20)).await;
        task.abort();
        let times = times(&log, 1);
        let Some(every) = every else {
            assert_eq!(times, [0; 0], "{case}");
            continue;
        };
        assert!(times.first().is_some_and(|first| *first <= every + 1), "the first within an interval: {case}");
        assert!((times.len() as u128).abs_diff(20_000 / every) <= 1, "{case}: {times:?}");
        assert_rhythm(&times, every, &case);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_turns_changes_its_rhythm() {
    let mut node = Node::new();
    let id = node.upstream(1, checks(1.0, 4.0));
    node.target(id, "127.0.0.1:1", 100);
    node.target(id, "127.0.0.1:2", 100);
    node.apply();
    let report = |port| if port == 1 { Report::TcpFailure } else { Report::Success };
    let (log, _task) = start(&node, Duration::ZERO, report);
    sleep(Duration::from_secs(30)).await;
    let healthy: Vec<(u16, bool)> = node
        .upstreams
        .balancer(id)
        .unwrap()
        .addresses()
        .iter()
        .map(|m| (m.address().port, m.state().health().is_healthy()))
        .collect();
    assert!(healthy.contains(&(1, false)) && healthy.contains(&(2, true)), "{healthy:?}");
    assert_rhythm(&times(&log, 1)[1..], 4000, "unhealthy");
    assert_rhythm(&times(&log, 2), 1000, "healthy");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_change_ends_the_probes_of_what_is_gone_and_no_others() {
    let mut node = Node::new();
    let (first, second) = (node.upstream(1, checks(1.0, 1.0)), node.upstream(2, checks(1.0, 1.0)));
    node.target(first, "127.0.0.1:1", 100);
    let leaving = node.target(first, "127.0.0.1:2", 100);
    node.target(second, "127.0.0.1:3", 100);
    node.apply();
    let (log, _task) = start(&node, Duration::ZERO, neutral);
    let seconds = |n| sleep(Duration::from_secs(n));
    seconds(5).await;
    node.configuration.targets.remove(&leaving);
    node.apply();
    let of_leaving = times(&log, 2).len();
    seconds(5).await;
    assert_eq!(times(&log, 2).len(), of_leaving, "a target that is gone");
    assert_rhythm(&times(&log, 1), 1000, "a target that stays, over the change");
    node.configuration.upstreams.remove(&first);
    node.apply();
    let of_first = times(&log, 1).len();
    seconds(5).await;
    assert_eq!(times(&log, 1).len(), of_first, "an upstream that is gone");
    assert_rhythm(&times(&log, 3), 1000, "an upstream that stays, over both changes");
    node.upstream(2, checks(3.0, 3.0));
    node.apply();
    let changed = times(&log, 3).len();
    seconds(20).await;
    assert_rhythm(&times(&log, 3)[changed..], 3000, "another interval");
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_finds_is_told_to_the_address_as_it_is_then() {
    let mut node = Node::new();
    let id = node.upstream(1, checks(1.0, 0.0));
    node.target(id, "127.0.0.1:1", 100);
    node.apply();
    let (log, _task) = start(&node, Duration::from_secs(2), |_| Report::TcpFailure);
    while log.lock().unwrap().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    // Another target makes another balancer, whose members stand elsewhere, while the probe is on its way.
    node.target(id, "127.0.0.1:2", 0);
    node.apply();
    sleep(Duration::from_secs(3)).await;
    let balancer = node.upstreams.balancer(id).unwrap();
    let probed = balancer.addresses().iter().find(|m| m.address().port == 1).unwrap();
    assert!(!probed.state().health().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_than_concurrency_allows_run_at_once() {
    // targets, concurrency, how long a probe takes, the most at once, probes of each target in 10 seconds
    let cases = [(7, 3, 2500, 3, 2), (2, 10, 1500, 2, 5), (1, 10, 2500, 1, 3), (4, 1, 500, 1, 5)];
    for (targets, concurrency, long, most, probes) in cases {
        let mut node = Node::new();
        let id = node.upstream(1, ActiveHealthchecks { concurrency: Some(concurrency), ..checks(1.0, 1.0) });
        for port in 1..=targets {
            node.target(id, &format!("127.0.0.1:{port}"), 100);
        }
        node.apply();
        let (log, task) = start(&node, Duration::from_millis(long), neutral);
        sleep(Duration::from_secs(10)).await;
        task.abort();
        let log_of_all = log.lock().unwrap().clone();
        let at_once =
            |at: u128| log_of_all.iter().filter(|(from, _)| (*from..*from + u128::from(long)).contains(&at)).count();
        let peak = log_of_all.iter().map(|(at, _)| at_once(*at)).max();
        assert_eq!(peak, Some(most), "{targets} {concurrency} {long}");
        let count = times(&log, 1).len();
        assert!(count.abs_diff(probes) <= 1, "{targets} {concurrency} {long}: {count} probes");
    }
}

#[tokio::test(start_paused = true)]
async fn the_probes_of_many_targets_are_spread_over_their_interval() {
    let mut node = Node::new();
    let id = node.upstream(1, checks(10.0, 10.0));
    for port in 1..=1000 {
        node.target(id, &format!("127.0.0.1:{port}"), 100);
    }
    node.apply();
    let (log, task) = start(&node, Duration::ZERO, neutral);
    sleep(Duration::from_secs(20)).await;
    task.abort();
    let log = log.lock().unwrap();
    for second in 0..20 {
        let of_second = log.iter().filter(|(at, _)| at / 1000 == second).count();
        assert!((50..=150).contains(&of_second), "second {second}: {of_second}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_and_leaves_is_not_probed() {
    let mut node = Node::new();
    let id = node.upstream(1, ActiveHealthchecks { concurrency: Some(1), ..checks(1.0, 1.0) });
    node.target(id, "127.0.0.1:1", 100);
    let leaving = node.target(id, "127.0.0.1:2", 100);
    node.apply();
    let (log, _task) = start(&node, Duration::from_secs(100), neutral);
    sleep(Duration::from_secs(5)).await;
    let first = log.lock().unwrap().first().map(|(_, port)| *port);
    // Whichever came first is under way, and the other one waits.
    let waiting = if first == Some(1) { leaving } else { Uuid::new_v5(&id, b"127.0.0.1:1") };
    node.configuration.targets.remove(&waiting);
    node.apply();
    sleep(Duration::from_secs(300)).await;
    assert!(log.lock().unwrap().iter().all(|(_, port)| Some(*port) == first), "{log:?}");
    assert!(log.lock().unwrap().len() >= 3);
}
