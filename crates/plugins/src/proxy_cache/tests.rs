//! Tests of `proxy-cache`.

use super::*;
use crate::key_auth;
use pdk::testing::{Exchange, Harness, START, complete};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The memory is one for the process: each test has paths of its own.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn harness(mut config: Value) -> Harness {
    if config.get("strategy").is_none() {
        config["strategy"] = json!("memory");
    }
    Harness::new(&DEFINITION, config)
}

fn status(exchange: &Exchange) -> String {
    format!("{} {}", exchange.status, exchange.header("X-Cache-Status"))
}

/// What two equal requests are told, with an upstream that answers so.
fn twice(config: Value, request: &str, answer: &str) -> String {
    let path = unique();
    let h = harness(config).with_upstream(answer);
    let (line, rest) = request.split_once('\n').unwrap_or((request, ""));
    let request = format!("{}\n{rest}", line.replace('/', &path));
    let told = [h.send(&request), h.send(&request)].map(|exchange| exchange.header("X-Cache-Status").to_owned());
    told.join(" ")
}

const TEXT: &str = "200\nContent-Type: text/plain\n\nwords";

#[test]
fn answers_out_of_memory() {
    let path = unique();
    let h = harness(json!({})).with_upstream(
        "200\nContent-Type: text/plain\nX-Up: 1\nSet-Cookie: a=b\nAge: 7\nX-Cache-Status: fake\nX-RateLimit-Remaining-Hour: 5\n\nwords",
    );
    let miss = h.send(&format!("GET {path}"));
    let key = miss.header("X-Cache-Key").to_owned();
    assert_eq!((status(&miss).as_str(), key.len()), ("200 Miss", 64));
    h.clock().advance(Duration::from_secs(9));
    let hit = h.send(&format!("GET {path}\nX-Other: 1"));
    assert_eq!(
        hit.answer(),
        format!(
            "200\nX-Cache-Key: {key}\nX-Cache-Status: Hit\nContent-Type: text/plain\nX-Up: 1\nSet-Cookie: a=b\nAge: 9\n\nwords"
        )
    );
    assert_eq!(hit.upstream, None);
}

#[test]
fn keeps_what_it_is_told_to() {
    for (config, request, answer, want) in [
        (json!({}), "GET /", TEXT, "Miss Hit"),
        (json!({}), "HEAD /", TEXT, "Miss Miss"),
        (json!({}), "POST /\n\nx", TEXT, "Bypass Bypass"),
        (json!({ "request_method": ["POST"] }), "POST /\n\nx", TEXT, "Miss Hit"),
        (json!({ "request_method": ["POST"] }), "GET /", TEXT, "Bypass Bypass"),
        (json!({}), "GET /", "404\nContent-Type: text/plain\n\n", "Miss Hit"),
        (json!({}), "GET /", "201\nContent-Type: text/plain\n\n", "Bypass Bypass"),
        (json!({}), "GET /", "200\nContent-Type: TEXT/PLAIN\n\n", "Miss Hit"),
        (json!({}), "GET /", "200\nContent-Type: text/plain;charset=UTF-8\n\n", "Bypass Bypass"),
        (json!({}), "GET /", "200\nContent-Type: text/html\n\n", "Bypass Bypass"),
        (json!({}), "GET /", "200\nContent-Type: garbage\n\n", "Bypass Bypass"),
        (json!({}), "GET /", "200\nContent-Type:\n\n", "Bypass Bypass"),
        (json!({}), "GET /", "200\n\n", "Bypass Bypass"),
        (json!({ "content_type": ["*/*"] }), "GET /", "200\nContent-Type: image/png\n\n", "Miss Hit"),
        (json!({ "content_type": ["*/*"] }), "GET /", "200\nContent-Type: image/png; q=1\n\n", "Bypass Bypass"),
        (
            json!({ "content_type": ["application/json; charset=utf-8"] }),
            "GET /",
            "200\nContent-Type: application/json;  Charset=\"utf-8\"\n\n",
            "Miss Hit",
        ),
        (
            json!({ "content_type": ["application/json; charset=utf-8"] }),
            "GET /",
            "200\nContent-Type: application/json; charset=UTF-8\n\n",
            "Bypass Bypass",
        ),
        (
            json!({ "response_code": [206] }),
            "GET /\nRange: bytes=0-1",
            "206\nContent-Type: text/plain\n\nwo",
            "Bypass Bypass",
        ),
        (json!({ "storage_ttl": -1 }), "GET /", TEXT, "Bypass Bypass"),
    ] {
        assert_eq!(twice(config.clone(), request, answer), want, "{config} {request} {answer}");
    }
}

