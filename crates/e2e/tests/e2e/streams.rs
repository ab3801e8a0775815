//! Upstreams that speak HTTP/2: how many requests they take at once, which ones they leave to others, and how long is waited
//! for them.

use crate::gateway::{Gateway, eventually};
use crate::http2::{Got, call};
use crate::peer::{Greeting, Peer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// With one thread, whose connections are counted.
pub(crate) const ONE_THREAD: [(&str, &str); 1] = [("nginx_worker_processes", "1")];

/// A gateway before a gRPC service. Beside its route there is nothing at `none.test`.
pub(crate) fn before(peer: &Peer, more: Value) -> Gateway {
    let mut service = json!({ "name": "up", "url": format!("grpc://{}", peer.at) });
    service["routes"] = json!([{ "hosts": ["a.test"], "protocols": ["grpc"] }]);
    if let (Value::Object(into), Value::Object(more)) = (&mut service, more) {
        into.extend(more);
    }
    let yml = json!({ "_format_version": "3.0", "services": [service] }).to_string();
    Gateway::start_with(&yml, &ONE_THREAD)
}

pub(crate) fn grpc(uri: &str) -> Request<()> {
    let request = Request::builder().method("POST").uri(uri).version(http::Version::HTTP_2);
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn ask(at: SocketAddr, path: &str, pieces: &[&'static str]) -> Got {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-checksum"), "7".parse().unwrap())]);
    call(at, None, grpc(&format!("http://a.test{path}")), pieces, Some(trailers))
}

/// The whole body and the trailers came back.
fn assert_echoed(got: &Got, body: &str) {
    let seen = (got.status, got.body.as_str(), got.trailer("grpc-status"), got.trailer("x-checksum"));
    assert_eq!(seen, (200, body, "0", "7"), "{got:?}");
}

#[test]
fn an_upstream_that_takes_two_requests_at_once_gets_five_over_three_connections() {
    let peer = Peer::start(2, Greeting::AtOnce);
    let gateway = before(&peer, json!({}));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..5).map(|_| scope.spawn(|| ask(gateway.ports.proxy, "/hold", &["x"]))).collect();
        eventually("all five are under way", || peer.seen("/hold") == 5);
        assert_eq!(peer.connections(), 3);
        peer.release();
        for call in calls {
            assert_echoed(&call.join().unwrap(), "x");
        }
    });
    assert_echoed(&ask(gateway.ports.proxy, "/later", &["y"]), "y");
    assert_eq!(peer.connections(), 3);
}

#[test]
fn requests_that_come_while_a_connection_is_opened_share_it_or_its_failure() {
    for (is_greeted, status) in [(true, 200), (false, 504)] {
        let peer = Peer::start(100, Greeting::Held);
        let gateway = before(&peer, json!({ "connect_timeout": 3000, "retries": 0 }));
        let talk = async {
            let stream = TcpStream::connect(gateway.ports.proxy).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut send = send.ready().await.unwrap();
            let cold = [0, 1, 2].map(|_| send.send_request(grpc("http://a.test/cold"), true).unwrap().0);
            // Requests are taken up in their order: when this one is answered, the others wait for their upstream.
            let (none, _) = send.send_request(grpc("http://none.test/"), true).unwrap();
            none.await.unwrap();
            if is_greeted {
                peer.release();
            }
            for response in cold {
                assert_eq!(response.await.unwrap().status(), status);
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), talk).await.unwrap() });
        assert_eq!((peer.connections(), peer.seen("/cold")), (1, if is_greeted { 3 } else { 0 }));
    }
}

#[test]
fn a_request_that_its_upstream_refused_is_sent_again() {
    let peer = Peer::start(100, Greeting::AtOnce);
    let gateway = before(&peer, json!({}));
    assert_echoed(&ask(gateway.ports.proxy, "/refused", &["one", "two"]), "onetwo");
    assert_eq!((peer.seen("/refused"), peer.connections()), (2, 1));
}

