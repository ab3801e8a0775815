//! How long connections last: how many requests they carry, and what passes when only one way is ended.

use super::kong_yml;
use crate::client::Client;
use crate::gateway::{Gateway, eventually};
use crate::peer::{Greeting, Peer};
use crate::pki;
use crate::script::Act::{Finish, Pour, Send, ToEnd};
use crate::script::{Act, Script};
use crate::streams::{ONE_THREAD, grpc};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;
use tokio::net::TcpStream;

#[test]
fn a_client_connection_carries_as_many_requests_as_it_may() {
    let script = Script::start(Vec::new());
    let properties = [("nginx_http_keepalive_requests", "3"), ("proxy_access_log", "logs/access.log numbered")];
    let gateway = Gateway::start_with(
        &kong_yml(&script),
        &[&properties[..], &[("nginx_http_log_format", "numbered '$uri $connection_requests'")]].concat(),
    );
    let expected = ["keep-alive", "keep-alive", "close"];
    // One after the other, and all at once: what is sent beyond is not answered.
    for (requests, at_once) in [(3, false), (4, true)] {
        let mut client = Client::open(gateway.ports.proxy);
        let request = |at: usize| format!("GET /n{at} HTTP/1.1\r\nHost: a\r\n\r\n");
        if at_once {
            client.send((1..=requests).map(request).collect::<String>().as_bytes()).unwrap();
        }
        for (at, connection) in (1..).zip(expected) {
            if !at_once {
                client.send(request(at).as_bytes()).unwrap();
            }
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, Some(connection)), "{at}: {answer:?}");
        }
        assert!(client.is_closed(), "{requests} requests");
    }
    assert!(script.seen("/n4").is_empty());
    let log = gateway.prefix().join("logs/access.log");
    eventually("the log has all", || {
        std::fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.starts_with("/n")).count() == 6
    });
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("/n")).collect();
    assert_eq!(lines, ["/n1 1", "/n2 2", "/n3 3", "/n1 1", "/n2 2", "/n3 3"]);
}