#[test]
fn heeds_cache_control_where_it_is_told_to() {
    let response = |control: &str| format!("200\nContent-Type: text/plain\n{control}\n\nwords");
    let fresh = "Cache-Control: max-age=60";
    for (request, control, want) in [
        ("GET /", "Cache-Control: public, max-age=60", "Miss Hit"),
        ("GET /", "Cache-Control: s-maxage=60, max-age=0", "Miss Hit"),
        ("GET /", "Cache-Control: max-age=\"60\"", "Miss Hit"),
        ("GET /", "Expires: Thu, 01 Jan 2026 00:01:30 GMT", "Miss Hit"),
        ("GET /", "Expires: 0", "Bypass Bypass"),
        // In one of the three forms to the letter, else past (RFC 9111, 5.3).
        ("GET /", "Expires: Thursday, 01-Jan-26 00:01:30 GMT", "Miss Hit"),
        ("GET /", "Expires: Thu Jan  1 00:01:30 2026", "Miss Hit"),
        ("GET /", "Expires: Thu, 01 Jan 2026 00:01:30 gmt", "Miss Hit"),
        ("GET /", "Expires: Thu, 01 Jan 2026 00:01:30 UTC", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01 Jan 2026 00:01:30 AEST", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01 Jan 2026 00:01:30", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01  Jan  2026 00:01:30 GMT", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01-Jan-2026 00:01:30 GMT", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01 Jan 26 00:01:30 GMT", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01 Jan 2026 0:01:30 GMT", "Bypass Bypass"),
        ("GET /", "Expires: Thu, 01 Jan 2026 0:01:30 GMT\nExpires: Thu, 01 Jan 2026 0:01:31 GMT", "Bypass Bypass"),
        ("GET /", "Expires: Wed, 31 Dec 2025 00:00:00 GMT", "Bypass Bypass"),
        ("GET /", "X: 1", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60, max-age=0", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=soon", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60\nAge: 60", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60\nAge: 18446744073709551615", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60\nAge: 7200, 0", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60\nAge: 7200\nAge: 0", "Bypass Bypass"),
        ("GET /", "Cache-Control: max-age=60\nAge: 0, 7200", "Miss Hit"),
        ("GET /", "Cache-Control: max-age=60\nAge: soon", "Miss Hit"),
        // The clock stands at 00:00:30.
        ("GET /", "Date: Thu, 01 Jan 2026 00:00:00 GMT\nCache-Control: max-age=31", "Miss Hit"),
        ("GET /", "Date: Thu, 01 Jan 2026 00:00:00 GMT\nCache-Control: max-age=30", "Bypass Bypass"),
        ("GET /", "Date: Thu, 01 Jan 2026 00:00:00 GMT\nExpires: Thu, 01 Jan 2026 00:00:31 GMT", "Miss Hit"),
        ("GET /", "Date: Thu, 01 Jan 2026 00:00:20 GMT\nCache-Control: max-age=31\nAge: 31", "Bypass Bypass"),
        ("GET /", "Date: Thu, 01 Jan 2026 01:00:00 GMT\nExpires: Thu, 01 Jan 2026 00:59:59 GMT", "Bypass Bypass"),
        ("GET /", "Date: 0\nCache-Control: max-age=1", "Miss Hit"),
        ("GET /", "Cache-Control: private=\"a, b\", max-age=60", "Bypass Bypass"),
        ("GET /", "Cache-Control: no-store, max-age=60", "Bypass Bypass"),
        ("GET /", "Cache-Control: No-Cache, max-age=60", "Bypass Bypass"),
        ("GET /", "Cache-Control: must-revalidate", "Bypass Bypass"),
        ("GET /\nCache-Control: no-cache", fresh, "Bypass Bypass"),
        ("GET /\nCache-Control: no-store", fresh, "Bypass Bypass"),
        ("GET /\nAuthorization: Basic x", fresh, "Bypass Bypass"),
        ("GET /\nCache-Control: max-age=100", fresh, "Miss Hit"),
        ("GET /\nCache-Control: min-fresh=600", fresh, "Miss Refresh"),
        ("GET /\nCache-Control: no-transform", fresh, "Miss Hit"),
    ] {
        let config = json!({ "cache_control": true });
        assert_eq!(twice(config, request, &response(control)), want, "{request} {control}");
    }
    assert_eq!(twice(json!({}), "GET /\nCache-Control: no-store", &response("Cache-Control: no-store")), "Miss Hit");
}

#[test]
fn age_and_lifetime_go_by_the_date_of_the_upstream() {
    // The clock stands at 00:00:30; each response is fresh for as long as its fields say, and not a second longer.
    for (fields, age, fresh) in [
        ("Date: Thu, 01 Jan 2026 00:00:10 GMT\nCache-Control: max-age=60", 20, 40),
        ("Date: Thu, 01 Jan 2026 00:00:10 GMT\nAge: 25\nCache-Control: max-age=60", 25, 35),
        ("Date: Thu, 01 Jan 2026 00:00:10 GMT\nAge: 5\nCache-Control: max-age=60", 20, 40),
        // Clocks that are ahead or behind.
        ("Date: Thu, 01 Jan 2026 00:10:00 GMT\nExpires: Thu, 01 Jan 2026 00:10:20 GMT", 0, 20),
        ("Date: Thu, 01 Jan 2026 00:00:00 GMT\nExpires: Thu, 01 Jan 2026 00:01:00 GMT", 30, 30),
        ("Expires: Thu, 01 Jan 2026 00:00:50 GMT", 0, 20),
    ] {
        let path = unique();
        let answer = format!("200\nContent-Type: text/plain\n{fields}\n\nwords");
        let h = harness(json!({ "cache_control": true, "storage_ttl": 100 })).with_upstream(&answer);
        h.send(&format!("GET {path}"));
        let hit = h.send(&format!("GET {path}"));
        assert_eq!((status(&hit).as_str(), hit.header("Age")), ("200 Hit", &*age.to_string()), "{fields}");
        h.clock().advance(Duration::from_secs(fresh));
        assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Hit", "{fields}");
        h.clock().advance(Duration::from_secs(1));
        assert_ne!(status(&h.send(&format!("GET {path}"))), "200 Hit", "{fields}");
    }
    let headers = Headers::new();
    assert_eq!(control::age(&headers, 7, 1000), 7, "an answer that took long was made before it came");
    // An upstream that says that it still holds makes it as young as that answer.
    let path = unique();
    let answer = "200\nContent-Type: text/plain\nETag: a\nCache-Control: max-age=10\nDate: Thu, 01 Jan 2026 00:00:30 GMT\n\nwords";
    let h = harness(json!({ "cache_control": true, "revalidate": true })).with_upstream(answer);
    h.send(&format!("GET {path}"));
    h.clock().advance(Duration::from_secs(15));
    let h = h.with_upstream("304\nETag: a\n\n");
    let told = [0; 2].map(|_| status(&h.send(&format!("GET {path}"))));
    assert_eq!(told, ["200 Revalidated", "200 Hit"]);
}

