//! Load balancing under faults: targets that are killed, fall silent, reset connections or are slow, while clients ask.

use crate::client::{Answer, Client, get};
use crate::gateway::{Gateway, eventually};
use crate::target::{Mood, Target};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A kong.yml, JSON being YAML, with a service on an upstream of these targets. Members of `upstream` and `service` are added.
fn kong_yml(targets: &[Value], upstream: Value, service: Value) -> String {
    let mut entity = json!({ "name": "pool", "targets": targets });
    merge(&mut entity, upstream);
    let mut to = json!({ "name": "up", "host": "pool", "routes": [{ "paths": ["/"] }] });
    merge(&mut to, service);
    let prometheus = json!({ "name": "prometheus", "config": { "balancing_metrics": true } });
    json!({ "_format_version": "3.0", "services": [to], "upstreams": [entity], "plugins": [prometheus] }).to_string()
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn plain(target: &Target) -> Value {
    json!({ "target": target.at.to_string() })
}

fn passive(unhealthy: Value) -> Value {
    json!({ "healthchecks": { "passive": { "unhealthy": unhealthy } } })
}

/// The body of `/upstreams/pool/health` with details.
fn health(gateway: &Gateway) -> Value {
    let answer = get(gateway.ports.admin, "/upstreams/pool/health?details=1", &[]);
    serde_json::from_str(&answer.body).unwrap()
}

/// What the health report says of a target.
fn state_of(gateway: &Gateway, target: &Target) -> String {
    let report = health(gateway);
    let rows = report["data"].as_array().unwrap();
    let row = rows.iter().find(|row| row["target"] == target.at.to_string()).unwrap();
    row["health"].as_str().unwrap().to_owned()
}

/// How often each answer comes, over so many requests.
fn spread(gateway: &Gateway, requests: usize) -> Vec<(String, usize)> {
    let mut client = Client::open(gateway.ports.proxy);
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..requests {
        let answer = client.get("/", &[]);
        *counts.entry(if answer.status == 200 { answer.body } else { answer.status.to_string() }).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn port(target: &Target) -> String {
    target.at.port().to_string()
}

/// Clients that ask without a pause until they are told to stop: how many requests there were, and which failed.
struct Load {
    stop: AtomicBool,
    requests: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    fn run(proxy: SocketAddr, clients: usize, meanwhile: impl FnOnce(&Load)) -> Load {
        let load = Load { stop: AtomicBool::new(false), requests: AtomicUsize::new(0), failed: AtomicUsize::new(0) };
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let mut client = Client::open(proxy);
                    while !load.stop.load(Ordering::SeqCst) {
                        let is_good = client.try_get("/", &[]).is_ok_and(|answer| answer.status == 200);
                        if !is_good {
                            load.failed.fetch_add(1, Ordering::SeqCst);
                            client = Client::open(proxy);
                        }
                        load.requests.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            meanwhile(&load);
            load.stop.store(true, Ordering::SeqCst);
        });
        load
    }

    /// Waits for so many more requests.
    fn more(&self, requests: usize) {
        let until = self.requests.load(Ordering::SeqCst) + requests;
        eventually("clients get on", || self.requests.load(Ordering::SeqCst) >= until);
    }
}

#[test]
fn a_target_killed_under_load_costs_clients_next_to_nothing_and_comes_back() {
    let (stays, dies) = (Target::start(), Target::start());
    let checks = json!({ "healthchecks": {
        "passive": { "unhealthy": { "tcp_failures": 1 } },
        "active": { "unhealthy": { "interval": 0.2 }, "healthy": { "successes": 1 } },
    } });
    let gateway = Gateway::start(&kong_yml(&[plain(&stays), plain(&dies)], checks, json!({})));
    let load = Load::run(gateway.ports.proxy, 4, |load| {
        load.more(500);
        dies.kill();
        load.more(1000);
        assert_eq!(state_of(&gateway, &dies), "UNHEALTHY");
        let before = dies.seen();
        dies.revive();
        let revived = Instant::now();
        eventually("the target is back in rotation", || dies.seen() > before + 1);
        // An interval, and what a busy machine needs to notice.
        assert!(revived.elapsed() < Duration::from_secs(5), "{:?}", revived.elapsed());
    });
    let failed = load.failed.into_inner();
    assert!(failed <= 3, "{failed} of {} requests failed", load.requests.into_inner());
    let row = health(&gateway);
    let changes = row["data"].as_array().unwrap().iter().map(|row| &row["data"]["addresses"][0]["last_change"]);
    let reasons: Vec<&str> = changes.filter_map(|change| change["reason"].as_str()).collect();
    assert_eq!(reasons, ["successful probes"]);
}

#[test]
fn active_checks_alone_take_a_dead_target_out() {
    let (stays, dies) = (Target::start(), Target::start());
    let checks = json!({ "healthchecks": { "active": {
        "healthy": { "interval": 0.2 }, "unhealthy": { "interval": 0.2, "tcp_failures": 2 },
    } } });
    let yml = kong_yml(&[plain(&stays), plain(&dies)], checks, json!({ "retries": 0 }));
    let gateway = Gateway::start(&yml);
    dies.kill();
    eventually("the dead target is found", || state_of(&gateway, &dies) == "UNHEALTHY");
    assert_eq!(spread(&gateway, 200), [(port(&stays), 200)]);
}

#[test]
fn silent_resetting_and_failing_targets_are_left_for_others() {
    for (mood, unhealthy) in [(Mood::Silent, json!({ "timeouts": 1 })), (Mood::Resets, json!({ "tcp_failures": 1 }))] {
        let (good, bad) = (Target::start(), Target::start());
        bad.mood(mood);
        let yml = kong_yml(&[plain(&good), plain(&bad)], passive(unhealthy), json!({ "read_timeout": 300 }));
        let gateway = Gateway::start(&yml);
        assert_eq!(spread(&gateway, 20), [(port(&good), 20)], "{mood:?}");
        assert_eq!((bad.seen(), state_of(&gateway, &bad)), (1, "UNHEALTHY".to_owned()), "{mood:?}");
    }
}

#[test]
fn a_request_is_tried_at_every_target_once_before_any_twice() {
    let targets: Vec<Target> = (0..4).map(|_| Target::start()).collect();
    targets.iter().for_each(|target| target.mood(Mood::Resets));
    for algorithm in ["round-robin", "least-connections", "consistent-hashing"] {
        let before: Vec<usize> = targets.iter().map(Target::seen).collect();
        let all: Vec<Value> = targets.iter().map(plain).collect();
        let upstream = json!({ "algorithm": algorithm });
        let gateway = Gateway::start(&kong_yml(&all, upstream, json!({ "retries": 3 })));
        assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 502, "{algorithm}");
        let tried: Vec<usize> = targets.iter().zip(before).map(|(target, before)| target.seen() - before).collect();
        assert_eq!(tried, [1; 4], "{algorithm}");
    }
}

#[test]
fn nothing_is_sent_twice_that_may_have_had_an_effect_and_no_answer_begins_twice() {
    let (good, bad) = (Target::start(), Target::start());
    let gateway = Gateway::start(&kong_yml(&[plain(&good), plain(&bad)], json!({}), json!({})));
    let post = |body: &str| -> Answer {
        let mut client = Client::open(gateway.ports.proxy);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.send(head.as_bytes()).unwrap();
        client.answer().unwrap()
    };
    bad.mood(Mood::Resets);
    let statuses = [post("x").status, post("x").status];
    assert_eq!((statuses.iter().filter(|status| **status == 502).count(), good.seen(), bad.seen()), (1, 1, 1));
    // A connection that is refused has brought nothing to anybody.
    bad.kill();
    assert_eq!([post("x").status, post("x").status], [200, 200]);
    bad.revive();
    bad.mood(Mood::BreaksOff);
    let seen = good.seen();
    let broken = (0..4).filter(|_| Client::open(gateway.ports.proxy).try_get("/", &[]).is_err()).count();
    assert_eq!((broken, good.seen() - seen), (2, 2), "an answer that broke off stays broken");
}

#[test]
fn a_slow_target_gets_less_where_the_algorithm_looks_at_it() {
    for algorithm in ["least-connections", "latency"] {
        let (quick, slow) = (Target::start(), Target::start());
        slow.mood(Mood::Slow(100));
        let upstream = json!({ "algorithm": algorithm });
        let gateway = Gateway::start(&kong_yml(&[plain(&quick), plain(&slow)], upstream, json!({})));
        let load = Load::run(gateway.ports.proxy, 4, |load| load.more(200));
        assert_eq!(load.failed.into_inner(), 0);
        let (quick, slow) = (quick.seen(), slow.seen());
        assert!(quick > 3 * slow, "{algorithm}: {quick} and {slow}");
    }
}

#[test]
fn targets_for_failover_wait_for_their_turn() {
    let (first, second) = (Target::start(), Target::start());
    let failover = json!({ "target": second.at.to_string(), "failover": true });
    let gateway =
        Gateway::start(&kong_yml(&[plain(&first), failover], passive(json!({ "tcp_failures": 1 })), json!({})));
    assert_eq!(spread(&gateway, 20), [(port(&first), 20)]);
    first.kill();
    assert_eq!(spread(&gateway, 20), [(port(&second), 20)]);
}

#[test]
fn the_nodes_own_locality_comes_first() {
    let (here, there) = (Target::start(), Target::start());
    let at = |target: &Target, place: &str| json!({ "target": target.at.to_string(), "locality": place });
    let yml = kong_yml(&[at(&here, "eu-1"), at(&there, "eu-2")], json!({}), json!({}));
    let gateway = Gateway::start_with(&yml, &[("locality", "eu-1")]);
    assert_eq!(spread(&gateway, 20), [(port(&here), 20)]);
}

#[test]
fn the_cookie_to_hash_comes_behind_the_upstreams_and_only_where_there_was_one() {
    let upstream = crate::upstream::Upstream::start();
    let hashing = json!({ "algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "c" });
    let target = json!({ "target": upstream.at.to_string() });
    let refusing = json!({ "target": crate::gateway::free_address().to_string() });
    for (targets, asked, status, before) in
        [(&[target][..], &["X-Answer: Set-Cookie: z=1"][..], 200, &["z=1"][..]), (&[refusing], &[], 502, &[])]
    {
        let gateway = Gateway::start(&kong_yml(targets, hashing.clone(), json!({ "retries": 0 })));
        let answer = get(gateway.ports.proxy, "/", asked);
        let cookies: Vec<_> =
            answer.headers.iter().filter(|(n, _)| n == "set-cookie").map(|(_, v)| v.as_str()).collect();
        let (last, others) = cookies.split_last().unwrap();
        assert_eq!((answer.status, others), (status, before), "{answer:?}");
        assert!(last.starts_with("c=") && last.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{last}");
    }
    let gateway = Gateway::start(&kong_yml(&[], hashing, json!({})));
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None), "{answer:?}");
}

#[test]
fn a_session_stays_with_its_target() {
    let targets: Vec<Target> = (0..3).map(|_| Target::start()).collect();
    let all: Vec<Value> = targets.iter().map(plain).collect();
    let mut upstream = json!({ "algorithm": "sticky-sessions", "sticky_sessions_cookie": "sid" });
    merge(&mut upstream, passive(json!({ "tcp_failures": 1 })));
    let gateway = Gateway::start(&kong_yml(&all, upstream, json!({})));
    let first = get(gateway.ports.proxy, "/", &[]);
    let cookie = first.header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("sid=") && cookie.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{cookie}");
    let sent = format!("Cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..9 {
        let again = get(gateway.ports.proxy, "/", &[&sent]);
        assert_eq!((&again.body, again.header("set-cookie")), (&first.body, None));
    }
    targets.iter().find(|target| port(target) == first.body).unwrap().kill();
    let moved = get(gateway.ports.proxy, "/", &[&sent]);
    assert_eq!(moved.status, 200);
    assert_ne!(moved.body, first.body);
    assert_ne!(moved.header("set-cookie"), Some(&*cookie), "the client is told of its new target");
}

#[test]
fn the_circuit_opens_after_failures_and_closes_after_a_good_trial() {
    let target = Target::start();
    target.mood(Mood::Status(500));
    let upstream = json!({ "circuit_breaker": { "consecutive_failures": 3, "open_time": 0.5 } });
    let gateway = Gateway::start(&kong_yml(&[plain(&target)], upstream, json!({})));
    let statuses: Vec<u16> = (0..5).map(|_| get(gateway.ports.proxy, "/", &[]).status).collect();
    assert_eq!((&statuses[..], target.seen()), (&[500, 500, 500, 503, 503][..], 3));
    let refused = get(gateway.ports.proxy, "/", &[]);
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    let is_open = |gateway: &Gateway| {
        let metrics = get(gateway.ports.status, "/metrics", &[]).body;
        metrics.contains("silverback_upstream_circuit{upstream=\"pool\",state=\"open\"} 1")
    };
    assert!(is_open(&gateway));
    let report = get(gateway.ports.admin, "/upstreams/pool/health?balancer_health=1&details=1", &[]).body;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["data"]["circuit_breaker"], json!({ "state": "open" }));
    target.mood(Mood::Serves);
    eventually("the circuit closes", || get(gateway.ports.proxy, "/", &[]).status == 200);
    assert!(!is_open(&gateway));
    assert_eq!(spread(&gateway, 5), [(port(&target), 5)]);
}

#[test]
fn no_more_requests_are_under_way_than_may_be() {
    let target = Target::start();
    target.mood(Mood::Slow(200));
    let upstream = json!({ "circuit_breaker": { "max_requests": 2, "max_pending": 1, "pending_timeout": 20 } });
    let gateway = Gateway::start(&kong_yml(&[plain(&target)], upstream, json!({})));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| get(gateway.ports.proxy, "/", &[]).status)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 3 && statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(target.most_busy(), 2);
    assert_eq!(spread(&gateway, 3), [(port(&target), 3)], "room is given back");
}

