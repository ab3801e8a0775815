//! rate-limiting across nodes: two gateways and a Redis, which dies and comes back.

use crate::client::{Answer, Client, get};
use crate::gateway::{Gateway, eventually, free_address};
use crate::redis::Redis;
use crate::redis_servers::passed;
use crate::upstream::Upstream;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
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

/// Of a limit, all nodes together let through at most it and what each other node does in the time of two syncs (docs/redis.md).
/// `send_round` sends as many requests to each node and says how many were let through; `count` is what the nodes have told.
pub(crate) fn holds_the_bound(
    limit: usize,
    most_in_a_round: usize,
    mut send_round: impl FnMut() -> usize,
    count: impl Fn() -> usize,
) {
    let mut total = 0;
    loop {
        let passed = send_round();
        total += passed;
        if passed == 0 {
            break;
        }
        // Each node has told what it let through in this round: in the next one a node knows of all but the other's part
        // of the one before, and of its own.
        eventually("what was let through is told", || count() == total);
    }
    let most = limit + 2 * most_in_a_round;
    assert!((limit..=most).contains(&total), "{total} were let through of {limit}, and not at most {most}");
    assert_eq!((send_round(), count()), (0, total), "all nodes know of all requests in the end");
}

/// How many of these requests are let through by each of the nodes at once, in all.
pub(crate) fn round(nodes: &[SocketAddr], requests: usize) -> usize {
    let send = |at: SocketAddr| (0..requests).filter(|_| get(at, "/", &[]).status == 200).count();
    std::thread::scope(|scope| {
        let rounds: Vec<_> = nodes.iter().map(|at| scope.spawn(|| send(*at))).collect();
        rounds.into_iter().map(|round| round.join().unwrap()).sum()
    })
}

#[test]
fn nodes_that_sync_let_through_no_more_than_the_stated_bound_and_agree_in_the_end() {
    for rate in [0.1, 0.5] {
        let (upstream, redis) = (Upstream::start(), Redis::start());
        let kong_yml = kong_yml(&upstream, redis.at, &format!("year: 33, sync_rate: {rate}"), "");
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        let at = nodes.each_ref().map(|node| node.ports.proxy);
        holds_the_bound(33, 5, || round(&at, 5), || count(&redis).parse().unwrap_or(0));
    }
}

/// A time-out and twice as long: what may wait waits for the first, and nothing for the second.
const WAITS: Duration = Duration::from_secs(4);

/// What a client saw of one request.
struct Seen {
    took: Duration,
    status: u16,
}

/// It is over when this goes, also where the test fails: the clients are waited for.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends one request after another until it is over; counts those that Redis did not count.
fn send_all(at: SocketAddr, over: &AtomicBool, uncounted: &AtomicUsize) -> Vec<Seen> {
    let (mut client, mut seen) = (Client::open(at), Vec::new());
    while !over.load(Relaxed) {
        let start = Instant::now();
        let answer = client.get("/", &[]);
        if answer.header("connection") == Some("close") {
            client = Client::open(at);
        }
        seen.push(Seen { took: start.elapsed(), status: answer.status });
        uncounted.fetch_add(usize::from(remaining(&answer).is_empty()), Relaxed);
    }
    seen
}

/// Sends requests without a pause while Redis goes in some way and comes back.
fn no_request_waits_but_those_under_way(go: impl FnOnce(&mut Redis), come_back: impl FnOnce(&mut Redis)) {
    let upstream = Upstream::start();
    let mut redis = Redis::start_with(free_address(), &["--tcp-backlog", "16"]);
    let waits = WAITS.as_millis() / 2;
    let times = format!(", connect_timeout: {waits}, send_timeout: {waits}, read_timeout: {waits}");
    let start =
        |config: &str| Gateway::start(&kong_yml(&upstream, redis.at, &format!("hour: 1000000000, {config}"), &times));
    let gateways = [start("fault_tolerant: true"), start("fault_tolerant: false"), start("sync_rate: 0.1")];
    let (over, uncounted) = (AtomicBool::new(false), gateways.each_ref().map(|_| AtomicUsize::new(0)));
    let seen = std::thread::scope(|scope| {
        let ending = Ending(&over);
        let clients: Vec<Vec<_>> = gateways
            .iter()
            .zip(&uncounted)
            .map(|(gateway, uncounted)| {
                let at = gateway.ports.proxy;
                let over = &over;
                (0..2).map(|_| scope.spawn(move || send_all(at, over, uncounted))).collect()
            })
            .collect();
        eventually("redis counts", || redis.ask(&["DBSIZE"]) == "1");
        go(&mut redis);
        // Those that sync tell their own counts all the time.
        let are_uncounted = |more: usize| uncounted[..2].iter().all(|uncounted| uncounted.load(Relaxed) > more);
        eventually("many requests have come meanwhile", || are_uncounted(500));
        let back = Instant::now();
        come_back(&mut redis);
        eventually("redis counts again", || {
            gateways.iter().all(|gateway| !remaining(&get(gateway.ports.proxy, "/", &[])).is_empty())
        });
        // Two seconds between tries, and a connection attempt that was under way.
        assert!(back.elapsed() < 2 * WAITS + Duration::from_secs(2), "{:?}", back.elapsed());
        drop(ending);
        clients
            .into_iter()
            .map(|clients| clients.into_iter().flat_map(|client| client.join().unwrap()).collect())
            .collect::<Vec<Vec<Seen>>>()
    });
    for ((name, seen), statuses) in
        ["tolerant", "strict", "synced"].into_iter().zip(seen).zip([&[200][..], &[200, 500], &[200]])
    {
        let longest = seen.iter().map(|seen| seen.took).max().unwrap();
        assert!(longest < WAITS * 7 / 4, "{name}: a request took {longest:?}");
        let slow = seen.iter().filter(|seen| seen.took > WAITS / 2).count();
        assert!(slow <= if name == "synced" { 0 } else { 2 }, "{name}: {slow} requests waited, of two clients");
        let wrong: Vec<u16> = seen.iter().map(|seen| seen.status).filter(|status| !statuses.contains(status)).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let failed = seen.iter().filter(|seen| seen.status == 500).count();
        assert_eq!(failed >= 500, name == "strict", "{name}: {failed} answers are 500");
    }
}

#[test]
fn a_redis_that_is_killed_costs_no_request_time() {
    no_request_waits_but_those_under_way(Redis::kill, Redis::begin);
}

#[test]
fn a_redis_that_freezes_costs_time_to_those_under_way_only() {
    no_request_waits_but_those_under_way(|redis| redis.signal("STOP"), |redis| redis.signal("CONT"));
}

#[test]
fn a_redis_that_answers_nobody_who_connects_costs_time_to_those_under_way_only() {
    let mut held = Vec::new();
    let freeze = |redis: &mut Redis| {
        redis.signal("STOP");
        // Until the queue of those who connect is full: then nothing is answered, as behind a firewall.
        let limit = Duration::from_millis(300);
        held.extend((0..64).map_while(|_| std::net::TcpStream::connect_timeout(&redis.at, limit).ok()));
        assert!(held.len() < 64, "connections are refused no more");
    };
    no_request_waits_but_those_under_way(freeze, |redis| redis.signal("CONT"));
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
