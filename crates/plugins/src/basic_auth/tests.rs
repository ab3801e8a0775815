//! Tests of `basic-auth`.

use super::*;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use pdk::testing::{Exchange, Harness};
use serde_json::{Value, json};
use uuid::Uuid;

fn harness(config: Value) -> Harness {
    let consumer = Uuid::from_u128(1);
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("s3:cret{consumer}").as_bytes());
    let password: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let credential =
        json!({ "id": Uuid::from_u128(9), "username": "al", "password": password, "consumer": { "id": consumer } });
    Harness::new(&DEFINITION, config)
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .with("basicauth_credentials", credential)
}

/// The status, and the consumer that went upstream.
fn outcome(exchange: &Exchange) -> String {
    let seen = exchange.upstream.as_deref().unwrap_or_default();
    let name = seen.lines().find_map(|l| l.strip_prefix("X-Consumer-Username: "));
    format!("{} {}", exchange.status, name.unwrap_or("-"))
}

#[test]
fn checks_username_and_password() {
    let h = harness(json!({}));
    let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    for (value, want) in [
        (basic("al:s3:cret"), "200 alice"),
        (basic("al:s3:cre"), "401 -"),
        (basic("AL:s3:cret"), "401 -"),
        (basic("al"), "401 -"),
        (basic(":s3:cret"), "401 -"),
        (basic("al:s3:cret\n"), "200 alice"),
        (basic("al:s3:cret").to_lowercase(), "401 -"),
        (basic("al:s3:cret").replacen('B', "b", 1), "200 alice"),
        (basic("al:s3:cret").replace("Basic", "BASIC"), "401 -"),
        (basic("al:s3:cret").replace("Basic ", "Basic"), "200 alice"),
        (basic("al:s3:cret").replace("Basic ", "Basic   "), "200 alice"),
        (basic("al:s3:cret").replace('=', ""), "200 alice"),
        (format!("Digest x, {}", basic("al:s3:cret")), "200 alice"),
        ("Basic !!!".to_owned(), "401 -"),
        ("Basic".to_owned(), "401 -"),
        ("Bearer x".to_owned(), "401 -"),
    ] {
        assert_eq!(outcome(&h.send(&format!("GET /\nAuthorization: {value}"))), want, "{value}");
        assert_eq!(outcome(&h.send(&format!("GET /\nProxy-Authorization: {value}"))), want, "{value}");
    }
    assert_eq!(h.send("GET /").header("WWW-Authenticate"), "Basic realm=\"service\"");
}

#[test]
fn tries_both_fields() {
    let h = harness(json!({ "hide_credentials": true }));
    let right = format!("Basic {}", BASE64_STANDARD.encode("al:s3:cret"));
    let unknown = format!("Basic {}", BASE64_STANDARD.encode("x:y"));
    let exchange = h.send(&format!("GET /\nAuthorization: {right}\nProxy-Authorization: {unknown}\nX-A: 1"));
    assert_eq!(outcome(&exchange), "200 alice");
    let seen = exchange.upstream.unwrap();
    assert!(seen.starts_with("GET /\nX-A: 1\nX-Consumer-ID: "), "{seen}");
    assert!(seen.contains("X-Credential-Identifier: al\n"), "{seen}");
}

#[test]
fn others_become_the_anonymous_consumer() {
    let h = harness(json!({ "anonymous": "ghost" }));
    assert_eq!(outcome(&h.send("GET /")), "200 ghost");
    assert_eq!(outcome(&h.send("GET /\nAuthorization: Basic !!!")), "200 ghost");
    assert_eq!(harness(json!({ "anonymous": "nobody" })).send("GET /").status, 500);
}

#[test]
fn an_argon2id_hash_is_verified_and_never_taken_for_a_password() {
    let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let row = json!({ "id": uuid::Uuid::from_u128(0xc9), "username": "strong", "password": stored,
        "consumer": { "id": uuid::Uuid::from_u128(1) } });
    let h = harness(json!({})).with("basicauth_credentials", row);
    for (password, want) in [("password", "200 alice"), ("wrong", "401 -"), (stored, "401 -")] {
        let shown = BASE64_STANDARD.encode(format!("strong:{password}"));
        assert_eq!(outcome(&h.send(&format!("GET /\nAuthorization: Basic {shown}"))), want, "{password}");
    }
}

#[test]
fn every_refusal_costs_a_slow_hash_where_there_are_such() {
    let salt = BASE64_STANDARD_NO_PAD.encode("salt of this test");
    let stored = format!("$argon2id$v=19$m=256,t=2,p=1${salt}$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
    let row = json!({ "id": uuid::Uuid::from_u128(0xc9), "username": "strong", "password": stored,
        "consumer": { "id": uuid::Uuid::from_u128(1) } });
    let made = || argon2id::tests::MADE.lock().unwrap().iter().filter(|salt| *salt == b"salt of this test").count();
    let h = harness(json!({})).with("basicauth_credentials", row);
    for (shown, want, cost) in [
        ("strong:wrong", "401 -", 1),
        ("nobody:wrong", "401 -", 1),
        ("al:wrong", "401 -", 1),
        ("al:s3:cret", "200 alice", 0),
        ("not taken apart", "401 -", 0),
    ] {
        let before = made();
        let exchange = h.send(&format!("GET /\nAuthorization: Basic {}", BASE64_STANDARD.encode(shown)));
        assert_eq!((outcome(&exchange).as_str(), made() - before), (want, cost), "{shown}");
    }
}
