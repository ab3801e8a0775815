//! rate-limiting across nodes: two gateways and a Redis, which dies and comes back.

use crate::client::{Answer, get};
use crate::gateway::{Gateway, eventually, free_address};
use crate::redis::Redis;
use crate::redis_servers::passed;
use crate::upstream::Upstream;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A kong.yml that limits all requests of an address; `config` and `redis` are members of flow mappings.
fn kong_yml(upstream: &Upstream, redis: SocketAddr, config: &str, more_redis: &str) -> String {
    let redis = format!("host: 127.0.0.1, port: {}, timeout: 2000{more_redis}", redis.port());
    let config = format!("policy: redis, limit_by: ip, redis: {{ {redis} }}, {config}");
    upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - {{ name: rate-limiting, config: {{ {config} }} }}\n")
}

fn remaining(answer: &Answer) -> &str {
    answer.header("x-ratelimit-remaining-hour").unwrap_or_default()
}

/// The count that Redis has of the only window there is.
fn count(redis: &Redis) -> String {
    let key = redis.ask(&["KEYS", "ratelimit:*"]);
    redis.ask(&["GET", &key])
}

#[test]
fn two_nodes_let_exactly_the_limit_through_when_they_ask_redis_each_time() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let kong_yml = kong_yml(&upstream, redis.at, "hour: 50, day: 60", "");
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (at, passed) = (nodes[client % 2].ports.proxy, &passed);
            scope.spawn(move || {
                for _ in 0..20 {
                    let status = get(at, "/", &[]).status;
                    assert!(matches!(status, 200 | 429), "{status}");
                    passed.fetch_add(usize::from(status == 200), Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 50);
    // What is refused counts nowhere, and the keys are Kong's.
    let keys = redis.ask(&["KEYS", "ratelimit:*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
    let none = "00000000-0000-0000-0000-000000000000";
    for (period, seconds) in [("hour", 3600), ("day", 86400)] {
        let key = keys.lines().find(|key| key.ends_with(period)).unwrap_or_default();
        assert!(key.starts_with(&format!("ratelimit:{none}:{none}:127.0.0.1:1")), "{key}");
        assert_eq!(redis.ask(&["GET", key]), "50");
        let ttl: i64 = redis.ask(&["TTL", key]).parse().unwrap();
        assert!((1..=seconds).contains(&ttl), "{key}: {ttl}");
    }
}

#[test]
fn nodes_that_sync_know_of_each_others_requests_after_a_sync() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let kong_yml = kong_yml(&upstream, redis.at, "hour: 40, sync_rate: 0.05", "");
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    let send = |node: usize| get(nodes[node].ports.proxy, "/", &[]);
    for _ in 0..30 {
        assert_eq!(send(0).status, 200);
    }
    eventually("redis knows of the first node's requests", || count(&redis) == "30");
    for _ in 0..5 {
        assert_eq!(send(1).status, 200);
    }
    eventually("redis knows of the second node's too", || count(&redis) == "35");
    // The sync's answer is on its way to the node yet.
    let mut last = send(1);
    let mut sent = 36;
    eventually("the second node knows of the first one's", || {
        if remaining(&last) == (40 - sent).to_string() {
            return true;
        }
        last = send(1);
        sent += 1;
        false
    });
    while sent < 40 {
        assert_eq!(send(1).status, 200, "{sent}");
        sent += 1;
    }
    assert_eq!(send(1).status, 429);
}

#[test]
fn between_two_syncs_each_node_lets_at_most_the_limit_through() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let kong_yml = kong_yml(&upstream, redis.at, "hour: 20, sync_rate: 3600", "");
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    for node in &nodes {
        let passed = (0..30).filter(|_| get(node.ports.proxy, "/", &[]).status == 200).count();
        assert_eq!(passed, 20);
    }
}

#[test]
fn nobody_waits_for_a_dead_redis_and_limits_hold_again_when_it_is_back() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let strict = Gateway::start(&kong_yml(&upstream, redis.at, "hour: 3, fault_tolerant: false", ""));
    let tolerant = Gateway::start(&kong_yml(&upstream, redis.at, "hour: 3", ""));
    assert_eq!(get(strict.ports.proxy, "/", &[]).status, 200);
    redis.kill();
    let start = Instant::now();
    for _ in 0..20 {
        let answer = get(strict.ports.proxy, "/", &["Accept: application/json"]);
        assert_eq!(answer.status, 500);
        assert!(answer.body.contains("An unexpected error occurred"), "{}", answer.body);
        let answer = get(tolerant.ports.proxy, "/", &[]);
        assert_eq!((answer.status, remaining(&answer)), (200, ""));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "40 requests took {:?}", start.elapsed());
    redis.begin();
    eventually("the gateways find Redis again", || {
        [&strict, &tolerant].iter().all(|node| !remaining(&get(node.ports.proxy, "/", &[])).is_empty())
    });
    eventually("the limit holds", || get(tolerant.ports.proxy, "/", &[]).status == 429);
    assert_eq!(get(strict.ports.proxy, "/", &[]).status, 429);
}

#[test]
fn a_redis_that_hangs_holds_up_no_more_than_the_requests_under_way() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateway = Gateway::start(&kong_yml(&upstream, redis.at, "hour: 30", ""));
    let send = || get(gateway.ports.proxy, "/", &[]);
    assert_eq!(remaining(&send()), "29");
    redis.signal("STOP");
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!((send().status, remaining(&send())), (200, ""));
    }
    // Twenty times its time-out of two seconds would be forty.
    assert!(start.elapsed() < Duration::from_secs(20), "20 requests took {:?}", start.elapsed());
    redis.signal("CONT");
    eventually("the gateway finds Redis again", || !remaining(&send()).is_empty());
    let start = Instant::now();
    eventually("the limit holds", || send().status == 429);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn one_node_lets_exactly_the_limit_through_with_all_its_threads() {
    let upstream = Upstream::start();
    for plugin in [
        "name: rate-limiting, config: { year: 50, limit_by: ip, policy: local }",
        "name: rate-limiting-advanced, config: { window_size: [31536000], limit: [50], identifier: ip, strategy: local }",
    ] {
        let kong_yml = upstream.kong_yml(&["{ name: r, paths: [/] }"]) + &format!("plugins:\n  - {{ {plugin} }}\n");
        let gateway = Gateway::start_with(&kong_yml, &[("nginx_worker_processes", "4")]);
        assert_eq!(passed(&[gateway.ports.proxy], 160), 50, "{plugin}");
    }
}

