//! Tests of `rate-limiting`.

use super::period::Period;
use super::*;
use crate::tallies::{Center, Tally, Unsynced};
use pdk::testing::{Exchange, Harness, START, complete};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each harness gets a client address of its own, for counters outlive it.
fn harness(config: Value) -> Harness {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) as u32;
    Harness::new(&DEFINITION, config).with_client(|c| c.ip = std::net::Ipv4Addr::from(0x0a00_0000 + n).into())
}

fn told(exchange: &Exchange) -> String {
    let fields = exchange.headers.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
    let fields = fields.filter(|(n, _)| n.contains("Rate") || n.contains("Retry"));
    let short = |n: &str| n.replace("X-RateLimit-", "X-").replace("RateLimit-", "");
    let all = fields.map(|(n, v)| format!(" {}={v}", short(&n)));
    format!("{}{}", exchange.status, all.collect::<String>())
}

#[test]
fn lets_as_many_requests_through_as_the_limit_says() {
    let h = harness(json!({ "hour": 2 }));
    for want in [
        "200 X-Limit-Hour=2 X-Remaining-Hour=1 Limit=2 Remaining=1 Reset=3570",
        "200 X-Limit-Hour=2 X-Remaining-Hour=0 Limit=2 Remaining=0 Reset=3570",
        "429 X-Limit-Hour=2 X-Remaining-Hour=0 Limit=2 Remaining=0 Reset=3570 Retry-After=3570",
        "429 X-Limit-Hour=2 X-Remaining-Hour=0 Limit=2 Remaining=0 Reset=3570 Retry-After=3570",
    ] {
        assert_eq!(told(&h.send("GET /")), want);
    }
}

#[test]
fn the_next_window_starts_anew() {
    let h = harness(json!({ "minute": 1 }));
    assert_eq!(h.send("GET /").status, 200);
    assert_eq!(h.send("GET /").status, 429);
    h.clock().advance(Duration::from_secs(29));
    assert_eq!(h.send("GET /").status, 429);
    h.clock().advance(Duration::from_secs(1));
    assert_eq!(h.send("GET /").status, 200);
}

#[test]
fn the_tightest_period_is_told_and_equal_ones_by_the_longer() {
    for (config, want) in [
        (
            json!({ "second": 500, "hour": 700 }),
            "200 X-Limit-Second=500 X-Remaining-Second=499 X-Limit-Hour=700 X-Remaining-Hour=699 \
             Limit=500 Remaining=499 Reset=1",
        ),
        (
            json!({ "hour": 5, "day": 5 }),
            "200 X-Limit-Hour=5 X-Remaining-Hour=4 X-Limit-Day=5 X-Remaining-Day=4 Limit=5 Remaining=4 Reset=86370",
        ),
        (
            json!({ "hour": 1e15 }),
            "200 X-Limit-Hour=1e+15 X-Remaining-Hour=1e+15 Limit=1e+15 Remaining=1e+15 Reset=3570",
        ),
    ] {
        assert_eq!(told(&harness(config).send("GET /")), want);
    }
}

#[test]
fn a_refused_request_counts_nowhere() {
    let h = harness(json!({ "minute": 1, "hour": 5 }));
    assert_eq!(h.send("GET /").status, 200);
    assert_eq!(
        told(&h.send("GET /")),
        "429 X-Limit-Minute=1 X-Remaining-Minute=0 X-Limit-Hour=5 X-Remaining-Hour=4 \
         Limit=1 Remaining=0 Reset=30 Retry-After=30"
    );
    h.clock().advance(Duration::from_secs(30));
    assert!(told(&h.send("GET /")).contains("X-Remaining-Hour=3"));
}

