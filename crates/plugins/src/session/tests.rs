//! Tests of `session`.

use super::*;
use pdk::testing::{Exchange, Harness, complete};
use serde_json::Value;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn harness(mut config: Value) -> Harness {
    config["secret"] = SECRET.into();
    let key = json!({ "id": Uuid::from_u128(0xc1), "key": "ka", "consumer": { "id": Uuid::from_u128(1) } });
    let other = json!({ "id": Uuid::from_u128(0xc2), "key": "kb", "consumer": { "id": Uuid::from_u128(2) } });
    let first = (&DEFINITION, config);
    Harness::of(vec![first, (&crate::key_auth::DEFINITION, json!({ "anonymous": "ghost" }))])
        .with_consumer(1, "alice")
        .with_consumer(2, "bob")
        .with_consumer(3, "ghost")
        .with("keyauth_credentials", key)
        .with("keyauth_credentials", other)
}

/// Whom the upstream saw.
fn who(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else { return format!("{} {}", exchange.status, exchange.body) };
    let name = seen.lines().find_map(|l| l.strip_prefix("X-Consumer-Username: "));
    name.unwrap_or("nobody").to_owned()
}

fn cookies(exchange: &Exchange) -> Vec<String> {
    exchange.headers.get_all("Set-Cookie").map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

/// Logs in, and gives what the browser then sends.
fn login(h: &Harness) -> String {
    let set = cookies(&h.send("GET /\napikey: ka"));
    let pairs: Vec<_> = set.iter().filter_map(|field| field.split(';').next()).collect();
    assert!(!pairs.is_empty(), "no cookie was set");
    pairs.join("; ")
}

fn with(h: &Harness, cookie: &str, first: &str) -> Exchange {
    h.send(&format!("{first}\nCookie: {cookie}"))
}

#[test]
fn a_cookie_stands_for_the_client() {
    for storage in ["cookie", "kong"] {
        let h = harness(json!({ "storage": storage }));
        assert_eq!(who(&h.send("GET /")), "ghost");
        let answer = h.send("GET /\napikey: ka");
        let set = cookies(&answer);
        assert_eq!(set.len(), 1, "{set:?}");
        assert!(set[0].ends_with("; Path=/; SameSite=Strict; Secure; HttpOnly"), "{set:?}");
        let cookie = set[0].split(';').next().unwrap();
        for cookies_sent in [cookie.to_owned(), format!("other=1; {cookie}; last=2")] {
            let answer = with(&h, &cookies_sent, "GET /");
            assert_eq!(who(&answer), "alice", "{storage}");
            assert!(cookies(&answer).is_empty(), "{storage}");
            assert!(answer.upstream.unwrap().contains("X-Credential-Identifier: 00000000-0000-0000-0000-0000000000c1"));
        }
        assert_eq!(h.storage().rows("sessions").len(), usize::from(storage == "kong"));
    }
}

#[test]
fn a_cookie_that_is_not_ours_stands_for_nobody() {
    let h = harness(json!({}));
    let cookie = login(&h);
    let value = cookie.strip_prefix("session=").unwrap();
    let changed = |at: usize| {
        let mut bytes = value.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    for bad in [
        "garbage".to_owned(),
        String::new(),
        format!("{value}x"),
        changed(0),
        changed(50),
        changed(100),
        changed(value.len() - 2),
    ] {
        assert_eq!(who(&with(&h, &format!("session={bad}"), "GET /")), "ghost", "{bad}");
    }
    for other in [json!({ "audience": "other" }), json!({ "cookie_name": "other" })] {
        assert_eq!(who(&with(&harness(other.clone()), &cookie, "GET /")), "ghost", "{other}");
    }
    let other_secret =
        Harness::of(vec![(&DEFINITION, json!({ "secret": "another secret" }))]).with_consumer(1, "alice");
    assert_eq!(who(&with(&other_secret, &cookie, "GET /")), "nobody");
}

#[test]
fn a_session_ends_when_it_is_idle_old_or_logged_out() {
    for (config, ends_after) in [
        (json!({ "idling_timeout": 5 }), 5),
        (json!({ "rolling_timeout": 7 }), 7),
        (json!({ "absolute_timeout": 9 }), 9),
        (json!({ "storage": "kong", "idling_timeout": 5 }), 5),
    ] {
        let h = harness(config.clone());
        let cookie = login(&h);
        h.clock().advance(Duration::from_secs(ends_after - 1));
        assert_eq!(who(&with(&h, &cookie, "GET /")), "alice", "{config}");
        h.clock().advance(Duration::from_secs(1));
        assert_eq!(who(&with(&h, &cookie, "GET /")), "ghost", "{config}");
    }
}

#[test]
fn logging_out_takes_the_method_and_the_argument() {
    let form = "Content-Type: application/x-www-form-urlencoded\n\nsession_logout=1";
    for (storage, config, first, rest, is_out) in [
        ("cookie", json!({}), "GET /?session_logout=1", "", false),
        ("cookie", json!({}), "DELETE /?other=1", "", false),
        ("cookie", json!({}), "DELETE /?session_logout=1", "", true),
        ("kong", json!({}), "POST /?session_logout", "", true),
        ("cookie", json!({}), "POST /", form, false),
        ("kong", json!({ "read_body_for_logout": true }), "POST /", form, true),
        ("cookie", json!({ "logout_methods": ["GET"], "logout_query_arg": "bye" }), "GET /?bye", "", true),
    ] {
        let mut all = config.clone();
        all["storage"] = storage.into();
        let h = harness(all);
        let cookie = login(&h);
        let answer = h.send(&format!("{first}\nCookie: {cookie}\n{rest}"));
        assert_eq!(answer.upstream.is_none(), is_out, "{first} {config}");
        if is_out {
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{first}");
            let gone =
                "session=; Path=/; SameSite=Strict; Secure; HttpOnly; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0";
            assert_eq!(cookies(&answer), [gone], "{first}");
            assert!(h.storage().rows("sessions").is_empty());
        }
        let is_stored_no_more = storage == "kong" && is_out;
        assert_eq!(who(&with(&h, &cookie, "GET /")), if is_stored_no_more { "ghost" } else { "alice" }, "{first}");
    }
    assert_eq!(who(&harness(json!({})).send("DELETE /?session_logout=1")), "ghost");
}

#[test]
fn a_session_in_use_is_touched_and_renewed() {
    for storage in ["cookie", "kong"] {
        let h = harness(json!({ "storage": storage, "rolling_timeout": 1000, "idling_timeout": 500 }));
        let cookie = login(&h);
        h.clock().advance(Duration::from_secs(60));
        let touched = cookies(&with(&h, &cookie, "GET /"));
        assert_eq!(touched.len(), 1, "{storage}");
        let touched = touched[0].split(';').next().unwrap();
        h.clock().advance(Duration::from_secs(470));
        assert_eq!(who(&with(&h, &cookie, "GET /")), "ghost", "idle for 530 seconds");
        let answer = with(&h, touched, "GET /");
        assert_eq!(who(&answer), "alice", "{storage}");
        let mut latest = cookies(&answer)[0].split(';').next().unwrap().to_owned();
        for _ in 0..10 {
            h.clock().advance(Duration::from_secs(100));
            let answer = with(&h, &latest, "GET /");
            assert_eq!(who(&answer), "alice", "{storage}: a session in use goes on beyond its rolling timeout");
            if let [set] = cookies(&answer).as_slice() {
                latest = set.split(';').next().unwrap().to_owned();
            }
        }
    }
}

#[test]
fn a_session_without_its_consumer_is_ended() {
    for storage in ["cookie", "kong"] {
        let h = harness(json!({ "storage": storage }));
        let cookie = login(&h);
        let h = h.without("consumers", 1);
        let answer = with(&h, &cookie, "GET /");
        assert_eq!(who(&answer), "ghost");
        assert!(cookies(&answer)[0].starts_with("session=; "), "{storage}");
        assert!(h.storage().rows("sessions").is_empty());
    }
}

#[test]
fn another_client_gets_another_session() {
    let h = harness(json!({ "storage": "kong" }));
    let cookie = login(&h);
    let answer = h.send(&format!("GET /\napikey: kb\nCookie: {cookie}"));
    // The session counts first where the plugins after it have an anonymous consumer.
    assert_eq!(who(&answer), "alice");
    let answer = h.send("GET /\napikey: kb");
    let other = cookies(&answer)[0].split(';').next().unwrap().to_owned();
    assert_eq!(who(&with(&h, &other, "GET /")), "bob");
    assert_ne!(other, cookie);
}

#[test]
fn tells_of_the_session_and_not_what_the_client_tells() {
    let all = ["id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"];
    let h = harness(json!({ "request_headers": all, "response_headers": ["subject", "timeout"] }));
    let forged = h.send("GET /\nSession-Subject: root").upstream.unwrap();
    assert!(!forged.contains("root"), "{forged}");
    let answer = h.send("GET /\napikey: ka");
    assert_eq!((answer.header("Session-Subject"), answer.header("Session-Timeout")), ("alice", "900"));
    let cookie = login(&h);
    h.clock().advance(Duration::from_secs(10));
    let answer = with(&h, &cookie, "GET /");
    assert_eq!((answer.header("Session-Subject"), answer.header("Session-Timeout")), ("alice", "890"));
    let seen = answer.upstream.unwrap();
    for line in [
        "Session-Audience: default",
        "Session-Subject: alice",
        "Session-Timeout: 890",
        "Session-Idling-Timeout: 890",
        "Session-Rolling-Timeout: 3590",
        "Session-Absolute-Timeout: 86390",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in {seen}");
    }
    let id = seen.lines().find_map(|l| l.strip_prefix("Session-Id: ")).unwrap();
    assert_eq!(id.len(), 43);
}

#[test]
fn who_is_remembered_gets_a_new_session() {
    for storage in ["cookie", "kong"] {
        let h = harness(json!({ "storage": storage, "remember": true }));
        let set = cookies(&h.send("GET /\napikey: ka"));
        assert_eq!(set.len(), 2, "{set:?}");
        assert!(set[1].contains("; Expires=Thu, 08 Jan 2026 00:00:30 GMT; Max-Age=604800"), "{set:?}");
        let remember = set[1].split(';').next().unwrap();
        let answer = with(&h, remember, "GET /");
        assert_eq!(who(&answer), "alice");
        let begun = cookies(&answer);
        assert_eq!(begun.len(), 1, "{begun:?}");
        assert_eq!(who(&with(&h, begun[0].split(';').next().unwrap(), "GET /")), "alice", "{storage}");
        let as_session = remember.replacen("remember=", "session=", 1);
        assert_eq!(who(&with(&h, &as_session, "GET /")), "ghost", "one kind of cookie is not the other");
    }
}

#[test]
fn what_is_too_long_for_one_cookie_is_split() {
    let jar = Jar {
        seal: Seal::new(b"s", "session"),
        cookie: Cookie { name: "session".to_owned(), attributes: "; Path=/".to_owned() },
        idling: 0,
        rolling: 0,
        absolute: 0,
    };
    let long = "v".repeat(9000);
    let fields = jar.cookie.set(&long, None, 0).unwrap();
    assert_eq!(fields.len(), 3);
    assert!(fields[2].starts_with("session3=v") && fields.iter().all(|field| field.len() < 4096));
    assert_eq!(jar.cookie.set(&"v".repeat(60_000), None, 0), None);
}

#[test]
fn metadata_is_stored_where_it_is_asked_for() {
    for is_hashed in [false, true] {
        let h = harness(json!({ "storage": "kong", "store_metadata": true, "hash_subject": is_hashed }));
        login(&h);
        let (row, _) = h.storage().rows("session_metadatas").remove(0);
        let want = if is_hashed { hash("alice") } else { "alice".to_owned() };
        assert_eq!((&row["audience"], &row["subject"]), (&json!("default"), &json!(want)));
    }
}

#[test]
fn old_names_of_fields_are_taken() {
    let old = json!({ "cookie_discard": 5, "cookie_httponly": false, "cookie_idletime": 30, "cookie_lifetime": 60,
        "cookie_persistent": true, "cookie_renew": 3, "cookie_samesite": "off", "secret": SECRET });
    let config = complete(&DEFINITION, old).unwrap();
    for (name, want) in [
        ("stale_ttl", json!(5)),
        ("cookie_http_only", json!(false)),
        ("idling_timeout", json!(30)),
        ("rolling_timeout", json!(60)),
        ("remember", json!(true)),
        ("cookie_same_site", json!("Lax")),
    ] {
        assert_eq!(config[name], want, "{name}");
    }
    assert!(config.get("cookie_renew").is_none(), "{config}");
}
