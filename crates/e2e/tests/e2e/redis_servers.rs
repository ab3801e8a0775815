//! Redis as a cluster of three and behind a sentinel, garbage instead of Redis, and the plugins that count or keep there.

use crate::client::{Answer, get};
use crate::gateway::{Gateway, eventually, free_address};
use crate::pki::Identity;
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

/// Sends requests one after another until one of them is so; the longest that one took, and how many took more than a second.
fn until(send: impl Fn() -> Answer, is_so: impl Fn(&Answer) -> bool) -> (Duration, usize) {
    let (mut longest, mut slow) = (Duration::ZERO, 0);
    eventually("it is so", || {
        let start = Instant::now();
        let answer = send();
        longest = longest.max(start.elapsed());
        slow += usize::from(start.elapsed() > Duration::from_secs(1));
        is_so(&answer)
    });
    (longest, slow)
}

/// Freezes the server that has the count; after that it comes back in some way, or another one counts.
fn a_freeze_costs_time_once(redis: &str, servers: &[&Redis], come_back: impl FnOnce(&Redis)) {
    let upstream = Upstream::start();
    let config = "policy: redis, hour: 1000000, limit_by: ip";
    let kong_yml = kong_yml(&upstream, "rate-limiting", config, &format!("{redis}, timeout: 2000"));
    let gateway = Gateway::start(&kong_yml);
    let send = || get(gateway.ports.proxy, "/", &[]);
    until(send, |answer| !remaining(answer).is_empty());
    let server = servers.iter().find(|server| server.ask(&["DBSIZE"]) == "1").unwrap();
    server.signal("STOP");
    // Those that are not counted come one after the other, until another server counts: only the first waits.
    let uncounted = AtomicUsize::new(0);
    let is_last = |answer: &Answer| match remaining(answer) {
        "" => uncounted.fetch_add(1, Relaxed) >= 20,
        _ => uncounted.load(Relaxed) > 0,
    };
    let (longest, slow) = until(send, is_last);
    assert!(longest < Duration::from_secs(4) && slow <= 1, "{slow} of twenty took up to {longest:?}");
    come_back(server);
    let (longest, slow) = until(send, |answer| !remaining(answer).is_empty());
    assert!(longest < Duration::from_secs(4) && slow <= 1, "{slow} took up to {longest:?}");
    server.signal("CONT");
}

#[test]
fn a_node_of_a_cluster_that_freezes_costs_time_to_those_under_way_only() {
    let nodes = redis::cluster();
    a_freeze_costs_time_once(&cluster_nodes(&nodes), &nodes.iter().collect::<Vec<_>>(), |node| node.signal("CONT"));
}

#[test]
fn a_master_that_freezes_costs_time_to_those_under_way_only_until_another_is_chosen() {
    let watched = Watched::start();
    let port = watched.sentinel.at.port();
    let redis = format!("sentinel_master: main, sentinel_nodes: [{{ host: 127.0.0.1, port: {port} }}]");
    a_freeze_costs_time_once(&redis, &[&watched.servers[0]], |_| {});
}

/// A server that, whatever comes, answers with this for as long as it is listened to. Its port.
fn always(garbage: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                while stream.write_all(garbage).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    port
}

/// The memory of a program and of those that it started, in MiB.
fn resident(program: u32) -> u64 {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let status = read(format!("/proc/{program}/status"));
    let own =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let started = read(format!("/proc/{program}/task/{program}/children"));
    own.unwrap_or(0) / 1024 + started.split_whitespace().map(|child| resident(child.parse().unwrap())).sum::<u64>()
}

