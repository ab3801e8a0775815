//! Tests of `request-mirror`.

use super::*;
use crate::post::tests::server;
use bytes::Bytes;
use pdk::testing::{Harness, complete};
use pdk::{BodyError, BodyStream, Frame};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::task::{Context as Task, Poll, Waker};

const WAIT: Duration = Duration::from_secs(20);

fn harness(mut config: Value, port: u16, path: &str) -> Harness {
    config["targets"] = json!([format!("http://127.0.0.1:{port}{path}")]);
    Harness::new(&DEFINITION, config)
}

/// An instance that copies to nobody.
fn plugin(mut config: Value) -> Arc<dyn Plugin> {
    config["targets"] = json!(["http://127.0.0.1:1"]);
    let config = complete(&DEFINITION, config).unwrap();
    let entity = pdk::testing::plugin_entity(DEFINITION.name, &config);
    build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] }).unwrap()
}

/// The next copy that a server got: its head in lower case, and its body.
fn next(received: &Receiver<(String, Vec<u8>)>) -> (String, String) {
    let (head, body) = received.recv_timeout(WAIT).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_copy_is_what_the_service_gets() {
    let (port, received) = server(200);
    let host = format!("host: 127.0.0.1:{port}");
    for (config, path, request, first, has, has_not) in [
        (
            json!({}),
            "",
            "GET /a/b?c=%20d\nX-A: 1\nX-A: 2\nAuthorization: Basic x\nCookie: a=b\nProxy-Authorization: y",
            "get /a/b?c=%20d http/1.1",
            vec!["x-a: 1", "x-a: 2", "x-mirrored: 1", &host],
            vec!["authorization", "cookie"],
        ),
        (
            json!({ "remove_headers": ["X-A"], "add_headers": { "X-Copy": "yes", "X-B": "2" }, "preserve_host": true }),
            "/base/",
            "DELETE /a\nHost: Client.test\nX-A: 1\nX-B: 1\nAuthorization: Basic x\nConnection: keep-alive\nTE: trailers",
            "delete /base/a http/1.1",
            vec!["host: client.test", "x-copy: yes", "x-b: 2", "authorization: basic x"],
            vec!["x-a", "x-b: 1", "te: ", "x-mirrored"],
        ),
        (
            json!({}),
            "",
            "POST /p\nContent-Type: text/plain\n\nsome text",
            "post /p http/1.1",
            vec!["content-type: text/plain", "content-length: 9"],
            vec![],
        ),
        (
            json!({ "copy_body": false }),
            "",
            "PUT /p\n\nsome text",
            "put /p http/1.1",
            vec!["x-mirrored: 1"],
            vec!["content-length: 9"],
        ),
    ] {
        let exchange = harness(config.clone(), port, path).send(request);
        assert_eq!(exchange.status, 200, "{config}");
        let (head, body) = next(&received);
        assert!(head.starts_with(first), "{config}: {head}");
        for line in has {
            assert_eq!(head.lines().filter(|known| *known == line).count(), 1, "{config}: {line} in {head}");
        }
        for line in has_not {
            assert!(!head.lines().any(|known| known.starts_with(line)), "{config}: {line} in {head}");
        }
        let want = request.split_once("\n\n").map_or("", |(_, body)| body);
        assert_eq!(body, if config["copy_body"] == false { "" } else { want }, "{config}");
        // The original is as it was.
        let upstream = exchange.upstream.unwrap();
        assert!(upstream.ends_with(want) && !upstream.contains("X-Mirrored"), "{upstream}");
    }
}

#[test]
fn each_target_gets_a_copy_and_upstream_entities_share_theirs() {
    let ((one, first), (two, second)) = (server(200), server(503));
    let config = json!({
        "targets": [format!("http://user:pass%20word@127.0.0.1:{one}"), "http://entity/v2"],
        "remove_headers": [],
    });
    let address: SocketAddr = format!("127.0.0.1:{two}").parse().unwrap();
    let h = Harness::new(&DEFINITION, config).with_upstream_entity("entity", Some(address));
    assert_eq!(h.send("GET /x").status, 200);
    let (head, _) = next(&first);
    assert!(head.contains("\r\nauthorization: basic dxnlcjpwyxnzihdvcmq=\r\n"), "{head}");
    let (head, _) = next(&second);
    assert!(head.starts_with("get /v2/x http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: target.test:{two}\r\n")), "{head}");
}