#[test]
fn what_is_never_fresh_is_kept_where_the_upstream_can_be_asked() {
    let heeds = json!({ "cache_control": true });
    let asks = json!({ "cache_control": true, "revalidate": true });
    for (config, fields, want) in [
        (&heeds, "ETag: a\nCache-Control: no-cache", "Bypass"),
        (&asks, "ETag: a\nCache-Control: no-cache", "Miss Revalidated Revalidated"),
        (&asks, "ETag: a\nCache-Control: no-cache, max-age=60", "Miss Revalidated Revalidated"),
        (&asks, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\nCache-Control: max-age=0", "Miss Revalidated Hit"),
        (&asks, "ETag: a\nCache-Control: no-cache, private", "Bypass"),
        (&asks, "ETag: a\nCache-Control: no-store", "Bypass"),
        (&asks, "Cache-Control: no-cache", "Bypass"),
        (&asks, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT", "Miss Revalidated Hit"),
        (&asks, "ETag: a\nCache-Control: max-age=60", "Miss Hit Hit"),
    ] {
        let failed = format!("404\nContent-Type: text/plain\n{fields}\n\nnone");
        assert!(want.ends_with("Hit Hit") || twice(config.clone(), "GET /", &failed) == "Bypass Bypass", "{fields}");
        let path = unique();
        let answer = format!("200\nContent-Type: text/plain\n{fields}\n\nwords");
        let h = harness(config.clone()).with_upstream(&answer);
        let first = h.send(&format!("GET {path}")).header("X-Cache-Status").to_owned();
        let h = h.with_upstream(&format!("304\n{fields}\n\n"));
        let mut told = vec![first];
        if told[0] == "Miss" {
            // In the same second; then for a client that takes what is no longer fresh, where that is not forbidden.
            for control in ["", "Cache-Control: max-stale=0"] {
                let answer = h.send(&format!("GET {path}\n{control}"));
                assert_eq!((answer.status, answer.body.as_str()), (200, "words"), "{fields}");
                told.push(answer.header("X-Cache-Status").to_owned());
            }
        }
        assert_eq!(told.join(" "), want, "{config} {fields}");
    }
}

#[test]
fn stale_responses_are_refreshed() {
    let path = unique();
    let answer = "200\nContent-Type: text/plain\nCache-Control: max-age=10\n\nwords";
    let h = harness(json!({ "cache_control": true, "storage_ttl": 100 })).with_upstream(answer);
    let mut at = 0;
    for (seconds, control, want) in [
        (0, "", "200 Miss"),
        (5, "", "200 Hit"),
        (5, "max-age=4", "200 Refresh"),
        (10, "max-age=4", "200 Refresh"),
        (25, "max-stale=5", "200 Hit"),
        (30, "max-stale", "200 Hit"),
        (30, "max-stale=5", "200 Refresh"),
        (45, "", "200 Refresh"),
        (45, "only-if-cached", "200 Hit"),
        (200, "only-if-cached", "504 "),
    ] {
        h.clock().advance(Duration::from_secs(seconds - at));
        at = seconds;
        let exchange = h.send(&format!("GET {path}\nCache-Control: {control}"));
        assert_eq!(status(&exchange), want, "after {seconds} s with {control}");
    }
    let path = unique();
    let answer = "200\nContent-Type: text/plain\nCache-Control: max-age=10, must-revalidate\n\nwords";
    let h = harness(json!({ "cache_control": true, "storage_ttl": 100 })).with_upstream(answer);
    h.send(&format!("GET {path}"));
    h.clock().advance(Duration::from_secs(20));
    assert_eq!(status(&h.send(&format!("GET {path}\nCache-Control: max-stale"))), "200 Refresh");
}

#[test]
fn what_tells_requests_apart_is_in_the_key() {
    let h = harness(json!({ "vary_headers": ["X-Lang"] }));
    let limited = harness(json!({ "vary_query_params": ["a"] }));
    let any_case = harness(json!({ "ignore_uri_case": true }));
    let path = unique();
    let key = |h: &Harness, request: &str| h.send(request).header("X-Cache-Key").to_owned();
    for (h, one, other, are_equal) in [
        (&h, format!("GET {path}?a=1&b=2"), format!("GET {path}?b=2&a=1"), true),
        (&h, format!("GET {path}?a=1&b=2"), format!("GET {path}?a=1%26b=2"), false),
        (&h, format!("GET {path}?a=1&b=2"), format!("GET {path}?a=1:b%3D2"), false),
        (&h, format!("GET {path}?a=1&a=2"), format!("GET {path}?a=1%2C2"), false),
        (&h, format!("GET {path}?a=1&a=2"), format!("GET {path}?a=2&a=1"), true),
        (&h, format!("GET {path}?a=1&a=2"), format!("GET {path}?a=2&a=2"), false),
        (&h, format!("GET {path}?a&a=1"), format!("GET {path}?a=1&a"), true),
        (&h, format!("GET {path}?a"), format!("GET {path}?a="), false),
        (&h, format!("GET {path}"), format!("HEAD {path}"), false),
        (&h, format!("GET {path}"), format!("GET {path}/"), false),
        (&h, format!("GET {path}/A"), format!("GET {path}/a"), false),
        (&any_case, format!("GET {path}/A"), format!("GET {path}/a"), true),
        (&any_case, format!("GET {path}?A=1"), format!("GET {path}?a=1"), false),
        (&limited, format!("GET {path}?a=1&b=2"), format!("GET {path}?a=1&b=3"), true),
        (&limited, format!("GET {path}?a=1"), format!("GET {path}?a=2"), false),
        (&h, format!("GET {path}\nX-Lang: a"), format!("GET {path}\nx-lang: a"), true),
        (&h, format!("GET {path}\nX-Lang: a"), format!("GET {path}\nX-Lang: b"), false),
        (&h, format!("GET {path}\nX-Lang:"), format!("GET {path}"), false),
        (&h, format!("GET {path}\nX-Lang: a\nX-Lang: b"), format!("GET {path}\nX-Lang: b\nX-Lang: a"), true),
        (&h, format!("GET {path}\nX-Lang: a\nX-Lang: b"), format!("GET {path}\nX-Lang: a"), false),
        (&h, format!("GET {path}\nX-Other: a"), format!("GET {path}\nX-Other: b"), true),
    ] {
        assert_eq!(key(h, &one) == key(h, &other), are_equal, "{one} and {other}");
    }
}

#[test]
fn consumers_have_their_own() {
    let mut h = Harness::of(vec![(&key_auth::DEFINITION, json!({})), (&DEFINITION, json!({ "strategy": "memory" }))]);
    h = h.with_consumer(1, "alice").with_consumer(2, "bob").with_upstream(TEXT);
    for (key, consumer) in [("a", 1), ("b", 2)] {
        let consumer = json!({ "id": uuid::Uuid::from_u128(consumer) });
        h = h.with("keyauth_credentials", json!({ "id": uuid::Uuid::new_v4(), "key": key, "consumer": consumer }));
    }
    let path = unique();
    for (key, want) in [("a", "200 Miss"), ("b", "200 Miss"), ("a", "200 Hit"), ("none", "401 ")] {
        assert_eq!(status(&h.send(&format!("GET {path}\napikey: {key}"))), want, "{key}");
    }
}

#[test]
fn an_upstream_that_chooses_by_fields_is_asked_for_each_choice() {
    let path = unique();
    let mut h = harness(json!({}));
    for (language, answer, want) in [
        ("Accept-Language: de", "Hallo", "200 Miss Hallo"),
        ("Accept-Language: en", "Hello", "200 Miss Hello"),
        ("Accept-Language: de", "none", "200 Hit Hallo"),
        ("Accept-Language: en", "none", "200 Hit Hello"),
        ("X: 1", "?", "200 Miss ?"),
        ("Accept-Language: de", "none", "200 Hit Hallo"),
    ] {
        h = h.with_upstream(&format!("200\nContent-Type: text/plain\nVary: accept-language, X-None\n\n{answer}"));
        let exchange = h.send(&format!("GET {path}\n{language}"));
        assert_eq!(format!("{} {}", status(&exchange), exchange.body), want, "{language}");
    }
    assert_eq!(twice(json!({}), "GET /", "200\nContent-Type: text/plain\nVary: Accept, *\n\n"), "Bypass Bypass");
}

#[test]
fn what_cors_says_of_origins_splits_nothing() {
    use crate::cors;
    for (config, vary, want) in [
        (json!({ "origins": ["http://a.test", "http://b.test"] }), "", "200 Hit"),
        (json!({ "credentials": true }), "", "200 Hit"),
        (json!({}), "", "200 Hit"),
        (json!({ "origins": ["http://a.test", "http://b.test"] }), "Vary: Origin\n", "200 Miss"),
        (json!({ "origins": ["http://a.test", "http://b.test"] }), "Vary: Accept\n", "200 Hit"),
    ] {
        let h = Harness::of(vec![(&DEFINITION, json!({ "strategy": "memory" })), (&cors::DEFINITION, config.clone())]);
        let h = h.with_upstream(&format!("200\nContent-Type: text/plain\n{vary}\nwords"));
        let path = unique();
        assert_eq!(status(&h.send(&format!("GET {path}\nOrigin: http://a.test"))), "200 Miss", "{config} {vary}");
        let other = h.send(&format!("GET {path}\nOrigin: http://b.test"));
        assert_eq!(status(&other), want, "{config} {vary}");
        if config != json!({}) {
            assert_eq!(other.header("Access-Control-Allow-Origin"), "http://b.test", "{config} {vary}");
        }
    }
}

#[test]
fn a_response_without_a_body_is_a_miss_that_is_not_kept() {
    let codes = json!({ "response_code": [200, 304] });
    for (answer, want) in [
        ("304\nContent-Type: text/plain\n\n", "Miss Miss"),
        ("304\nContent-Type: image/png\n\n", "Bypass Bypass"),
        ("304\n\n", "Bypass Bypass"),
    ] {
        assert_eq!(twice(codes.clone(), "GET /", answer), want, "{answer}");
    }
    assert_eq!(twice(json!({}), "GET /", "304\nContent-Type: text/plain\n\n"), "Bypass Bypass");
}

#[test]
fn nobody_can_poison_what_others_get() {
    let path = unique();
    let h = harness(json!({})).with_upstream("200\nContent-Type: text/plain\n\npoison");
    let fat = h.send(&format!("GET {path}\n\nbody that the key does not know"));
    assert_eq!(status(&fat), "200 Bypass");
    let h = h.with_upstream(TEXT);
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Miss");
    // With preserve_host the upstream answers by the host, so the host counts.
    let key = |host: &str| {
        let h = harness(json!({})).with_upstream(TEXT).with_preserved_host();
        h.send(&format!("GET {path}\nHost: {host}")).header("X-Cache-Key").to_owned()
    };
    assert_ne!(key("a.test"), key("b.test"));
    assert_eq!(key("a.test"), key("A.test"));
}

#[test]
fn fields_of_this_request_win_over_kept_ones() {
    use crate::rate_limiting;
    let h = Harness::of(vec![
        (&rate_limiting::DEFINITION, json!({ "hour": 9 })),
        (&DEFINITION, json!({ "strategy": "memory" })),
    ]);
    let h = h.with_upstream(TEXT).with_client(|c| c.ip = std::net::Ipv4Addr::new(10, 99, 0, 1).into());
    let path = unique();
    h.send(&format!("GET {path}"));
    h.clock().advance(Duration::from_secs(10));
    let hit = h.send(&format!("GET {path}"));
    let all: Vec<&[u8]> = hit.headers.get_all("ratelimit-reset").collect();
    assert_eq!((status(&hit).as_str(), all), ("200 Hit", vec![&b"3560"[..]]));
    assert_eq!(hit.header("RateLimit-Remaining"), "7");
}

#[test]
fn clients_are_told_what_is_configured() {
    let config = json!({ "response_headers": { "age": false, "X-Cache-Status": null, "X-Cache-Key": false } });
    let h = harness(config).with_upstream(TEXT);
    let path = unique();
    assert_eq!(h.send(&format!("GET {path}")).answer(), "200\nContent-Type: text/plain\n\nwords");
    let hit = h.send(&format!("GET {path}"));
    assert_eq!((hit.answer().as_str(), hit.upstream), ("200\nContent-Type: text/plain\n\nwords", None));
    let debug = h.send(&format!("GET {path}\nKong-Debug: 1"));
    assert_eq!((status(&debug).as_str(), debug.header("Age")), ("200 Hit", "0"));
}

#[test]
fn what_is_kept_can_be_seen_and_let_go() {
    let now = START.as_secs();
    let path = unique();
    let h = harness(json!({})).with_upstream("200\nContent-Type: text/plain\nX-A: 1\nX-A: 2\n\nwords");
    let key = h.send(&format!("GET {path}")).header("X-Cache-Key").to_owned();
    let want = json!({
        "status": 200, "body": "words", "body_len": 5, "req_body": "", "timestamp": now, "ttl": 300, "version": 1,
        "headers": { "content-type": "text/plain", "x-a": ["1", "2"], "connection": "keep-alive", "X-Cache-Key": key,
                     "X-Cache-Status": "Miss" },
    });
    assert_eq!(cached(&key, now), Some(want));
    assert_eq!(cached(&key, now + 300), None, "forgotten");
    for bad in ["zzz", "", &key.to_uppercase(), &format!("{key}0")] {
        assert!(cached(bad, now).is_none() && !forget(bad, now), "{bad}");
    }
    assert_eq!((forget(&key, now), forget(&key, now)), (true, false));
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Miss");
}

#[test]
fn the_memory_is_bounded() {
    let large = format!("200\nContent-Type: text/plain\n\n{}", "x".repeat(store::BODY_MAX + 1));
    assert_eq!(twice(json!({}), "GET /", &large), "Miss Miss");
    let store = store::Store::new(128 << 20);
    for n in 0..200 {
        let stored = Stored {
            status: 200,
            headers: Headers::new(),
            body: vec![0; 1 << 20].into(),
            told: "Miss",
            timestamp: 0,
            age: 0,
            ttl: 1,
            ends: 1,
            must_revalidate: false,
            stale_while: None,
            stale_on_error: None,
            mark: 0,
            chosen_by: Vec::new(),
        };
        store.put([n; 32], stored);
    }
    let weight = store.weight();
    assert!((64 << 20..=128 << 20).contains(&weight), "{weight}");
}

#[test]
fn refuses_a_memory_that_is_not_there() {
    let config = json!({ "strategy": "memory", "memory": { "dictionary_name": "absent" } });
    assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "@entity": ["missing shared dict 'absent'"] }));
}

