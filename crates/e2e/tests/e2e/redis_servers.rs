//! Redis as a cluster of three and behind a sentinel, garbage instead of Redis, and the plugins that count or keep there.

use crate::client::{Answer, get};
use crate::gateway::{Gateway, eventually};
use crate::redis::{self, Redis, Watched};
use crate::upstream::Upstream;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A kong.yml with one route and a plugin; `config` and `redis` are members of flow mappings.
fn kong_yml(upstream: &Upstream, plugin: &str, config: &str, redis: &str) -> String {
    upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - {{ name: {plugin}, config: {{ {config}, redis: {{ {redis} }} }} }}\n")
}

fn one(redis: &Redis) -> String {
    format!("host: 127.0.0.1, port: {}", redis.at.port())
}

fn cluster_nodes(nodes: &[Redis]) -> String {
    let nodes = nodes.iter().map(|node| format!("{{ ip: 127.0.0.1, port: {} }}", node.at.port()));
    format!("cluster_nodes: [{}]", nodes.collect::<Vec<_>>().join(", "))
}

/// How many of these requests are let through, by eight clients at once.
pub(crate) fn passed(nodes: &[SocketAddr], requests: usize) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (at, passed) = (nodes[client % nodes.len()], &passed);
            scope.spawn(move || {
                for _ in 0..requests / 8 {
                    let status = get(at, "/", &[]).status;
                    assert!(matches!(status, 200 | 429), "{status}");
                    passed.fetch_add(usize::from(status == 200), Relaxed);
                }
            });
        }
    });
    passed.into_inner()
}

fn remaining(answer: &Answer) -> &str {
    answer.header("x-ratelimit-remaining-hour").unwrap_or_default()
}

#[test]
fn a_cluster_counts_exactly_and_is_found_again_after_a_node_was_gone() {
    let (upstream, mut nodes) = (Upstream::start(), redis::cluster());
    let by_header = "policy: redis, hour: 50, day: 60, limit_by: header, header_name: X-T";
    let kong_yml = kong_yml(&upstream, "rate-limiting", by_header, &cluster_nodes(&nodes));
    let gateways = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    assert_eq!(passed(&[gateways[0].ports.proxy, gateways[1].ports.proxy], 160), 50);
    // Clients are spread over the nodes, each with all its windows on one.
    let send = |n: usize| get(gateways[0].ports.proxy, "/", &[&format!("X-T: client-{n}")]);
    for n in 0..24 {
        assert_eq!((send(n).status, remaining(&send(n))), (200, "48"), "{n}");
    }
    for node in &nodes {
        let keys: Vec<String> = node.ask(&["KEYS", "ratelimit:*"]).lines().map(str::to_owned).collect();
        assert!(!keys.is_empty() && keys.len().is_multiple_of(2), "{keys:?}");
    }
    nodes[1].kill();
    let start = Instant::now();
    for n in 0..24 {
        assert_eq!(send(n).status, 200, "{n}");
    }
    assert!(start.elapsed() < Duration::from_secs(15), "24 requests took {:?}", start.elapsed());
    nodes[1].begin();
    eventually("the cluster is whole", || nodes.iter().all(Redis::is_of_whole_cluster));
    eventually("all clients are counted again", || (0..24).all(|n| !remaining(&send(n)).is_empty()));
}

#[test]
fn nodes_that_sync_with_a_cluster_know_of_each_others_requests() {
    let (upstream, nodes) = (Upstream::start(), redis::cluster());
    let config = "policy: redis, hour: 40, day: 90, limit_by: ip, sync_rate: 0.05";
    let kong_yml = kong_yml(&upstream, "rate-limiting", config, &cluster_nodes(&nodes));
    let gateways = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    for _ in 0..40 {
        assert_eq!(get(gateways[0].ports.proxy, "/", &[]).status, 200);
    }
    eventually("the other one knows", || get(gateways[1].ports.proxy, "/", &[]).status == 429);
}

