//! Clients that go away before they have their answer, and peers of a tunnel that read nothing any more.

use crate::client::{Client, connect};
use crate::gateway::{Gateway, eventually};
use crate::peer::{Greeting, Peer};
use crate::script::Act::{Await, Pour, Send, Stall};
use crate::script::Script;
use crate::streams::{ONE_THREAD, before, grpc};
use serde_json::json;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Waits for a line of the access log with this path and status.
fn logged(gateway: &Gateway, path: &str, status: u16) {
    let log = gateway.prefix().join("logs/access.log");
    let (path, status) = (format!("{path} "), format!(" {status} "));
    eventually("the access log has the request", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| line.contains(&path) && line.contains(&status))
    });
}

#[test]
fn a_stream_that_its_http2_client_resets_ends_at_the_upstream_too() {
    // The path, whether its answer has begun, whether the client ends the whole connection, and the status in the log.
    for (path, has_begun, is_all, status) in [
        ("/hold", false, false, 499),
        ("/hold", false, true, 499),
        ("/begun", true, false, 200),
        ("/begun", true, true, 200),
    ] {
        let peer = Peer::start(100, Greeting::AtOnce);
        let gateway = before(&peer, json!({}));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(gateway.ports.proxy).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut send = send.ready().await.unwrap();
            // Its body goes on: what ends it must not look like an error of the request.
            let (mut response, mut out) = send.send_request(grpc(&format!("http://a.test{path}")), false).unwrap();
            let begun = if has_begun { Some((&mut response).await.unwrap()) } else { None };
            while peer.seen(path) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if is_all {
                connection.abort();
                let _ = connection.await;
            } else {
                out.send_reset(h2::Reason::CANCEL);
                // The connection goes on, and sends the reset.
                while !peer.was_given_up(path) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            drop((begun, response, out, send));
        });
        eventually("the upstream's request ends", || peer.was_given_up(path));
        logged(&gateway, path, status);
    }
}

/// Before an upstream that takes one request at a time.
fn http(script: &Script) -> Gateway {
    let routes = json!([{ "paths": ["/"], "strip_path": false }]);
    let service = json!({ "name": "up", "host": "pool", "read_timeout": 1_000_000, "routes": routes });
    let targets = json!([{ "target": script.at.to_string() }]);
    let upstream = json!({ "name": "pool", "targets": targets, "circuit_breaker": { "max_requests": 1 } });
    let yml = json!({ "_format_version": "3.0", "services": [service], "upstreams": [upstream] });
    Gateway::start_with(&yml.to_string(), &ONE_THREAD)
}

/// Ends a connection with a reset.
fn reset(client: Client) {
    let stream = client.stream().try_clone().unwrap();
    drop(client);
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap() });
}

#[test]
fn a_connection_that_its_client_resets_ends_at_the_upstream_too_and_leaves_its_room() {
    const BEGUN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let acts: [(String, &[_]); 2] = [("/hold".into(), &[Await]), ("/begun".into(), &[Send(BEGUN), Await])];
    let script = Script::start(acts.into());
    let gateway = http(&script);
    for (path, status) in [("/hold", 499), ("/begun", 200)] {
        let mut client = Client::open(gateway.ports.proxy);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        if status == 200 {
            assert_eq!(client.answer_to_head().unwrap().status, 200);
        }
        eventually("the request is under way", || script.seen(path).len() == 1);
        reset(client);
        eventually("the upstream's request ends", || script.has_ended(path));
        logged(&gateway, path, status);
        assert_eq!(Client::open(gateway.ports.proxy).get("/fresh", &[]).status, 200, "{path}");
    }
}

/// Something that takes connections and answers nothing.
fn silent() -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, streams) = sync_channel(16);
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| sender.send(stream)));
    (at, streams)
}