#[test]
fn a_request_that_its_upstream_did_not_look_at_before_it_went_away_is_sent_again() {
    let peer = Peer::start(100, Greeting::GoAway);
    let gateway = before(&peer, json!({}));
    assert_echoed(&ask(gateway.ports.proxy, "/echo", &["one", "two"]), "onetwo");
    assert_eq!((peer.seen("/echo"), peer.connections()), (1, 2));
}

#[test]
fn a_refused_request_of_which_too_much_was_sent_is_not_sent_again_in_part() {
    let peer = Peer::start(100, Greeting::AtOnce);
    let gateway = before(&peer, json!({}));
    let long: &'static str = "x".repeat(200_000).leak();
    assert_eq!(ask(gateway.ports.proxy, "/refused", &[long]).status, 502);
    assert_eq!(peer.seen("/refused"), 1);
    // Nothing else hangs on its length.
    assert_echoed(&ask(gateway.ports.proxy, "/long", &[long]), long);
}

#[test]
fn a_refused_request_says_nothing_of_its_targets_health() {
    // What the upstream does, and how it stands then.
    for (greeting, path, health) in [
        (Some(Greeting::AtOnce), "/refused", "HEALTHY"),
        (Some(Greeting::GoAway), "/echo", "HEALTHY"),
        (Some(Greeting::AtOnce), "/refused-always", "HEALTHY"),
        // That failures count at all.
        (None, "/gone", "UNHEALTHY"),
    ] {
        let peer = greeting.map(|greeting| Peer::start(100, greeting));
        let at = peer.as_ref().map_or_else(crate::gateway::free_address, |peer| peer.at);
        let routes = json!([{ "hosts": ["a.test"], "protocols": ["grpc"] }]);
        let passive = json!({ "type": "grpc", "unhealthy": { "tcp_failures": 1, "http_failures": 1, "http_statuses": [500, 502, 503] } });
        let upstream = json!({ "name": "pool", "targets": [{ "target": at.to_string() }], "healthchecks": { "passive": passive },
            "circuit_breaker": { "consecutive_failures": 1 } });
        let service = json!({ "name": "up", "host": "pool", "port": 80, "protocol": "grpc", "routes": routes });
        let yml = json!({ "_format_version": "3.0", "services": [service], "upstreams": [upstream] });
        let gateway = Gateway::start_with(&yml.to_string(), &ONE_THREAD);
        let got = ask(gateway.ports.proxy, path, &["x"]);
        let status = if health == "HEALTHY" && path != "/refused-always" { 200 } else { 502 };
        assert_eq!(got.status, status, "{path}: {got:?}");
        let answer = crate::client::get(gateway.ports.admin, "/upstreams/pool/health", &[]);
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["data"][0]["health"], health, "{path}: {told}");
    }
}

#[test]
fn a_client_may_stream_for_longer_than_an_answer_may_take() {
    let peer = Peer::start(100, Greeting::AtOnce);
    let limit = Duration::from_secs(1);
    let gateway = before(&peer, json!({ "read_timeout": limit.as_millis() as u64, "retries": 0 }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = TcpStream::connect(gateway.ports.proxy).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let (response, mut out) = send.send_request(grpc("http://a.test/streamed"), false).unwrap();
        let began = Instant::now();
        while began.elapsed() < limit * 2 {
            out.send_data(Bytes::from_static(b"x"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        out.send_data(Bytes::new(), true).unwrap();
        response.await.unwrap().status()
    };
    let status = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), talk).await.unwrap() });
    assert_eq!(status, 200);
}

#[test]
fn an_upstream_that_reads_no_body_is_given_up_after_write_timeout() {
    let peer = Peer::start(100, Greeting::AtOnce);
    let gateway = before(&peer, json!({ "write_timeout": 300, "retries": 0 }));
    let long: &'static str = "x".repeat(1_000_000).leak();
    assert_eq!(ask(gateway.ports.proxy, "/deaf", &[long]).status, 504);
}