#[test]
fn the_master_that_the_sentinel_chose_counts() {
    let (upstream, mut watched) = (Upstream::start(), Watched::start());
    let port = watched.sentinel.at.port();
    let redis = format!("sentinel_master: main, sentinel_nodes: [{{ host: 127.0.0.1, port: {port} }}]");
    let kong_yml = kong_yml(&upstream, "rate-limiting", "policy: redis, hour: 1000, limit_by: ip", &redis);
    let gateway = Gateway::start(&kong_yml);
    let send = || get(gateway.ports.proxy, "/", &[]);
    assert_eq!(remaining(&send()), "999");
    eventually("the replica has the count", || watched.servers[1].ask(&["DBSIZE"]) == "1");
    watched.servers[0].kill();
    let start = Instant::now();
    assert_eq!(send().status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    eventually("the replica is the master", || watched.servers[1].ask(&["ROLE"]).starts_with("master"));
    eventually("it counts on", || remaining(&send()).parse::<u32>().is_ok_and(|left| left < 999));
}

#[test]
fn a_redis_that_answers_garbage_is_out_of_reach_and_costs_little() {
    let upstream = Upstream::start();
    for garbage in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"$8000000\r\n", b"*1\r\n*16000\r\n:1\r\n", b":1\r\n", &[0; 64]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let redis = format!("host: 127.0.0.1, port: {}, timeout: 1000", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 1024]);
                    // Until the gateway has enough of it.
                    while stream.write_all(garbage).is_ok() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
        let kong_yml = kong_yml(&upstream, "rate-limiting", "policy: redis, hour: 5, fault_tolerant: false", &redis);
        let gateway = Gateway::start(&kong_yml);
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 500, "{garbage:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}

#[test]
fn costs_of_responses_are_counted_for_all_nodes() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let config = "policy: redis, limit_by: ip, limits: { video: { hour: 5, day: 9 } }";
    let kong_yml = kong_yml(&upstream, "response-ratelimiting", config, &one(&redis));
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    let send =
        |node: usize, cost: u32| get(nodes[node].ports.proxy, "/", &[&format!("X-Answer: X-Kong-Limit: video={cost}")]);
    let left = |answer: &Answer| answer.header("x-ratelimit-remaining-video-hour").unwrap_or_default().to_owned();
    assert_eq!(left(&send(0, 2)), "3");
    eventually("the other node knows", || left(&send(1, 0)) == "3");
    assert_eq!(left(&send(1, 3)), "0");
    let keys = redis.ask(&["KEYS", "response-ratelimit:*"]);
    let hour = keys.lines().find(|key| key.ends_with(":video:hour")).unwrap();
    eventually("redis knows of both", || redis.ask(&["GET", hour]) == "5");
    assert_eq!((send(0, 1).status, send(1, 1).status), (429, 429));
    assert_eq!((keys.lines().count(), redis.ask(&["GET", hour]).as_str()), (2, "5"));
}

#[test]
fn costs_of_responses_stand_under_kongs_keys_until_their_windows_end() {
    const PERIODS: [(&str, u64); 6] = [
        ("second", 1),
        ("minute", 60),
        ("hour", 3600),
        ("day", 86_400),
        ("month", 31 * 86_400),
        ("year", 366 * 86_400),
    ];
    let (route, service) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
    let none = "00000000-0000-0000-0000-000000000000";
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limits: Vec<String> = PERIODS.iter().map(|(period, _)| format!("{period}: 100")).collect();
    let config = format!(
        "policy: redis, limit_by: ip, limits: {{ video: {{ {} }} }}, redis: {{ {} }}",
        limits.join(", "),
        one(&redis)
    );
    for (scope, on_route, on_service) in [
        (String::new(), none, none),
        (format!(", route: {route}"), route, none),
        (format!(", service: {service}"), none, service),
    ] {
        redis.ask(&["FLUSHALL"]);
        let services = format!(
            "services:\n  - {{ id: {service}, name: s, url: \"http://{}\", routes: [{{ id: {route}, name: r, paths: [/] }}] }}\n",
            upstream.at
        );
        let plugin = format!("plugins:\n  - {{ name: response-ratelimiting, config: {{ {config} }}{scope} }}\n");
        let gateway = Gateway::start(&format!("_format_version: \"3.0\"\n{services}{plugin}"));
        let send = || get(gateway.ports.proxy, "/", &["X-Answer: X-Kong-Limit: video=2"]).status;
        assert_eq!(send(), 200);
        // The second's key is gone after it: it may be seen or not.
        let prefix = format!("response-ratelimit:{on_route}:{on_service}:127.0.0.1:");
        let keys = || -> Vec<String> { redis.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect() };
        eventually("redis has the counts", || keys().iter().filter(|key| !key.ends_with(":second")).count() == 5);
        for key in keys() {
            let rest = key.strip_prefix(&prefix).unwrap_or_else(|| panic!("{key} is not below {prefix}"));
            let parts: Vec<&str> = rest.split(':').collect();
            let [start, "video", period] = *parts else { panic!("{key}") };
            let (_, longest) = PERIODS.into_iter().find(|(name, _)| *name == period).unwrap();
            if period == "second" {
                continue;
            }
            // Milliseconds; windows that days make up begin at midnight.
            let start: u64 = start.parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            assert!(start.is_multiple_of(longest.min(86_400) * 1000) && now - start / 1000 < longest, "{key}");
            assert_eq!(redis.ask(&["GET", &key]), "2", "{key}");
            let ttl: u64 = redis.ask(&["TTL", &key]).parse().unwrap();
            assert!((longest - 60..=longest).contains(&ttl), "{key}: {ttl}");
        }
        // What is added later does not lengthen the life of a count.
        let year = keys().into_iter().find(|key| key.ends_with(":year")).unwrap();
        redis.ask(&["EXPIRE", &year, "1000"]);
        assert_eq!(send(), 200);
        eventually("redis has both", || redis.ask(&["GET", &year]) == "4");
        assert!(redis.ask(&["TTL", &year]).parse::<u64>().unwrap() <= 1000);
    }
}

