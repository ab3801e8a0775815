//! Tests of `key-auth`.

use super::*;
use pdk::testing::{Exchange, Harness, complete};
use serde_json::json;

fn harness(config: serde_json::Value) -> Harness {
    let key = json!({ "id": "00000000-0000-0000-0000-0000000000c1", "key": "k-alice", "consumer": { "id": uuid::Uuid::from_u128(1) } });
    Harness::new(&DEFINITION, config)
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .with("keyauth_credentials", key)
}

/// What came of a request, in a word: the status and message of a refusal, or the consumer that went upstream.
fn outcome(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else {
        let body: serde_json::Value = serde_json::from_str(&exchange.body).unwrap_or_default();
        return format!(
            "{} {} | {}",
            exchange.status,
            body["message"].as_str().unwrap_or_default(),
            exchange.header("WWW-Authenticate")
        );
    };
    let field = |name: &str| seen.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("-").to_owned();
    format!("{} {}", field("X-Consumer-Username: "), field("X-Anonymous-Consumer: "))
}

const MISSING: &str = "401 No API key found in request | Key";
const DUPLICATE: &str = "401 Duplicate API key found | Key";
const UNKNOWN: &str = "401 Unauthorized | Key";
const ALICE: &str = "alice -";

#[test]
fn finds_the_key_in_the_order_of_names_and_places() {
    let h = harness(json!({ "key_names": ["apikey", "X-Key"] }));
    for (request, want) in [
        ("GET /", MISSING),
        ("GET /\nAPIKEY: k-alice", ALICE),
        ("GET /\napikey: K-ALICE", UNKNOWN),
        ("GET /\napikey:", MISSING),
        ("GET /?apikey=k-alice", ALICE),
        ("GET /?apikey=k%2Dalice", ALICE),
        ("GET /?APIKEY=k-alice", MISSING),
        ("GET /?apikey", MISSING),
        ("GET /?apikey=", MISSING),
        ("GET /?apikey[]=k-alice", MISSING),
        ("GET /?apikey=%FF", UNKNOWN),
        ("GET /?apikey=k-alice&apikey=k-alice", DUPLICATE),
        ("GET /?apikey=a&apikey=b\napikey: k-alice", ALICE),
        ("GET /\napikey: k-alice\napikey: k-alice", DUPLICATE),
        ("GET /?apikey=k-alice\napikey: wrong", UNKNOWN),
        ("GET /?apikey=k-alice\napikey:", MISSING),
        ("GET /\nx-key: k-alice", ALICE),
        ("GET /?X-Key=k-alice&apikey", ALICE),
        ("GET /\napikey: bad\nx-key: k-alice", UNKNOWN),
        ("POST /\nContent-Type: application/json\n\n{\"apikey\":\"k-alice\"}", MISSING),
    ] {
        assert_eq!(outcome(&h.send(request)), want, "{request}");
    }
}

#[test]
fn looks_only_where_it_is_told_to() {
    let config = json!({ "key_in_header": false, "key_in_query": false, "key_in_body": true });
    let h = harness(config);
    for (request, want) in [
        ("GET /?apikey=k-alice\napikey: k-alice", MISSING),
        ("POST /\nContent-Type: application/json\n\n{\"apikey\":\"k-alice\"}", ALICE),
        ("POST /\nContent-Type: application/json\n\n{\"apikey\":[\"k-alice\"]}", DUPLICATE),
        ("POST /\nContent-Type: application/json\n\n{\"apikey\":1}", MISSING),
        ("POST /\nContent-Type: application/json\n\n{", MISSING),
        ("POST /\nContent-Type: application/x-www-form-urlencoded\n\na=1&apikey=k-alice", ALICE),
        ("POST /\nContent-Type: text/plain\n\napikey=k-alice", MISSING),
    ] {
        assert_eq!(outcome(&h.send(request)), want, "{request}");
    }
}

#[test]
fn hides_the_key_from_the_upstream() {
    let h = harness(json!({ "hide_credentials": true, "key_in_body": true }));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let multipart = "Content-Type: multipart/form-data; boundary=B";
    let part =
        |name: &str, value: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    for (request, want) in [
        ("GET /?b=2&apikey=k-alice&a=1".to_owned(), "GET /?a=1&b=2\n".to_owned()),
        ("GET /?apikey=k-alice&z=%20x\nX-A: 1\napikey: k-alice".to_owned(), "GET /?z=%20x\nX-A: 1\n".to_owned()),
        (
            format!("POST /?apikey=k-alice\n{form}\n\napikey=k-alice&a=1"),
            format!("POST /\n{form}\nContent-Length: 3\n\na=1"),
        ),
        (
            "POST /\nContent-Type: application/json\n\n{\"a\":{\"apikey\":1},\"apikey\":\"k-alice\",\"b\":[2]}"
                .to_owned(),
            "POST /\nContent-Type: application/json\nContent-Length: 26\n\n{\"a\":{\"apikey\":1},\"b\":[2]}".to_owned(),
        ),
        (
            format!("POST /\n{multipart}\n\n{}{}--B--\r\n", part("apikey", "k-alice"), part("a", "1")),
            format!("POST /\n{multipart}\nContent-Length: 59\n\n{}--B--\r\n", part("a", "1")),
        ),
    ] {
        let seen = h.send(&request).upstream.unwrap();
        let is_ours = |line: &&str| !line.starts_with("X-C");
        let kept: Vec<_> = seen.split('\n').filter(is_ours).collect();
        assert_eq!(kept.join("\n"), want, "{request}");
    }
}