#[test]
fn counts_by_what_it_is_told_to() {
    let header = harness(json!({ "hour": 1, "limit_by": "header", "header_name": "X-T" }));
    let path = harness(json!({ "hour": 1, "limit_by": "path", "path": "/a" }));
    let long = format!("GET /\nX-T: {}", "x".repeat(300));
    for (h, request, want) in [
        (&header, "GET /\nX-T: a", 200),
        (&header, "GET /\nx-t: a", 429),
        (&header, "GET /\nX-T: A", 200),
        (&header, "GET /", 200),
        (&header, "GET /", 429),
        (&header, "GET /\nX-T: c\nX-T: a", 200),
        (&header, "GET /\nX-T: c\nX-T: z", 429),
        (&header, &long, 200),
        (&header, &long, 429),
        (&path, "GET /a", 200),
        (&path, "GET /a?x=1", 429),
        (&path, "GET /b", 200),
        (&path, "GET /c", 429),
        (&path, "GET /a/", 429),
        // Another spelling of the path is counted with it.
        (&path, "GET /%61", 429),
        (&path, "GET //a", 429),
        (&path, "GET /./a", 429),
        (&path, "GET /x/../a", 429),
    ] {
        assert_eq!(h.send(request).status, want, "{request}");
    }
}

#[test]
fn counts_a_consumer_over_all_its_credentials() {
    use crate::key_auth;
    let mut h = Harness::of(vec![(&key_auth::DEFINITION, json!({})), (&DEFINITION, json!({ "hour": 2 }))]);
    h = h.with_consumer(0xc0_0001, "alice").with_consumer(0xc0_0002, "bob");
    for (key, consumer) in [("a1", 0xc0_0001), ("a2", 0xc0_0001), ("b", 0xc0_0002)] {
        let id = Uuid::new_v4();
        h = h.with(
            "keyauth_credentials",
            json!({ "id": id, "key": key, "consumer": { "id": Uuid::from_u128(consumer) } }),
        );
    }
    for (key, want) in [("a1", 200), ("a2", 200), ("a1", 429), ("a2", 429), ("b", 200), ("none", 401)] {
        assert_eq!(h.send(&format!("GET /\napikey: {key}")).status, want, "{key}");
    }
}

#[test]
fn the_refusal_is_as_configured() {
    let h = harness(json!({ "hour": 1, "error_code": 404, "error_message": "Not here", "hide_client_headers": true }));
    assert_eq!(h.send("GET /").answer(), "200\n");
    let want =
        "404\nContent-Type: text/plain; charset=utf-8\n\nNot here\nrequest_id: 00000000000000000000000000000001\n";
    assert_eq!(h.send("GET /\nAccept: text/plain").answer(), want);
}

#[test]
fn a_refusal_with_a_status_that_is_no_errors_fails_as_in_kong() {
    for (config, status, message) in [
        (json!({ "hour": 1, "error_code": 204 }), 500, "An unexpected error occurred"),
        (json!({ "hour": 1, "error_code": 99 }), 500, "An unexpected error occurred"),
        (json!({ "hour": 1, "error_code": null }), 500, "An unexpected error occurred"),
        (json!({ "hour": 1, "error_message": null }), 429, "Too many requests"),
    ] {
        let h = harness(config.clone());
        assert_eq!(h.send("GET /").status, 200);
        let refused = h.send("GET /");
        assert_eq!(refused.status, status, "{config}");
        assert!(refused.body.contains(message), "{config}: {}", refused.body);
        let fields = " X-Limit-Hour=1 X-Remaining-Hour=0 Limit=1 Remaining=0 Reset=3570 Retry-After=3570";
        assert_eq!(told(&refused), format!("{status}{fields}"), "{config}");
    }
}

#[test]
fn its_fields_stand_before_the_upstreams() {
    let h = harness(json!({ "hour": 9 })).with_upstream("200\nRateLimit-Remaining: 66\n\n");
    let values = h.send("GET /").headers.joined("ratelimit-remaining");
    assert_eq!(values.as_deref(), Some(&b"8, 66"[..]));
}

