//! Names of services and targets, resolved by a DNS server that changes its mind, fails, or is gone.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually};
use crate::name_server::{Mood, NameServer};
use crate::target::Target;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Two targets on one port of two addresses; each answers with that port, and counts what it saw.
fn two() -> (Target, Target) {
    let first = Target::start();
    let second = Target::at(([127, 0, 0, 2], first.at.port()).into());
    (first, second)
}

/// `/plain` goes to the name itself, `/pool` through an upstream with a target of that name.
fn kong_yml(name: &str, port: u16) -> String {
    let service =
        |host: &str, path: &str| json!({ "name": host, "host": host, "port": port, "routes": [{ "paths": [path] }] });
    json!({
        "_format_version": "3.0",
        "services": [service(name, "/plain"), service("pool", "/pool")],
        "upstreams": [{ "name": "pool", "targets": [{ "target": format!("{name}:{port}") }] }],
    })
    .to_string()
}

fn start(server: &NameServer, name: &str, port: u16, more: &[(&str, &str)]) -> Gateway {
    let resolver = server.at.to_string();
    let mut properties = vec![("dns_resolver", &*resolver), ("dns_order", "A")];
    properties.extend_from_slice(more);
    Gateway::start_with(&kong_yml(name, port), &properties)
}

#[test]
fn a_record_that_changes_is_in_use_within_its_time_to_live_and_a_second() {
    const TTL: u64 = 1;
    let server = NameServer::start();
    let (first, second) = two();
    server.set("a.test", &["127.0.0.1"], TTL as u32);
    let gateway = start(&server, "a.test", first.at.port(), &[]);
    for path in ["/plain", "/pool"] {
        eventually("the name is resolved", || get(gateway.ports.proxy, path, &[]).status == 200);
    }
    server.set("a.test", &["127.0.0.2"], TTL as u32);
    let changed = Instant::now();
    let mut late = 0;
    let mut client = Client::open(gateway.ports.proxy);
    while changed.elapsed() < Duration::from_secs(TTL + 3) {
        for path in ["/plain", "/pool"] {
            let (before, asked) = (first.seen(), changed.elapsed());
            assert_eq!(client.get(path, &[]).status, 200, "{path}");
            if first.seen() > before && asked > Duration::from_secs(TTL + 1) {
                late += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // A busy machine may be late by a look or two.
    assert!(late <= 2, "{late} requests went to the old address after its time");
    assert!(second.seen() > 10);
}

#[test]
fn names_outlast_servers_that_are_gone_or_fail() {
    for mood in [Mood::Silent, Mood::Code(2), Mood::Garbage] {
        let server = NameServer::start();
        let target = Target::start();
        server.set("a.test", &["127.0.0.1"], 1);
        let gateway = start(&server, "a.test", target.at.port(), &[]);
        for path in ["/plain", "/pool"] {
            eventually("the name is resolved", || get(gateway.ports.proxy, path, &[]).status == 200);
        }
        server.mood(mood);
        let (start, asked) = (Instant::now(), server.asked());
        let mut client = Client::open(gateway.ports.proxy);
        let mut slowest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(3) {
            for path in ["/plain", "/pool"] {
                let began = Instant::now();
                assert_eq!(client.get(path, &[]).status, 200, "{mood:?} {path} after {:?}", start.elapsed());
                slowest = slowest.max(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(server.asked() > asked, "{mood:?}: the answer has expired meanwhile");
        assert!(slowest < Duration::from_secs(1), "{mood:?}: no request waits for a dead server, not {slowest:?}");
    }
}

#[test]
fn a_name_that_nobody_knows_gets_kongs_answer_and_a_line_in_the_log() {
    let server = NameServer::start();
    let gateway = start(&server, "gone.test", 9, &[]);
    let plain = get(gateway.ports.proxy, "/plain", &[]);
    assert_eq!((plain.status, plain.body.contains("name resolution failed")), (503, true), "{plain:?}");
    let pool = get(gateway.ports.proxy, "/pool", &[]);
    let message = "failure to get a peer from the ring-balancer";
    assert_eq!((pool.status, pool.body.contains(message)), (503, true), "{pool:?}");
    let log = gateway.output();
    let line = format!("host gone.test: dns server error: 3 name error (asked {} for A)", server.at);
    assert!(log.contains(&line), "{log}");
    server.mood(Mood::Code(2));
    let failing = start(&server, "other.test", 9, &[]);
    let answer = get(failing.ports.proxy, "/plain", &[]);
    assert_eq!((answer.status, answer.body.contains("dns server error: 2 server failure")), (500, true), "{answer:?}");
    // It is asked again soon after the servers have recovered.
    let target = Target::start();
    let late = start(&server, "late.test", target.at.port(), &[]);
    assert_eq!(get(late.ports.proxy, "/pool", &[]).status, 503);
    server.set("late.test", &["127.0.0.1"], 60);
    server.mood(Mood::Answers);
    eventually("a name that came late is found", || get(late.ports.proxy, "/pool", &[]).status == 200);
}

#[test]
fn a_retry_goes_to_another_address_of_the_name() {
    let server = NameServer::start();
    let target = Target::start();
    // Nobody listens at the second one.
    server.set("a.test", &["127.0.0.1", "127.0.0.3"], 60);
    let gateway = start(&server, "a.test", target.at.port(), &[]);
    for path in ["/plain", "/pool"] {
        eventually("the name is resolved", || get(gateway.ports.proxy, path, &[]).status == 200);
        let mut client = Client::open(gateway.ports.proxy);
        let statuses: Vec<u16> = (0..20).map(|_| client.get(path, &[]).status).collect();
        assert_eq!(statuses, [200; 20], "{path}");
    }
}

#[test]
fn the_hosts_file_is_watched() {
    let server = NameServer::start();
    let (first, second) = two();
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 filed.test\n").unwrap();
    let gateway = start(&server, "filed.test", first.at.port(), &[("dns_hostsfile", hosts.to_str().unwrap())]);
    for path in ["/plain", "/pool"] {
        eventually("the name is resolved", || get(gateway.ports.proxy, path, &[]).status == 200);
    }
    std::fs::write(&hosts, "127.0.0.2 filed.test # moved\n").unwrap();
    for path in ["/plain", "/pool"] {
        eventually("the new address is in use", || {
            let before = second.seen();
            get(gateway.ports.proxy, path, &[]).status == 200 && second.seen() > before
        });
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn the_new_client_has_its_own_properties_and_tells_what_it_counts() {
    let server = NameServer::start();
    let target = Target::start();
    server.set("a.test", &["127.0.0.1"], 60);
    let resolver = server.at.to_string();
    let properties =
        [("new_dns_client", "on"), ("resolver_address", &*resolver), ("resolver_family", "A"), ("dns_resolver", "")];
    let gateway = Gateway::start_with(&kong_yml("a.test", target.at.port()), &properties);
    eventually("the name is resolved", || get(gateway.ports.proxy, "/plain", &[]).status == 200);
    get(gateway.ports.proxy, "/plain", &[]);
    for listener in [gateway.ports.admin, gateway.ports.status] {
        let answer = get(listener, "/status/dns", &[]);
        let shown: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(shown["worker"]["count"], 1, "{shown}");
        let (all, queries) = (&shown["stats"]["a.test:all"], &shown["stats"]["a.test:A"]);
        assert!(all["runs"].as_u64() >= Some(2) && all["hit_lru"].as_u64() >= Some(1), "{shown}");
        assert_eq!((&queries["query"], &queries["query_succ"]), (&json!(1), &json!(1)), "{shown}");
    }
    let old = start(&server, "a.test", target.at.port(), &[]);
    assert_eq!(get(old.ports.admin, "/status/dns", &[]).status, 501);
}
