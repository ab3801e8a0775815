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
        (json!({ "deny": ["1.1.1.1"], "status": 599 }), "1.1.1.1", 599),
        (json!({ "deny": ["1.1.1.1"], "status": 200 }), "1.1.1.1", 500),
        (json!({ "deny": ["1.1.1.1"], "status": 700 }), "1.1.1.1", 500),
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
    assert_eq!(ranges.v4.ranges.len(), 3);
    assert!(ranges.contains("10.200.0.1".parse().unwrap()));
    assert!(!ranges.contains("12.0.0.0".parse().unwrap()));
}

#[test]
fn needs_a_list() {
    let want = json!({ "@entity": ["at least one of these fields must be non-empty: 'config.allow', 'config.deny'"] });
    assert_eq!(complete(&DEFINITION, json!({})).unwrap_err(), want);
}

#[test]
fn a_hundred_thousand_ranges_are_judged_like_a_few() {
    // Every third block of 16 addresses, some blocks across the borders of prefixes, and addresses of the other family.
    let list: Vec<String> = (0..100_000_u32)
        .map(|number| {
            let first = std::net::Ipv4Addr::from_bits(number.wrapping_mul(48) << 4);
            if number % 2 == 0 { format!("{first}/28") } else { format!("::ffff:{first}/124") }
        })
        .chain(["10.255.0.0/15".to_owned(), "2001:db8::/32".to_owned()])
        .collect();
    let ranges = Ranges::parse(&list).unwrap();
    let few: Vec<_> = list.iter().map(|entry| Ranges::parse(std::slice::from_ref(entry)).unwrap()).collect();
    let mut seed = 1_u32;
    let mut judged = [0, 0];
    for number in 0..150_u32 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let v4 = std::net::Ipv4Addr::from_bits(if number % 2 == 0 {
            seed
        } else {
            (number * 250).wrapping_mul(48) << 4 | 15
        });
        for ip in [std::net::IpAddr::V4(v4), std::net::IpAddr::V6(v4.to_ipv6_mapped())] {
            let want = few.iter().any(|range| range.contains(ip));
            assert_eq!(ranges.contains(ip), want, "{ip}");
            judged[usize::from(want)] += 1;
        }
    }
    assert!(judged.iter().all(|count| *count > 20), "both answers are tried: {judged:?}");
    for (ip, want) in [("10.254.0.0", true), ("10.255.255.255", true), ("2001:db8:1::", true), ("2001:db9::", false)] {
        assert_eq!(ranges.contains(ip.parse().unwrap()), want, "{ip}");
    }
}
