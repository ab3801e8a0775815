//! Tests of `correlation-id`.

use super::*;
use pdk::testing::Harness;
use serde_json::json;

fn upstream_id(exchange: &pdk::testing::Exchange, name: &str) -> Vec<String> {
    let seen = exchange.upstream.clone().unwrap_or_default();
    let fields = seen.lines().filter_map(|l| l.split_once(": ")).filter(|(n, _)| n.eq_ignore_ascii_case(name));
    fields.map(|(_, v)| v.to_owned()).collect()
}

#[test]
fn gives_an_id_to_requests_without_one() {
    let h = Harness::new(&DEFINITION, json!({ "header_name": "X-C", "generator": "uuid", "echo_downstream": true }));
    for request in ["GET /", "GET /\nx-c:"] {
        let exchange = h.send(request);
        let ids = upstream_id(&exchange, "x-c");
        assert_eq!(ids.len(), 1, "{request}");
        assert!(Uuid::try_parse(&ids[0]).is_ok(), "{ids:?}");
        assert_eq!(exchange.header("X-C"), ids[0]);
        assert_eq!(exchange.log["correlation_id"], ids[0]);
    }
}

#[test]
fn keeps_the_id_a_request_brings() {
    let h = Harness::new(&DEFINITION, json!({ "header_name": "X-C", "echo_downstream": true }));
    let exchange = h.send("GET /\nx-c: a\nX-C: b");
    assert_eq!(upstream_id(&exchange, "x-c"), ["a", "b"]);
    assert_eq!(exchange.header("X-C"), "a");
}

#[test]
fn a_counter_goes_up_with_each_request() {
    let h = Harness::new(&DEFINITION, json!({}));
    let next = || {
        let exchange = h.send("GET /");
        assert_eq!(exchange.header("Kong-Request-ID"), "");
        upstream_id(&exchange, "Kong-Request-ID").remove(0)
    };
    let (first, second) = (next(), next());
    let (id, n) = first.split_once('#').unwrap();
    assert_eq!(second, format!("{id}#{}", n.parse::<u64>().unwrap() + 1));
}

#[test]
fn a_tracker_tells_where_and_when() {
    let h = Harness::new(&DEFINITION, json!({ "generator": "tracker" }));
    let want = format!("127.0.0.1-8000-{}-3-1-{}.000", std::process::id(), pdk::testing::START.as_secs());
    assert_eq!(upstream_id(&h.send("GET /"), "kong-request-id"), [want]);
}

#[test]
fn where_no_route_matched_only_a_brought_id_is_echoed() {
    let h = Harness::new(&DEFINITION, json!({ "header_name": "X-C", "echo_downstream": true }));
    assert_eq!(h.send("GET /\nX-C: mine").header("X-C"), "mine");
}

#[test]
fn answers_without_a_route_have_an_id_too() {
    let h = Harness::new(&DEFINITION, json!({ "generator": "uuid", "echo_downstream": true })).without_route();
    assert!(Uuid::try_parse(h.send("GET /").header("Kong-Request-ID")).is_ok());
    assert_eq!(h.send("GET /\nKong-Request-ID: own").header("Kong-Request-ID"), "own");
}
