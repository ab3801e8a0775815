//! Tests of `canary`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::{Value, json};

/// A configuration with a canary at `canary.test:8080`.
fn config(more: Value) -> Value {
    let mut config = json!({ "upstream_host": "canary.test", "upstream_port": 8080 });
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}

fn harness(more: Value) -> Harness {
    Harness::new(&DEFINITION, config(more))
}

fn is_canary(h: &Harness, request: &str) -> bool {
    let target = h.send(request).target;
    assert!(["canary.test:8080", "up.test:80"].contains(&target.as_str()), "{target}");
    target == "canary.test:8080"
}

/// How many of so many clients, each with an address of its own, go to the canary.
fn clients_on_canary(h: &Harness, count: u32) -> usize {
    let is_on = |number: &u32| {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        h.send_with("GET /", |cx| cx.client.ip = ip.into()).target == "canary.test:8080"
    };
    (0..count).filter(is_on).count()
}

#[test]
fn sends_requests_to_the_host_port_and_path_that_are_given() {
    for (config, want) in [
        (json!({ "upstream_host": "b.test" }), ("b.test:80", "GET /p?q=1")),
        (json!({ "upstream_port": 81 }), ("up.test:81", "GET /p?q=1")),
        (json!({ "upstream_uri": "/v2" }), ("up.test:80", "GET /v2?q=1")),
        (json!({ "upstream_uri": "v2 \"?x" }), ("up.test:80", "GET /v2%20%22%3Fx?q=1")),
        (json!({ "upstream_host": "b.test", "upstream_port": 81, "upstream_uri": "/" }), ("b.test:81", "GET /?q=1")),
    ] {
        let mut whole = config.clone();
        whole["percentage"] = json!(100);
        let exchange = Harness::new(&DEFINITION, whole).send("GET /p?q=1");
        let upstream = exchange.upstream.unwrap_or_default();
        let got = (exchange.target.as_str(), upstream.lines().next().unwrap_or_default());
        assert_eq!(got, want, "{config}");
    }
}

#[test]
fn a_share_of_the_clients_goes_to_the_canary_and_stays_there() {
    for (percentage, steps, range) in [
        (0.0, 1000, 0..=0),
        (100.0, 1000, 400..=400),
        (25.0, 1000, 70..=130),
        (50.0, 2, 160..=240),
        (0.05, 1000, 0..=5),
    ] {
        let h = harness(json!({ "percentage": percentage, "steps": steps, "hash": "ip" }));
        let once = clients_on_canary(&h, 400);
        assert!(range.contains(&once), "{percentage} % in {steps} steps: {once}");
        assert_eq!(clients_on_canary(&h, 400), once, "the same clients as before");
    }
}

#[test]
fn a_larger_share_keeps_who_was_on_the_canary() {
    let on = |percentage: u32| -> Vec<u32> {
        let h = harness(json!({ "percentage": percentage, "hash": "header", "hash_header": "X-User" }));
        (0..200).filter(|user| is_canary(&h, &format!("GET /\nX-User: u{user}"))).collect()
    };
    let (few, more) = (on(20), on(40));
    assert!(!few.is_empty() && few.len() < more.len(), "{few:?} {more:?}");
    assert!(few.iter().all(|user| more.contains(user)), "{few:?} {more:?}");
}

#[test]
fn requests_go_by_turns_where_nothing_is_hashed() {
    let h = harness(json!({ "percentage": 10, "hash": "none", "steps": 100 }));
    let on: Vec<bool> = (0..200).map(|_| is_canary(&h, "GET /")).collect();
    assert_eq!(on.iter().filter(|is_canary| **is_canary).count(), 20);
    // Never for long on one side.
    assert!(on.windows(20).all(|window| window.contains(&true)), "{on:?}");
}