/// The other side ends the connection, whatever it has sent before.
fn ends(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let read = std::io::copy(&mut stream, &mut std::io::sink());
    assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

#[test]
fn a_plugin_that_waits_for_somebody_else_is_given_up_with_its_client() {
    let (directory, calls) = silent();
    let script = Script::start(Vec::new());
    let config = json!({ "ldap_host": directory.ip(), "ldap_port": directory.port(), "base_dn": "dc=a", "attribute": "uid",
        "header_type": "ldap", "timeout": 1_000_000, "cache_ttl": 1 });
    let routes =
        json!([{ "paths": ["/"], "strip_path": false, "plugins": [{ "name": "ldap-auth", "config": config }] }]);
    let service = json!({ "url": format!("http://{}", script.at), "routes": routes });
    let yml = json!({ "_format_version": "3.0", "services": [service] });
    let gateway = Gateway::start_with(&yml.to_string(), &ONE_THREAD);
    const AUTHORIZATION: &str = "ldap YWRhOnNlY3JldA==";
    // With a body that nobody reads, too: it comes with the head, and hides nothing.
    for (path, body) in [("/one", ""), ("/two", "hello")] {
        let mut client = Client::open(gateway.ports.proxy);
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {AUTHORIZATION}\r\n");
        client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        let call = calls.recv_timeout(Duration::from_secs(20)).unwrap();
        reset(client);
        ends(call);
        logged(&gateway, path, 499);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.ports.proxy).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let request = http::Request::builder().uri("http://a.test/three").header("authorization", AUTHORIZATION);
        let (response, mut out) = send.send_request(request.body(()).unwrap(), false).unwrap();
        out.send_data("x".into(), false).unwrap();
        let call = tokio::task::spawn_blocking(move || {
            let call = calls.recv_timeout(Duration::from_secs(20)).unwrap();
            (call, calls)
        });
        let (call, _calls) = call.await.unwrap();
        out.send_reset(h2::Reason::CANCEL);
        tokio::task::spawn_blocking(move || ends(call)).await.unwrap();
        drop(response);
    });
    logged(&gateway, "/three", 499);
    for path in ["/one", "/two", "/three"] {
        assert!(script.seen(path).is_empty(), "{path} went upstream");
    }
    let logged = gateway.output();
    assert!(!logged.contains("[error]"), "what was given up is no failure: {logged}");
}

#[test]
fn a_request_whose_body_is_still_held_is_dropped_with_its_client() {
    let script = Script::start(Vec::new());
    let gateway = http(&script);
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n").unwrap();
    // The gateway asks for the body once it holds it for the upstream.
    assert_eq!(client.interim().unwrap(), "HTTP/1.1 100 Continue");
    client.send(b"hello").unwrap();
    reset(client);
    logged(&gateway, "/half", 499);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.ports.proxy).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let request =
            |path: &str| http::Request::builder().uri(format!("http://a.test{path}")).method("POST").body(()).unwrap();
        let (response, mut out) = send.send_request(request("/stream"), false).unwrap();
        out.send_data("hello".into(), false).unwrap();
        // When this one has been answered, the first is under way.
        let mut next = send.clone().ready().await.unwrap();
        let (other, _) = next.send_request(request("/fresh"), true).unwrap();
        assert_eq!(other.await.unwrap().status(), 200);
        out.send_reset(h2::Reason::CANCEL);
        let mut next = send.ready().await.unwrap();
        let (other, _) = next.send_request(request("/fresh"), true).unwrap();
        assert_eq!(other.await.unwrap().status(), 200);
        drop((response, connection));
    });
    logged(&gateway, "/stream", 499);
    assert!(script.seen("/half").is_empty() && script.seen("/stream").is_empty());
}

#[test]
fn a_request_that_the_client_sends_ahead_is_no_departure() {
    const LATE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate";
    // The body of `/late` comes before its answer: the upstream reads the rest of it when the next request has been sent.
    let acts: [(String, &[_]); 1] = [("/late".into(), &[crate::script::Act::Body, Send(LATE)])];
    let script = Script::start(acts.into());
    let routes = json!([{ "paths": ["/"], "strip_path": false, "request_buffering": false }]);
    let service = json!({ "name": "up", "url": format!("http://{}", script.at), "routes": routes });
    let yml = json!({ "_format_version": "3.0", "services": [service] });
    let gateway = Gateway::start_with(&yml.to_string(), &ONE_THREAD);
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").unwrap();
    eventually("the request is under way", || script.seen("/late").len() == 1);
    client.send(b"dyGET /fresh HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for body in ["late", "fresh"] {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{answer:?}");
    }
}

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const TAKEN: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// A tunnel to an upstream that does this.
fn tunnel(acts: &'static [crate::script::Act]) -> (Script, Gateway, Client) {
    let script = Script::start(vec![("/ws".into(), acts)]);
    let routes = json!([{ "paths": ["/"], "strip_path": false }]);
    let service = json!({ "url": format!("http://{}", script.at), "read_timeout": 1000, "routes": routes });
    let yml = json!({ "_format_version": "3.0", "services": [service] });
    let gateway = Gateway::start_with(&yml.to_string(), &ONE_THREAD);
    let mut client = Client::over(connect(gateway.ports.proxy).unwrap());
    client.send(UPGRADE).unwrap();
    assert_eq!(client.answer().unwrap().status, 101);
    (script, gateway, client)
}

#[test]
fn a_tunnel_whose_upstream_reads_nothing_ends() {
    let (_script, _gateway, mut client) = tunnel(&[Send(TAKEN), Stall]);
    client.stream().set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let data = vec![0; 64 * 1024];
    let error = loop {
        if let Err(error) = client.send(&data) {
            break error.kind();
        }
    };
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
}

#[test]
fn a_tunnel_whose_client_reads_nothing_ends() {
    let (script, _gateway, _client) = tunnel(&[Send(TAKEN), Pour("0123456789abcdef", 4_000_000), Await]);
    eventually("the upstream hears of the end", || script.has_ended("/ws"));
}