#[test]
fn an_http2_client_is_told_to_go_once_its_connection_has_carried_its_requests() {
    let peer = Peer::start(100, Greeting::AtOnce);
    let service =
        json!({ "url": format!("grpc://{}", peer.at), "routes": [{ "hosts": ["a.test"], "protocols": ["grpc"] }] });
    let yml = json!({ "_format_version": "3.0", "services": [service] }).to_string();
    let gateway = Gateway::start_with(&yml, &[&ONE_THREAD[..], &[("nginx_http_keepalive_requests", "3")]].concat());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = TcpStream::connect(gateway.ports.proxy).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        // The last one is under way when the connection is refused further ones.
        let (held, _) = send.send_request(grpc("http://a.test/hold"), true).unwrap();
        for _ in 0..2 {
            let mut next = send.clone().ready().await.unwrap();
            let (response, _) = next.send_request(grpc("http://a.test/x"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
        let refused = loop {
            match send.clone().ready().await {
                Err(error) => break error,
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(refused.is_go_away() && refused.reason() == Some(h2::Reason::NO_ERROR), "{refused:?}");
        peer.release();
        assert_eq!(held.await.unwrap().status(), 200);
        // With the last answer the connection ends.
        connection.await.unwrap().unwrap();
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), talk).await.unwrap() });
    assert_eq!((peer.seen("/hold"), peer.seen("/x")), (1, 2));
}

#[test]
fn an_upstream_connection_carries_as_many_requests_as_it_may() {
    let script = Script::start(Vec::new());
    // How many there may be, and the connections of five requests, one after the other.
    for (limit, expected) in [("2", [0, 0, 1, 1, 2]), ("1", [0, 1, 2, 3, 4]), ("0", [0, 0, 0, 0, 0])] {
        let script = if limit == "2" { &script } else { &Script::start(Vec::new()) };
        let properties = [&ONE_THREAD[..], &[("upstream_keepalive_max_requests", limit)]].concat();
        let gateway = Gateway::start_with(&kong_yml(script), &properties);
        for _ in 0..5 {
            assert_eq!(Client::open(gateway.ports.proxy).get("/n", &[]).status, 200);
        }
        let connections: Vec<usize> = script.seen("/n").iter().map(|seen| seen.connection).collect();
        assert_eq!(connections, expected, "{limit}");
    }
    for (limit, expected) in [("2", 3), ("0", 1)] {
        let peer = Peer::start(100, Greeting::AtOnce);
        let service =
            json!({ "url": format!("grpc://{}", peer.at), "routes": [{ "hosts": ["a.test"], "protocols": ["grpc"] }] });
        let yml = json!({ "_format_version": "3.0", "services": [service] }).to_string();
        let properties = [&ONE_THREAD[..], &[("upstream_keepalive_max_requests", limit)]].concat();
        let gateway = Gateway::start_with(&yml, &properties);
        for _ in 0..5 {
            let got = crate::http2::call(gateway.ports.proxy, None, grpc("http://a.test/x"), &["x"], None);
            assert_eq!((got.status, got.body.as_str()), (200, "x"), "{got:?}");
        }
        assert_eq!((peer.seen("/x"), peer.connections()), (5, expected), "{limit}");
    }
}

#[test]
fn interim_answers_without_end_are_passed_on_up_to_a_limit() {
    const HINT: &str =
        "HTTP/1.1 103 Early Hints\r\nLink: </a-file-of-a-name-that-takes-some-room.css>; rel=preload\r\n\r\n";
    const MANY: usize = 20_000;
    let acts: [(String, &[Act]); 1] =
        [("/flood".into(), &[Pour(HINT, MANY), Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")])];
    let script = Script::start(acts.into());
    let gateway = Gateway::start(&kong_yml(&script));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut hints = 0;
    let last = loop {
        match client.interim_answer().unwrap() {
            hint if hint.status == 103 => hints += 1,
            last => break last,
        }
    };
    assert_eq!((last.status, client.bytes(2).unwrap().as_slice()), (200, &b"ok"[..]));
    assert!((100..1000).contains(&hints), "{hints} of {MANY}");
    assert_eq!(client.get("/fresh", &[]).body, "fresh");
}

const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const TAKEN: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const LONG: usize = 100_000;

fn tunnels(acts: &'static [Act]) -> (Script, Value) {
    let script = Script::start(vec![("/ws".to_owned(), acts)]);
    let routes = json!([{ "paths": ["/"], "strip_path": false }]);
    let service = json!({ "url": format!("http://{}", script.at), "routes": routes });
    (script, json!({ "_format_version": "3.0", "services": [service] }))
}

#[test]
fn a_tunnel_whose_client_ends_its_side_goes_on_the_other_way() {
    // What comes back begins when the client's end has come through.
    let (script, yml) = tunnels(&[Send(TAKEN), Send("first"), ToEnd, Pour("0123456789", LONG), Send("last")]);
    let gateway = Gateway::start(&yml.to_string());
    let mut client = Client::open(gateway.ports.proxy);
    client.send(ASK).unwrap();
    assert_eq!(client.answer().unwrap().status, 101);
    assert_eq!(client.bytes(5).unwrap(), b"first");
    client.send(b"hello").unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    let back = client.bytes(LONG * 10 + 4).unwrap();
    assert!(back.starts_with(b"0123456789") && back.ends_with(b"9last"));
    let seen = script.seen("/ws");
    assert_eq!((seen[0].body.as_str(), seen[0].is_whole), ("hello", true));
}

#[test]
fn a_tunnel_whose_tls_client_ends_its_side_goes_on_the_other_way() {
    let (script, yml) = tunnels(&[Send(TAKEN), ToEnd, Pour("0123456789", LONG), Send("last")]);
    let gateway = Gateway::start(&yml.to_string());
    let mut client = pki::open(gateway.ports.tls, "a.test", None);
    client.write_all(ASK).unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    client.write_all(b"hello").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back.ends_with(b"9last") && back.len() > LONG * 10, "{}", back.len());
    let seen = script.seen("/ws");
    assert_eq!((seen[0].body.as_str(), seen[0].is_whole), ("hello", true));
}

#[test]
fn a_tunnel_whose_upstream_ends_its_side_goes_on_the_other_way() {
    let (script, yml) = tunnels(&[Send(TAKEN), Send("first"), Finish]);
    let gateway = Gateway::start(&yml.to_string());
    let mut client = Client::open(gateway.ports.proxy);
    client.send(ASK).unwrap();
    assert_eq!(client.answer().unwrap().status, 101);
    assert_eq!(client.bytes(5).unwrap(), b"first");
    assert!(client.is_closed(), "its end has come through");
    let long = "0123456789".repeat(LONG);
    client.send(long.as_bytes()).unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    eventually("the upstream has all of it, and its end", || script.seen("/ws")[0].is_whole && script.has_ended("/ws"));
    assert!(script.seen("/ws")[0].body == long);
}