#[test]
fn hashes_what_it_is_told_to_and_falls_back_to_consumer_and_address() {
    let on = |hash: &str, request: &str, consumer: Option<u128>, ip: u8| {
        let config = json!({ "percentage": 50, "hash": hash, "hash_header": "X-User" });
        let h = harness(config).with_consumer(1, "one").with_consumer(2, "two").with_consumer(3, "three");
        let target = h.send_with(request, |cx| {
            cx.client.ip = std::net::Ipv4Addr::new(10, 0, 0, ip).into();
            cx.consumer = consumer.map(|id| {
                let id = uuid::Uuid::from_u128(id);
                let found = cx.shared.consumers.consumer(id).ready();
                found.flatten().unwrap()
            });
        });
        target.target == "canary.test:8080"
    };
    let plain = "GET /";
    let (first, second) = ("GET /\nX-User: a", "GET /\nX-User: b");
    // What decides is the same, all else differs: the same side.
    for (hash, one, other) in [
        ("ip", (first, Some(1), 7), (second, Some(2), 7)),
        ("consumer", (first, Some(1), 7), (second, Some(1), 8)),
        ("consumer", (first, None, 7), (second, None, 7)),
        ("header", (first, Some(1), 7), (first, Some(2), 8)),
        ("header", (plain, Some(1), 7), (plain, Some(1), 8)),
        ("header", (plain, None, 7), (plain, None, 7)),
    ] {
        let [a, b] = [one, other].map(|(request, consumer, ip)| on(hash, request, consumer, ip));
        assert_eq!(a, b, "{hash}: {one:?} {other:?}");
    }
    // What decides differs: both sides are met.
    for (hash, all) in [
        ("ip", (0..12).map(|n| (plain.to_owned(), None, n)).collect::<Vec<_>>()),
        ("header", (0..12).map(|n| (format!("GET /\nX-User: {n}"), None, 1)).collect()),
    ] {
        let sides: Vec<bool> = all.iter().map(|(request, consumer, ip)| on(hash, request, *consumer, *ip)).collect();
        assert!(sides.contains(&true) && sides.contains(&false), "{hash}: {sides:?}");
    }
}

#[test]
fn the_share_grows_from_none_to_all_in_the_duration() {
    let now = pdk::testing::START.as_secs();
    for (start, want) in [
        (json!(now + 10), 0..=0),
        (json!(now), 0..=0),
        (json!(now - 50), 80..=120),
        (json!(now - 100), 200..=200),
        (json!(now - 1000), 200..=200),
        // The harness's instance was created long ago.
        (Value::Null, 200..=200),
    ] {
        let h = harness(json!({ "start": start, "duration": 100, "steps": 100, "hash": "ip" }));
        let count = clients_on_canary(&h, 200);
        assert!(want.contains(&count), "{start}: {count}");
    }
    let h = harness(json!({ "start": now, "duration": 100, "steps": 10, "hash": "ip" }));
    let mut last = 0;
    for step in 1..=10 {
        h.clock().advance(Duration::from_secs(10));
        let count = clients_on_canary(&h, 200);
        assert!(count > last, "step {step}: {count} after {last}");
        last = count;
    }
    assert_eq!(last, 200);
}

#[test]
fn groups_are_let_in_or_kept_out() {
    for (hash, groups, consumer, want) in [
        ("allow", json!(["beta"]), Some(1), true),
        ("allow", json!(["beta"]), Some(2), false),
        ("allow", json!(["beta"]), None, false),
        ("deny", json!(["beta"]), Some(1), false),
        ("deny", json!(["beta", "other"]), Some(2), true),
        ("deny", json!(["beta"]), None, true),
    ] {
        let h = harness(json!({ "hash": hash, "groups": groups, "percentage": 0 }))
            .with_consumer(1, "one")
            .with_consumer(2, "two")
            .with("acls", json!({ "id": uuid::Uuid::from_u128(9), "consumer": { "id": uuid::Uuid::from_u128(1) }, "group": "beta" }));
        let exchange = h.send_with("GET /", |cx| {
            cx.consumer =
                consumer.and_then(|id| cx.shared.consumers.consumer(uuid::Uuid::from_u128(id)).ready().flatten());
        });
        assert_eq!(exchange.target == "canary.test:8080", want, "{hash} {groups} {consumer:?}");
    }
    let h = harness(json!({ "hash": "allow", "groups": ["beta"] }));
    let exchange = h.send_with("GET /", |cx| cx.authenticated_groups = Some(vec!["beta".to_owned()]));
    assert_eq!(exchange.target, "canary.test:8080", "groups that an authentication plugin has found");
}

