//! Tests of `response-ratelimiting`.

use super::*;
use pdk::testing::{Exchange, Harness, START, complete};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each harness gets a client address of its own, for counters outlive it.
fn harness(config: Value) -> Harness {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) as u32;
    Harness::new(&DEFINITION, config).with_client(|c| c.ip = std::net::Ipv4Addr::from(0x0b00_0000 + n).into())
}

/// Status, what the upstream and what the client is told, after a response of this cost.
fn told(h: Harness, cost: &str) -> (Harness, String) {
    let answer = if cost.is_empty() { "200\n\nbody".to_owned() } else { format!("200\nX-Kong-Limit: {cost}\n\nbody") };
    let h = h.with_upstream(&answer);
    let exchange = h.send("GET /");
    let text = summary(&exchange);
    (h, text)
}

fn summary(exchange: &Exchange) -> String {
    let short = |text: &str| text.replace("X-RateLimit-", "").replace("Remaining-", "").replace(": ", "=");
    let upstream = exchange.upstream.as_deref().unwrap_or_default();
    let up: Vec<String> = upstream.lines().filter(|l| l.starts_with("X-RateLimit")).map(short).collect();
    let fields =
        exchange.headers.iter().map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
    let down: Vec<String> =
        fields.filter(|f| f.contains("RateLimit-Remaining") || f.starts_with("X-Kong")).map(|f| short(&f)).collect();
    format!("{} {} > {} {}", exchange.status, up.join(" "), down.join(" "), exchange.body)
}

#[test]
fn counts_what_the_upstream_says() {
    let mut h = harness(json!({ "limits": { "video": { "hour": 3 } } }));
    for (cost, want) in [
        ("", "200 video=3 > video-hour=3 body"),
        ("video=1", "200 video=3 > video-hour=2 body"),
        (" video = 1 ", "200 video=2 > video-hour=1 body"),
        ("audio=5", "200 video=1 > video-hour=1 body"),
        ("video=1", "200 video=1 > video-hour=0 body"),
        ("video=1", "429 video=0 > video-hour=0 "),
        ("", "200 video=0 > video-hour=0 body"),
        ("video=-2", "200 video=0 > video-hour=2 body"),
        ("video=4", "200 video=2 > video-hour=0 body"),
        ("", "200 video=-2 > video-hour=0 body"),
    ] {
        let (same, text) = told(h, cost);
        assert_eq!(text, want, "{cost}");
        h = same;
    }
}

#[test]
fn takes_what_is_a_number() {
    let mut h = harness(json!({ "limits": { "v": { "hour": 100 }, "i": { "hour": 100 } } }));
    for (cost, want) in [
        ("v=1,i=2", "v-hour=99 i-hour=98"),
        ("v", "v-hour=99 i-hour=98"),
        ("v=", "v-hour=99 i-hour=98"),
        ("v=x", "v-hour=99 i-hour=98"),
        ("v=1=2", "v-hour=99 i-hour=98"),
        ("v=nan", "v-hour=99 i-hour=98"),
        ("v=0x+1", "v-hour=99 i-hour=98"),
        ("V=1", "v-hour=99 i-hour=98"),
        ("v=1.5", "v-hour=97.5 i-hour=98"),
        ("v=1\nX-Kong-Limit: i=1", "v-hour=96.5 i-hour=98"),
        ("v=0x10,i=-0B11", "v-hour=80.5 i-hour=101"),
        ("v=1e300", "v-hour=0 i-hour=101"),
        ("i=inf", "v-hour=0 i-hour=0"),
    ] {
        let (same, text) = told(h, cost);
        assert!(text.contains(&format!("> {want} body")), "{cost}: {text}");
        h = same;
    }
}

#[test]
fn what_is_left_of_large_limits_is_told_in_full() {
    for (limit, want) in [
        (1e9 - 1.0, "v=999999999 > v-hour=999999998"),
        (1e13, "v=10000000000000 > v-hour=9999999999999"),
        (1e15, "v=1e+15 > v-hour=1e+15"),
    ] {
        let (_, text) = told(harness(json!({ "limits": { "v": { "hour": limit } } })), "v=1");
        assert!(text.contains(want), "{limit}: {text}");
    }
}

#[test]
fn a_response_that_is_refused_counts_nowhere() {
    let mut h = harness(json!({ "limits": { "v": { "hour": 2, "day": 3 }, "w": { "day": 9 } } }));
    for (cost, want) in [
        ("v=1", "200 v=2 w=9 > v-hour=1 v-day=2 w-day=9 body"),
        ("v=1", "200 v=1 w=9 > v-hour=0 v-day=1 w-day=9 body"),
        ("w=1, v=1", "429 v=0 w=9 > v-hour=0 v-day=0 w-day=8 "),
        ("", "200 v=0 w=9 > v-hour=0 v-day=1 w-day=9 body"),
    ] {
        let (same, text) = told(h, cost);
        assert_eq!(text, want, "{cost}");
        h = same;
    }
    h.clock().advance(Duration::from_secs(3600));
    assert!(told(h, "v=1").1.starts_with("200 v=1"));
}