#[test]
fn clients_that_have_it_already_are_told_so_where_that_is_configured() {
    let answer =
        "200\nContent-Type: text/plain\nETag: \"v1\"\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\nX-Up: 1\n\nwords";
    for (config, request, want) in [
        (json!({}), "If-None-Match: \"v1\"", 200),
        (json!({ "revalidate": true }), "If-None-Match: \"v1\"", 304),
        (json!({ "revalidate": true }), "If-None-Match: \"v0\", W/\"v1\"", 304),
        (json!({ "revalidate": true }), "If-None-Match: *", 304),
        (json!({ "revalidate": true }), "If-None-Match: \"v2\"\nIf-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT", 200),
        (json!({ "revalidate": true }), "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT", 304),
        (json!({ "revalidate": true }), "If-Modified-Since: Wed, 31 Dec 2025 00:00:00 GMT", 200),
        (json!({ "revalidate": true }), "X: 1", 200),
    ] {
        let path = unique();
        let h = harness(config.clone()).with_upstream(answer);
        h.send(&format!("GET {path}"));
        let hit = h.send(&format!("GET {path}\n{request}"));
        assert_eq!(status(&hit), format!("{want} Hit"), "{config} {request}");
        let has_body = !hit.body.is_empty() && hit.headers.contains("x-up");
        assert_eq!((has_body, hit.header("ETag")), (want == 200, "\"v1\""), "{config} {request}");
    }
    // What does not say when it was changed: `Date` says it, or when it came (the clock stands at 00:00:30).
    for (fields, since, want) in [
        ("Date: Thu, 01 Jan 2026 00:00:20 GMT", "Thu, 01 Jan 2026 00:00:20 GMT", 304),
        ("Date: Thu, 01 Jan 2026 00:00:20 GMT", "Thu, 01 Jan 2026 00:00:19 GMT", 200),
        ("X: 1", "Thu, 01 Jan 2026 00:00:30 GMT", 304),
        ("X: 1", "Thu, 01 Jan 2026 00:00:29 GMT", 200),
        ("Last-Modified: soon", "Thu, 01 Jan 2026 00:00:30 GMT", 200),
    ] {
        let path = unique();
        let answer = format!("200\nContent-Type: text/plain\n{fields}\n\nwords");
        let h = harness(json!({ "revalidate": true })).with_upstream(&answer);
        h.send(&format!("GET {path}"));
        let hit = h.send(&format!("GET {path}\nIf-Modified-Since: {since}"));
        assert_eq!(status(&hit), format!("{want} Hit"), "{fields} {since}");
    }
}