#[test]
fn only_the_requests_that_are_asked_for_are_copied() {
    let upgrade = "GET /\nConnection: Upgrade\nUpgrade: websocket";
    let h = harness(json!({}), 1, "");
    for (config, request, want) in [
        (json!({}), "GET /", true),
        (json!({ "methods": ["GET", "POST"] }), "POST /", true),
        (json!({ "methods": ["GET"] }), "POST /", false),
        (json!({ "percentage": 0 }), "GET /", false),
        (json!({}), "GET /\nX-Mirrored: 1", false),
        (json!({}), "GET /\nX-Mirrored: 2", true),
        (json!({ "add_headers": { "X-A": "1", "X-B": "2" } }), "GET /\nX-A: 1", true),
        (json!({ "add_headers": { "X-A": "1", "X-B": "2" } }), "GET /\nX-A: 1\nX-B: 2", false),
        (json!({ "add_headers": {} }), "GET /", true),
        (json!({}), upgrade, false),
    ] {
        let mut cx = h.context(request);
        cx.upstream = h.upstream_of(&cx.request);
        assert!(matches!(plugin(config.clone()).access(&mut cx), Step::Continue));
        assert_eq!(cx.is_awaited_upstream(), want, "{config} {request}");
    }
    let mut grpc = h.context("POST /pkg.Service/Method");
    grpc.upstream = h.upstream_of(&grpc.request);
    grpc.upstream.iter_mut().for_each(|upstream| upstream.scheme = pdk::Scheme::Grpc);
    assert!(matches!(plugin(json!({})).access(&mut grpc), Step::Continue));
    assert!(!grpc.is_awaited_upstream(), "gRPC");
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let plugin = plugin(json!({ "percentage": 25 }));
    let h = harness(json!({}), 1, "");
    let copied = (0..4000).filter(|_| {
        let mut cx = h.context("GET /");
        cx.upstream = h.upstream_of(&cx.request);
        assert!(matches!(plugin.access(&mut cx), Step::Continue));
        cx.is_awaited_upstream()
    });
    let count = copied.count();
    assert!((800..1200).contains(&count), "{count} of 4000");
}

/// A body whose pieces are given one by one: `None` is one that is not there yet.
struct Pieces {
    pieces: VecDeque<Option<Result<Frame, BodyError>>>,
    left: Option<u64>,
}

impl BodyStream for Pieces {
    fn poll_frame(mut self: Pin<&mut Self>, _task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(next) = self.pieces.pop_front() else { return Poll::Ready(None) };
        let Some(next) = next else { return Poll::Pending };
        if let (Ok(Frame::Data(data)), Some(left)) = (&next, &mut self.left) {
            *left -= data.len() as u64;
        }
        Poll::Ready(Some(next))
    }

    fn remaining(&self) -> Option<u64> {
        self.left
    }
}

fn data(text: &'static str) -> Option<Result<Frame, BodyError>> {
    Some(Ok(Frame::Data(text.into())))
}

