//! How upstreams are spoken to: gRPC with trailers, HTTP/2 by ALPN, TLS both ways, interim answers.

use crate::backend::{Backend, Greeting};
use crate::client::{Client, get};
use crate::gateway::Gateway;
use crate::http2::call;
use crate::pki::Identity;
use crate::upstream::Upstream;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// A kong.yml, JSON being YAML, with one service and one route to it.
fn kong_yml(service: Value, protocols: &[&str], more: Value) -> String {
    let mut service = service;
    service["name"] = json!("up");
    service["routes"] = json!([{ "paths": ["/"], "protocols": protocols, "strip_path": false }]);
    let mut all = json!({ "_format_version": "3.0", "services": [service] });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all.to_string()
}

fn grpc(uri: &str) -> Request<()> {
    let request = Request::builder().method("POST").uri(uri).version(http::Version::HTTP_2);
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn trailers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
}

#[test]
fn grpc_passes_with_its_trailers_in_the_clear_and_by_tls() {
    let authority = Identity::authority("gRPC test");
    let own = authority.issue(&["gateway.test"]);
    let upstream = authority.issue(&["127.0.0.1"]);
    let plain = Backend::plain();
    let tls = Backend::tls(&Greeting { identity: &upstream, alpn: &["h2"], clients: None });
    for (scheme, at) in [("grpc", plain.at), ("grpcs", tls.at)] {
        let certificate = json!({ "cert": own.pem(), "key": own.key_pem(), "snis": [{ "name": "gateway.test" }] });
        let url = format!("{scheme}://{at}");
        let yml = kong_yml(json!({ "url": url }), &["grpc", "grpcs"], json!({ "certificates": [certificate] }));
        let gateway = Gateway::start(&yml);
        for (way, to, trusted) in [("http", gateway.ports.proxy, None), ("https", gateway.ports.tls, Some(&authority))]
        {
            let request = grpc(&format!("{way}://gateway.test/pkg.Service/Method"));
            let got = call(to, trusted, request, &["one", "two"], Some(trailers("x-checksum", "7")));
            assert_eq!((got.status, got.body.as_str()), (200, "onetwo"), "{scheme} {way}: {got:?}");
            assert_eq!(got.header("x-seen"), "HTTP/2.0 POST /pkg.Service/Method", "{scheme} {way}: {got:?}");
            assert_eq!(got.header("x-seen-te"), "trailers", "{scheme} {way}: {got:?}");
            assert_eq!(got.header("content-type"), "application/grpc", "{scheme} {way}: {got:?}");
            assert_eq!(got.trailer("grpc-status"), "0", "{scheme} {way}: {got:?}");
            // The request's trailers reached the upstream, which gave them back.
            assert_eq!(got.trailer("x-checksum"), "7", "{scheme} {way}: {got:?}");
            assert!(got.header("via").starts_with("2 "), "{scheme} {way}: {got:?}");
        }
    }
}

#[test]
fn an_https_service_that_asks_for_it_is_spoken_to_by_http2_where_its_upstream_agrees() {
    let authority = Identity::authority("ALPN test");
    let upstream = authority.issue(&["127.0.0.1"]);
    let start = |alpn| Backend::tls(&Greeting { identity: &upstream, alpn, clients: None });
    let (both, old) = (start(&["h2", "http/1.1"]), start(&["http/1.1"]));
    let by_tag = json!({ "tags": ["silverback:http2"] });
    for (at, service, properties, expected, via) in [
        (both.at, json!({}), &[][..], "GET / HTTP/1.1", "1.1 "),
        (both.at, by_tag.clone(), &[], "HTTP/2.0 GET /", "2 "),
        (old.at, by_tag.clone(), &[], "GET / HTTP/1.1", "1.1 "),
        (both.at, json!({}), &[("nginx_proxy_proxy_http_version", "2")], "HTTP/2.0 GET /", "2 "),
        (both.at, json!({ "http_version": "2" }), &[], "HTTP/2.0 GET /", "2 "),
        (old.at, json!({ "http_version": "2" }), &[], "GET / HTTP/1.1", "1.1 "),
        (
            both.at,
            json!({ "http_version": "1.1" }),
            &[("nginx_proxy_proxy_http_version", "2")],
            "GET / HTTP/1.1",
            "1.1 ",
        ),
    ] {
        let mut service = service;
        service["url"] = json!(format!("https://{at}"));
        let gateway = Gateway::start_with(&kong_yml(service.clone(), &["http"], json!({})), properties);
        let mut client = Client::open(gateway.ports.proxy);
        // The second request goes over what the first one left.
        for _ in 0..2 {
            let answer = client.get("/", &[]);
            assert_eq!(answer.header("x-seen"), Some(expected), "{service} {properties:?}: {answer:?}");
            assert!(answer.header("via").is_some_and(|v| v.starts_with(via)), "{service}: {answer:?}");
        }
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().status, 200, "{service}");
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
        let upgraded = Client::open(gateway.ports.proxy).get("/", &upgrade);
        assert_eq!(upgraded.status, 101, "an upgrade needs HTTP/1.1: {service}: {upgraded:?}");
    }
}

