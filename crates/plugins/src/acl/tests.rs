//! Tests of `acl`.

use super::*;
use crate::key_auth;
use pdk::testing::{Exchange, Harness, complete};
use serde_json::{Value, json};
use uuid::Uuid;

/// Alice is in staff and dev ops, bob in guests, carol in nothing; each one's name is the key.
fn harness(config: Value, auth: Value) -> Harness {
    let mut h = Harness::of(vec![(&key_auth::DEFINITION, auth), (&DEFINITION, config)]);
    for (n, name, groups) in [(1, "alice", &["staff", "dev ops"][..]), (2, "bob", &["guests"]), (3, "carol", &[])] {
        let consumer = json!({ "id": Uuid::from_u128(n) });
        h = h.with_consumer(n, name);
        h = h.with("keyauth_credentials", json!({ "id": Uuid::from_u128(n + 100), "key": name, "consumer": consumer }));
        for (at, group) in groups.iter().enumerate() {
            let id = Uuid::from_u128(n * 1000 + at as u128);
            h = h.with("acls", json!({ "id": id, "group": group, "consumer": consumer }));
        }
    }
    h
}

/// The status, and the groups the upstream was told.
fn outcome(exchange: &Exchange) -> String {
    let seen = exchange.upstream.as_deref().unwrap_or_default();
    let told = seen.lines().find_map(|l| l.strip_prefix("X-Consumer-Groups: ")).unwrap_or("-");
    format!("{} {told}", exchange.status)
}

#[test]
fn lets_in_by_group() {
    for (config, alice, bob, carol) in [
        (json!({ "allow": ["staff", "guests"] }), "200 staff, dev ops", "200 guests", "403 -"),
        (json!({ "allow": ["STAFF"] }), "403 -", "403 -", "403 -"),
        (json!({ "allow": ["dev ops"] }), "200 staff, dev ops", "403 -", "403 -"),
        (json!({ "deny": ["guests"] }), "200 staff, dev ops", "403 -", "200 "),
        (json!({ "deny": ["x"], "hide_groups_header": true }), "200 -", "200 -", "200 -"),
    ] {
        let h = harness(config.clone(), json!({}));
        for (key, want) in [("alice", alice), ("bob", bob), ("carol", carol)] {
            let exchange = h.send(&format!("GET /\napikey: {key}\nX-Consumer-Groups: staff"));
            assert_eq!(outcome(&exchange), want, "{key} with {config}");
        }
    }
}

#[test]
fn without_authentication_nobody_is_let_in() {
    for config in [json!({ "allow": ["staff"] }), json!({ "deny": ["staff"] })] {
        let exchange = Harness::new(&DEFINITION, config).send("GET /\nX-Consumer-Groups: staff");
        assert_eq!(exchange.status, 401);
        assert!(exchange.body.contains("Unauthorized"));
    }
}

#[test]
fn the_anonymous_consumer_has_groups_too() {
    let anonymous = |name: &str| json!({ "anonymous": name });
    for (config, name, want) in [
        (json!({ "allow": ["guests"] }), "bob", "200 guests"),
        (json!({ "deny": ["guests"] }), "bob", "403 -"),
        (json!({ "allow": ["guests"] }), "carol", "401 -"),
        (json!({ "deny": ["guests"] }), "carol", "200 "),
    ] {
        assert_eq!(outcome(&harness(config.clone(), anonymous(name)).send("GET /")), want, "{name} with {config}");
    }
}

#[test]
fn a_config_that_is_none_is_empty_too_but_only_where_it_is_new() {
    let some = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'";
    for (config, want) in [(json!(null), "required field missing"), (json!("x"), "expected a record")] {
        for definition in [&DEFINITION, &crate::ip_restriction::DEFINITION] {
            let error = complete(definition, config.clone()).unwrap_err();
            assert_eq!(error, json!({ "@entity": [some], "config": want }), "{} {config}", definition.name);
        }
    }
}

#[test]
fn needs_exactly_one_list() {
    let only = "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'";
    let some = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'";
    for (config, want) in [
        (json!({}), json!([only, some])),
        (json!({ "allow": [] }), json!([only, some])),
        (json!({ "allow": ["a"], "deny": ["b"] }), json!([only])),
    ] {
        assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "@entity": want }));
    }
    let list = json!({ "@entity": [only, some], "config": ["unknown field"] });
    assert_eq!(complete(&DEFINITION, json!(["v"])).unwrap_err(), list);
}