#[test]
fn a_body_is_copied_as_it_passes_up_to_the_limit() {
    let trailers = || Some(Ok(Frame::Trailers(Headers::new())));
    for (what, pieces, left, polls, passed, want) in [
        ("to its end", vec![data("ab"), None, data("cd")], None, 9, "abcd", Some(Ok("abcd"))),
        ("to its trailers", vec![data("ab"), trailers()], None, 2, "ab", Some(Ok("ab"))),
        ("of a known length", vec![data("ab"), data("cd")], Some(4), 2, "abcd", Some(Ok("abcd"))),
        ("not there yet", vec![data("ab"), None], None, 2, "ab", None),
        ("too long", vec![data("abcd"), data("efghi"), data("j")], None, 9, "abcdefghij", Some(Err(Outcome::TooLarge))),
        ("as long as may be", vec![data("abcd"), data("efgh")], None, 9, "abcdefgh", Some(Ok("abcdefgh"))),
        ("broken off", vec![data("ab"), Some(Err(BodyError::Closed))], None, 9, "ab", Some(Err(Outcome::Incomplete))),
        ("empty", vec![], None, 9, "", Some(Ok(""))),
    ] {
        let ended: Rc<RefCell<Vec<Result<Bytes, Outcome>>>> = Rc::default();
        let end = ended.clone();
        let body = Body::Stream(Box::pin(Pieces { pieces: pieces.into(), left }));
        let mut tee = Body::Stream(Box::pin(Tee::new(body, 8, move |held| {
            end.borrow_mut().push(held.map(|held| held.bytes));
        })));
        let mut out = Vec::new();
        for _ in 0..polls {
            match tee.poll_next(&mut Task::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => out.extend_from_slice(&data),
                Poll::Ready(None | Some(Err(_))) => break,
                _ => {}
            }
        }
        assert_eq!(out, passed.as_bytes(), "{what}: the original passes whole");
        let got = ended.borrow().clone();
        let want: Vec<Result<Bytes, Outcome>> = want.into_iter().map(|want| want.map(Bytes::from)).collect();
        assert_eq!(got, want, "{what}");
        drop(tee);
        assert_eq!(ended.borrow().len(), 1, "{what}: a copy ends once");
        if want.is_empty() {
            assert_eq!(*ended.borrow(), [Err(Outcome::Incomplete)], "{what}: nobody reads on");
        }
    }
}

#[test]
fn what_is_held_of_bodies_has_a_bound() {
    let mut share = tee::Share::default();
    assert!(share.grow(1000));
    assert!(!share.grow(128 << 20), "more than all that may be held");
    assert!(!share.grow(usize::MAX));
    assert!(share.grow(1));
}

#[test]
fn a_long_body_is_not_copied_and_passes() {
    let (port, received) = server(200);
    let h = harness(json!({ "max_body_size": 4 }), port, "");
    assert!(h.send("POST /long\n\n12345").upstream.unwrap().ends_with("12345"));
    assert!(h.send("POST /short\n\n1234").upstream.unwrap().ends_with("1234"));
    let (head, body) = next(&received);
    assert!(head.starts_with("post /short ") && body == "1234", "{head}");
    assert!(received.try_recv().is_err());
}

#[test]
fn a_target_has_room_for_so_many_copies() {
    let target = Arc::new(Target::new("http://127.0.0.1:1", 2).unwrap());
    let rooms = [target.enter(), target.enter()];
    assert!(rooms.iter().all(Option::is_some) && target.enter().is_none());
    drop(rooms);
    assert!(target.enter().is_some());
}

