//! Entities become settings and targets.

use entities::upstream::Healthchecks;
use entities::{Target, Upstream};
use serde_json::json;
use uuid::Uuid;

use std::time::Duration;

use crate::{AlgorithmKind, Beyond, BudgetLimits, Checks, HashOn, ResolvedTarget, Settings, Sticky, host_and_port};

#[test]
fn algorithms_and_hash_inputs_have_their_names() {
    let algorithms = [
        (None, AlgorithmKind::RoundRobin),
        (Some("round-robin"), AlgorithmKind::RoundRobin),
        (Some("least-connections"), AlgorithmKind::LeastConnections),
        (Some("latency"), AlgorithmKind::Latency),
        (Some("consistent-hashing"), AlgorithmKind::ConsistentHashing),
        (Some("sticky-sessions"), AlgorithmKind::StickySessions),
    ];
    for (name, expected) in algorithms {
        let upstream = Upstream { algorithm: name.map(str::to_owned), ..Upstream::default() };
        assert_eq!(Settings::from(&upstream).algorithm, expected);
    }
    let inputs = [
        ("none", HashOn::None, HashOn::None),
        ("consumer", HashOn::Consumer, HashOn::Consumer),
        ("ip", HashOn::Ip, HashOn::Ip),
        ("header", HashOn::Header("X-On".into()), HashOn::Header("X-Else".into())),
        ("path", HashOn::Path, HashOn::Path),
        ("query_arg", HashOn::QueryArg("on".into()), HashOn::QueryArg("else".into())),
        ("uri_capture", HashOn::UriCapture("1".into()), HashOn::UriCapture("2".into())),
        (
            "cookie",
            HashOn::Cookie { name: "c".into(), path: "/".into() },
            HashOn::Cookie { name: "c".into(), path: "/".into() },
        ),
    ];
    for (name, on, fallback) in inputs {
        let text = |value: &str| Some(value.to_owned());
        let upstream = Upstream {
            hash_on: text(name),
            hash_fallback: text(name),
            hash_on_header: text("X-On"),
            hash_fallback_header: text("X-Else"),
            hash_on_cookie: text("c"),
            hash_on_query_arg: text("on"),
            hash_fallback_query_arg: text("else"),
            hash_on_uri_capture: text("1"),
            hash_fallback_uri_capture: text("2"),
            ..Upstream::default()
        };
        let settings = Settings::from(&upstream);
        assert_eq!((settings.hash_on, settings.hash_fallback), (on, fallback), "{name}");
    }
}

#[test]
fn what_goes_beyond_kong_is_off_unless_it_is_asked_for() {
    assert_eq!(Settings::from(&Upstream::default()).beyond, Beyond::default());
    let upstream: Upstream = Upstream {
        algorithm: Some("sticky-sessions".to_owned()),
        sticky_sessions_cookie: Some("sid".to_owned()),
        slow_start: Some(2.5),
        outlier_detection: serde_json::from_value(json!({})).unwrap(),
        circuit_breaker: serde_json::from_value(json!({ "max_requests": 7, "open_time": 0.5 })).unwrap(),
        retry_budget: serde_json::from_value(json!({ "percent": 5 })).unwrap(),
        ..Upstream::default()
    };
    let beyond = Settings::from(&upstream).beyond;
    assert_eq!(beyond.sticky, Some(Sticky { cookie: "sid".into(), path: "/".into() }));
    assert_eq!(beyond.slow_start, Some(Duration::from_millis(2500)));
    let outliers = beyond.outliers.unwrap();
    assert_eq!((outliers.consecutive_failures, outliers.ejection_time), (5, Duration::from_secs(30)));
    let breaker = beyond.breaker.unwrap();
    assert_eq!((breaker.max_requests, breaker.consecutive_failures), (7, 0));
    assert_eq!((breaker.open_time, breaker.pending_timeout), (Duration::from_millis(500), Duration::from_secs(1)));
    assert_eq!(beyond.budget, Some(BudgetLimits { percent: 5.0, min_per_second: 10.0 }));
}

