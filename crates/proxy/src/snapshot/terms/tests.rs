//! Tests of `terms`.

use super::Terms;
use entities::{RetriedFailure, Route, Service};
use pdk::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn service(fields: Value) -> Terms {
    let mut row = json!({ "id": uuid::Uuid::nil(), "created_at": 1, "updated_at": 1, "protocol": "http", "host": "h",
        "port": 80, "enabled": true });
    row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Terms::of_service(&serde_json::from_value::<Service>(row).unwrap())
}

fn route(fields: Value) -> Route {
    let mut row = json!({ "id": uuid::Uuid::nil(), "created_at": 1, "updated_at": 1, "protocols": ["http"],
        "https_redirect_status_code": 426, "strip_path": true, "preserve_host": false, "request_buffering": true,
        "response_buffering": true });
    row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(row).unwrap()
}

/// Retries, the three time-outs, the limit, and the statuses.
fn shown(terms: &Terms) -> Value {
    let ms = |time: Duration| time.as_millis() as u64;
    let statuses = terms.policy.as_ref().map(|policy| &policy.http_statuses);
    json!([
        terms.retries,
        ms(terms.connect_timeout),
        ms(terms.patience.write),
        ms(terms.patience.read),
        terms.limit.map(ms),
        statuses,
    ])
}

#[test]
fn a_route_has_the_say_where_it_says_something() {
    let all = json!({ "retries": 1, "connect_timeout": 2, "write_timeout": 3, "read_timeout": 4, "request_timeout": 5,
        "retry_policy": { "http_statuses": [503] } });
    let cases = [
        (json!({}), json!({}), json!([5, 60000, 60000, 60000, null, null])),
        (all.clone(), json!({}), json!([1, 2, 3, 4, 5, [503]])),
        (json!({}), all.clone(), json!([1, 2, 3, 4, 5, [503]])),
        (all.clone(), json!({ "retries": 0 }), json!([0, 2, 3, 4, 5, [503]])),
        (all.clone(), json!({ "read_timeout": 9 }), json!([1, 2, 3, 9, 5, [503]])),
        (all.clone(), json!({ "request_timeout": 9 }), json!([1, 2, 3, 4, 9, [503]])),
        (all, json!({ "retry_policy": {} }), json!([1, 2, 3, 4, 5, null])),
    ];
    for (of_service, of_route, expected) in cases {
        let (terms, own) = (service(of_service.clone()), route(of_route.clone()));
        assert_eq!(shown(&terms.on(&own)), expected, "{of_service} {of_route}");
        assert_eq!(Terms::has_own(&own), of_route != json!({}), "{of_route}");
    }
}

#[test]
fn without_a_policy_kongs_rules_hold() {
    use RetriedFailure::{Connect, Reset, Timeout};
    let methods = ["GET", "PUT", "POST", "PATCH", "LOCK", "MINE"];
    let failures = [Connect, Reset, Timeout];
    let cases = [
        (json!({}), &["GET", "PUT", "MINE"][..], &failures[..], &[][..]),
        (json!({ "retry_policy": {} }), &["GET", "PUT", "MINE"], &failures, &[]),
        (json!({ "retry_policy": { "methods": ["POST"] } }), &["POST"], &failures, &[]),
        (json!({ "retry_policy": { "methods": [], "failures": [] } }), &[], &[], &[]),
        (json!({ "retry_policy": { "failures": ["reset"] } }), &["GET", "PUT", "MINE"], &[Reset], &[]),
        (json!({ "retry_policy": { "http_statuses": [429, 503] } }), &["GET", "PUT", "MINE"], &failures, &[429, 503]),
    ];
    for (fields, repeated, retried, statuses) in cases {
        let terms = service(fields.clone());
        let found: Vec<&str> = methods.into_iter().filter(|name| terms.repeats(&Method::from_name(name))).collect();
        assert_eq!(found, repeated, "{fields}");
        let found: Vec<RetriedFailure> = failures.into_iter().filter(|kind| terms.retries_failure(*kind)).collect();
        assert_eq!(found, retried, "{fields}");
        let found: Vec<u16> = (400..600).filter(|status| terms.retries_status(*status)).collect();
        assert_eq!(found, statuses, "{fields}");
    }
}

#[test]
fn the_wait_before_a_try_doubles_up_to_a_bound() {
    let cases = [
        (json!({}), 1, 0.0, 0),
        (json!({ "backoff": 100 }), 1, 1.0, 100),
        (json!({ "backoff": 100 }), 1, 0.0, 50),
        (json!({ "backoff": 100 }), 2, 1.0, 200),
        (json!({ "backoff": 100 }), 4, 0.5, 600),
        (json!({ "backoff": 100 }), 8, 1.0, 10_000),
        (json!({ "backoff": 10_000 }), 32_767, 1.0, 10_000),
    ];
    for (policy, number, random, expected) in cases {
        let pause = service(json!({ "retry_policy": policy })).pause(number, || random);
        assert_eq!(pause.as_millis(), expected, "{policy} {number}");
    }
}