#[test]
fn a_redis_that_answers_garbage_is_out_of_reach_for_each_plugin_and_costs_little() {
    const BIG: &[u8] = &[b'$'; 1 << 20];
    let counted = [200, 200, 200, 429, 429];
    // Path, plugin, config, and what its clients are answered.
    let plugins = [
        ("/strict", "rate-limiting", "policy: redis, year: 3, fault_tolerant: false", [500; 5]),
        ("/tolerant", "rate-limiting", "policy: redis, year: 3", [200; 5]),
        ("/synced", "rate-limiting", "policy: redis, year: 3, limit_by: path, path: /synced, sync_rate: 0.02", counted),
        (
            "/advanced",
            "rate-limiting-advanced",
            "strategy: redis, window_size: [31536000], window_type: fixed, limit: [3], sync_rate: 0, namespace: a",
            counted,
        ),
        (
            "/advanced-synced",
            "rate-limiting-advanced",
            "strategy: redis, window_size: [31536000], window_type: fixed, limit: [3], sync_rate: 0.02, namespace: b",
            counted,
        ),
        (
            "/response-strict",
            "response-ratelimiting",
            "policy: redis, limits: { video: { year: 3 } }, fault_tolerant: false",
            [500; 5],
        ),
        ("/response", "response-ratelimiting", "policy: redis, limits: { video: { year: 3 } }", [200; 5]),
        ("/cached", "proxy-cache", "strategy: redis", [200; 5]),
        ("/watched", "rate-limiting", "policy: redis, year: 3, fault_tolerant: false", [500; 5]),
        ("/cluster", "rate-limiting", "policy: redis, year: 3, fault_tolerant: false", [500; 5]),
    ];
    let upstream = Upstream::start();
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"$8000000\r\n",
        b"$99999999999\r\n",
        b"*1\r\n*16000\r\n:1\r\n",
        b"*16384\r\n*16384\r\n*16384\r\n:1\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"-ERR of some kind\r\n",
        b"-NOSCRIPT no such script\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"*2\r\n:9223372036854775807\r\n:-9223372036854775808\r\n",
        &[0; 64],
        BIG,
    ] {
        let port = always(garbage);
        let routes = plugins.map(|(path, plugin, config, _)| {
            let at = format!("{{ host: 127.0.0.1, port: {port} }}");
            let servers = match path {
                "/watched" => format!("sentinel_master: main, sentinel_nodes: [{at}]"),
                "/cluster" => format!("cluster_nodes: [{}]", at.replace("host", "ip")),
                _ => format!("host: 127.0.0.1, port: {port}"),
            };
            let config =
                format!("{config}, redis: {{ {servers}, timeout: 1000, server_name: {}.test }}", path.replace('/', ""));
            format!("{{ paths: [{path}], strip_path: false, plugins: [{{ name: {plugin}, config: {{ {config} }} }}] }}")
        });
        let gateway = Gateway::start(&upstream.kong_yml(&routes.each_ref().map(String::as_str)));
        let before = resident(gateway.pid());
        let name = String::from_utf8_lossy(&garbage[..garbage.len().min(64)]);
        let start = Instant::now();
        for (path, _, _, want) in plugins {
            let statuses = want.map(|_| get(gateway.ports.proxy, path, &["X-Answer: Content-Type: text/plain"]).status);
            // It may be a number that counts: nothing tells it from one.
            if !garbage.starts_with(b"*2") {
                assert_eq!(statuses, want, "{path}, {name:?}");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{name:?}: {:?}", start.elapsed());
        let more = resident(gateway.pid()).saturating_sub(before);
        assert!(more < 200, "{name:?}: {more} MiB more");
        assert!(!gateway.output().contains("panicked"), "{name:?}: {}", gateway.output());
    }
}

#[test]
fn behind_a_proxy_that_spreads_keys_what_is_counted_together_has_a_part_in_braces() {
    let upstream = Upstream::start();
    for (plugin, config) in [
        ("rate-limiting", "policy: redis, limit_by: ip, year: 3, month: 3"),
        ("rate-limiting", "policy: redis, limit_by: ip, year: 3, month: 3, sync_rate: 0.02"),
        ("response-ratelimiting", "policy: redis, limit_by: ip, limits: { video: { year: 3, month: 3 } }"),
    ] {
        let redis = Redis::start();
        let servers = format!("{}, connection_is_proxied: true", one(&redis));
        let gateway = Gateway::start(&kong_yml(&upstream, plugin, config, &servers));
        let send = || get(gateway.ports.proxy, "/", &["X-Answer: X-Kong-Limit: video=1"]).status;
        let none = "00000000-0000-0000-0000-000000000000";
        let keys = || redis.ask(&["KEYS", &format!("*:{{{none}:{none}:127.0.0.1}}:*")]);
        for count in ["1", "2", "3"] {
            assert_eq!(send(), 200, "{plugin}, {config}");
            eventually("both windows are counted", || {
                keys().lines().filter(|key| redis.ask(&["GET", key]) == count).count() == 2
            });
        }
        assert_eq!(send(), 429, "{plugin}, {config}");
        assert_eq!(redis.ask(&["DBSIZE"]), "2", "{plugin}, {config}");
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

/// What the gateway's user may do, as docs/redis.md says.
const ALLOWED: &str = "on >secret ~ratelimit:* +ping +select +eval +evalsha +get +incr +incrby +ttl +expire +role \
                       +cluster|slots +asking";

/// Certificates in a folder, and the arguments of a server that shows them.
struct Certificates {
    folder: tempfile::TempDir,
    authority: String,
}

impl Certificates {
    fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let authority = Identity::authority("redis");
        let server = authority.issue(&["redis.test"]);
        std::fs::write(path("ca.pem"), authority.pem()).unwrap();
        std::fs::write(path("cert.pem"), server.pem()).unwrap();
        std::fs::write(path("key.pem"), server.key_pem()).unwrap();
        Certificates { authority: path("ca.pem"), folder }
    }

    fn arguments(&self, port: u16) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let port = port.to_string();
        let arguments = [
            ["--tls-port", &port],
            ["--tls-cert-file", &path("cert.pem")],
            ["--tls-key-file", &path("key.pem")],
            ["--tls-ca-cert-file", &self.authority],
            ["--tls-auth-clients", "no"],
            ["--tls-replication", "yes"],
            ["--tls-cluster", "yes"],
        ];
        arguments.concat().into_iter().map(str::to_owned).collect()
    }
}

/// Whether a client is connected as this user.
fn is_used_by(redis: &Redis, user: &str) -> bool {
    redis.ask(&["CLIENT", "LIST"]).contains(&format!("user={user} "))
}

#[test]
fn a_cluster_with_tls_and_a_user_of_few_rights_counts() {
    let (upstream, certificates) = (Upstream::start(), Certificates::make());
    let tls = [(); 3].map(|()| free_address().port());
    let nodes = redis::cluster_with(|at| {
        let user = ["--user", "gateway"].into_iter().chain(ALLOWED.split_whitespace()).map(str::to_owned);
        certificates.arguments(tls[at]).into_iter().chain(user).collect()
    });
    let seeds = tls.map(|port| format!("{{ ip: 127.0.0.1, port: {port} }}")).join(", ");
    let secure = "ssl: true, ssl_verify: true, server_name: redis.test, username: gateway";
    let by_header = "policy: redis, year: 50, day: 50, limit_by: header, header_name: X-T, fault_tolerant: false";
    let start = |password: &str| {
        let servers = format!("cluster_nodes: [{seeds}], {secure}, password: {password}");
        let trusted = [("lua_ssl_trusted_certificate", certificates.authority.as_str())];
        Gateway::start_with(&kong_yml(&upstream, "rate-limiting", by_header, &servers), &trusted)
    };
    let (gateway, stranger) = (start("secret"), start("wrong"));
    let send = |gateway: &Gateway, n: usize| get(gateway.ports.proxy, "/", &[&format!("X-T: client-{n}")]);
    for n in 0..24 {
        let answers = [(); 2].map(|()| send(&gateway, n));
        let left = answers.each_ref().map(|answer| answer.header("x-ratelimit-remaining-day").unwrap_or_default());
        assert_eq!(left, ["49", "48"], "{n}: {}", gateway.output());
    }
    for node in &nodes {
        assert_ne!(node.ask(&["DBSIZE"]), "0");
        assert!(is_used_by(node, "gateway"));
    }
    assert_eq!(send(&stranger, 0).status, 500);
}

#[test]
fn sentinels_and_servers_with_tls_and_users_of_their_own_count() {
    let (upstream, certificates) = (Upstream::start(), Certificates::make());
    let tls = [(); 3].map(|()| free_address().port());
    let of_server = |at: usize| {
        let user = ["--user", "gateway"].into_iter().chain(ALLOWED.split_whitespace()).map(str::to_owned);
        certificates.arguments(tls[at]).into_iter().chain(user).collect::<Vec<_>>()
    };
    let of_sentinel = "--user watcher on >hidden +auth +sentinel|get-master-addr-by-name".split(' ').map(str::to_owned);
    let of_sentinel = certificates.arguments(tls[2]).into_iter().chain(of_sentinel).collect();
    let mut watched = Watched::start_with([of_server(0), of_server(1)], of_sentinel, Some([tls[0], tls[1]]));
    let start = |password: &str, of_sentinels: &str| {
        let servers = format!(
            "sentinel_master: main, sentinel_nodes: [{{ host: 127.0.0.1, port: {} }}], sentinel_username: watcher, \
             sentinel_password: {of_sentinels}, ssl: true, ssl_verify: true, server_name: redis.test, \
             username: gateway, password: {password}",
            tls[2]
        );
        let config = "policy: redis, year: 1000, limit_by: ip, fault_tolerant: false";
        let trusted = [("lua_ssl_trusted_certificate", certificates.authority.as_str())];
        Gateway::start_with(&kong_yml(&upstream, "rate-limiting", config, &servers), &trusted)
    };
    let gateway = start("secret", "hidden");
    let send = |gateway: &Gateway| get(gateway.ports.proxy, "/", &[]);
    let left = |answer: &Answer| answer.header("x-ratelimit-remaining-year").and_then(|left| left.parse::<u32>().ok());
    assert_eq!(left(&send(&gateway)), Some(999), "{}", gateway.output());
    assert!(is_used_by(&watched.servers[0], "gateway"));
    for (password, of_sentinels) in [("wrong", "hidden"), ("secret", "wrong")] {
        let stranger = start(password, of_sentinels);
        assert_eq!(send(&stranger).status, 500);
        eventually("the log says why", || stranger.output().contains("WRONGPASS"));
    }
    eventually("the replica has the count", || watched.servers[1].ask(&["DBSIZE"]) == "1");
    watched.servers[0].kill();
    eventually("the replica is the master", || watched.servers[1].ask(&["ROLE"]).starts_with("master"));
    eventually("it counts on", || left(&send(&gateway)).is_some_and(|left| left < 999));
}
