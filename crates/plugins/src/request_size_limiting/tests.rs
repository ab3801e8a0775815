//! Tests of `request-size-limiting`.

use super::*;
use pdk::testing::Harness;
use serde_json::json;

#[test]
fn refuses_larger_bodies() {
    for (config, length, want) in [
        (json!({ "allowed_payload_size": 10, "size_unit": "bytes" }), 10, 200),
        (json!({ "allowed_payload_size": 10, "size_unit": "bytes" }), 11, 413),
        (json!({ "allowed_payload_size": 1, "size_unit": "kilobytes" }), 1024, 200),
        (json!({ "allowed_payload_size": 1, "size_unit": "kilobytes" }), 1025, 413),
        (json!({ "allowed_payload_size": 1 }), 1 << 20, 200),
        (json!({ "allowed_payload_size": 1 }), (1 << 20) + 1, 413),
        (json!({ "allowed_payload_size": 0, "size_unit": "bytes" }), 0, 200),
        (json!({ "allowed_payload_size": 0, "size_unit": "bytes" }), 1, 413),
        (json!({ "allowed_payload_size": -1, "size_unit": "bytes" }), 1, 413),
    ] {
        let exchange = Harness::new(&DEFINITION, config.clone()).send(&format!("POST /\nContent-Length: {length}"));
        assert_eq!(exchange.status, want, "{length} with {config}");
    }
}

#[test]
fn a_size_below_zero_refuses_requests_without_a_body() {
    let h = Harness::new(&DEFINITION, json!({ "allowed_payload_size": -1, "size_unit": "bytes" }));
    for request in ["GET /", "POST /\nContent-Length: 0", "POST /\nTransfer-Encoding: chunked\n\n"] {
        assert_eq!(h.send(request).status, 413, "{request}");
    }
}

#[test]
fn reads_bodies_of_unknown_length() {
    let h = Harness::new(&DEFINITION, json!({ "allowed_payload_size": 10, "size_unit": "bytes" }));
    let passed = h.send("POST /\nTransfer-Encoding: chunked\n\n1234567890");
    assert!(passed.upstream.unwrap().ends_with("\n1234567890"));
    assert_eq!(h.send("POST /\nTransfer-Encoding: chunked\n\n12345678901").status, 413);
}

#[test]
fn tells_a_client_that_asked_first() {
    let h = Harness::new(&DEFINITION, json!({ "allowed_payload_size": 10, "size_unit": "bytes" }));
    assert_eq!(h.send("POST /\nExpect: 100-Continue\nContent-Length: 11").status, 417);
}

#[test]
fn may_require_a_length() {
    let config = json!({ "allowed_payload_size": 10, "size_unit": "bytes", "require_content_length": true });
    let h = Harness::new(&DEFINITION, config);
    for (request, want) in [
        ("GET /", 411),
        ("POST /\nContent-Length: x", 411),
        ("POST /\nContent-Length: 5", 200),
        ("POST /\nTransfer-Encoding: chunked\n\n123", 200),
    ] {
        assert_eq!(h.send(request).status, want, "{request}");
    }
    assert!(h.send("GET /").body.contains("A valid Content-Length header is required"));
}
