//! Tests of `hmac-auth`.

use super::*;
use aws_lc_rs::hmac;
use pdk::testing::{Exchange, Harness, START};
use serde_json::{Value, json};
use uuid::Uuid;

const DATE: &str = "Thu, 01 Jan 2026 00:00:30 GMT";

fn harness(config: Value) -> Harness {
    let credential = json!({
        "id": Uuid::from_u128(9), "username": "al", "secret": "s3cret", "consumer": { "id": Uuid::from_u128(1) },
    });
    let h = Harness::new(&DEFINITION, config).with_consumer(1, "alice").with_consumer(2, "ghost");
    h.with("hmacauth_credentials", credential)
}

fn sign(algorithm: hmac::Algorithm, text: &str) -> String {
    BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(algorithm, b"s3cret"), text.as_bytes()))
}

/// An `Authorization` that signs the named fields, whose lines are given.
fn field(headers: &str, lines: &str) -> String {
    let signature = sign(hmac::HMAC_SHA256, lines);
    format!(r#"hmac username="al", algorithm="hmac-sha256", headers="{headers}", signature="{signature}""#)
}

fn outcome(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else {
        let body: Value = serde_json::from_str(&exchange.body).unwrap_or_default();
        return format!("{} {}", exchange.status, body["message"].as_str().unwrap_or_default());
    };
    seen.lines().find_map(|l| l.strip_prefix("X-Consumer-Username: ")).unwrap_or("-").to_owned()
}

const BAD: &str = "401 HMAC signature cannot be verified";
const WRONG_TEXT: &str = "401 HMAC signature does not match";

#[test]
fn checks_what_is_signed() {
    let h = harness(json!({}));
    for (request, headers, lines, want) in [
        ("GET /", "date", "date: {D}", "alice"),
        ("GET /a?b=%20", "date request-line", "date: {D}\nGET /a?b=%20 HTTP/1.1", "alice"),
        ("POST /P?Q=1", "date @request-target", "date: {D}\n@request-target: post /P?Q=1", "alice"),
        ("GET /\nX-A: v", "Date X-A", "Date: {D}\nX-A: v", "alice"),
        ("GET /\nHost: h.test", "host date", "host: h.test\ndate: {D}", "alice"),
        ("GET /", "date x-none", "date: {D}\nx-none:", "alice"),
        ("GET /", "date  request-line", "date: {D}\n:\nGET / HTTP/1.1", "alice"),
        ("GET /other", "date request-line", "date: {D}\nGET / HTTP/1.1", WRONG_TEXT),
    ] {
        let authorization = field(headers, &lines.replace("{D}", DATE));
        let exchange = h.send(&format!("{request}\nDate: {DATE}\nAuthorization: {authorization}"));
        assert_eq!(outcome(&exchange), want, "{request} {headers}");
    }
}

#[test]
fn knows_four_algorithms_and_one_syntax() {
    let h = harness(json!({}));
    let text = format!("date: {DATE}");
    for (name, algorithm) in [
        ("hmac-sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        ("hmac-sha256", hmac::HMAC_SHA256),
        ("hmac-sha384", hmac::HMAC_SHA384),
        ("hmac-sha512", hmac::HMAC_SHA512),
    ] {
        let authorization =
            format!(r#"Hmac username="al",algorithm="{name}",headers="date",signature="{}""#, sign(algorithm, &text));
        let exchange = h.send(&format!("GET /\nDate: {DATE}\nAuthorization: {authorization}"));
        assert_eq!(outcome(&exchange), "alice", "{name}");
    }
    let right = field("date", &text);
    for (authorization, want) in [
        (right.clone() + r#", extra="1""#, "alice"),
        (right.replace("hmac user", "HMAC user"), BAD),
        (right.replace("\"al\"", "\"bob\""), BAD),
        (right.replace("hmac-sha256", "hmac-md5"), BAD),
        (right.replace('"', ""), BAD),
        (r#"hmac username="al", algorithm="hmac-sha256", headers="date", signature="""#.to_owned(), BAD),
        ("Basic x".to_owned(), BAD),
    ] {
        let exchange = h.send(&format!("GET /\nDate: {DATE}\nAuthorization: {authorization}"));
        assert_eq!(outcome(&exchange), want, "{authorization}");
    }
    assert_eq!(outcome(&h.send("GET /")), "401 Unauthorized");
    assert_eq!(h.send("GET /").header("WWW-Authenticate"), "hmac");
}

#[test]
fn takes_the_date_near_now() {
    let h = harness(json!({ "clock_skew": 60 }));
    let stale =
        "401 HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication";
    for (name, date, want) in [
        ("Date", DATE, "alice"),
        ("Date", "Thu, 01 Jan 2026 00:01:30 GMT", "alice"),
        ("Date", "Thu, 01 Jan 2026 00:01:31 GMT", stale),
        ("Date", "Wed, 31 Dec 2025 23:59:29 GMT", stale),
        ("Date", "Thursday, 01-Jan-26 00:00:30 GMT", "alice"),
        ("Date", "Thu Jan  1 00:00:30 2026", "alice"),
        ("Date", "Thu, 01 Jan 2026 00:00:30 +0000", "alice"),
        ("Date", "2026-01-01T00:00:30Z", stale),
        ("X-Date", DATE, "alice"),
    ] {
        let authorization = field(name, &format!("{name}: {date}"));
        let exchange = h.send(&format!("GET /\n{name}: {date}\nAuthorization: {authorization}"));
        assert_eq!(outcome(&exchange), want, "{name}: {date}");
    }
    assert_eq!(http_date::parse(DATE), Some(START.as_secs()));
    assert_eq!(http_date::parse("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    assert_eq!(http_date::parse("Thu, 29 Feb 2023 00:00:00 GMT"), None);
}

#[test]
fn checks_the_bodys_digest() {
    let h = harness(json!({ "validate_request_body": true }));
    let authorization = field("date", &format!("date: {DATE}"));
    let right = format!("SHA-256={}", BASE64_STANDARD.encode(digest(&SHA256, b"a=1")));
    for (digest, body, want) in [
        (format!("\nDigest: {right}"), "a=1", "alice"),
        (format!("\nDigest: {right}"), "a=2", WRONG_TEXT),
        (format!("\nDigest: {}", right.to_lowercase()), "a=1", WRONG_TEXT),
        (String::new(), "a=1", WRONG_TEXT),
        (String::new(), "", "alice"),
    ] {
        let exchange = h.send(&format!("POST /\nDate: {DATE}\nAuthorization: {authorization}{digest}\n\n{body}"));
        assert_eq!(outcome(&exchange), want, "{digest} {body}");
    }
}

#[test]
fn enforces_hides_and_falls_back() {
    let authorization = field("date", &format!("date: {DATE}"));
    let request = format!("GET /\nDate: {DATE}\nAuthorization: {authorization}");
    assert_eq!(outcome(&harness(json!({ "enforce_headers": ["request-line"] })).send(&request)), BAD);
    assert_eq!(outcome(&harness(json!({ "algorithms": ["hmac-sha512"] })).send(&request)), BAD);
    let hidden = harness(json!({ "hide_credentials": true })).send(&request);
    assert!(!hidden.upstream.unwrap().contains("Authorization"));
    let proxy = format!("{request}\nProxy-Authorization: Basic x");
    assert_eq!(outcome(&harness(json!({})).send(&proxy)), "alice");
    assert_eq!(outcome(&harness(json!({ "anonymous": "ghost" })).send("GET /")), "ghost");
}