#[test]
fn the_upstream_is_asked_whether_a_stale_response_still_holds() {
    let path = unique();
    let h = harness(json!({ "revalidate": true, "cache_ttl": 10 }));
    let h = h.with_upstream("200\nContent-Type: text/plain\nETag: \"v1\"\nX-Up: 1\nX-Old: 1\n\nwords");
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Miss");
    h.clock().advance(Duration::from_secs(15));
    let h = h.with_upstream(
        "304\nETag: \"v1\"\nX-Up: 2\nContent-Length: 0\nContent-Type: a/b\nContent-Security-Policy: default-src 'self'\n\n",
    );
    let renewed = h.send(&format!("GET {path}"));
    assert!(renewed.upstream.as_ref().is_some_and(|sent| sent.contains("If-None-Match: \"v1\"")));
    assert_eq!((status(&renewed).as_str(), renewed.body.as_str()), ("200 Revalidated", "words"));
    assert_eq!((renewed.header("X-Up"), renewed.header("X-Old")), ("2", "1"));
    // Only what says how the body stands in the message is that of the response that is kept.
    let told = ["Content-Type", "Content-Security-Policy"].map(|name| renewed.header(name));
    assert_eq!(told, ["text/plain", "default-src 'self'"]);
    let hit = h.send(&format!("GET {path}"));
    assert_eq!((status(&hit).as_str(), hit.body.as_str(), hit.header("X-Up")), ("200 Hit", "words", "2"));
    h.clock().advance(Duration::from_secs(15));
    // The client's own condition is passed on, and its answer is the client's.
    let own = h.send(&format!("GET {path}\nIf-None-Match: \"x\""));
    assert_eq!(own.status, 304);
    let h = h.with_upstream("200\nContent-Type: text/plain\nETag: \"v2\"\n\nnew");
    assert_eq!(h.send(&format!("GET {path}")).body, "new");
    assert_eq!(h.send(&format!("GET {path}")).answer().lines().last(), Some("new"));
}