#[test]
fn an_http_service_can_be_spoken_to_by_http2_from_the_first_byte() {
    let (new, old) = (Backend::plain(), Upstream::start());
    let start = |at: SocketAddr| {
        let service = json!({ "url": format!("http://{at}"), "http_version": "2" });
        Gateway::start(&kong_yml(service, &["http"], json!({})))
    };
    let gateway = start(new.at);
    let mut client = Client::open(gateway.ports.proxy);
    for _ in 0..2 {
        assert_eq!(client.get("/a", &[]).header("x-seen"), Some("HTTP/2.0 GET /a"));
    }
    client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.header("x-seen"), &*answer.body), (Some("HTTP/2.0 POST /b"), "hello"));
    assert_eq!(get(start(old.at).ports.proxy, "/", &[]).status, 502, "this upstream does not speak it");
}

#[test]
fn requests_that_wait_to_hear_whether_http2_is_spoken_go_on_by_http1_where_it_is_not() {
    let authority = Identity::authority("ALPN test");
    let upstream = authority.issue(&["127.0.0.1"]);
    let old = Backend::tls(&Greeting { identity: &upstream, alpn: &["http/1.1"], clients: None });
    let service = json!({ "url": format!("https://{}", old.at), "tags": ["silverback:http2"] });
    let properties = [("nginx_worker_processes", "1")];
    let gateway = Gateway::start_with(&kong_yml(service, &["http"], json!({})), &properties);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| get(gateway.ports.proxy, "/", &[]))).collect();
        for answer in asked {
            let answer = answer.join().unwrap();
            assert_eq!(answer.header("x-seen"), Some("GET / HTTP/1.1"), "{answer:?}");
        }
    });
}

/// The answer of an upstream that asks for certificates of `clients`.
fn over_tls(at: SocketAddr, service: Value, more: Value, properties: &[(&str, &str)]) -> crate::client::Answer {
    let mut service = service;
    service["url"] = json!(format!("https://{at}"));
    service["retries"] = json!(0);
    let gateway = Gateway::start_with(&kong_yml(service, &["http"], more), properties);
    get(gateway.ports.proxy, "/", &[])
}

