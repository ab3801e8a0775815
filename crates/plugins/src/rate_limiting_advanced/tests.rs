//! Tests of `rate-limiting-advanced`.

use super::window::{Kind, SECOND, Window};
use super::*;
use entities::{ConsumerGroup, ConsumerGroupPlugin};
use pdk::testing::{Exchange, Harness, START, complete};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each harness has a namespace of its own, for counters outlive it.
fn harness(mut config: Value) -> Harness {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if config.get("namespace").is_none() {
        config["namespace"] = json!(format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    }
    Harness::new(&DEFINITION, config)
}

fn told(exchange: &Exchange) -> String {
    let fields = exchange.headers.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
    let fields = fields.filter(|(n, _)| n.contains("Rate") || n.contains("Retry"));
    let short = |n: &str| n.replace("X-RateLimit-", "X-").replace("RateLimit-", "");
    let all = fields.map(|(n, v)| format!(" {}={v}", short(&n)));
    format!("{}{}", exchange.status, all.collect::<String>())
}

/// The statuses of requests that come at these milliseconds.
fn statuses(config: Value, at: &[u64]) -> Vec<u16> {
    let h = harness(config);
    let mut now = 0;
    let send = |at: &u64| {
        h.clock().advance(Duration::from_millis(at - now));
        now = *at;
        h.send("GET /").status
    };
    at.iter().map(send).collect()
}

#[test]
fn windows_are_told_by_their_names() {
    let h = harness(json!({ "window_size": [90, 60], "limit": [3, 2], "window_type": "fixed" }));
    for want in [
        "200 X-Limit-Minute=2 X-Remaining-Minute=1 X-Limit-90=3 X-Remaining-90=2 Limit=2 Remaining=1 Reset=30",
        "200 X-Limit-Minute=2 X-Remaining-Minute=0 X-Limit-90=3 X-Remaining-90=1 Limit=2 Remaining=0 Reset=30",
        "429 X-Limit-Minute=2 X-Remaining-Minute=0 X-Limit-90=3 X-Remaining-90=1 Limit=2 Remaining=0 Reset=30 Retry-After=30",
    ] {
        assert_eq!(told(&h.send("GET /")), want);
    }
    // Refused requests count nowhere: the longer window has room for one more.
    h.clock().advance(Duration::from_secs(30));
    assert_eq!((h.send("GET /").status, h.send("GET /").status), (200, 429));
}

#[test]
fn each_kind_of_window_counts_in_its_way() {
    let config = |kind: &str, limit: u64| json!({ "window_size": [10], "limit": [limit], "window_type": kind });
    let calm = |kind: &str, limit: u64| {
        let mut config = config(kind, limit);
        config["disable_penalty"] = json!(true);
        config
    };
    for (config, at, want) in [
        // The clock stands at the start of a window of ten seconds.
        (config("fixed", 2), &[9000, 9500, 9900, 10_000, 10_001, 10_002][..], &[200, 200, 429, 200, 200, 429][..]),
        (
            calm("sliding", 2),
            &[9000, 9500, 9900, 10_000, 14_900, 15_000, 15_001, 19_000],
            &[200, 200, 429, 429, 429, 200, 429, 429],
        ),
        (calm("sliding", 2), &[0, 1, 25_000, 25_001, 25_002], &[200, 200, 200, 200, 429]),
        // The refused request counts: 3 x 0.5 + 1 is more than 2.
        (config("sliding", 2), &[9000, 9500, 9900, 15_000], &[200, 200, 429, 429]),
        (config("token-bucket", 2), &[0, 1, 2, 4999, 5001, 5002, 10_001], &[200, 200, 429, 429, 200, 429, 200]),
        (config("token-bucket", 2), &[0, 20_000, 20_001, 20_002], &[200, 200, 200, 429]),
    ] {
        assert_eq!(statuses(config.clone(), at), want, "{config}");
    }
}

#[test]
fn a_leaky_bucket_makes_requests_wait() {
    let h = harness(json!({ "window_size": [1], "limit": [4], "window_type": "leaky-bucket", "max_delay": 0.5 }));
    // The wall clock stands still: requests come all at once. tokio's clock tells how long each was held.
    let waited = |h: &Harness| {
        let exchange = h.send("GET /");
        (exchange.status, told(&exchange))
    };
    for want in [200, 200, 200, 429, 429] {
        let (status, told) = waited(&h);
        assert_eq!(status, want, "{told}");
        assert_eq!(told.contains("Retry-After=1"), want == 429, "{told}");
    }
    h.clock().advance(Duration::from_millis(250));
    assert_eq!((waited(&h).0, waited(&h).0), (200, 429));
}

#[test]
fn namespaces_share_counters() {
    let config = json!({ "window_size": [60], "limit": [1], "namespace": "shared-by-two" });
    let (first, second) = (harness(config.clone()), harness(config));
    assert_eq!((first.send("GET /").status, second.send("GET /").status), (200, 429));
    let other = harness(json!({ "window_size": [60], "limit": [1] }));
    assert_eq!(other.send("GET /").status, 200);
}

#[test]
fn counts_by_what_it_is_told_to() {
    let header = harness(json!({ "window_size": [60], "limit": [1], "identifier": "header", "header_name": "X-T" }));
    let path = harness(json!({ "window_size": [60], "limit": [1], "identifier": "path", "path": "/a" }));
    for (h, request, want) in [
        (&header, "GET /\nX-T: a", 200),
        (&header, "GET /\nx-t: a", 429),
        (&header, "GET /\nX-T: b", 200),
        (&header, "GET /", 200),
        (&header, "GET /", 429),
        (&path, "GET /a", 200),
        (&path, "GET /a?x=1", 429),
        (&path, "GET /b", 200),
    ] {
        assert_eq!(h.send(request).status, want, "{request}");
    }
}

#[test]
fn the_refusal_is_as_configured() {
    let config = json!({
        "window_size": [60], "limit": [1], "error_code": 404, "error_message": "Not here", "hide_client_headers": true
    });
    let h = harness(config);
    assert_eq!(h.send("GET /").answer(), "200\n");
    let refused = h.send("GET /\nAccept: text/plain");
    assert_eq!((refused.status, told(&refused).as_str()), (404, "404"));
    assert!(refused.body.starts_with("Not here"), "{}", refused.body);
}

#[test]
fn never_lets_more_through_than_the_limit_says() {
    let at = u64::try_from(START.as_nanos()).unwrap();
    for kind in [Kind::Fixed, Kind::Sliding, Kind::TokenBucket] {
        let window = Window { kind, limit: 700.0, size: 3600 * SECOND, max_delay: 0, has_penalty: true };
        let counters = counters::Counters::new();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        if window.take(&counters, window.key(0, "n", "all", at), at).is_allowed {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 700, "{kind:?}");
    }
}

#[test]
fn a_flood_of_clients_is_bounded() {
    let window = Window { kind: Kind::Fixed, limit: 1.0, size: SECOND, max_delay: 0, has_penalty: true };
    let counters = counters::Counters::new();
    for n in 0..400_000_u32 {
        assert!(window.take(&counters, window.key(0, "n", &n.to_string(), SECOND), SECOND).is_allowed, "{n}");
    }
    assert!(counters.len() <= counters::CAPACITY, "{}", counters.len());
}

#[test]
fn refuses_limits_that_contradict_each_other() {
    for (sizes, limits, want) in [
        (json!([60]), json!([1, 2]), "You must provide the same number of windows and limits"),
        (json!([60, 10]), json!([1, 2]), "the limit 1 in 60 s contradicts the limit 2 in 10 s"),
        (json!([10, 10]), json!([1, 2]), "the limit 2 in 10 s contradicts the limit 1 in 10 s"),
    ] {
        let error = complete(&DEFINITION, json!({ "window_size": sizes, "limit": limits })).unwrap_err();
        assert_eq!(error, json!({ "@entity": [want] }));
    }
}

/// A consumer group, and the limits that it has of its own.
fn group(number: u128, limits: Option<Value>) -> LimitedGroup {
    let group =
        json!({ "id": Uuid::from_u128(number), "name": format!("g{number}"), "created_at": 0, "updated_at": 0 });
    let own = limits.map(|config| {
        json!({ "id": Uuid::from_u128(number), "created_at": 0, "updated_at": 0, "name": DEFINITION.name,
            "consumer_group": { "id": Uuid::from_u128(number) }, "config": config })
    });
    LimitedGroup {
        group: Arc::new(serde_json::from_value::<ConsumerGroup>(group).unwrap()),
        limits: own.map(|own| Arc::new(serde_json::from_value::<ConsumerGroupPlugin>(own).unwrap())),
    }
}

/// With four groups, and consumers in these.
fn joined(mut h: Harness, membership: &[(u128, &[u128])]) -> Harness {
    for number in 1..=4 {
        let name = format!("g{number}");
        h = h.with("consumer_groups", json!({ "id": Uuid::from_u128(number), "name": name }));
    }
    for (consumer, joined) in membership {
        h = h.with_consumer(*consumer, &consumer.to_string());
        for group in *joined {
            let member = json!({ "id": Uuid::new_v4(), "consumer": { "id": Uuid::from_u128(*consumer) },
                "consumer_group": { "id": Uuid::from_u128(*group) } });
            h = h.with("consumer_group_consumers", member);
        }
    }
    h
}

fn known(consumer: u128) -> Arc<entities::Consumer> {
    let consumer = json!({ "id": Uuid::from_u128(consumer), "created_at": 0, "updated_at": 0 });
    Arc::new(serde_json::from_value(consumer).unwrap())
}

#[test]
fn members_of_groups_have_the_limits_that_their_group_has_of_its_own() {
    let fixed = |limit: u32| Some(json!({ "limit": [limit], "window_size": [60], "window_type": "fixed" }));
    let groups = [group(1, fixed(3)), group(2, None), group(3, fixed(2))];
    let config = json!({ "window_size": [60], "limit": [1], "window_type": "fixed", "namespace": "groups" });
    let h = Harness::with_groups(&groups, vec![(&DEFINITION, config)]);
    let h = joined(h, &[(10, &[1]), (11, &[3, 1]), (12, &[2, 3]), (13, &[3]), (14, &[4]), (15, &[])]);
    // The first group in the config's order that the consumer is in; without limits of its own, or a group, the plugin's.
    for (consumer, limit) in [(10, 3), (11, 3), (12, 1), (13, 2), (14, 1), (15, 1)] {
        let consumer = known(consumer);
        let send = || h.send_with("GET /", |cx| cx.consumer = Some(consumer.clone()));
        let exchange = send();
        assert_eq!(exchange.header("RateLimit-Limit"), limit.to_string(), "{}", consumer.id);
        let passed = 1 + std::iter::repeat_with(send).take(5).filter(|exchange| exchange.status == 200).count();
        assert_eq!(passed, limit, "{}", consumer.id);
    }
}

#[test]
fn members_of_a_group_can_be_counted_together() {
    let config = json!({ "window_size": [60], "limit": [2], "window_type": "fixed", "namespace": "together",
        "identifier": "consumer-group" });
    let groups = [group(3, None), group(1, None)];
    let h = Harness::with_groups(&groups, vec![(&DEFINITION, config.clone())]);
    let h = joined(h, &[(10, &[1]), (11, &[1]), (12, &[1, 3]), (13, &[2, 4]), (14, &[2]), (15, &[])]);
    let remaining = |consumer: Option<u128>| {
        let exchange = h.send_with("GET /", |cx| cx.consumer = consumer.map(known));
        format!("{} {}", exchange.status, exchange.header("RateLimit-Remaining"))
    };
    for (consumer, want) in [
        (Some(10), "200 1"),
        (Some(11), "200 0"),
        (Some(10), "429 0"),
        // The first of the plugin's groups, else the first by name.
        (Some(12), "200 1"),
        (Some(13), "200 1"),
        (Some(14), "200 0"),
        // Without a group it is the address that counts.
        (Some(15), "200 1"),
        (None, "200 0"),
    ] {
        assert_eq!(remaining(consumer), want, "{consumer:?}");
    }
    let by = By::Group(Some(Uuid::from_u128(4)), Box::default());
    let mut cx = h.context("GET /");
    cx.consumer = Some(known(10));
    assert_eq!(by.with(&cx, str::to_owned), Uuid::from_u128(4).to_string(), "an instance for a group");
}

#[test]
fn groups_are_named_where_their_limits_count() {
    let base = json!({ "window_size": [60], "limit": [2] });
    for (more, is_valid) in [
        (json!({ "enforce_consumer_groups": true }), false),
        (json!({ "enforce_consumer_groups": true, "consumer_groups": [] }), false),
        (json!({ "enforce_consumer_groups": true, "consumer_groups": ["gold"] }), true),
        (json!({ "enforce_consumer_groups": false }), true),
        (json!({ "consumer_groups": ["gold"] }), true),
    ] {
        let mut config = base.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let outcome = complete(&DEFINITION, config);
        let error = json!({ "@entity": ["No consumer groups provided"] });
        assert_eq!(outcome.err(), (!is_valid).then_some(error), "{more}");
    }
}

#[test]
fn a_window_that_is_synced_keeps_what_was_counted_meanwhile() {
    use crate::tallies::{Center, Tally};
    use std::sync::atomic::Ordering::Relaxed;
    let config = json!({ "host": "127.0.0.1", "port": 1 });
    let synced = Synced::with_redis(redis_of("", &config).unwrap(), Duration::from_secs(3600));
    let window = Window { kind: Kind::Sliding, limit: 100.0, size: 60 * SECOND, max_delay: 0, has_penalty: false };
    let counters = counters::Counters::new();
    let now = u64::try_from(START.as_nanos()).unwrap();
    let key = window.key(synced.center().id(), "n", "client", now);
    let take = || assert!(window.take(&counters, key, now).is_allowed);
    take();
    take();
    counters.note(&synced, key);
    let counter = counters.get(key);
    let sent = counter.unsynced(synced.center());
    assert_eq!((sent[0].count, sent[0].delta, sent[0].lifetime), (2, 2, 120));
    take();
    counter.merge(&sent[0], 9);
    assert_eq!(counter.count.load(Relaxed), 10);
    assert_eq!(counter.unsynced(synced.center())[0].delta, 1);
    // What others counted in the window before is asked for.
    let before = counters.find(counters::Key { number: key.number - 1, ..key }).unwrap();
    let asked = before.unsynced(&Center::Database);
    assert_eq!((asked[0].count, asked[0].delta), (0, 0));
    assert_ne!(asked[0].name, sent[0].name);
    // Whatever Redis says, it is a count.
    for (total, want) in [(i64::MIN, 0), (-1, 0), (i64::MAX, 1 << 52)] {
        let sent = counter.unsynced(synced.center()).pop().unwrap();
        counter.merge(&sent, total);
        assert_eq!(counter.count.load(Relaxed), want, "{total}");
        take_anyway(&counter);
    }
}

fn take_anyway(counter: &counters::Counter) {
    counter.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

#[test]
fn what_redis_says_of_a_bucket_makes_nobody_wait_longer_than_the_config() {
    let window =
        Window { kind: Kind::LeakyBucket, limit: 2.0, size: SECOND, max_delay: 3 * SECOND, has_penalty: false };
    for (is_allowed, filled, delay) in [
        (true, SECOND, SECOND),
        (true, 3 * SECOND, 3 * SECOND),
        (true, 4 * SECOND, 3 * SECOND),
        (true, u64::MAX, 3 * SECOND),
        (false, u64::MAX, 0),
    ] {
        let outcome = window.scheduled(is_allowed, filled);
        assert_eq!((outcome.is_allowed, outcome.delay), (is_allowed, delay), "{filled}");
    }
}

#[test]
fn while_redis_is_out_of_reach_a_node_counts_for_itself() {
    for rate in [0.0, 10.0] {
        let h = harness(json!({
            "window_size": [60], "limit": [2], "window_type": "fixed", "strategy": "redis", "sync_rate": rate,
            "redis": { "host": "127.0.0.1", "port": 1, "timeout": 1000 },
        }));
        assert_eq!([(); 3].map(|()| h.send("GET /").status), [200, 200, 429], "{rate}");
    }
}

#[test]
fn redis_needs_a_server_and_a_rate() {
    let base = json!({ "window_size": [60], "limit": [2], "strategy": "redis" });
    for (more, want) in [
        (json!({ "redis": { "host": "a" } }), "sync_rate is required if not using a local strategy"),
        (json!({ "redis": { "host": "a" }, "sync_rate": 0.01 }), "must not be a decimal less than 0.02"),
        (json!({ "sync_rate": 0 }), "required field missing"),
        (
            json!({ "redis": { "host": "a" }, "sync_rate": 1, "window_type": "leaky-bucket" }),
            "token-bucket and leaky-bucket need a sync_rate of 0 or -1",
        ),
        (
            json!({ "sync_rate": 0, "redis": { "sentinel_nodes": [{ "host": "a" }] } }),
            "sentinel_nodes and sentinel_master must be set together",
        ),
    ] {
        let mut config = base.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = complete(&DEFINITION, config.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{config}: {error}");
    }
    for (redis, field, nodes) in [
        (json!({ "cluster_nodes": [{ "ip": "127.0.0.1", "port": 7000 }] }), "cluster_nodes", 1),
        (json!({ "sentinel_nodes": [{ "host": "a" }], "sentinel_master": "m" }), "sentinel_nodes", 1),
        // The old forms stand for the new ones, which count where both are given.
        (json!({ "cluster_addresses": ["a.test:7000", "::1:7001"] }), "cluster_nodes", 2),
        (json!({ "sentinel_addresses": ["a.test:7000"], "sentinel_master": "m" }), "sentinel_nodes", 1),
        (
            json!({ "sentinel_addresses": ["a.test:7", "b.test:8"], "sentinel_nodes": [{ "host": "a" }], "sentinel_master": "m" }),
            "sentinel_nodes",
            1,
        ),
        (json!({ "host": "a", "cluster_addresses": null, "sentinel_addresses": null }), "host", 0),
        (json!({ "host": "a", "connection_is_proxied": true, "redis_proxy_type": "envoy_v1.31" }), "host", 0),
    ] {
        let mut config = base.clone();
        config["sync_rate"] = json!(0);
        config["redis"] = redis;
        let complete = complete(&DEFINITION, config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
        let listed = complete["redis"][field].as_array().map_or(0, Vec::len);
        assert_eq!(listed, nodes, "{config}: {complete}");
        assert!(complete["redis"].get("cluster_addresses").is_none(), "{complete}");
    }
    for (redis, want) in [
        (json!({ "cluster_addresses": ["a.test"] }), "host:port"),
        (json!({ "cluster_addresses": [":1"] }), "host:port"),
        (json!({ "cluster_addresses": ["a.test:70000"] }), "host:port"),
        (json!({ "cluster_addresses": [] }), "length must be at least 1"),
        (json!({ "host": "a", "connection_is_proxied": true, "database": 1 }), "database must be '0' or 'null'"),
        (json!({ "connection_is_proxied": true, "cluster_addresses": ["a:1"] }), "when 'cluster_nodes' is set"),
        (json!({ "host": "a", "connection_is_proxied": true, "sentinel_role": "any" }), "when 'sentinel_role' is set"),
    ] {
        let mut config = base.clone();
        config["sync_rate"] = json!(0);
        config["redis"] = redis;
        let error = complete(&DEFINITION, config.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{config}: {error}");
    }
}

#[test]
fn keys_of_a_proxied_redis_are_as_in_a_cluster() {
    for (is_proxied, want) in [(json!(true), true), (json!(false), false), (Value::Null, false)] {
        let config = json!({ "host": "proxied.test", "connection_is_proxied": is_proxied });
        assert_eq!(redis_of("", &config).unwrap().is_cluster(), want, "{config}");
    }
}

/// The config of an instance as Kong Enterprise 3.10 writes it out, with what it fills in.
#[test]
fn takes_what_kong_enterprise_writes_out() {
    let redis = json!({
        "cluster_addresses": null, "cluster_max_redirections": 5, "cluster_nodes": null, "connect_timeout": 2000,
        "connection_is_proxied": false, "database": 0, "host": "127.0.0.1", "keepalive_backlog": null,
        "keepalive_pool_size": 256, "password": null, "port": 6379, "read_timeout": 2000, "redis_proxy_type": null,
        "send_timeout": 2000, "sentinel_addresses": null, "sentinel_master": null, "sentinel_nodes": null,
        "sentinel_password": null, "sentinel_role": null, "sentinel_username": null, "server_name": null, "ssl": false,
        "ssl_verify": false, "timeout": 2000, "username": null,
    });
    let written = |strategy: &str| {
        json!({
            "compound_identifier": null, "consumer_groups": null, "dictionary_name": "kong_rate_limiting_counters",
            "disable_penalty": false, "enforce_consumer_groups": false, "error_code": 429,
            "error_message": "API rate limit exceeded", "header_name": null, "hide_client_headers": false,
            "identifier": "consumer", "limit": [2], "lock_dictionary_name": "kong_locks", "namespace": "written",
            "path": null, "redis": redis, "retry_after_jitter_max": 0, "strategy": strategy, "sync_rate": -1,
            "window_size": [31_536_000], "window_type": "fixed",
        })
    };
    for strategy in ["local", "redis", "cluster"] {
        let mut config = written(strategy);
        config["namespace"] = json!(format!("written-{strategy}"));
        let h = harness(config);
        assert_eq!([(); 3].map(|()| h.send("GET /").status), [200, 200, 429], "{strategy}");
    }
    let mut config = written("cluster");
    config["window_type"] = json!("token-bucket");
    assert!(complete(&DEFINITION, config.clone()).is_ok());
    for (sync_rate, want) in [
        (json!(0), "need a sync_rate of -1 with strategy cluster"),
        (json!(1), "need a sync_rate of -1 with strategy cluster"),
        (Value::Null, "sync_rate is required"),
    ] {
        config["sync_rate"] = sync_rate;
        let error = complete(&DEFINITION, config.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{config}: {error}");
    }
}

#[test]
fn a_compound_identifier_counts_what_has_all_its_parts_in_common() {
    let config = |parts: Value| {
        json!({
            "compound_identifier": parts, "identifier": "ip", "header_name": "X-T", "path": "/p", "limit": [1],
            "window_size": [31_536_000], "window_type": "fixed",
        })
    };
    for (parts, requests, want) in [
        // Each part tells apart.
        (
            json!(["header", "path"]),
            &["GET /p X-T: a", "GET /p X-T: b", "GET / X-T: a", "GET / X-T: b", "GET /p X-T: a", "GET /q X-T: b"][..],
            &[200, 200, 200, 200, 429, 429][..],
        ),
        // The end of one part is not the beginning of the next.
        (json!(["header", "header"]), &["GET / X-T: a", "GET / X-T: aa", "GET / X-T: a"], &[200, 200, 429]),
        // What a request has not falls back to the address, as for `identifier`.
        (json!(["consumer", "header"]), &["GET / X-T: a", "GET / X-T: b", "GET /", "GET /x"], &[200, 200, 200, 429]),
        (json!(["header"]), &["GET / X-T: a", "GET / X-T: b", "GET / X-T: a"], &[200, 200, 429]),
        // None: `identifier` counts.
        (json!([]), &["GET / X-T: a", "GET / X-T: b"], &[200, 429]),
        (Value::Null, &["GET / X-T: a", "GET / X-T: b"], &[200, 429]),
    ] {
        let h = harness(config(parts.clone()));
        let send = |request: &&str| h.send(&request.replace(" X-T", "\nX-T")).status;
        assert_eq!(requests.iter().map(send).collect::<Vec<_>>(), want, "{parts}");
    }
    for (parts, without, want) in [
        (json!(["ip", "header"]), "header_name", "a compound_identifier with 'header' needs header_name"),
        (json!(["path", "ip"]), "path", "a compound_identifier with 'path' needs path"),
        (json!(["who"]), "", "expected one of: ip, credential, consumer, service, header, path, consumer-group"),
    ] {
        let mut config = config(parts);
        config.as_object_mut().unwrap().remove(without);
        let error = complete(&DEFINITION, config.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{config}: {error}");
    }
}
