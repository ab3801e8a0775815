//! What two parsers could read differently is refused and the connection closed; the upstream never sees it.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use std::path::Path;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn malformed_requests_are_refused_and_never_forwarded() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    for (what, request) in [
        ("length and chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("chunks and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6", "hello!")),
        ("a list of lengths", post("Content-Length: 5, 6", "hello!")),
        ("a signed length", post("Content-Length: +5", "hello")),
        ("a negative length", post("Content-Length: -5", "hello")),
        ("a length that overflows", post("Content-Length: 99999999999999999999999", "hello")),
        ("an unknown coding", post("Transfer-Encoding: xchunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("a coding behind a tab and a word", post("Transfer-Encoding:\tchunked x", "0\r\n\r\n")),
        ("a folded header", post("X-A: 1\r\n folded: 2\r\nContent-Length: 0", "")),
        ("a space before the colon", post("Content-Length : 5", "hello")),
        ("a header without a colon", post("Nothing", "")),
        ("a header without a name", post(": x", "")),
        ("NUL in a value", post("X-A: a\0b", "")),
        ("a bare CR in a value", post("X-A: a\rb", "")),
        ("a bare LF as line end", "GET / HTTP/1.1\nHost: a\n\n".into()),
        ("a bare LF in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n".into()),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into()),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into()),
        ("an escaped NUL in the host", "GET / HTTP/1.1\r\nHost: a%00b\r\n\r\n".into()),
        ("half an escape in the host of the target", "GET http://a%2/x HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
        ("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a control character in the target", "GET /a\u{1}b HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("an unknown version", "GET / HTTP/1.9x\r\nHost: a\r\n\r\n".into()),
        ("a method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a chunk size that is no number", chunked("zz\r\nhello\r\n0\r\n\r\n")),
        ("a chunk size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n")),
        ("a chunk size in the other notation", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        ("a chunk size that overflows", chunked("fffffffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
        ("a chunk longer than its size", chunked("2\r\nhello\r\n0\r\n\r\n")),
        ("a bare LF behind a chunk size", chunked("5\nhello\r\n0\r\n\r\n")),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5", "hello")),
        ("an empty length", post("Content-Length:", "")),
        ("a length in the other notation", post("Content-Length: 0x5", "hello")),
        ("a length with a space inside", post("Content-Length: 1 1", "hello world")),
        ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("a fold by a tab", post("X-A: 1\r\n\tfolded: 2\r\nContent-Length: 0", "")),
        ("a fold before the first header", "GET / HTTP/1.1\r\n X-A: 1\r\nHost: a\r\n\r\n".into()),
        ("NUL in a name", post("X\0A: 1", "")),
        ("NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("an escaped NUL in the target", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("an empty chunk size", chunked("\r\nhello\r\n0\r\n\r\n")),
        ("a space before a chunk size", chunked(" 5\r\nhello\r\n0\r\n\r\n")),
        ("a space behind a chunk size", chunked("5 \r\nhello\r\n0\r\n\r\n")),
        ("a bare CR behind a chunk size", chunked("5\rhello\r\n0\r\n\r\n")),
        ("NUL behind a chunk size", chunked("5;\0\r\nhello\r\n0\r\n\r\n")),
        ("a chunk without a line end", chunked("5\r\nhelloX0\r\n\r\n")),
        ("a folded trailer", chunked("5\r\nhello\r\n0\r\nX-A: 1\r\n folded\r\n\r\n")),
        ("a bare LF behind a trailer", chunked("5\r\nhello\r\n0\r\nX-A: 1\n\r\n")),
    ] {
        let mut client = Client::open(gateway.ports.proxy);
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        // A coding that nobody knows is no malformed request, only one that cannot be served (RFC 9112, section 6.1).
        let expected = if what.contains("coding") || what == "chunked twice" { 501 } else { 400 };
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        assert!(client.is_closed(), "{what}: the connection stays open, or more came");
        let seen = upstream.seen();
        assert!(!seen.iter().any(|request| request.contains("smuggled")), "{what}: {seen:?}");
    }
    // What is refused before its end is known may have begun: no whole request may have arrived.
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

/// A service with a route for HTTPS alone, and global plugins: a log of this path and a field for all answers.
fn logging(upstream: &Upstream, log: &Path) -> String {
    upstream.kong_yml(&["{ name: s, paths: [/s], protocols: [https] }", "{ name: r, paths: [/r] }"])
        + &format!("plugins:\n  - {{ name: file-log, config: {{ path: {} }} }}\n", log.display())
        + "  - name: response-transformer\n    config: { add: { headers: [\"x-seen:yes\"] } }\n"
}

#[test]
fn what_is_refused_passes_the_global_plugins_and_is_logged() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let log = folder.path().join("log");
    let gateway = Gateway::start_with(&logging(&upstream, &log), &[("allow_debug_header", "on")]);
    let long = "x".repeat(9000);
    let cases = [
        (
            "two hosts",
            "POST /a?b=c HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
            "/a?b=c",
            "POST",
            Some("a"),
        ),
        ("no colon", "GET /a HTTP/1.1\r\nHost: a\r\nNothing\r\n\r\n".into(), 400, "/a", "GET", Some("a")),
        ("a long field", format!("GET /a HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 400, "/a", "GET", Some("a")),
        ("a long target", format!("POST /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "", "POST", None),
        ("a coding", "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n".into(), 501, "/a", "GET", Some("a")),
        // A route that takes other protocols is none to logs.
        ("https only", "GET /s HTTP/1.1\r\nHost: a\r\nKong-Debug: 1\r\n\r\n".into(), 426, "/s", "GET", Some("a")),
    ];
    for (lines, (what, request, status, uri, method, host)) in cases.into_iter().enumerate() {
        let mut client = Client::open(gateway.ports.proxy);
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((answer.status, answer.header("x-seen")), (status, Some("yes")), "{what}: {answer:?}");
        assert_eq!(answer.header("kong-route-name"), (what == "https only").then_some("s"), "{what}");
        let mut text = String::new();
        eventually(what, || {
            text = std::fs::read_to_string(&log).unwrap_or_default();
            text.ends_with('\n') && text.lines().count() > lines
        });
        let document: Value = serde_json::from_str(text.lines().nth(lines).unwrap()).unwrap();
        let request = &document["request"];
        assert_eq!((&request["method"], &request["uri"]), (&json!(method), &json!(uri)), "{what}: {document}");
        let seen = request["headers"]["host"].as_str().or(request["headers"]["host"][0].as_str());
        assert_eq!((seen, &document["response"]["status"]), (host, &json!(status)), "{what}: {document}");
        for absent in ["route", "service", "tries"] {
            assert!(document.get(absent).is_none(), "{what}: {document}");
        }
        assert_eq!(document["upstream_uri"], "", "{what}");
    }
    eventually("they are in the access log", || {
        let text = std::fs::read_to_string(gateway.prefix().join("logs/access.log")).unwrap_or_default();
        ["\"POST /a?b=c HTTP/1.1\" 400 ", "\"GET /a HTTP/1.1\" 501 ", "\"\" 414 "]
            .iter()
            .all(|part| text.contains(part))
    });
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn a_request_without_host_is_for_kong() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&logging(&upstream, &folder.path().join("log")));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"GET /r HTTP/1.0\r\n\r\n").unwrap();
    let answer = client.answer().unwrap();
    assert!(answer.body.to_ascii_lowercase().contains("\r\nx-forwarded-host: kong\r\n"), "{answer:?}");
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"TRACE /r HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (405, Some("close")), "{answer:?}");
    // The lines of Accept are one list.
    let answer = get(gateway.ports.proxy, "/none", &["Accept: a/b", "Accept: text/html"]);
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("text/html; charset=utf-8")), "{answer:?}");
}

#[test]
fn limits_of_the_head_hold() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let long = "x".repeat(40_000);
    let many: String = (0..2_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    for (what, request, expected) in [
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), [414, 400]),
        ("a long header", format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"), [400, 431]),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), [400, 431]),
    ] {
        let mut client = Client::open(gateway.ports.proxy);
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(expected.contains(&answer.status), "{what}: {answer:?}");
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
}
