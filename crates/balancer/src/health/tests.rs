//! The state machine of an address, step by step, and the reports of the Admin API.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::json::{balancer_health, target_health};
use super::{Health, Reason, Report, Source, State};
use crate::tests::{balancer, checks, ips, named, set_health, settings, target};
use crate::{AlgorithmKind, Balancer, Checks, Limits, Resolution, Settings, Which};

/// Limits in the order successes, HTTP failures, TCP failures, timeouts.
fn limits(successes: u8, http_failures: u8, tcp_failures: u8, timeouts: u8) -> Limits {
    Limits {
        healthy_statuses: [200, 302].into_iter().collect(),
        successes,
        unhealthy_statuses: [500, 503].into_iter().collect(),
        http_failures,
        tcp_failures,
        timeouts,
    }
}

/// Reads `503`, `tcp`, `timeout`, `ok`; a leading `a` makes it a probe's.
fn report(word: &str) -> (Source, Report) {
    let (source, word) = word.strip_prefix('a').map_or((Source::Passive, word), |word| (Source::Active, word));
    let report = match word {
        "tcp" => Report::TcpFailure,
        "timeout" => Report::Timeout,
        "ok" => Report::Success,
        status => Report::HttpStatus(status.parse().unwrap()),
    };
    (source, report)
}

#[test]
fn reports_lead_from_state_to_state() {
    use State::{Healthy, MostlyHealthy, MostlyUnhealthy, Unhealthy};
    let never = limits(0, 0, 0, 0);
    let (twice, thrice) = (limits(2, 2, 2, 2), limits(3, 3, 3, 3));
    // Passive limits, reports in order, the state and the counters (successes, HTTP, TCP, timeouts) after them.
    let cases = [
        (&never, "500 500 tcp timeout 200", Healthy, [0, 0, 0, 0]),
        (&twice, "", Healthy, [0, 0, 0, 0]),
        (&twice, "200 200 ok", Healthy, [0, 0, 0, 0]),
        (&twice, "404 418 0", MostlyHealthy, [0, 1, 0, 0]),
        (&twice, "500", MostlyHealthy, [0, 1, 0, 0]),
        (&twice, "500 503", Unhealthy, [0, 2, 0, 0]),
        (&twice, "tcp timeout 500", MostlyHealthy, [0, 1, 1, 1]),
        (&twice, "tcp timeout 500 tcp", Unhealthy, [0, 1, 2, 1]),
        (&twice, "timeout timeout", Unhealthy, [0, 0, 0, 2]),
        (&thrice, "500 500 200", MostlyHealthy, [1, 0, 0, 0]),
        (&thrice, "500 500 200 500 500", MostlyHealthy, [0, 2, 0, 0]),
        (&thrice, "500 200 200 200", Healthy, [3, 0, 0, 0]),
        (&twice, "500 500 500 tcp", Unhealthy, [0, 2, 0, 0]),
        (&twice, "500 500 200", MostlyUnhealthy, [1, 0, 0, 0]),
        (&twice, "500 500 200 500 200", MostlyUnhealthy, [1, 0, 0, 0]),
        (&twice, "500 500 200 500 500", Unhealthy, [0, 2, 0, 0]),
        (&twice, "500 500 200 302", Healthy, [2, 0, 0, 0]),
        (&twice, "500 500 200 302 500", MostlyHealthy, [0, 1, 0, 0]),
        // Where successes never count, failures add up over successes in between, and nothing brings it back.
        (&limits(0, 2, 0, 0), "200 503 200 200 503", Unhealthy, [0, 2, 0, 0]),
        (&limits(0, 1, 0, 0), "503 200 200 200", Unhealthy, [0, 1, 0, 0]),
        (&limits(1, 2, 0, 0), "500 200 500 200 500", MostlyHealthy, [0, 1, 0, 0]),
        (&limits(1, 255, 0, 0), &"500 ".repeat(254), MostlyHealthy, [0, 254, 0, 0]),
        (&limits(1, 255, 0, 0), &"500 ".repeat(300), Unhealthy, [0, 255, 0, 0]),
        // Probes have limits of their own (one each) and the same counters.
        (&never, "a500", Unhealthy, [0, 1, 0, 0]),
        (&never, "atcp 200 200", Unhealthy, [0, 0, 1, 0]),
        (&never, "atimeout aok", Healthy, [1, 0, 0, 0]),
        (&twice, "500 a200 500", MostlyHealthy, [0, 1, 0, 0]),
    ];
    for (passive, reports, state, counters) in cases {
        let checks = Checks { active: limits(1, 1, 1, 1), passive: passive.clone() };
        let health = Health::default();
        for word in reports.split_whitespace() {
            let (source, report) = report(word);
            health.report(&checks, source, report, SystemTime::UNIX_EPOCH);
        }
        assert_eq!(health.state(), state, "{passive:?} {reports}");
        let now = health.counters();
        assert_eq!([now.successes, now.http_failures, now.tcp_failures, now.timeouts], counters, "{reports}");
        assert_eq!(health.is_healthy(), matches!(state, Healthy | MostlyHealthy), "{reports}");
    }
}

