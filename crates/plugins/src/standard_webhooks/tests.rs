//! Tests of `standard-webhooks`.

use super::*;
use pdk::testing::{Harness, START};
use serde_json::json;

/// A signed request, with one thing changed.
fn request(id: &str, time: &str, signature: &str, body: &str) -> String {
    format!("POST /\nwebhook-id: {id}\nwebhook-timestamp: {time}\nwebhook-signature: {signature}\n\n{body}")
}

fn sign(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes())))
}

#[test]
fn lets_in_only_what_is_signed() {
    let h = Harness::new(&DEFINITION, json!({ "secret_v1": "s3cret" }));
    let now = START.as_secs();
    let time = now.to_string();
    let good = sign("s3cret", &format!("m1.{time}.{{}}"));
    let at = |time: u64| request("m1", &time.to_string(), &sign("s3cret", &format!("m1.{time}.{{}}")), "{}");
    for (request, want) in [
        (request("m1", &time, &good, "{}"), 200),
        (request("m2", &time, &good, "{}"), 400),
        (request("m1", &(now - 1).to_string(), &good, "{}"), 400),
        (request("m1", &time, &good, "{ }"), 400),
        (request("m1", &time, &good, ""), 400),
        // As in Kong an empty id is one; what was signed says so.
        (request("", &time, &sign("s3cret", &format!(".{time}.{{}}")), "{}"), 200),
        (request("", &time, &good, "{}"), 400),
        (request("m1", "x", &sign("s3cret", "m1.x.{}"), "{}"), 400),
        (request("m1", "nan", &sign("s3cret", "m1.nan.{}"), "{}"), 400),
        (request("m1", &time, &sign("other", &format!("m1.{time}.{{}}")), "{}"), 400),
        (request("m1", &time, &format!("{good} v1,zzz"), "{}"), 400),
        (request("m1", &time, &good.replace("v1,", "v1a,"), "{}"), 400),
        (request("m1", &time, &format!("{good}\nwebhook-signature: x"), "{}"), 200),
        (at(now - 300), 200),
        (at(now - 301), 400),
        (at(4_102_444_800), 200),
        ("POST /\n\n{}".to_owned(), 400),
    ] {
        assert_eq!(h.send(&request).status, want, "{request}");
    }
    assert!(h.send("POST /\n\n{}").body.contains("\"message\":\"Bad request\""));
}