#[test]
fn instances_of_the_same_scope_share_counters_and_limits_may_change() {
    let first = harness(json!({ "hour": 1 }));
    assert_eq!((first.send("GET /").status, first.send("GET /").status), (200, 429));
    let mut same = None;
    let first = first.with_client(|c| same = Some(c.ip));
    drop(first);
    let raised = Harness::new(&DEFINITION, json!({ "hour": 3 })).with_client(|c| c.ip = same.unwrap());
    assert!(told(&raised.send("GET /")).contains("X-Remaining-Hour=1"));
}

#[test]
fn counts_exactly_across_threads() {
    let key = Key { store: 0, route: Uuid::new_v4(), service: Uuid::nil(), identifier: "all" };
    let start = Period::Hour.start(START);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if counters::with(key, START, |c| c.reserve(Period::Hour, start, 700.0)).is_ok() {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 700);
}

#[test]
fn a_flood_of_identifiers_is_bounded_and_keeps_working() {
    let route = Uuid::new_v4();
    let start = Period::Second.start(START);
    for n in 0..300_000_u32 {
        let identifier = n.to_string();
        let key = Key { store: 0, route, service: Uuid::nil(), identifier: &identifier };
        assert!(counters::with(key, START, |c| c.reserve(Period::Second, start, 1.0)).is_ok());
    }
    let last = Key { store: 0, route, service: Uuid::nil(), identifier: "299999" };
    assert!(counters::with(last, START, |c| c.reserve(Period::Second, start, 1.0)).is_err());
}

#[test]
fn windows_start_where_the_calendar_says() {
    for (now, month, year) in [
        (0, 0, 0),
        (951_782_400, 949_363_200, 946_684_800),       // 2000-02-29
        (1_709_164_800, 1_706_745_600, 1_704_067_200), // 2024-02-29
        (1_735_689_599, 1_733_011_200, 1_704_067_200), // 2024-12-31 23:59:59
        (1_735_689_600, 1_735_689_600, 1_735_689_600), // 2025-01-01
        (4_107_542_400, 4_107_542_400, 4_102_444_800), // 2100-03-01
    ] {
        let now = Duration::from_secs(now);
        assert_eq!((Period::Month.start(now), Period::Year.start(now)), (month, year), "{now:?}");
    }
    assert_eq!(Period::Month.reset(Duration::from_secs(1_735_689_599)), 1);
}

#[test]
fn refuses_limits_that_contradict_each_other() {
    for (config, want) in [
        (json!({ "minute": 5, "hour": 1 }), "The limit for hour(1.0) cannot be lower than the limit for minute(5.0)"),
        (
            json!({ "day": 3, "month": 2, "year": 1 }),
            "The limit for month(2.0) cannot be lower than the limit for day(3.0)",
        ),
        (
            json!({ "second": 5, "minute": 9, "hour": 3 }),
            "The limit for hour(3.0) cannot be lower than the limit for second(5.0)",
        ),
        (json!({ "minute": 5, "sync_rate": 1 }), "sync_rate can only be used with the redis policy"),
    ] {
        assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "config": want }));
    }
}

/// A database in which others have counted five already.
#[derive(Default)]
struct Counted(std::sync::Mutex<Vec<pdk::Count>>);

impl pdk::Ledger for Counted {
    fn add(&self, counts: &[pdk::Count]) -> Result<Vec<i64>, String> {
        let mut all = self.0.lock().unwrap();
        all.extend_from_slice(counts);
        let total = 5 + all.iter().map(|count| count.delta).sum::<i64>();
        Ok(counts.iter().map(|_| total).collect())
    }
}