#[test]
fn an_outlier_rests_without_any_health_check() {
    let (good, bad) = (Target::start(), Target::start());
    bad.mood(Mood::Status(503));
    let upstream = json!({ "outlier_detection": { "consecutive_failures": 2, "ejection_time": 1 } });
    let gateway = Gateway::start(&kong_yml(&[plain(&good), plain(&bad)], upstream, json!({})));
    let mut counts = spread(&gateway, 40);
    counts.sort_by_key(|(_, count)| *count);
    assert_eq!(counts, [("503".to_owned(), 2), (port(&good), 38)]);
    assert_eq!(state_of(&gateway, &bad), "UNHEALTHY");
    bad.mood(Mood::Serves);
    let seen = bad.seen();
    eventually("it is back after its rest", || {
        get(gateway.ports.proxy, "/", &[]);
        bad.seen() > seen
    });
}

#[test]
fn a_retry_budget_bounds_what_a_bad_target_costs_the_others() {
    let (good, bad) = (Target::start(), Target::start());
    bad.mood(Mood::Resets);
    let upstream = json!({ "retry_budget": { "percent": 0, "min_per_second": 0.1 } });
    let gateway = Gateway::start(&kong_yml(&[plain(&good), plain(&bad)], upstream, json!({})));
    let counts = spread(&gateway, 40);
    let failed = counts.iter().find(|(answer, _)| answer == "502").map_or(0, |(_, count)| *count);
    // The first request of all, by which the start is waited for, may have taken the one retry.
    assert!((15..=20).contains(&failed), "one retry, and those that time has paid for: {counts:?}");
}

