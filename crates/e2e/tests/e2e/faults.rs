//! What was recorded of Kong as a fault (docs/differences.md), answered rightly: each as a request over the wire, and what the
//! upstream saw of it.

use crate::client::{Client, get};
use crate::gateway::Gateway;
use crate::raw_paths::call;
use crate::upstream::Upstream;
use serde_json::json;

/// The lines of the only request that the upstream saw, in small letters but for their values.
fn seen(upstream: &Upstream, since: usize) -> Vec<String> {
    let seen = upstream.seen();
    let [only] = &seen[since..] else { panic!("not one request: {:?}", &seen[since..]) };
    let line = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    only.split("\r\n").flat_map(|lines| lines.split(['\r', '\n'])).map(line).collect()
}

#[test]
fn requests_reach_the_upstream_without_the_faults_that_were_recorded() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&[
        "{ name: all, paths: [/], strip_path: false }",
        "{ name: shop, hosts: [shop.test], paths: [/x] }",
        "{ name: regex, paths: ['~/p[^/]*'] }",
        "{ name: unbuffered, paths: [/unbuffered], request_buffering: false, strip_path: false }",
    ]));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let with_length = |path: &str, connection: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        )
    };
    let length = format!("content-length: {}", smuggled.len());
    // The request; lines that the upstream must see; what no line of it may begin with.
    let cases: [(String, &[&str], &[&str]); 11] = [
        ("GET /v HTTP/1.0\r\nHost: a\r\n\r\n".into(), &["GET /v HTTP/1.1"], &["via: 1.1", "via: 1 "]),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n".into(),
            &["x-forwarded-for: 1.1.1.1, 127.0.0.1"],
            &["x-forwarded-for: 9"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n".into(),
            &["x-forwarded-for: 1.1.1.1, 2.2.2.2, 127.0.0.1"],
            &[],
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_Proto: https\r\nX_Forwarded_Host: evil\r\n\r\n".into(),
            &["x-forwarded-proto: http", "x-forwarded-host: a"],
            &[],
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-one\r\nConnection: x-two\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n\r\n".into(),
            &["x-three: 3"],
            &["x-one", "x-two"],
        ),
        (with_length("/held", "Content-Length"), &[&length], &[]),
        (with_length("/unbuffered", "Content-Length"), &[&length], &[]),
        (with_length("/unbuffered", "close, content-length"), &[&length], &[]),
        (
            "GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n".into(),
            &["GET /up HTTP/1.1"],
            &["upgrade"],
        ),
        (
            "GET http://shop.test/x/y HTTP/1.1\r\nHost: other.test\r\n\r\n".into(),
            &["GET /y HTTP/1.1", "x-forwarded-host: shop.test"],
            &["x-forwarded-host: other"],
        ),
        (
            "GET /p%0d%0aX-Evil:%201/x HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &["GET /x HTTP/1.1"],
            &["x-evil"],
        ),
    ];
    for (request, wanted, unwanted) in cases {
        let before = upstream.seen().len();
        let mut client = Client::open(gateway.ports.proxy);
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        let lines = seen(&upstream, before);
        for wanted in wanted {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} in {lines:?}");
        }
        for unwanted in unwanted {
            assert!(!lines.iter().any(|line| line.starts_with(unwanted)), "{unwanted} in {lines:?}");
        }
    }
}

#[test]
fn hosts_that_are_none_are_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    for host in [
        "a?b", "a\\b", "a,b", "a:1:2", "[a]", "a:x", "a:1x", "u@a", "a#b", "a\"b", "a<b", "a>b", "a|b", "a^b", "a`b",
        "a{b", "a}b", "a%", "[::1",
    ] {
        assert_eq!(get(gateway.ports.proxy, "/", &[&format!("Host: {host}")]).status, 400, "{host}");
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn a_trusted_peer_is_believed_by_the_real_names_of_its_fields_only() {
    let upstream = Upstream::start();
    let properties = [("trusted_ips", "127.0.0.1")];
    let gateway = Gateway::start_with(&upstream.kong_yml(&["{ paths: [/], strip_path: false }"]), &properties);
    for (headers, wanted) in [
        (&["X-Forwarded-Proto: https"][..], "x-forwarded-proto: https"),
        (&["X_Forwarded_Proto: https"], "x-forwarded-proto: http"),
        (&["X-Forwarded-Host: b.test"], "x-forwarded-host: b.test"),
        (&["X_Forwarded_Host: b.test", "Host: a.test"], "x-forwarded-host: a.test"),
        (&["X_Forwarded_Port: 77", "X-Forwarded-Port: 78"], "x-forwarded-port: 78"),
        (&["X_Forwarded_Prefix: /evil", "X-Forwarded-Prefix: /real"], "x-forwarded-prefix: /real"),
    ] {
        let before = upstream.seen().len();
        assert_eq!(get(gateway.ports.proxy, "/", headers).status, 200);
        let lines = seen(&upstream, before);
        assert!(lines.iter().any(|line| line == wanted), "{wanted} in {lines:?}");
    }
}

#[test]
fn an_upstream_does_not_steer_the_gateway() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let fields = ["X-Answer: X-Accel-Redirect: /inner", "X-Answer: X-Accel-Limit-Rate: 1", "X-Answer: X-Pad: avoid"];
    let answer = get(gateway.ports.proxy, "/whole", &fields);
    assert!(answer.status == 200 && answer.body.starts_with("GET /whole "), "{answer:?}");
    for (name, value) in [("x-accel-redirect", "/inner"), ("x-accel-limit-rate", "1"), ("x-pad", "avoid")] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
}

#[test]
fn a_host_header_with_a_port_stays_as_it_is_and_a_number_is_no_target() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_with("", &[("database", "embedded"), ("declarative_config", "")]);
    let admin =
        |path: &str, body: serde_json::Value| call(&gateway, "POST", path, "application/json", &body.to_string());
    assert_eq!(admin("/upstreams", json!({ "name": "pool", "host_header": "a.test:77" })).0, 201);
    let (status, refused) = admin("/upstreams/pool/targets", json!({ "target": 123 }));
    assert_eq!((status, &refused["fields"]["target"]), (400, &json!("expected a string")), "{refused}");
    assert_eq!(admin("/upstreams/pool/targets", json!({ "target": upstream.at.to_string() })).0, 201);
    assert_eq!(admin("/services", json!({ "name": "up", "host": "pool" })).0, 201);
    assert_eq!(admin("/services/up/routes", json!({ "paths": ["/"] })).0, 201);
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    assert!(seen(&upstream, 0).iter().any(|line| line == "host: a.test:77"), "{:?}", upstream.seen());
}
