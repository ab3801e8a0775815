//! Who may call, with which role and scope.
use super::api::{World, header, world_with};
use crate::{Access, Request, Settings};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::sync::Arc;

const ADMIN: &str = "Bearer token-of-the-admin";
const EDITOR: &str = "Bearer token-of-the-editor";
const READER: &str = "Bearer token-of-the-reader";
const TEAM: &str = "Bearer token-of-the-team-a";

fn world() -> World {
    let certificate: String =
        digest(&SHA256, b"certificate").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let users = format!(
        "admin token-of-the-admin admin\neditor token-of-the-editor editor\nreader token-of-the-reader read-only\n\
         team token-of-the-team-a editor a,b\nbot certificate:{certificate} read-only"
    );
    let access = Some(Arc::new(Access::parse(&users).unwrap()));
    world_with(Settings { access, ..Settings::default() }, false)
}

fn call(world: &World, user: &str, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let mut headers = vec![("Authorization", user)];
    let mut text = Vec::new();
    if !body.is_null() {
        headers.push(("Content-Type", "application/json"));
        text = body.to_string().into_bytes();
    }
    let response = world.send(method, target, &headers, &text);
    (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
}

fn status(world: &World, user: &str, method: &str, target: &str, body: &Value) -> u16 {
    call(world, user, method, target, body).0
}

#[test]
fn nobody_is_let_in_without_a_token_that_is_known() {
    let world = world();
    // "reader:token-of-the-reader", "editor:token-of-the-reader", "reader"
    let basic = "Basic cmVhZGVyOnRva2VuLW9mLXRoZS1yZWFkZXI=";
    let of_another = "Basic ZWRpdG9yOnRva2VuLW9mLXRoZS1yZWFkZXI=";
    let cases = [
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer token-of-the-Reader", 401),
        ("Digest token-of-the-reader", 401),
        ("Basic cmVhZGVy", 401),
        ("Basic !", 401),
        (of_another, 401),
        (basic, 200),
        (READER, 200),
        ("bearer token-of-the-reader", 200),
    ];
    for (user, expected) in cases {
        assert_eq!(status(&world, user, "GET", "/services", &Value::Null), expected, "{user}");
    }
    let refused = world.send("GET", "/nowhere", &[], b"");
    assert_eq!(refused.status, 401);
    assert_eq!(header(&refused, "WWW-Authenticate"), Some("Bearer realm=\"admin\", Basic realm=\"admin\""));
    assert_eq!(world.send("OPTIONS", "/services", &[], b"").status, 204);
    let open = Request { method: "GET".into(), path: "/status".into(), ..Request::default() };
    assert_eq!(world.api.handle_open(open).status, 200);
}

#[test]
fn a_certificate_that_is_known_is_as_good_as_a_token() {
    let world = world();
    let with = |certificate: &[u8]| {
        let certificate = Some(certificate.to_vec());
        world.api.handle(Request { method: "GET".into(), path: "/services".into(), certificate, ..Request::default() })
    };
    assert_eq!(with(b"certificate").status, 200);
    assert_eq!(with(b"another").status, 401);
}

#[test]
fn roles_may_what_they_are_for() {
    let world = world();
    let service = json!({ "name": "s", "host": "s.test" });
    let cases = [
        ("GET", "/services", Value::Null, [200, 200, 200]),
        ("POST", "/schemas/services/validate", service.clone(), [200, 200, 200]),
        ("PUT", "/services/s", service, [403, 200, 200]),
        ("POST", "/batch", json!({ "operations": [] }), [403, 200, 200]),
        ("PUT", "/debug/node/log-level/debug", Value::Null, [403, 403, 200]),
        ("DELETE", "/cache", Value::Null, [403, 403, 204]),
        ("POST", "/config", json!({}), [403, 403, 400]),
        ("GET", "/audit", Value::Null, [403, 403, 404]),
        ("GET", "/openapi.json", Value::Null, [200, 200, 200]),
        ("DELETE", "/services/s", Value::Null, [403, 204, 204]),
    ];
    for (method, target, body, expected) in cases {
        let answered = [READER, EDITOR, ADMIN].map(|user| status(&world, user, method, target, &body));
        assert_eq!(answered, expected, "{method} {target}");
    }
    let (_, refused) = call(&world, READER, "DELETE", "/services/s", &Value::Null);
    assert_eq!(refused["message"], "Forbidden: this takes the role editor");
}

#[test]
fn a_scope_hides_what_has_none_of_its_tags() {
    let world = world();
    let make = |target: &str, body: Value| assert_eq!(status(&world, ADMIN, "PUT", target, &body), 200, "{target}");
    make("/services/ours", json!({ "host": "a.test", "tags": ["a"] }));
    make("/services/theirs", json!({ "host": "b.test", "tags": ["c"] }));
    make("/upstreams/ours", json!({ "tags": ["b", "c"] }));
    make("/consumers/theirs", json!({}));
    let team = |method: &str, target: &str, body: Value| call(&world, TEAM, method, target, &body);
    let names = |target: &str| -> Vec<String> {
        let (_, page) = team("GET", target, Value::Null);
        page["data"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/services"), ["ours"]);
    assert_eq!(team("GET", "/tags", Value::Null).1["data"].as_array().unwrap().len(), 2);
    for (method, target, body, expected) in [
        ("GET", "/services/ours", Value::Null, 200),
        ("GET", "/services/theirs", Value::Null, 404),
        ("PATCH", "/services/theirs", json!({ "host": "x.test" }), 404),
        ("DELETE", "/services/theirs", Value::Null, 204),
        ("PUT", "/services/theirs", json!({ "host": "x.test", "tags": ["a"] }), 409),
        ("POST", "/services/theirs/routes", json!({ "paths": ["/x"], "tags": ["a"] }), 404),
        ("POST", "/routes", json!({ "paths": ["/x"], "tags": ["a"], "service": { "name": "theirs" } }), 400),
        ("POST", "/services", json!({ "host": "x.test" }), 403),
        ("PATCH", "/services/ours", json!({ "tags": [] }), 403),
        ("POST", "/plugins", json!({ "name": "limiter", "tags": ["a"] }), 403),
        ("POST", "/services/ours/plugins", json!({ "name": "limiter", "tags": ["a"] }), 201),
        ("POST", "/services/ours/plugins", json!({ "name": "limiter" }), 403),
        ("POST", "/upstreams/ours/targets", json!({ "target": "10.0.0.1:80" }), 201),
        ("GET", "/timers", Value::Null, 403),
        ("GET", "/", Value::Null, 200),
    ] {
        assert_eq!(team(method, target, body).0, expected, "{method} {target}");
    }
    assert_eq!(status(&world, ADMIN, "GET", "/services/theirs", &Value::Null), 200);
    let hidden = call(&world, ADMIN, "GET", "/services/theirs", &Value::Null).1;
    let taken = json!({ "host": "x.test", "tags": ["a"] });
    let by_id = format!("/services/{}", hidden["id"].as_str().unwrap());
    assert_eq!(team("PUT", &by_id, taken.clone()).0, 400);
    let batch = json!({ "operations": [{ "method": "PUT", "path": by_id, "body": taken }] });
    assert_eq!(team("POST", "/batch", batch).0, 400);
    assert_eq!(call(&world, ADMIN, "GET", &by_id, &Value::Null).1, hidden);
}