#[test]
fn targets_are_marked_by_hand_without_a_database_too() {
    let (one, other) = (Target::start(), Target::start());
    let yml = kong_yml(&[plain(&one), plain(&other)], passive(json!({ "tcp_failures": 1 })), json!({}));
    for properties in [&[][..], &[("database", "embedded")]] {
        let gateway = Gateway::start_with(&yml, properties);
        let admin = gateway.ports.admin;
        if !properties.is_empty() {
            load_by_hand(admin, &[&one, &other]);
        }
        let put = |path: &str| -> u16 {
            let mut client = Client::open(admin);
            client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
            client.answer().unwrap().status
        };
        let path = format!("/upstreams/pool/targets/{}", one.at);
        assert_eq!(put(&format!("{path}/unhealthy")), 204, "{properties:?}");
        assert_eq!(spread(&gateway, 6), [(port(&other), 6)], "{properties:?}");
        assert_eq!(put(&format!("{path}/{}/healthy", one.at)), 204, "{properties:?}");
        let mut counts = spread(&gateway, 6);
        counts.sort_by_key(|(_, count)| *count);
        assert_eq!(counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [3, 3], "{properties:?}");
        // A name stands for the addresses of the target's own name at the port.
        assert_eq!(put(&format!("{path}/localhost:{}/unhealthy", port(&one))), 204, "{properties:?}");
        assert_eq!(state_of(&gateway, &one), "UNHEALTHY", "{properties:?}");
        assert_eq!(put(&format!("{path}/a%20b/unhealthy")), 400, "{properties:?}");
        assert_eq!(put("/upstreams/pool/targets/127.0.0.1:9/unhealthy"), 404, "{properties:?}");
    }
}

/// The same as the kong.yml of the other modes, through the Admin API.
fn load_by_hand(admin: SocketAddr, targets: &[&Target]) {
    let post = |path: &str, body: Value| {
        let text = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut client = Client::open(admin);
        client.send(head.as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 201, "{path}: {answer:?}");
    };
    let mut upstream = passive(json!({ "tcp_failures": 1 }));
    upstream["name"] = json!("pool");
    post("/upstreams", upstream);
    for target in targets {
        post("/upstreams/pool/targets", plain(target));
    }
    post("/services", json!({ "name": "up", "host": "pool" }));
    post("/services/up/routes", json!({ "paths": ["/"] }));
}