#[test]
fn a_change_has_a_time_and_a_reason() {
    let health = Health::default();
    let checks = Checks { active: limits(2, 1, 1, 1), passive: limits(1, 1, 1, 1) };
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    assert_eq!(health.last_change(), None);
    // The report, and what it changes to and why.
    let steps = [
        ("503", Some((false, Reason::HttpFailures { source: Source::Passive, status: 503 }))),
        ("tcp", None),
        ("aok", None),
        ("aok", Some((true, Reason::Successes { source: Source::Active }))),
        ("timeout", Some((false, Reason::Timeouts { source: Source::Passive }))),
        ("200", Some((true, Reason::Successes { source: Source::Passive }))),
        ("atcp", Some((false, Reason::TcpFailures { source: Source::Active }))),
    ];
    let mut last = None;
    for (second, (word, expected)) in (1..).zip(steps) {
        let (source, report) = report(word);
        let change = health.report(&checks, source, report, at(second));
        assert_eq!(change.map(|change| (change.is_healthy, change.reason)), expected, "{word}");
        last = change.or(last);
        assert_eq!(health.last_change(), last);
    }
    assert_eq!(last.map(|change| change.at), Some(at(7)));

    let change = health.set(true, at(8)).unwrap();
    assert_eq!((change.is_healthy, change.reason, change.at), (true, Reason::Manual, at(8)));
    assert_eq!(health.set(true, at(9)), None);
    assert_eq!(health.last_change(), Some(change));
}

#[test]
fn setting_by_hand_resets_the_counters() {
    let checks = Checks { active: limits(3, 3, 3, 3), passive: limits(3, 3, 3, 3) };
    for (is_healthy, state) in [(true, State::Healthy), (false, State::Unhealthy)] {
        let health = Health::default();
        for report in [Report::TcpFailure, Report::TcpFailure, Report::Timeout] {
            health.report(&checks, Source::Passive, report, SystemTime::UNIX_EPOCH);
        }
        health.set(is_healthy, SystemTime::UNIX_EPOCH);
        let counters = health.counters();
        assert_eq!((health.state(), counters.tcp_failures, counters.timeouts), (state, 0, 0));
    }
}