#[test]
fn a_stale_response_helps_out_where_that_is_configured() {
    for (config, seconds, answer, want) in [
        (json!({}), 15, "503\n\n", "503 Bypass"),
        (json!({ "stale_if_error": 10 }), 15, "503\n\n", "200 Stale"),
        (json!({ "stale_if_error": 10 }), 25, "503\n\n", "503 Bypass"),
        (json!({ "stale_if_error": 10 }), 15, "404\nContent-Type: text/plain\n\n", "404 Refresh"),
        // A failure that was kept is no help.
        (json!({ "stale_if_error": 10, "response_code": [503] }), 15, "500\n\n", "500 Bypass"),
    ] {
        let path = unique();
        let mut config = config.clone();
        config["cache_ttl"] = json!(10);
        let kept = if config.get("response_code").is_some() { TEXT.replace("200", "503") } else { TEXT.to_owned() };
        let h = harness(config.clone()).with_upstream(&kept);
        h.send(&format!("GET {path}"));
        h.clock().advance(Duration::from_secs(seconds));
        let h = h.with_upstream(answer);
        assert_eq!(status(&h.send(&format!("GET {path}"))), want, "{config} after {seconds} s");
    }
}

#[test]
fn a_client_that_has_nothing_gets_the_whole_stale_response() {
    // The upstream is asked by a condition, which is none of the client's.
    let path = unique();
    let config = json!({ "cache_ttl": 10, "stale_if_error": 10, "revalidate": true });
    let answer = "200\nContent-Type: text/plain\nETag: a\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\n\nwords";
    let h = harness(config).with_upstream(answer);
    h.send(&format!("GET {path}"));
    h.clock().advance(Duration::from_secs(15));
    let h = h.with_upstream("503\n\n");
    let stale = h.send(&format!("GET {path}"));
    assert!(stale.upstream.as_ref().is_some_and(|sent| sent.contains("If-None-Match: a")));
    assert_eq!((status(&stale).as_str(), stale.body.as_str()), ("200 Stale", "words"));
    assert_eq!(status(&h.send(&format!("GET {path}\nIf-None-Match: a"))), "304 Stale");
}

