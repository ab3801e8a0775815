//! Tests of `request-termination`.

use super::*;
use pdk::testing::{Harness, complete};

fn answer(config: Value, request: &str) -> String {
    Harness::new(&DEFINITION, config).send(request).answer()
}

#[test]
fn answers_with_status_message_or_body() {
    const JSON: &str = "Content-Type: application/json; charset=utf-8\n\n";
    for (config, want) in [
        (json!({}), format!("503\n{JSON}{{\"message\":\"Service unavailable\"}}")),
        (json!({ "status_code": 502 }), format!("502\n{JSON}{{\"message\":\"Bad Gateway\"}}")),
        (json!({ "status_code": 200 }), "200\n".to_owned()),
        (json!({ "status_code": 599 }), "599\n".to_owned()),
        (json!({ "status_code": 403, "message": "no \"é\"" }), format!("403\n{JSON}{{\"message\":\"no \\\"é\\\"\"}}")),
        (json!({ "status_code": 200, "body": "<h1>hi</h1>" }), "200\n\n<h1>hi</h1>".to_owned()),
        (json!({ "body": "x", "content_type": "text/plain" }), "503\nContent-Type: text/plain\n\nx".to_owned()),
        (
            json!({ "status_code": 400 }),
            format!(
                "400\nContent-Type: text/plain; charset=utf-8\n\nBad request\nrequest_id: {}\n",
                pdk::testing::REQUEST_ID
            ),
        ),
        (
            json!({ "status_code": 301 }),
            "301\nContent-Type: text/html\n\n<html>\r\n<head><title>301 Moved Permanently</title></head>\r\n<body>\r\n\
             <center><h1>301 Moved Permanently</h1></center>\r\n</body>\r\n</html>\r\n"
                .to_owned(),
        ),
    ] {
        assert_eq!(answer(config.clone(), "GET /"), want, "{config}");
    }
}

#[test]
fn a_trigger_is_a_header_field_or_a_query_argument() {
    let h = Harness::new(&DEFINITION, json!({ "trigger": "X-Stop", "status_code": 200 }));
    for (request, is_stopped) in [
        ("GET /", false),
        ("GET /\nx-stop: no", true),
        ("GET /\nx-stop:", true),
        ("GET /?X-Stop", true),
        ("GET /?X-Stop=1&X-Stop=2", true),
        ("GET /?x-stop=1", false),
    ] {
        assert_eq!(h.send(request).upstream.is_none(), is_stopped, "{request}");
    }
}

#[test]
fn echo_tells_what_the_gateway_saw() {
    let h = Harness::new(&DEFINITION, json!({ "echo": true, "status_code": 404, "message": "m" }));
    let exchange = h.send("POST /p?a=1&b&a=2\nHost: H.test:80\nX-A: 1\nContent-Type: application/json\n\n{\"x\": [1]}");
    assert_eq!(exchange.status, 404);
    let mut body: Value = serde_json::from_str(&exchange.body).unwrap();
    assert_eq!(
        body["matched_route"].as_object_mut().unwrap().shift_remove("id"),
        Some(json!(uuid::Uuid::from_u128(0xa)))
    );
    assert_eq!(body["matched_service"]["host"], "up.test");
    assert_eq!(body["message"], "m");
    assert_eq!(body["kong"]["hostname"], "node.test");
    assert_eq!(
        body["request"],
        json!({
            "scheme": "http", "host": "h.test", "port": 8000, "method": "POST", "path": "/p",
            "headers": { "host": "H.test:80", "x-a": "1", "content-type": "application/json", "content-length": "10" },
            "query": { "a": ["1", "2"], "b": true }, "body": { "x": [1] }, "raw_body": "{\"x\": [1]}",
            "uri_captures": { "named": {}, "unnamed": [] },
        })
    );
}

#[test]
fn what_earlier_plugins_changed_counts() {
    let h = Harness::new(&DEFINITION, json!({ "echo": true }));
    let seen: Value = serde_json::from_str(&h.send("GET /a//b/../%63?x=1").body).unwrap();
    assert_eq!((&seen["request"]["path"], &seen["request"]["query"]), (&json!("/a/c"), &json!({ "x": "1" })));
    let transformer =
        json!({ "add": { "querystring": ["stop:2"] }, "remove": { "querystring": ["x"] }, "http_method": "PUT" });
    let both = |config: Value| {
        Harness::of(vec![(&crate::request_transformer::DEFINITION, transformer.clone()), (&DEFINITION, config)])
    };
    assert_eq!(both(json!({ "trigger": "stop" })).send("GET /?x=1").status, 503);
    let seen: Value = serde_json::from_str(&both(json!({ "echo": true })).send("GET /?x=1").body).unwrap();
    assert_eq!((&seen["request"]["method"], &seen["request"]["query"]), (&json!("PUT"), &json!({ "stop": "2" })));
}

#[test]
fn refuses_contradictory_configs() {
    for (config, want) in [
        (json!({ "message": "m", "body": "b" }), "message cannot be used with content_type or body"),
        (json!({ "message": "m", "content_type": "t" }), "message cannot be used with content_type or body"),
        (json!({ "content_type": "t" }), "content_type requires a body"),
        (json!({ "content_type": "t", "body": "b", "echo": true }), "echo cannot be used with content_type and body"),
        (json!({ "body": "b", "echo": true }), "echo cannot be used with content_type and body"),
    ] {
        assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "config": want }));
    }
}

#[test]
fn an_echo_has_the_parts_of_a_form() {
    let h = Harness::new(&DEFINITION, json!({ "echo": true }));
    let part =
        |name: &str, value: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let body = [part("a", "1"), part("a", "2"), part("f\"; filename=\"f.txt", "file"), "--B--\r\n".to_owned()].concat();
    let answer = h.send(&format!("POST /\nContent-Type: multipart/form-data; boundary=B\n\n{body}"));
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["request"]["body"], json!({ "a": ["1", "2"], "f": "file" }));
}
