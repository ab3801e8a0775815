//! Peers that are slow, on both sides: each wait has an end, and says so where there is somebody to tell.

use super::After::{Closed, Open};
use super::{case, kong_yml, play};
use crate::client::Client;
use crate::gateway::{Gateway, eventually};
use crate::script::Act::{Await, Body, Pour, Send, Stall};
use crate::script::Script;
use std::net::Shutdown;

const SHORT: &[(&str, &str)] = &[
    ("nginx_http_client_header_timeout", "500ms"),
    ("nginx_http_client_body_timeout", "500ms"),
    ("nginx_http_keepalive_timeout", "2s"),
    ("nginx_http_send_timeout", "700ms"),
];

#[test]
fn a_slow_peer_is_waited_for_and_not_for_ever() {
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    #[rustfmt::skip]
    let cases = [
        case("a silent client", "", &[], &["none"], Closed),
        case("half a request line", "GET @ HT", &[], &["none"], Closed),
        case("half a head", "GET @ HTTP/1.1\r\nHost: a\r\n", &[], &["none"], Closed),
        case("half a second head", "GET @ HTTP/1.1\r\nHost: a\r\n\r\nGET @ HT", &[Send("HTTP/1.1 204 None\r\n\r\n")], &["204", "none"], Closed),
        case("an idle client", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 204 None\r\n\r\n")], &["204 connection: keep-alive", "none"], Closed),
        case("half a body", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello", &[Body], &["408 connection: close"], Closed),
        case("half a body, not buffered", "POST @u HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello", &[Body], &["408 connection: close"], Closed),
        case("an upstream without an answer", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Await], &["504 connection: keep-alive"], Open),
        case("one with half a head", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 200"), Await], &["504 connection: keep-alive"], Open),
        case("one with half a body", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send(LENGTH), Await], &["cut 200"], Closed),
        case("one with interim answers only", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 103 Early Hints\r\n\r\n"), Await], &["103", "504"], Open),
    ];
    play(&cases, SHORT);
}

#[test]
fn a_peer_that_does_not_read_is_let_go() {
    const PIECE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let script = Script::start(vec![
        ("/c0".to_owned(), &[Send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n"), Pour(PIECE, 1 << 20)]),
        ("/u1".to_owned(), &[Stall]),
    ]);
    let gateway = Gateway::start_with(&kong_yml(&script), SHORT);
    // A client: the upstream is let go too, and nothing piles up in between.
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"GET /c0 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("the upstream is let go", || script.has_ended("/c0"));
    drop(client);
    // An upstream, while a body is on its way to it.
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST /u1 HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n").unwrap();
    let mut sending = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let piece = vec![b'x'; 1 << 16];
        // Ends with the connection.
        while std::io::Write::write_all(&mut sending, &piece).is_ok() {}
    });
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 504, "{answer:?}");
    let _ = client.stream().shutdown(Shutdown::Both);
    sender.join().unwrap();
}

#[test]
fn quiet_connections_end_when_the_gateway_quits() {
    let script = Script::start(Vec::new());
    let mut gateway = Gateway::start(&kong_yml(&script));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::open(gateway.ports.proxy)).collect();
    // Two have been served, three have never said a word.
    for client in &mut clients[..2] {
        assert_eq!(client.get("/x", &[]).header("connection"), Some("keep-alive"));
    }
    gateway.signal("QUIT");
    for mut client in clients {
        assert!(client.is_closed());
    }
    assert!(gateway.wait().success());
}