#[test]
fn checks_are_on_when_something_can_turn_an_address_down() {
    let cases = [
        (json!({}), false),
        (json!({"active": {"healthy": {"interval": 0.1}}}), true),
        (json!({"active": {"unhealthy": {"interval": 5}}}), true),
        (json!({"active": {"unhealthy": {"tcp_failures": 5}}}), false),
        (json!({"passive": {"unhealthy": {"tcp_failures": 1}}}), true),
        (json!({"passive": {"unhealthy": {"timeouts": 1}}}), true),
        (json!({"passive": {"unhealthy": {"http_failures": 1}}}), true),
        (json!({"passive": {"healthy": {"successes": 1}}}), false),
    ];
    for (changes, is_on) in cases {
        let mut checks = serde_json::to_value(Healthchecks::default()).unwrap();
        merge(&mut checks, &changes);
        let upstream = Upstream { healthchecks: serde_json::from_value(checks).unwrap(), ..Upstream::default() };
        assert_eq!(Settings::from(&upstream).checks.is_some(), is_on, "{changes}");
    }
}

fn merge(into: &mut serde_json::Value, changes: &serde_json::Value) {
    match (into.as_object_mut(), changes.as_object()) {
        (Some(into), Some(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.clone()).or_insert(json!({})), value);
            }
        }
        _ => *into = changes.clone(),
    }
}

#[test]
fn limits_and_statuses_are_taken_over() {
    let mut checks = serde_json::to_value(Healthchecks::default()).unwrap();
    merge(
        &mut checks,
        &json!({"passive": {
            "healthy": {"successes": 3, "http_statuses": [200, 999]},
            "unhealthy": {"http_failures": 255, "tcp_failures": 2, "timeouts": 7, "http_statuses": [100, 503]}
        }}),
    );
    let upstream = Upstream { healthchecks: serde_json::from_value(checks).unwrap(), ..Upstream::default() };
    let Some(Checks { passive, .. }) = Settings::from(&upstream).checks else { panic!("checks are on") };
    let limits = (passive.successes, passive.http_failures, passive.tcp_failures, passive.timeouts);
    assert_eq!(limits, (3, 255, 2, 7));
    let known: Vec<u16> = (0..=u16::MAX).filter(|&status| passive.healthy_statuses.contains(status)).collect();
    assert_eq!(known, [200, 999]);
    let known: Vec<u16> = (0..=u16::MAX).filter(|&status| passive.unhealthy_statuses.contains(status)).collect();
    assert_eq!(known, [100, 503]);
}

#[test]
fn targets_are_split_into_host_and_port() {
    let cases = [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("host.test:8443", ("host.test", 8443)),
        ("host.test", ("host.test", 8000)),
        ("[0000:0000:0000:0000:0000:0000:0000:0001]:81", ("[0000:0000:0000:0000:0000:0000:0000:0001]", 81)),
        ("[::1]", ("[::1]", 8000)),
        ("::1", ("::1", 8000)),
    ];
    for (text, expected) in cases {
        assert_eq!(host_and_port(text), expected);
    }
    let target: Target = serde_json::from_value(json!({
        "id": Uuid::from_u128(3), "created_at": 1.5, "updated_at": 1.5, "upstream": {"id": Uuid::nil()},
        "target": "[0000:0000:0000:0000:0000:0000:0000:0001]:81", "weight": 10, "tags": null
    }))
    .unwrap();
    let resolution = ResolvedTarget::literal_resolution(host_and_port(&target.target).0).unwrap();
    let balancer = super::balancer(
        super::settings(AlgorithmKind::RoundRobin),
        vec![std::sync::Arc::new(ResolvedTarget::new(&target, resolution))],
    );
    let pick = balancer.pick(None, &[]).unwrap();
    assert_eq!(pick.address().socket().to_string(), "[::1]:81");
    assert_eq!(pick.address().ip_text(), "[0000:0000:0000:0000:0000:0000:0000:0001]");
    assert_eq!((pick.address().weight, pick.address().target), (10, Uuid::from_u128(3)));
}