#[test]
fn policy_cluster_needs_a_database_and_learns_what_other_nodes_counted() {
    let config = complete(&DEFINITION, json!({ "minute": 100_000, "policy": "cluster" })).unwrap();
    let entity = pdk::testing::plugin_entity("rate-limiting", &config);
    let built = build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] });
    assert_eq!(built.err().unwrap().to_string(), "rate-limiting: policy 'cluster' needs a database");
    let counted = Arc::new(Counted::default());
    crate::tallies::count_in(counted.clone());
    let h = harness(json!({ "minute": 100_000, "policy": "cluster" }));
    let remaining = || h.send("GET /").header("x-ratelimit-remaining-minute").parse::<i64>().unwrap();
    let mut before = remaining();
    assert_eq!(before, 99_999);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let now = remaining();
        if before - now > 1 {
            assert_eq!(before - now, 6, "the request's own, and the others' five");
            break;
        }
        assert!(std::time::Instant::now() < end, "{counted:?}", counted = counted.0);
        before = now;
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = counted.0.lock().unwrap()[0].clone();
    assert_eq!((first.period, first.start, first.ttl), ("minute", Period::Minute.start(START), 60));
    assert_eq!((first.route, first.service), (Uuid::from_u128(0xa), Uuid::nil()));
}

#[test]
fn windows_have_kongs_keys() {
    let key = Key { store: 1, route: Uuid::from_u128(1), service: Uuid::nil(), identifier: "127.0.0.1" };
    let want = "ratelimit:00000000-0000-0000-0000-000000000001:00000000-0000-0000-0000-000000000000:127.0.0.1:\
                1767225600000:minute";
    assert_eq!(window_key(&key, Period::Minute, Period::Minute.start(START), false), want);
}

#[test]
fn a_sync_adds_what_others_counted_and_keeps_what_was_counted_meanwhile() {
    let key = Key { store: 7, route: Uuid::new_v4(), service: Uuid::nil(), identifier: "all" };
    let start = Period::Hour.start(START);
    counters::with(key, START, |c| {
        let reserve = || c.reserve(Period::Hour, start, 100.0).unwrap();
        let center = Center::Redis(redis_of("", &json!({ "host": "127.0.0.1", "port": 1 })).unwrap());
        let unsynced = || c.unsynced(&center).pop();
        let told = |window: &Option<Unsynced>| window.as_ref().map(|w| (w.start, w.count, w.delta));
        assert_eq!(unsynced(), None);
        reserve();
        reserve();
        let sent = unsynced();
        assert_eq!(told(&sent), Some((start, 2, 2)));
        reserve();
        // Others had counted five when Redis got the two.
        c.merge(&sent.unwrap(), 7);
        assert_eq!(c.count(Period::Hour, start), 8);
        let sent = unsynced();
        assert_eq!(told(&sent), Some((start, 8, 1)));
        c.merge(&sent.unwrap(), 8);
        assert_eq!((c.count(Period::Hour, start), unsynced()), (8, None));
        // Whatever Redis says, it is a count.
        for (total, want) in [(i64::MIN, 0), (i64::MAX, u64::from(u32::MAX))] {
            reserve();
            let sent = unsynced().unwrap();
            c.merge(&sent, total);
            assert_eq!(c.count(Period::Hour, start), want, "{total}");
        }
        assert!(c.mark_changed() && !c.mark_changed());
    });
}

/// A Redis that nobody serves.
fn without_redis(tolerant: bool, sync_rate: f64) -> Harness {
    let redis = json!({ "host": "127.0.0.1", "port": 1, "timeout": 1000 });
    harness(json!({
        "minute": 2, "policy": "redis", "redis": redis, "fault_tolerant": tolerant, "sync_rate": sync_rate,
    }))
}

#[test]
fn without_redis_requests_pass_uncounted_or_fail_or_count_here() {
    let h = without_redis(true, -1.0);
    for _ in 0..3 {
        assert_eq!(h.send("GET /").answer(), "200\n");
    }
    let answer = without_redis(false, -1.0).send("GET /");
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("An unexpected error occurred"), "{}", answer.body);
    let h = without_redis(false, 10.0);
    assert_eq!([(); 3].map(|()| h.send("GET /").status), [200, 200, 429]);
}