#[test]
fn a_write_on_one_node_makes_invalid_what_all_nodes_keep_in_redis() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let kong_yml = kong_yml(&upstream, "proxy-cache", "strategy: redis, invalidate: true", &one(&redis));
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    let get = |node: usize| {
        let answer = get(nodes[node].ports.proxy, "/a", &["X-Answer: Content-Type: text/plain"]);
        answer.header("x-cache-status").unwrap_or_default().to_owned()
    };
    assert_eq!(get(0), "Miss");
    eventually("the other node has it", || get(1) == "Hit");
    for (node, other) in [(0, 1), (1, 0)] {
        let mut client = crate::client::Client::open(nodes[node].ports.proxy);
        client.send(b"DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().status, 200);
        assert_eq!(get(other), "Miss");
        eventually("both have it again", || get(node) == "Hit" && get(other) == "Hit");
    }
}

#[test]
fn responses_are_kept_for_all_nodes_in_redis_and_in_a_cluster() {
    let upstream = Upstream::start();
    let (redis, cluster) = (Redis::start(), redis::cluster());
    for server in [one(&redis), cluster_nodes(&cluster)] {
        let kong_yml = kong_yml(&upstream, "proxy-cache", "strategy: redis", &server);
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        let send = |node: usize, language: &str| {
            let fields = ["X-Answer: Content-Type: text/plain", "X-Answer: Vary: Accept-Language", language];
            get(nodes[node].ports.proxy, "/", &fields)
        };
        let status = |answer: &Answer| answer.header("x-cache-status").unwrap_or_default().to_owned();
        let first = send(0, "Accept-Language: de");
        assert_eq!((first.status, status(&first).as_str()), (200, "Miss"));
        // Until it is there, the other node fetches and keeps its own.
        eventually("the other node has it", || status(&send(1, "Accept-Language: de")) == "Hit");
        let [one, two] = [0, 1].map(|node| send(node, "Accept-Language: de"));
        assert_eq!((status(&one).as_str(), &one.body), ("Hit", &two.body));
        assert_eq!(status(&send(1, "Accept-Language: en")), "Miss");
        eventually("each language is kept", || status(&send(0, "Accept-Language: en")) == "Hit");
        assert_eq!(status(&send(0, "Accept-Language: de")), "Hit");
        let key = first.header("x-cache-key").unwrap_or_default();
        let of_key = format!("/proxy-cache/{key}");
        assert_eq!(get(nodes[1].ports.admin, &of_key, &[]).status, 200);
        let delete = |path: &str| {
            let mut client = crate::client::Client::open(nodes[1].ports.admin);
            client.send(format!("DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            client.answer().unwrap().status
        };
        assert_eq!((delete(&of_key), delete(&of_key)), (204, 404));
        assert_eq!(status(&send(0, "Accept-Language: de")), "Miss");
        eventually("it is kept again", || status(&send(1, "Accept-Language: de")) == "Hit");
        assert_eq!(delete("/proxy-cache"), 204);
        assert_eq!(status(&send(0, "Accept-Language: de")), "Miss");
    }
}