/// A server that does with each connection what it is told to.
fn strange_server(serve: fn(std::net::TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn hang(mut stream: std::net::TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn answer_slowly(mut stream: std::net::TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow." {
        std::thread::sleep(Duration::from_millis(5));
        let _ = stream.write_all(&[*byte]);
    }
}

fn answer_without_end(mut stream: std::net::TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n");
    while stream.write_all(&[b'x'; 65536]).is_ok() {}
}

fn answer_rubbish(mut stream: std::net::TcpStream) {
    let _ = stream.write_all(b"\0\0\0\0 no http \r\n\r\n");
}

/// Does with a copy what its task does, and tells what became of it.
fn outcome_at(port: u16, timeout: u64) -> Result<u16, String> {
    let client = post::client(WAIT, WAIT, true).unwrap();
    let request = http::Request::builder().uri(format!("http://127.0.0.1:{port}/"));
    let request = request.body(http_body_util::Full::new(Bytes::from("x"))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sent = post::send(&client, request, 1 << 20);
        match tokio::time::timeout(Duration::from_millis(timeout), sent).await {
            Err(_) => Err("timeout".to_owned()),
            Ok(sent) => sent.map(|status| status.as_u16()).map_err(|failure| failure.reason),
        }
    })
}

#[test]
fn the_answers_of_strange_servers_end() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (what, port, timeout, want) in [
        ("slow", strange_server(answer_slowly), 20_000, Ok(200)),
        ("without end", strange_server(answer_without_end), 20_000, Ok(200)),
        ("hanging", strange_server(hang), 50, Err("timeout")),
    ] {
        assert_eq!(outcome_at(port, timeout), want.map_err(ToOwned::to_owned), "{what}");
    }
    for (what, port) in [("refusing", closed), ("no http", strange_server(answer_rubbish))] {
        assert!(outcome_at(port, 20_000).is_err_and(|reason| reason != "timeout"), "{what}");
    }
}

#[test]
fn originals_wait_for_no_target() {
    for serve in [hang, answer_slowly, answer_without_end, answer_rubbish] {
        let port = strange_server(serve);
        let h = harness(json!({ "timeout": 3_600_000, "max_in_flight": 3 }), port, "");
        // They are answered long before any copy may end.
        for number in 0..20 {
            let exchange = h.send(&format!("POST /{number}\n\nbody"));
            assert!(exchange.status == 200 && exchange.upstream.unwrap().ends_with("body"));
        }
    }
}

#[test]
fn wrong_configs_are_refused() {
    let with = |more: Value| {
        let mut config = json!({ "targets": ["http://127.0.0.1:1"] });
        if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
            config.extend(more);
        }
        config
    };
    for (config, place, message) in [
        (json!({}), "/config/targets", "required field missing"),
        (json!({ "targets": [] }), "/config/targets", "length must be at least 1"),
        (json!({ "targets": ["ftp://h"] }), "/config/targets/0", "the scheme of a target must be http or https"),
        (json!({ "targets": ["h:80"] }), "/config/targets/0", "the scheme of a target must be http or https"),
        (json!({ "targets": ["http://"] }), "/config/targets/0", "invalid url"),
        (json!({ "targets": ["http://a b/"] }), "/config/targets/0", "invalid url"),
        (json!({ "targets": ["http://h:70000/"] }), "/config/targets/0", "invalid port in a target"),
        (
            json!({ "targets": ["http://h/?q=1"] }),
            "/config/targets/0",
            "a target has neither parameters nor a query or a fragment",
        ),
        (with(json!({ "percentage": 100.5 })), "/config/percentage", "value should be between 0 and 100"),
        (with(json!({ "max_in_flight": 0 })), "/config/max_in_flight", "value should be between 1 and 10000"),
        (with(json!({ "max_body_size": -1 })), "/config/max_body_size", "value should be between 0 and 16777216"),
        (with(json!({ "methods": ["get"] })), "/config/methods/0", "invalid value: get"),
        (with(json!({ "add_headers": { "Host": "h" } })), "/config/add_headers", "cannot contain 'Host' header"),
        (with(json!({ "add_headers": { "X": "a\nb" } })), "/config/add_headers", "not the value of a header field"),
    ] {
        let error = complete(&DEFINITION, config.clone()).unwrap_err();
        assert_eq!(error.pointer(place).and_then(Value::as_str), Some(message), "{config}: {error}");
    }
    let addresses = json!({ "targets": ["http://[::1]:8080/", "https://h.test", "http://u:p@h/base"] });
    assert!(complete(&DEFINITION, addresses).is_ok());
}
