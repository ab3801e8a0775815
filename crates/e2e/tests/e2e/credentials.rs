//! What clients prove themselves by stays between them and the gateway: no log, no answer and no listing tells it.

use crate::client::{Client, get};
use crate::gateway::Gateway;
use crate::http2::call;
use crate::upstream::Upstream;
use http::Request;
use serde_json::json;

/// Words that stand for secrets, in requests and in the configuration.
const SECRETS: [&str; 7] = [
    "secret-key-right",
    "secret-key-wrong",
    "secret-password-right",
    "secret-password-wrong",
    "c2VjcmV0LXVzZXI6c2VjcmV0LXBhc3N3b3JkLXJpZ2h0",
    "secret-of-hmac",
    "secret-of-jwt",
];

fn kong_yml(upstream: &Upstream) -> String {
    let plugins = ["key-auth", "basic-auth", "hmac-auth", "jwt", "oauth2"];
    let routes: Vec<_> = plugins
        .iter()
        .map(|name| {
            let config = match *name {
                "oauth2" => json!({ "enable_client_credentials": true, "provision_key": "secret-of-oauth2" }),
                _ => json!({}),
            };
            json!({ "paths": [format!("/{name}")], "plugins": [{ "name": name, "config": config }] })
        })
        .collect();
    json!({
        "_format_version": "3.0",
        "services": [{ "name": "up", "url": format!("http://{}", upstream.at), "routes": routes }],
        "plugins": [{ "name": "file-log", "config": { "path": "/dev/stdout" } }],
        "consumers": [{
            "username": "alice",
            "keyauth_credentials": [{ "key": "secret-key-right" }],
            "basicauth_credentials": [{ "username": "secret-user", "password": "secret-password-right" }],
            "hmacauth_credentials": [{ "username": "alice", "secret": "secret-of-hmac" }],
            "jwt_secrets": [{ "key": "alice", "secret": "secret-of-jwt" }],
        }],
    })
    .to_string()
}

#[test]
fn no_log_and_no_answer_tells_a_credential() {
    let upstream = Upstream::start();
    let properties = [("log_level", "debug"), ("proxy_access_log", "/dev/stdout"), ("admin_access_log", "/dev/stdout")];
    let gateway = Gateway::start_with(&kong_yml(&upstream), &properties);
    let basic = |text: &str| format!("Authorization: Basic {text}");
    let mut answers = String::new();
    for (path, field, want) in [
        ("/basic-auth", basic("c2VjcmV0LXVzZXI6c2VjcmV0LXBhc3N3b3JkLXJpZ2h0"), 200),
        // secret-user:secret-password-wrong, and the same with a name that nobody has.
        ("/basic-auth", basic("c2VjcmV0LXVzZXI6c2VjcmV0LXBhc3N3b3JkLXdyb25n"), 401),
        ("/basic-auth", basic("bm9ib2R5OnNlY3JldC1wYXNzd29yZC13cm9uZw=="), 401),
        ("/hmac-auth", basic("c2VjcmV0LXVzZXI6c2VjcmV0LXBhc3N3b3JkLXJpZ2h0"), 401),
        ("/jwt", "Authorization: Bearer secret-key-wrong".to_owned(), 401),
        ("/oauth2", "Authorization: Bearer secret-key-wrong".to_owned(), 401),
        ("/key-auth", "Authorization: secret-key-right".to_owned(), 401),
    ] {
        let answer = get(gateway.ports.proxy, path, &[&field]);
        assert_eq!(answer.status, want, "{path} {field}: {}", answer.body);
        if want != 200 {
            answers += &format!("{:?}{}", answer.headers, answer.body);
        }
    }
    // A config that is refused, for what stands beside its secrets.
    let bad = kong_yml(&upstream).replace("\"jwt_secrets\":[{", "\"jwt_secrets\":[{\"algorithm\":\"HS1\",");
    let body = json!({ "config": bad }).to_string();
    let mut admin = Client::open(gateway.ports.admin);
    let head = format!("Host: admin\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    admin.send(format!("POST /config HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let refused = admin.answer().unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    let listed = get(gateway.ports.admin, "/basic-auths", &[]);
    assert!(listed.body.contains("secret-user"), "{}", listed.body);
    crate::gateway::eventually("all requests are logged", || gateway.output().matches("\"started_at\"").count() >= 7);
    for secret in SECRETS {
        assert!(!answers.contains(secret), "an answer tells {secret}: {answers}");
        assert!(!listed.body.contains("secret-password"), "a listing tells a password: {}", listed.body);
        let output = gateway.output();
        let line = output.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a log tells {secret}: {line:?}");
    }
}

#[test]
fn a_hidden_key_stays_here_wherever_an_http2_client_shows_it() {
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"])
        + "plugins:\n  - { name: key-auth, config: { hide_credentials: true, key_in_body: true } }\n\
           consumers:\n  - { username: alice, keyauth_credentials: [{ key: secret-key-right }] }\n";
    let gateway = Gateway::start(&kong_yml);
    let part = "--B\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\n";
    let rest = format!("{}1\r\n--B--\r\n", part.replace("apikey", "a"));
    let multipart = format!("{part}secret-key-right\r\n{rest}");
    for (query, field, media, body, left) in [
        ("", "secret-key-right", "text/plain", "a=1", "a=1"),
        ("?a=1&apikey=secret-key-right", "", "text/plain", "a=1", "a=1"),
        ("", "", "application/x-www-form-urlencoded", "apikey=secret-key-right&a=1", "a=1"),
        ("", "", "application/json", r#"{"apikey":"secret-key-right","a":1}"#, r#"{"a":1}"#),
        ("", "", "multipart/form-data; boundary=B", &*multipart, &*rest),
    ] {
        let mut request = Request::post(format!("http://gateway.test/x{query}")).header("content-type", media);
        if !field.is_empty() {
            request = request.header("apikey", field);
        }
        // In two pieces, whose lengths nothing tells beforehand.
        let (first, second) = body.split_at(body.len() / 2);
        let pieces = [first, second].map(|piece| &*piece.to_owned().leak());
        let got = call(gateway.ports.proxy, None, request.body(()).unwrap(), &pieces, None);
        assert_eq!(got.status, 200, "{media}: {got:?}");
        let seen = upstream.seen().pop().unwrap();
        assert!(!seen.contains("secret-key-right"), "{media}: {seen}");
        assert!(seen.contains("X-Consumer-Username: alice"), "{media}: {seen}");
        assert!(seen.ends_with(left), "{media}: {seen}");
    }
}
