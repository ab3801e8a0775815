//! Tests of `ip-restriction`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::{Value, json};

fn status(config: Value, ip: &str) -> u16 {
    Harness::new(&DEFINITION, config).with_client(|c| c.ip = ip.parse().unwrap()).send("GET /").status
}

#[test]
fn judges_the_clients_address() {
    for (config, ip, want) in [
        (json!({ "allow": ["127.0.0.1"] }), "127.0.0.1", 200),
        (json!({ "allow": ["127.0.0.1"] }), "127.0.0.2", 403),
        (json!({ "allow": ["127.0.0.0/8"] }), "127.255.255.255", 200),
        (json!({ "allow": ["127.0.0.0/8"] }), "128.0.0.0", 403),
        (json!({ "allow": ["0.0.0.0/0"] }), "1.2.3.4", 200),
        (json!({ "allow": ["0.0.0.0/0"] }), "::1", 403),
        (json!({ "allow": ["::1", "2001:db8::/32"] }), "2001:db8:ffff::1", 200),
        (json!({ "allow": ["::1", "2001:db8::/32"] }), "2001:db9::1", 403),
        (json!({ "allow": ["::ffff:127.0.0.1"] }), "127.0.0.1", 403),
        (json!({ "allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"] }), "10.0.0.1", 403),
        (json!({ "allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"] }), "10.0.0.2", 200),
        (json!({ "allow": [], "deny": ["10.0.0.1"] }), "10.0.0.2", 200),
        (json!({ "deny": ["10.0.0.7/30"] }), "10.0.0.4", 403),
        (json!({ "deny": ["10.0.0.7/30"] }), "10.0.0.8", 200),
        (json!({ "allow": ["10.0.0.1/32"] }), "10.0.0.1", 200),
        (json!({ "deny": ["1.1.1.1"], "status": 418 }), "1.1.1.1", 418),
    ] {
        assert_eq!(status(config.clone(), ip), want, "{ip} with {config}");
    }
}

#[test]
fn tells_the_address_or_the_configured_message() {
    let h = Harness::new(&DEFINITION, json!({ "deny": ["10.0.0.1"] }));
    assert!(h.send("GET /").body.contains("IP address not allowed: 10.0.0.1"));
    let h = Harness::new(&DEFINITION, json!({ "deny": ["10.0.0.1"], "message": "no" }));
    assert!(h.send("GET /\nAccept: text/plain").body.starts_with("no\n"));
}

#[test]
fn overlapping_ranges_become_one() {
    let list = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "9.255.255.255"].map(str::to_owned);
    let ranges = Ranges::parse(&list).unwrap();
    assert_eq!(ranges.v4.len(), 3);
    assert!(ranges.contains("10.200.0.1".parse().unwrap()));
    assert!(!ranges.contains("12.0.0.0".parse().unwrap()));
}

#[test]
fn needs_a_list() {
    let want = json!({ "@entity": ["at least one of these fields must be non-empty: 'config.allow', 'config.deny'"] });
    assert_eq!(complete(&DEFINITION, json!({})).unwrap_err(), want);
}
