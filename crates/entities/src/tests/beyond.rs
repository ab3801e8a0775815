//! Fields of services and routes that Kong does not have.

use schema::{Record, Value, json};

use super::{catalog, inserted, refusal};
use crate::{HttpVersion, PathForwarding, RetriedFailure, Route, RouterFlavor, Service};

const FLAVORS: [RouterFlavor; 3] =
    [RouterFlavor::Traditional, RouterFlavor::TraditionalCompatible, RouterFlavor::Expressions];

/// The fields, each with a value.
fn of_route() -> Value {
    json!({
        "connect_timeout": 1, "write_timeout": 2, "read_timeout": 3, "request_timeout": 2_147_483_646, "retries": 0,
        "retry_policy": { "http_statuses": [502, 503], "methods": ["GET", "POST"], "failures": ["connect", "timeout"],
            "backoff": 10 },
        "path_forwarding": "raw",
    })
}

#[test]
fn they_are_neither_shown_nor_filled_in() {
    for flavor in FLAVORS {
        let catalog = catalog(flavor);
        let service = inserted(&catalog, "services", json!({ "host": "a" }));
        let route = inserted(&catalog, "routes", json!({ "paths": ["/a"] }));
        for (name, _) in of_route().as_object().unwrap() {
            assert_eq!(route.get(name), None, "{flavor}: {name} of a route");
            let shown = catalog.entity("routes").unwrap().to_json().to_string();
            assert!(!shown.contains(&format!("\"{name}\"")), "{flavor}: {name} of a route");
        }
        let shown = catalog.entity("services").unwrap().to_json().to_string();
        for name in ["request_timeout", "retry_policy", "http_version"] {
            assert_eq!(service.get(name), None, "{flavor}: {name} of a service");
            assert!(!shown.contains(name), "{flavor}: {name} of a service");
        }
    }
}

#[test]
fn they_are_kept_as_given_and_become_typed() {
    for flavor in FLAVORS {
        let mut input = of_route();
        input["paths"] = json!(["/a"]);
        let row = inserted(&catalog(flavor), "routes", input);
        for (name, value) in of_route().as_object().unwrap() {
            assert_eq!(&row[name], value, "{flavor}: {name}");
        }
        let route = Route::from_value(&row).unwrap();
        assert_eq!((route.read_timeout.map(u32::from), route.retries), (Some(3), Some(0)));
        assert_eq!(route.path_forwarding, Some(PathForwarding::Raw));
        let policy = route.retry_policy.unwrap();
        assert_eq!(policy.http_statuses, Some(vec![502, 503]));
        assert_eq!(policy.failures, Some(vec![RetriedFailure::Connect, RetriedFailure::Timeout]));
        let row = inserted(
            &catalog(flavor),
            "services",
            json!({ "host": "a", "request_timeout": 7, "retry_policy": { "backoff": 5 }, "http_version": "2" }),
        );
        let none = json!({ "http_statuses": null, "methods": null, "failures": null, "backoff": 5 });
        assert_eq!((&row["request_timeout"], &row["retry_policy"]), (&json!(7), &none));
        let service = Service::from_value(&row).unwrap();
        assert_eq!(service.http_version, Some(HttpVersion::Http2));
        assert_eq!(service.retry_policy.and_then(|policy| policy.backoff), Some(5));
    }
}

#[test]
fn forms_give_them_their_types() {
    let form = [
        ("paths[]", "/a"),
        ("read_timeout", "3000"),
        ("retries", "2"),
        ("path_forwarding", "raw"),
        ("retry_policy.http_statuses[]", "503"),
        ("retry_policy.methods", "POST"),
        ("retry_policy.failures[1]", "reset"),
        ("retry_policy.backoff", "50"),
    ];
    let form = form.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let policy = json!({ "http_statuses": [503], "methods": ["POST"], "failures": ["reset"], "backoff": 50 });
    let wanted = json!({ "paths": ["/a"], "read_timeout": 3000, "retries": 2, "path_forwarding": "raw",
        "retry_policy": policy });
    let decoded = catalog(RouterFlavor::default()).entity("routes").unwrap().decode_form(&form).unwrap();
    assert_eq!(decoded, wanted);
}

#[test]
fn what_they_cannot_be_is_refused_with_kongs_words() {
    const TIME: &str = "value should be between 1 and 2147483646";
    const STREAM: &str = "'tcp', 'tls', 'tls_passthrough' or 'udp'";
    let stream = |name: &str| json!({ name: format!("cannot set '{name}' when 'protocols' is {STREAM}") });
    let cases = [
        ("routes", json!({ "read_timeout": 0 }), json!({ "read_timeout": TIME })),
        ("routes", json!({ "request_timeout": 2_147_483_647_i64 }), json!({ "request_timeout": TIME })),
        ("routes", json!({ "connect_timeout": 1.5 }), json!({ "connect_timeout": "expected an integer" })),
        ("routes", json!({ "retries": 32768 }), json!({ "retries": "value should be between 0 and 32767" })),
        (
            "routes",
            json!({ "path_forwarding": "as-is" }),
            json!({ "path_forwarding": "expected one of: normalized, raw" }),
        ),
        (
            "services",
            json!({ "retry_policy": { "http_statuses": [399] } }),
            json!({ "retry_policy": { "http_statuses": ["value should be between 400 and 599"] } }),
        ),
        (
            "services",
            json!({ "retry_policy": { "failures": ["error"] } }),
            json!({ "retry_policy": { "failures": ["expected one of: connect, reset, timeout"] } }),
        ),
        (
            "services",
            json!({ "retry_policy": { "methods": ["get"] } }),
            json!({ "retry_policy": { "methods": ["invalid value: get"] } }),
        ),
        (
            "services",
            json!({ "retry_policy": { "backoff": 10_001 } }),
            json!({ "retry_policy": { "backoff": "value should be between 1 and 10000" } }),
        ),
        (
            "services",
            json!({ "retry_policy": { "on": ["reset"] } }),
            json!({ "retry_policy": { "on": "unknown field" } }),
        ),
        ("services", json!({ "retry_policy": true }), json!({ "retry_policy": "expected a record" })),
        ("services", json!({ "path_forwarding": "raw" }), json!({ "path_forwarding": "unknown field" })),
        ("streams", json!({ "path_forwarding": "raw" }), stream("path_forwarding")),
        ("streams", json!({ "request_timeout": 5 }), stream("request_timeout")),
        ("streams", json!({ "retry_policy": {} }), stream("retry_policy")),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (entity, mut input, errors) in cases {
        let (entity, more) = match entity {
            "streams" => ("routes", json!({ "protocols": ["tcp"], "destinations": [{ "port": 1 }] })),
            "routes" => (entity, json!({ "paths": ["/a"] })),
            _ => (entity, json!({ "host": "a" })),
        };
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(refusal(&catalog, entity, input.clone()), errors, "{entity} {input}");
    }
}