#[test]
fn may_refuse_before_the_upstream_is_asked_and_tell_nothing() {
    let h = harness(json!({
        "limits": { "v": { "hour": 1 } }, "block_on_first_violation": true, "hide_client_headers": true,
        "header_name": "X-Cost"
    }));
    let h = h.with_upstream("200\nX-Cost: v=1\n\n");
    assert_eq!(h.send("GET /").answer(), "200\n");
    let refused = h.send("GET /");
    assert_eq!((refused.status, refused.upstream), (429, None));
    assert!(refused.body.contains("API rate limit exceeded for 'v'"), "{}", refused.body);
}

#[test]
fn counts_exactly_across_threads() {
    let key = Key { store: 0, route: Uuid::new_v4(), service: Uuid::nil(), limit: "l", identifier: "i" };
    let counter = usage::counters().get(&key);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if counter.add(Period::Hour, START, Amount::new(1.0), Amount::new(700.0)) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!((passed.into_inner(), counter.used(Period::Hour, START)), (700, Amount::new(700.0)));
}

#[test]
fn a_flood_of_clients_is_bounded() {
    let counters = usage::Counters::new(usage::CAPACITY);
    for n in 0..200_000_u32 {
        let identifier = n.to_string();
        let key = Key { store: 0, route: Uuid::nil(), service: Uuid::nil(), limit: "l", identifier: &identifier };
        assert!(counters.get(&key).add(Period::Hour, START, Amount::new(1.0), Amount::new(1.0)), "{n}");
    }
    assert!(counters.len() <= usage::CAPACITY, "{}", counters.len());
}

#[test]
fn refuses_limits_that_contradict_each_other() {
    for (limits, want) in [
        (json!({}), json!("length must be at least 1")),
        (
            json!({ "v": { "minute": 5, "hour": 4 } }),
            json!("the limit for hour(4.0) cannot be lower than the limit for minute(5.0)"),
        ),
        (json!({ "v": { "minute": 0 } }), json!({ "minute": "value must be greater than 0" })),
        (json!({ "v": 5 }), json!("expected a record")),
    ] {
        let error = complete(&DEFINITION, json!({ "limits": limits })).unwrap_err();
        assert_eq!(error, json!({ "config": { "limits": want } }));
    }
}

/// A Redis that nobody serves.
fn without_redis(is_tolerant: bool) -> Harness {
    let redis = json!({ "host": "127.0.0.1", "port": 1, "timeout": 1000 });
    let limits = json!({ "v": { "hour": 1 } });
    harness(json!({ "limits": limits, "policy": "redis", "redis": redis, "fault_tolerant": is_tolerant }))
}

#[test]
fn without_redis_requests_pass_uncounted_or_fail() {
    let (_, told) = told(without_redis(true), "v=1");
    assert_eq!(told, "200  > X-Kong-Limit=v=1 body");
    let answer = without_redis(false).send("GET /");
    assert_eq!((answer.status, answer.upstream), (500, None));
}

#[test]
fn a_sync_tells_whole_units_and_keeps_what_was_counted_meanwhile() {
    use crate::tallies::{Center, Name, Synced, Tally};
    let config = json!({ "host": "127.0.0.1", "port": 1 });
    let synced = Synced::with_redis(redis_of("", &config).unwrap(), Duration::from_secs(3600));
    let counter = Arc::new(Counter::default());
    let key = Key { store: 1, route: Uuid::nil(), service: Uuid::nil(), limit: "v", identifier: "i" };
    let add = |n: f64| assert!(counter.add(Period::Hour, START, Amount::new(n), Amount::new(100.0)));
    let used = || counter.used(Period::Hour, START).units();
    add(2.5);
    counter.note(&synced, key, START);
    let sent = counter.unsynced(&Center::Database);
    let Name::Row(row) = &sent[0].name else { panic!("a row") };
    assert_eq!((row.limit.as_deref(), row.period, row.start), (Some("v"), "hour", Period::Hour.start(START)));
    assert_eq!((sent.len(), sent[0].delta), (1, 2));
    add(1.0);
    // Others had counted five when the database got the two.
    counter.merge(&sent[0], 7);
    assert_eq!(used(), 8.5);
    assert_eq!(counter.unsynced(&Center::Database)[0].delta, 1);
    // Whatever the others say is within the range.
    let most = Amount::of_thousandths(i64::MAX).units();
    for (total, want) in [(i64::MAX, most), (i64::MIN, -most)] {
        add(1.0);
        let sent = counter.unsynced(&Center::Database).pop().unwrap();
        counter.merge(&sent, total);
        assert!((used() - want).abs() < 3.0, "{total}: {}", used());
        counter.set(Period::Hour, START, Amount::default());
    }
}