#[test]
fn upstreams_say_how_long_stale_responses_help_out_where_they_are_heeded() {
    for (config, said, seconds, want) in [
        (json!({ "cache_control": true }), "max-age=10, stale-if-error=10", 15, "200 Stale"),
        (json!({ "cache_control": true }), "max-age=10, stale-if-error=\"10\"", 15, "200 Stale"),
        (json!({ "cache_control": true }), "max-age=10, stale-if-error=10", 25, "503 Bypass"),
        (json!({ "cache_control": true }), "max-age=10, stale-if-error=10, stale-if-error=1", 15, "503 Bypass"),
        (json!({ "cache_control": true }), "max-age=10, stale-if-error=10, must-revalidate", 15, "503 Bypass"),
        (json!({ "cache_control": true }), "max-age=10, stale-if-error", 15, "503 Bypass"),
        // The response itself counts before the configuration.
        (json!({ "cache_control": true, "stale_if_error": 100 }), "max-age=10", 15, "200 Stale"),
        (json!({ "cache_control": true, "stale_if_error": 100 }), "max-age=10, stale-if-error=0", 15, "503 Bypass"),
        (json!({ "cache_ttl": 10 }), "max-age=10, stale-if-error=10", 15, "503 Bypass"),
    ] {
        let path = unique();
        let h = harness(config.clone());
        let h = h.with_upstream(&format!("200\nContent-Type: text/plain\nCache-Control: {said}\n\nwords"));
        h.send(&format!("GET {path}"));
        h.clock().advance(Duration::from_secs(seconds));
        let h = h.with_upstream("503\n\n");
        assert_eq!(status(&h.send(&format!("GET {path}"))), want, "{config} {said} after {seconds} s");
    }
}

#[test]
fn upstreams_say_how_long_stale_responses_are_given_while_a_new_one_is_fetched() {
    for (config, said, seconds, want) in [
        (json!({ "cache_control": true }), "max-age=10, stale-while-revalidate=10", 15, "200 Stale"),
        (json!({ "cache_control": true }), "max-age=10, stale-while-revalidate=10", 25, "200 Miss"),
        (
            json!({ "cache_control": true }),
            "max-age=10, stale-while-revalidate=10, proxy-revalidate",
            15,
            "200 Refresh",
        ),
        (
            json!({ "cache_control": true, "stale_while_revalidate": 100 }),
            "max-age=10, stale-while-revalidate=1",
            15,
            "200 Miss",
        ),
        (json!({ "cache_ttl": 10, "storage_ttl": 100 }), "stale-while-revalidate=10", 15, "200 Refresh"),
    ] {
        let path = unique();
        let h = harness(config.clone());
        let h = h.with_upstream(&format!("200\nContent-Type: text/plain\nCache-Control: {said}\n\nwords"));
        let key = h.send(&format!("GET {path}")).header("X-Cache-Key").to_owned();
        h.clock().advance(Duration::from_secs(seconds));
        let Boarding::First(_other) = flights::board(&key::parse(&key).unwrap()) else { panic!("nobody else asks") };
        assert_eq!(status(&h.send(&format!("GET {path}"))), want, "{config} {said} after {seconds} s");
    }
}

#[test]
fn one_request_fetches_what_many_want() {
    let path = unique();
    let h = harness(json!({ "cache_ttl": 10, "stale_while_revalidate": 10 })).with_upstream(TEXT);
    let key = h.send(&format!("GET {path}")).header("X-Cache-Key").to_owned();
    let key = key::parse(&key).unwrap();
    h.clock().advance(Duration::from_secs(15));
    let Boarding::First(other) = flights::board(&key) else { panic!("nobody else asks") };
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Stale");
    drop(other);
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Refresh");
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Hit");

    let path = unique();
    let h = harness(json!({ "collapse_requests": true })).with_upstream(TEXT);
    let key = h.send(&format!("GET {path}")).header("X-Cache-Key").to_owned();
    let _other = flights::board(&key::parse(&key).unwrap());
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Hit");
    assert!(forget(&key, START.as_secs()));
    assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Miss", "whoever waits too long asks");
}

#[tokio::test]
async fn who_waits_goes_on_when_the_answer_is_there() {
    let key = [7; 32];
    let Boarding::First(flight) = flights::board(&key) else { panic!("nobody else asks") };
    let Boarding::Waiting(landing) = flights::board(&key) else { panic!("somebody else asks") };
    tokio::join!(flights::wait(&landing), async { drop(flight) });
    assert!(matches!(flights::board(&key), Boarding::First(_)));
}

#[test]
fn parts_of_what_is_kept_are_given_where_that_is_configured() {
    let answer = "200\nContent-Type: text/plain\nETag: \"v1\"\nX-Up: 1\n\nwords";
    for (config, request, want) in [
        (json!({}), "Range: bytes=1-2", "200  words"),
        (json!({ "ranges": true }), "Range: bytes=1-2", "206 bytes 1-2/5 or"),
        (json!({ "ranges": true }), "Range: bytes=-2", "206 bytes 3-4/5 ds"),
        (json!({ "ranges": true }), "Range: bytes=9-", "416 bytes */5 "),
        (json!({ "ranges": true }), "Range: bytes=0-0,2-2", "200  words"),
        (json!({ "ranges": true }), "Range: bytes=1-2\nIf-Range: \"v1\"", "206 bytes 1-2/5 or"),
        (json!({ "ranges": true }), "Range: bytes=1-2\nIf-Range: \"v2\"", "200  words"),
        (json!({ "ranges": true }), "Range: bytes=1-2\nIf-Range: W/\"v1\"", "200  words"),
        (json!({ "ranges": true }), "X: 1", "200  words"),
    ] {
        let path = unique();
        let h = harness(config.clone()).with_upstream(answer);
        h.send(&format!("GET {path}"));
        let hit = h.send(&format!("GET {path}\n{request}"));
        let told = format!("{} {} {}", hit.status, hit.header("Content-Range"), hit.body);
        assert_eq!(told, want, "{config} {request}");
        assert_eq!(hit.header("X-Cache-Status"), "Hit");
    }
}