#[test]
fn clients_choose_by_a_header_field_where_it_is_named() {
    for (percentage, request, want) in [
        (0, "GET /\nX-Canary: always", true),
        (100, "GET /\nX-Canary: never", false),
        (100, "GET /\nX-Canary: perhaps", true),
        (0, "GET /\nX-Canary: Always", false),
        (100, "GET /", true),
    ] {
        let h = harness(json!({ "percentage": percentage, "canary_by_header_name": "X-Canary" }));
        assert_eq!(is_canary(&h, request), want, "{percentage} {request}");
        let h = harness(json!({ "percentage": percentage }));
        assert_eq!(is_canary(&h, request), percentage == 100, "the field is not named: {request}");
    }
}

#[test]
fn an_upstream_entity_without_targets_takes_nobody_where_there_is_a_fallback() {
    let address = Some("127.0.0.1:9".parse().unwrap());
    for (falls_back, name, address, want) in [
        (true, "canary.test", address, true),
        (true, "canary.test", None, false),
        (false, "canary.test", None, true),
        // A host that is no upstream entity has no health.
        (true, "another.test", None, true),
    ] {
        let h = harness(json!({ "percentage": 100, "upstream_fallback": falls_back, "canary_by_header_name": "X-C" }));
        let h = h.with_upstream_entity(name, address);
        assert_eq!(is_canary(&h, "GET /"), want, "{falls_back} {name} {address:?}");
        assert_eq!(is_canary(&h, "GET /\nX-C: always"), want, "{falls_back} {name} {address:?}");
    }
}

#[test]
fn requests_without_a_service_are_left_alone() {
    assert_eq!(harness(json!({ "percentage": 100 })).without_service().send("GET /").target, "");
}

#[test]
fn wrong_configs_are_refused() {
    for (config, place, message) in [
        (
            json!({}),
            "/@entity/0",
            "at least one of these fields must be non-empty: 'config.upstream_uri', 'config.upstream_host', 'config.upstream_port'",
        ),
        (json!({ "upstream_host": "a b" }), "/config/upstream_host", "invalid value: a b"),
        (json!({ "upstream_port": 65536 }), "/config/upstream_port", "value should be between 0 and 65535"),
        (json!({ "upstream_uri": "" }), "/config/upstream_uri", "length must be at least 1"),
        (json!({ "upstream_uri": "/", "percentage": 101 }), "/config/percentage", "value should be between 0 and 100"),
        (
            json!({ "upstream_uri": "/", "hash": "cookie" }),
            "/config/hash",
            "expected one of: consumer, ip, none, allow, deny, header",
        ),
        (json!({ "upstream_uri": "/", "hash": "header" }), "/config/hash_header", "required field missing"),
        (json!({ "upstream_uri": "/", "hash": "allow" }), "/config/groups", "required field missing"),
        (json!({ "upstream_uri": "/", "hash": "deny" }), "/config/groups", "required field missing"),
        (json!({ "upstream_uri": "/", "upstream_fallback": true }), "/config/upstream_host", "required field missing"),
        (json!({ "upstream_uri": "/", "steps": 0 }), "/config/steps", "value must be greater than 0"),
        (json!({ "upstream_uri": "/", "duration": 0 }), "/config/duration", "value must be greater than 0"),
    ] {
        let error = complete(&DEFINITION, config.clone()).unwrap_err();
        let got = error.pointer(place).and_then(Value::as_str);
        assert_eq!(got, Some(message), "{config}: {error}");
    }
}