#[test]
fn speaks_tls_and_says_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let own = rcgen::generate_simple_self_signed(["redis.test".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), own.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), own.signing_key.serialize_pem()).unwrap();
    let tls = free_address();
    let (cert, key, port) = (path("cert.pem"), path("key.pem"), tls.port().to_string());
    let arguments = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--user",
        "alice",
        "on",
        ">secret",
        "~ratelimit:*",
        "+@all",
    ];
    let redis = Redis::start_with(free_address(), &arguments);
    let upstream = Upstream::start();
    let trusted = [("lua_ssl_trusted_certificate", cert.as_str())];
    let user = ", ssl: true, username: alice, password: secret, database: 2";
    for (name, more, want) in [
        ("verified", ", ssl_verify: true, server_name: redis.test", 200),
        ("another name", ", ssl_verify: true, server_name: other.test", 500),
        ("unverified", ", ssl_verify: false", 200),
    ] {
        let config = "hour: 5, fault_tolerant: false";
        let gateway = Gateway::start_with(&kong_yml(&upstream, tls, config, &format!("{user}{more}")), &trusted);
        assert_eq!(get(gateway.ports.proxy, "/", &[]).status, want, "{name}");
    }
    assert_eq!(redis.ask(&["-n", "2", "DBSIZE"]), "1");
    let wrong = ", ssl: true, username: alice, password: wrong";
    let gateway = Gateway::start(&kong_yml(&upstream, tls, "hour: 5, fault_tolerant: false", wrong));
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 500);
    eventually("the log says why", || gateway.output().contains("WRONGPASS"));
    assert!(!gateway.output().contains(" wrong"), "and not the password");
}