#[test]
fn a_redis_needs_a_server_and_out_of_reach_it_keeps_nothing() {
    let error = complete(&DEFINITION, json!({ "strategy": "redis" })).unwrap_err();
    assert_eq!(error, json!({ "config": { "redis": { "host": "required field missing" } } }));
    let error = complete(&DEFINITION, json!({ "strategy": "paper" })).unwrap_err();
    assert_eq!(error, json!({ "config": { "strategy": "expected one of: memory" } }));
    let redis = json!({ "host": "127.0.0.1", "port": 1, "timeout": 1000 });
    let h = harness(json!({ "strategy": "redis", "redis": redis })).with_upstream(TEXT);
    let path = unique();
    for _ in 0..2 {
        assert_eq!(status(&h.send(&format!("GET {path}"))), "200 Miss");
    }
}

#[test]
fn a_write_makes_invalid_what_is_kept_of_its_uri() {
    let on = || json!({ "invalidate": true, "vary_headers": ["X-Lang"] });
    let done = "200\nContent-Type: text/plain\n\ndone";
    for (config, request, answer, want) in [
        (json!({}), "DELETE {}", done, "Hit Hit"),
        (on(), "DELETE {}", done, "Miss Miss"),
        (on(), "POST {}", "303\nLocation: /elsewhere\n\n", "Miss Miss"),
        (on(), "PATCH {}\nX-Lang: other", "204\n\n", "Miss Miss"),
        (on(), "PROPPATCH {}", done, "Miss Miss"),
        (on(), "PUT {}?x=1", done, "Hit Hit"),
        (on(), "PUT {}/more", done, "Hit Hit"),
        // What failed has changed nothing, and what only reads neither.
        (on(), "PUT {}", "409\n\n", "Hit Hit"),
        (on(), "PUT {}", "500\n\n", "Hit Hit"),
        (on(), "OPTIONS {}", done, "Hit Hit"),
        (on(), "HEAD {}", done, "Hit Hit"),
        // What the answer names is invalid, too, where it is of the same origin.
        (on(), "POST {}/more", "201\nLocation: http://h.test{}\n\n", "Miss Miss"),
        (on(), "POST {}/more", "201\nContent-Location: ..{}\n\n", "Miss Miss"),
        (on(), "POST {}/more", "409\nLocation: {}\n\n", "Hit Hit"),
        (on(), "POST {}/more", "201\nLocation: http://other.test{}\n\n", "Hit Hit"),
        (on(), "POST {}/more", "201\nLocation: https://h.test{}\n\n", "Hit Hit"),
        // A method whose responses are kept is a way to read.
        (json!({ "invalidate": true, "request_method": ["GET", "POST"] }), "POST {}", TEXT, "Hit Hit"),
    ] {
        let path = unique();
        let in_place = |text: &str| text.replace("{}", &path);
        let gets = ["de", "en"].map(|language| format!("GET {path}\nX-Lang: {language}"));
        let h = harness(config.clone()).with_upstream(TEXT);
        for get in &gets {
            h.send(get);
        }
        let h = h.with_upstream(&in_place(answer));
        h.send(&in_place(request));
        let h = h.with_upstream(TEXT);
        let told = gets.each_ref().map(|get| h.send(get).header("X-Cache-Status").to_owned()).join(" ");
        assert_eq!(told, want, "{config} {request} {answer}");
    }
}

#[test]
fn what_was_asked_for_before_a_write_is_not_given_after_it() {
    let config = complete(&DEFINITION, json!({ "strategy": "memory", "invalidate": true })).unwrap();
    let entity = entities::Plugin::default();
    let plugin = build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] }).unwrap();
    let (h, path) = (Harness::of(Vec::new()), unique());
    let ask = |method: &str| {
        let mut cx = h.context(&format!("{method} {path}"));
        assert!(matches!(plugin.access(&mut cx), Step::Continue), "{method}");
        cx
    };
    let answer = |mut cx: Context| {
        let mut response = Response::new(200);
        response.headers.set("Content-Type", b"text/plain");
        cx.respond(response, Source::Upstream);
        plugin.header_filter(&mut cx);
        plugin.body_filter(&mut cx, &mut Chunk { data: Bytes::from_static(b"words"), is_last: true });
    };
    let early = ask("GET");
    answer(ask("DELETE"));
    answer(early);
    answer(ask("GET"));
    let mut cx = h.context(&format!("GET {path}"));
    assert!(matches!(plugin.access(&mut cx), Step::Exit(_)), "what was asked for after it is kept");
}

#[test]
fn errors_of_the_proxy_are_a_bare_message_where_grpc_is_accepted() {
    let h = harness(json!({ "cache_control": true, "storage_ttl": 100 }));
    let bare = r#"{"message":"The upstream server is timing out"}"#;
    for (fields, is_bare) in [
        ("Accept: application/grpc", true),
        ("Accept: application/grpc+proto, text/html", true),
        ("Content-Type: application/grpc", true),
        ("Accept: application/json\nContent-Type: application/grpc", false),
        ("Accept: text/html, application/grpc", false),
    ] {
        let exchange = h.send(&format!("GET {}\nCache-Control: only-if-cached\n{fields}", unique()));
        assert_eq!((exchange.status, exchange.body == bare), (504, is_bare), "{fields}: {}", exchange.body);
    }
}