#[test]
fn an_upstream_sees_the_certificate_of_the_service_else_the_gateways() {
    let authority = Identity::authority("mTLS test");
    let (server, client) = (authority.issue(&["127.0.0.1"]), authority.issue(&["client.test"]));
    let upstream = Backend::tls(&Greeting { identity: &server, alpn: &["http/1.1"], clients: Some(&authority) });
    let id = "7fca84d6-7d37-4a74-a7b0-93e576089a41";
    let certificate = json!({ "certificates": [{ "id": id, "cert": client.pem(), "key": client.key_pem() }] });
    let own = over_tls(upstream.at, json!({ "client_certificate": id }), certificate, &[]);
    assert_eq!((own.status, own.header("x-client-certificate")), (200, Some("shown")), "{own:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("client.crt", client.pem()), file("client.key", client.key_pem()));
    let global = [("client_ssl", "on"), ("client_ssl_cert", &*cert), ("client_ssl_cert_key", &*key)];
    let answer = over_tls(upstream.at, json!({}), json!({}), &global);
    assert_eq!((answer.status, answer.header("x-client-certificate")), (200, Some("shown")), "{answer:?}");
    let nobody = over_tls(upstream.at, json!({}), json!({}), &[]);
    assert_eq!(nobody.status, 502, "{nobody:?}");
}

#[test]
fn the_certificate_of_an_upstream_is_verified_as_the_service_says() {
    let authority = Identity::authority("root");
    let deeper = authority.sub_authority("between 1");
    let deepest = deeper.sub_authority("between 2");
    let stranger = Identity::authority("another root");
    let ca = "0c5c6d6e-6a4f-4d0c-9f0e-0c9bba1b4b9d";
    let trusted = |of: &Identity| json!({ "ca_certificates": [{ "id": ca, "cert": of.pem() }] });
    let verified =
        |depth: Option<u8>| json!({ "tls_verify": true, "tls_verify_depth": depth, "ca_certificates": [ca] });
    let local = ["127.0.0.1"];
    for (what, identity, service, authorities, expected) in [
        ("not verified", stranger.issue(&local), json!({ "tls_verify": false }), json!({}), 200),
        ("trusted directly", authority.issue(&local), verified(Some(0)), trusted(&authority), 200),
        ("another authority", stranger.issue(&local), verified(None), trusted(&authority), 502),
        ("another name", authority.issue(&["other.test"]), verified(None), trusted(&authority), 502),
        ("no authority that signed it", authority.issue(&local), json!({ "tls_verify": true }), json!({}), 502),
        ("one between, none allowed", deeper.issue(&local), verified(Some(0)), trusted(&authority), 502),
        ("one between, nothing said", deeper.issue(&local), verified(None), trusted(&authority), 200),
        ("two between, nothing said", deepest.issue(&local), verified(None), trusted(&authority), 502),
        ("two between, two allowed", deepest.issue(&local), verified(Some(2)), trusted(&authority), 200),
        ("two sent, of which one is needed", deepest.issue(&local), verified(Some(1)), trusted(&deeper), 200),
    ] {
        let upstream = Backend::tls(&Greeting { identity: &identity, alpn: &["http/1.1"], clients: None });
        let answer = over_tls(upstream.at, service, authorities, &[]);
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
    }
}

/// An upstream that says exactly this to every request.
fn canned(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut seen = Vec::new();
            let mut piece = [0; 4096];
            while !seen.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            // The gateway may have gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    at
}

#[test]
fn answers_are_taken_as_nginx_takes_them() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let chunked = |body: &str| format!("{OK}Transfer-Encoding: chunked\r\n\r\n{body}");
    for (answer, body, fields) in [
        (chunked("2 \r\nok\r\n0\r\n\r\n"), Some("ok"), &[][..]),
        (chunked("2\nok\n0\n\n"), Some("ok"), &[]),
        // Nothing of it has gone out when it turns out to be none.
        (chunked("2\r\nokk\r\n0\r\n\r\n"), None, &[]),
        (
            format!(
                "{OK}Content-Type: a/b\r\nRefresh: 1\r\nDate: x\r\nContent-Type: c/d\r\nRefresh: 2\r\nDate: y\r\nContent-Length: 2\r\n\r\nok"
            ),
            Some("ok"),
            &[("content-type", "a/b"), ("refresh", "1"), ("date", "x")],
        ),
    ] {
        let upstream = canned(answer.clone().leak());
        let yml = format!(
            "_format_version: \"3.0\"\nservices:\n  - url: http://{upstream}\n    retries: 0\n    routes:\n      - paths: [/]\n"
        );
        let gateway = Gateway::start(&yml);
        let mut client = Client::open(gateway.ports.proxy);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let got = client.answer().ok();
        assert_eq!(got.as_ref().map(|answer| answer.body.as_str()), body, "{answer:?}: {got:?}");
        for (name, value) in fields {
            let all: Vec<_> =
                got.iter().flat_map(|a| &a.headers).filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
            assert_eq!(all, [*value], "{answer:?}");
        }
    }
}

#[test]
fn cookies_of_an_http2_client_reach_an_http1_upstream_as_one_field() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let request = Request::builder().uri("http://gateway.test/x").header("cookie", "a=1").header("cookie", "b=2; c=3");
    let got = call(gateway.ports.proxy, None, request.body(()).unwrap(), &[], None);
    let fields: Vec<_> = got.body.lines().filter_map(|line| line.split_once(": ")).collect();
    let cookies: Vec<_> =
        fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cookie")).map(|(_, v)| *v).collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"], "{got:?}");
}

#[test]
fn interim_answers_reach_the_clients_that_know_them() {
    let upstream = canned(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&kong_yml(json!({ "url": format!("http://{upstream}") }), &["http"], json!({})));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (line, fields) = client.interim_head().unwrap();
    assert_eq!(line, "HTTP/1.1 103 Early Hints");
    assert_eq!(fields, ["Link: </a.css>; rel=preload"]);
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{answer:?}");
    // HTTP/1.0 has no interim answers.
    let mut old = Client::open(gateway.ports.proxy);
    old.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(old.answer().unwrap().status, 200);
    let request = Request::builder().uri("http://a.test/").body(()).unwrap();
    let got = call(gateway.ports.proxy, None, request, &[], None);
    assert_eq!((got.status, got.body.as_str()), (200, "ok"), "{got:?}");
    let [(103, hints)] = &got.interims[..] else { panic!("one interim answer, not {got:?}") };
    assert_eq!(hints.get("link").unwrap(), "</a.css>; rel=preload");
    assert!(!hints.contains_key("connection"), "{hints:?}");
}

#[test]
fn interim_answers_of_http2_upstreams_are_passed_on_too() {
    let upstream = Backend::plain();
    let gateway = Gateway::start(&kong_yml(json!({ "url": format!("grpc://{}", upstream.at) }), &["grpc"], json!({})));
    let got = call(gateway.ports.proxy, None, grpc("http://a.test/pkg.Service/early"), &["x"], None);
    assert_eq!((got.status, got.body.as_str(), got.trailer("grpc-status")), (200, "x", "0"), "{got:?}");
    assert_eq!(got.interims.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [103], "{got:?}");
}
