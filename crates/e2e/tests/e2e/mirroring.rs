//! Copies of requests for real servers: how many there are, what is in them, and that no original waits for one.

use crate::client::{Client, get};
use crate::docs::configure;
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// A kong.yml, JSON being YAML, with a service whose requests are copied.
fn kong_yml(service: SocketAddr, config: &Value, more: &Value) -> String {
    let plugins = json!([{ "name": "request-mirror", "config": config }, { "name": "prometheus" }]);
    let route = json!({ "paths": ["/"], "strip_path": false, "request_buffering": false });
    let service = json!({ "name": "up", "url": format!("http://{service}/v1"), "routes": [route] });
    let mut all = json!({ "_format_version": "3.0", "services": [service], "plugins": plugins });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more.clone()) {
        all.extend(more);
    }
    all.to_string()
}

/// How many copies came to an end.
fn count(gateway: &Gateway, outcome: &str) -> u64 {
    let text = get(gateway.ports.status, "/metrics", &[]).body;
    let start = format!("silverback_mirrored_requests_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

fn post(gateway: &Gateway, path: &str, body: &str) -> u16 {
    let mut client = Client::open(gateway.ports.proxy);
    let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head.as_bytes()).unwrap();
    client.send(body.as_bytes()).unwrap();
    client.answer().unwrap().status
}

#[test]
fn each_request_is_copied_once_to_each_target() {
    let (service, mirror, balanced) = (Upstream::start(), Upstream::start(), Upstream::start());
    let config = json!({ "targets": [format!("http://{}", mirror.at), "http://balanced/base"] });
    let upstreams =
        json!({ "upstreams": [{ "name": "balanced", "targets": [{ "target": balanced.at.to_string() }] }] });
    let gateway = Gateway::start(&kong_yml(service.at, &config, &upstreams));
    for number in 0..20 {
        let headers = ["Authorization: Basic c2VjcmV0", "Cookie: a=b", "X-Own: 1"];
        assert_eq!(get(gateway.ports.proxy, &format!("/get-{number}?q=1"), &headers).status, 200);
        assert_eq!(post(&gateway, "/post", &format!("body {number}")), 200);
    }
    let mut chunked = Client::open(gateway.ports.proxy);
    chunked.send(b"PUT /chunks HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    chunked.send(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").unwrap();
    assert_eq!(chunked.answer().unwrap().status, 200);
    eventually("all copies are answered", || count(&gateway, "answered") == 82);
    assert_eq!((service.seen().len(), mirror.seen().len(), balanced.seen().len()), (41, 41, 41));
    for (upstream, path) in [(&mirror, "/v1/get-7?q=1"), (&balanced, "/base/v1/get-7?q=1")] {
        let seen = upstream.seen();
        let copy = seen.iter().find(|copy| copy.starts_with(&format!("GET {path} HTTP/1.1\r\n"))).unwrap();
        let lower = copy.to_ascii_lowercase();
        let host = format!("host: {}", upstream.at);
        for line in [&*host, "x-own: 1", "x-mirrored: 1", "x-forwarded-path: /get-7", "x-forwarded-for: 127.0.0.1"] {
            assert!(lower.lines().any(|known| known == line), "{line}: {copy}");
        }
        assert!(!lower.contains("authorization") && !lower.contains("cookie"), "{copy}");
        for body in ["body 3", "abcdefg"] {
            assert_eq!(
                seen.iter().filter(|copy| copy.ends_with(&format!("\r\n{body}"))).count(),
                1,
                "{body}: {seen:#?}"
            );
        }
    }
    // What the service gets is no copy.
    assert!(service.seen().iter().all(|request| !request.contains("X-Mirrored")));
    assert!(service.seen().iter().any(|request| request.contains("c2VjcmV0")));
}

#[test]
fn a_share_of_chosen_methods_is_copied_and_copies_are_not_copied_again() {
    let (service, mirror) = (Upstream::start(), Upstream::start());
    let config = json!({ "targets": [format!("http://{}", mirror.at)], "methods": ["GET"], "percentage": 50 });
    let gateway = Gateway::start(&kong_yml(service.at, &config, &json!({})));
    for _ in 0..200 {
        assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    }
    let mut copies = 0;
    eventually("the copies are answered", || {
        copies = count(&gateway, "answered");
        copies > 60 && mirror.seen().len() as u64 == copies
    });
    assert!(copies < 140, "{copies} of 200");
    // A gateway that mirrors to itself does so once.
    let itself = Upstream::start();
    let gateway = Gateway::start(&kong_yml(itself.at, &json!({ "targets": ["http://127.0.0.1:1"] }), &json!({})));
    let config = json!({ "targets": [format!("http://{}/again", gateway.ports.proxy)] });
    assert_eq!(configure(&gateway, &kong_yml(itself.at, &config, &json!({}))).status, 201);
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    eventually("the copy is back", || itself.seen().len() == 2);
    assert_eq!(post(&gateway, "/", "x"), 200);
    eventually("the other copy is back", || itself.seen().len() == 4);
}

/// A server that does with each connection what it is told to, and counts them.
fn strange_server(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    at
}

#[test]
fn targets_that_hang_refuse_or_answer_without_end_cost_no_original_anything() {
    let service = Upstream::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hanging = strange_server(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let endless = strange_server(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let silent = strange_server(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nslow");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let patient = json!({ "timeout": 3_600_000, "max_in_flight": 3 });
    let hasty = json!({ "timeout": 300, "max_in_flight": 100 });
    for (what, target, config, ends) in [
        // The copies never end: three are under way, the others were not made.
        ("hanging", hanging, &patient, vec![("dropped", 27)]),
        ("hanging in the answer", silent, &patient, vec![("dropped", 27)]),
        ("too slow", hanging, &hasty, vec![("failed", 30)]),
        ("refusing", closed, &hasty, vec![("failed", 30)]),
        ("endless", endless, &hasty, vec![("answered", 30)]),
    ] {
        let mut config = config.clone();
        config["targets"] = json!([format!("http://{target}")]);
        if what == "endless" {
            config["timeout"] = json!(60_000);
        }
        let gateway = Gateway::start(&kong_yml(service.at, &config, &json!({})));
        let mut client = Client::open(gateway.ports.proxy);
        for _ in 0..30 {
            assert_eq!(client.get("/", &[]).status, 200, "{what}");
        }
        for (outcome, wanted) in ends {
            eventually(&format!("{what}: {wanted} {outcome}"), || count(&gateway, outcome) == wanted);
        }
    }
}

/// The rest of what a connection brings, up to a mark.
fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, mark: &[u8]) {
    let mut piece = [0; 65536];
    while !seen.windows(mark.len()).any(|window| window == mark) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection ended before {mark:?}");
        seen.extend_from_slice(piece.get(..count).unwrap());
    }
}

#[test]
fn a_body_streams_on_when_its_copy_is_given_up() {
    let (told, tell) = sync_channel(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        read_until(&mut stream, &mut seen, b"<first>");
        told.send(()).unwrap();
        read_until(&mut stream, &mut seen, b"<last>");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        seen.len()
    });
    let mirror = Upstream::start();
    let config = json!({ "targets": [format!("http://{}", mirror.at)], "max_body_size": 100_000 });
    let gateway = Gateway::start(&kong_yml(service, &config, &json!({})));
    let mut client = Client::open(gateway.ports.proxy);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send(chunk("<first>").as_bytes()).unwrap();
    // The service has the beginning while the client has not sent the end.
    tell.recv_timeout(Duration::from_secs(20)).unwrap();
    for _ in 0..20 {
        client.send(chunk(&"x".repeat(10_000)).as_bytes()).unwrap();
    }
    client.send(chunk("<last>").as_bytes()).unwrap();
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert!(server.join().unwrap() > 200_000);
    eventually("the copy was given up", || count(&gateway, "too_large") == 1);
    // A client that goes away in the middle leaves no copy either.
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nsome").unwrap();
    drop(client);
    eventually("the copy was given up", || count(&gateway, "incomplete") == 1);
    assert_eq!(mirror.seen(), Vec::<String>::new());
}

#[test]
fn a_service_that_does_not_read_holds_its_client_back_beside_a_copy() {
    const LENGTH: usize = 96 << 20;
    let (go_on, told) = sync_channel::<()>(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        let (mut piece, mut end) = (vec![0; 1 << 20], Vec::new());
        while !end.ends_with(b"\r\n0\r\n\r\n") {
            let count = stream.read(&mut piece).unwrap();
            end.extend_from_slice(piece.get(..count).unwrap());
            end.drain(..end.len().saturating_sub(16));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let config = json!({ "targets": ["http://127.0.0.1:1"] });
    let gateway = Gateway::start(&kong_yml(service, &config, &json!({})));
    let mut client = Client::open(gateway.ports.proxy);
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{LENGTH:x}\r\n");
    client.send(head.as_bytes()).unwrap();
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut written = 0;
    while written < LENGTH {
        match stream.write(piece.get(..piece.len().min(LENGTH - written)).unwrap()) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    assert!(written < LENGTH, "the gateway has taken all of it");
    go_on.send(()).unwrap();
    stream.set_write_timeout(None).unwrap();
    while written < LENGTH {
        written += stream.write(piece.get(..piece.len().min(LENGTH - written)).unwrap()).unwrap();
    }
    client.send(b"\r\n0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    server.join().unwrap();
    assert_eq!(count(&gateway, "too_large"), 1);
}