#[test]
fn threads_report_at_the_same_time_and_one_of_them_turns_it() {
    for _ in 0..50 {
        let checks = Checks { active: limits(1, 40, 0, 0), passive: limits(1, 40, 0, 0) };
        let health = Health::default();
        let turned: usize = std::thread::scope(|scope| {
            let reporting = || {
                let report =
                    || health.report(&checks, Source::Passive, Report::HttpStatus(500), SystemTime::UNIX_EPOCH);
                (0..10).filter(|_| report().is_some()).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(reporting)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((turned, health.state(), health.counters().http_failures), (1, State::Unhealthy, 40));
    }
}

#[test]
fn a_passive_report_takes_the_address_out() {
    let balancer = balancer(settings(AlgorithmKind::RoundRobin), vec![target(1, 100), target(2, 100)]);
    let pick = balancer.pick(None, &[]).unwrap();
    let other = 3 - pick.address().port;
    assert_eq!(pick.report(Report::HttpStatus(404), SystemTime::UNIX_EPOCH), None);
    assert!(pick.report(Report::Timeout, SystemTime::UNIX_EPOCH).is_some_and(|change| !change.is_healthy));
    let ports: Vec<u16> = (0..4).map(|_| balancer.pick(None, &[]).unwrap().address().port).collect();
    assert_eq!(ports, [other; 4]);
}

fn address(port: u16, weight: u32, key: &str, health: Value) -> Value {
    json!({"ip": "127.0.0.1", "port": port, "weight": weight, key: health})
}

fn data(port: u16, addresses: Value, total: u32, available: u32) -> Value {
    json!({
        "host": "127.0.0.1", "port": port, "dns": "A", "nodeWeight": total, "addresses": addresses,
        "weight": {"total": total, "available": available, "unavailable": total - available}
    })
}

/// The reports of the targets in the order of the balancer.
fn targets(balancer: &Balancer) -> Vec<Value> {
    let ids: Vec<_> = balancer.targets().map(|(target, _)| target.id).collect();
    ids.into_iter().map(|id| Value::Object(target_health(balancer, id).unwrap())).collect()
}

#[test]
fn the_report_on_targets_has_kongs_shape() {
    let gone = named("no-such-host.invalid", 80, 100, Resolution::Failed("dns server error: 3 name error".into()));
    let several = named("a.test", 90, 10, ips(&["10.0.0.1", "10.0.0.2"]));
    let pool = vec![target(15_555, 100), target(15_556, 100), target(15_557, 0), gone, several];
    let checked = balancer(settings(AlgorithmKind::RoundRobin), pool.clone());
    set_health(&checked, 15_556, false);
    let id = checked.addresses().first().unwrap().address().target;
    checked.set_health(id, Which::At("10.0.0.1".parse().unwrap(), 90), false, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(
        targets(&checked),
        [
            json!({"health": "DNS_ERROR", "data": {
                "host": "no-such-host.invalid", "port": 80, "dns": "dns server error: 3 name error", "nodeWeight": 100,
                "addresses": {}, "weight": {"total": 0, "available": 0, "unavailable": 0}}}),
            json!({"health": "HEALTHY", "data": {
                "host": "a.test", "port": 90, "dns": "A", "nodeWeight": 10,
                "addresses": [
                    {"ip": "10.0.0.1", "port": 90, "weight": 10, "health": "UNHEALTHY"},
                    {"ip": "10.0.0.2", "port": 90, "weight": 10, "health": "HEALTHY"}
                ],
                "weight": {"total": 20, "available": 10, "unavailable": 10}}}),
            json!({"health": "HEALTHY", "data": data(15_555, json!([address(15_555, 100, "health", "HEALTHY".into())]), 100, 100)}),
            json!({"health": "UNHEALTHY", "data": data(15_556, json!([address(15_556, 100, "health", "UNHEALTHY".into())]), 100, 0)}),
            json!({"health": "HEALTHCHECKS_OFF", "data": data(15_557, json!([address(15_557, 0, "health", "HEALTHCHECKS_OFF".into())]), 0, 0)}),
        ]
    );
    let off = balancer(Settings { checks: None, ..settings(AlgorithmKind::RoundRobin) }, pool);
    let health: Vec<_> = targets(&off).iter().map(|report| report["health"].clone()).collect();
    assert_eq!(health, ["DNS_ERROR", "HEALTHCHECKS_OFF", "HEALTHCHECKS_OFF", "HEALTHCHECKS_OFF", "HEALTHCHECKS_OFF"]);
    assert_eq!(target_health(&off, uuid::Uuid::from_u128(1)), None);
}

#[test]
fn the_report_on_the_balancer_has_kongs_shape() {
    let pool = vec![target(15_555, 100), target(15_556, 100)];
    let upstream = settings(AlgorithmKind::RoundRobin);
    let id = upstream.id;
    let healthy = |port| data(port, json!([address(port, 100, "healthy", true.into())]), 100, 100);
    // Whether there are checks, the targets, those that are down, and the report.
    let down = data(15_555, json!([address(15_555, 100, "healthy", false.into())]), 100, 0);
    let weight =
        |total: u32, available: u32| json!({"total": total, "available": available, "unavailable": total - available});
    let cases = [
        (true, pool.clone(), None, "HEALTHY", "HEALTHY", weight(200, 200), json!([healthy(15_555), healthy(15_556)])),
        (true, pool.clone(), Some(15_555), "UNHEALTHY", "UNHEALTHY", weight(200, 100), json!([down, healthy(15_556)])),
        (false, pool, None, "HEALTHCHECKS_OFF", "HEALTHY", weight(200, 200), json!([healthy(15_555), healthy(15_556)])),
        (true, vec![], None, "UNHEALTHY", "UNHEALTHY", weight(0, 0), json!({})),
    ];
    for (has_checks, targets, down, health, balancer_status, weight, hosts) in cases {
        let checks = has_checks.then(checks);
        let balancer = balancer(Settings { checks, threshold: 60.0, ..upstream.clone() }, targets);
        down.iter().for_each(|&port| set_health(&balancer, port, false));
        let is_healthy = balancer_status == "HEALTHY";
        assert_eq!(
            balancer_health(&balancer),
            json!({"id": id, "health": health, "balancer_health": balancer_status,
                "details": {"healthy": is_healthy, "weight": weight, "hosts": hosts}})
        );
    }
}