#[test]
fn tells_the_upstream_who_the_client_is_and_not_what_the_client_claims() {
    let seen = harness(json!({}))
        .send("GET /\napikey: k-alice\nX-Consumer-ID: fake\nX-Consumer-Custom-ID: fake\nX-Anonymous-Consumer: true");
    assert_eq!(
        seen.upstream.unwrap(),
        "GET /\napikey: k-alice\nX-Consumer-ID: 00000000-0000-0000-0000-000000000001\nX-Consumer-Username: alice\n\
         X-Credential-Identifier: 00000000-0000-0000-0000-0000000000c1\n"
    );
    assert_eq!(seen.log["authenticated_entity"], json!({ "id": "00000000-0000-0000-0000-0000000000c1" }));
    assert_eq!(seen.log["consumer"]["username"], "alice");
}

#[test]
fn without_a_key_the_client_becomes_the_anonymous_consumer() {
    for name in ["ghost", "00000000-0000-0000-0000-000000000002"] {
        let h = harness(json!({ "anonymous": name }));
        assert_eq!(outcome(&h.send("GET /")), "ghost true");
        assert_eq!(outcome(&h.send("GET /\napikey: wrong")), "ghost true");
        assert_eq!(outcome(&h.send("GET /?apikey=a&apikey=b")), "ghost true");
        assert_eq!(outcome(&h.send("GET /\napikey: k-alice")), ALICE);
    }
    let h = harness(json!({ "anonymous": "nobody" }));
    assert_eq!(outcome(&h.send("GET /")), "500 anonymous consumer nobody is configured but doesn't exist | ");
}

#[test]
fn an_earlier_authentication_is_enough_where_there_is_an_anonymous_consumer() {
    let first = json!({ "key_names": ["first"], "anonymous": "ghost" });
    let second = json!({ "key_names": ["second"], "anonymous": "ghost" });
    let h = Harness::of(vec![(&DEFINITION, first), (&DEFINITION, second)])
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .with(
            "keyauth_credentials",
            json!({ "id": uuid::Uuid::from_u128(0xc1), "key": "k", "consumer": { "id": uuid::Uuid::from_u128(1) } }),
        );
    assert_eq!(outcome(&h.send("GET /\nfirst: k")), ALICE);
    assert_eq!(outcome(&h.send("GET /\nsecond: k")), ALICE);
    assert_eq!(outcome(&h.send("GET /\nfirst: k\nsecond: wrong")), ALICE);
}

#[test]
fn preflights_pass_only_where_told() {
    assert_eq!(outcome(&harness(json!({})).send("OPTIONS /")), MISSING);
    assert_eq!(outcome(&harness(json!({ "run_on_preflight": false })).send("OPTIONS /")), "- -");
    assert_eq!(outcome(&harness(json!({ "run_on_preflight": false })).send("GET /")), MISSING);
}

#[test]
fn the_realm_is_a_quoted_string() {
    for (realm, want) in [("zone", r#"Key realm="zone""#), (r#"the "zone""#, r#"Key realm="the \"zone\"""#)] {
        assert_eq!(harness(json!({ "realm": realm })).send("GET /").header("WWW-Authenticate"), want);
    }
}

#[test]
fn realms_of_konnect_are_refused_with_a_clear_message() {
    let own = json!({ "identity_realms": [{ "scope": "cp" }] });
    assert_eq!(outcome(&harness(own).send("GET /\napikey: k-alice")), ALICE);
    let konnect = json!({ "identity_realms": [{ "scope": "realm", "id": "x", "region": "eu" }] });
    let refused = complete(&DEFINITION, konnect).unwrap_err().to_string();
    assert!(refused.contains("only 'cp' is supported: realms of Konnect are not there"), "{refused}");
    assert_eq!(complete(&DEFINITION, json!({})).unwrap().get("identity_realms"), None);
}

#[test]
fn a_key_of_any_length_and_of_any_bytes_is_only_looked_up() {
    let h = harness(json!({ "hide_credentials": true }));
    for key in ["k-alice\0", "k-alic", "%6b-alice", "' OR 1=1 --", "../../k-alice", &"k".repeat(60_000)] {
        let exchange = h.send(&format!("GET /\napikey: {key}"));
        assert_eq!(outcome(&exchange), UNKNOWN);
        assert!(!exchange.answer().contains(key), "a key in an answer");
        assert!(!exchange.log.to_string().contains("k-alice"), "{}", exchange.log);
    }
}
