//! Tests of `sender`.

use super::*;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket as StdUdp};

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn sends_a_datagram_a_message() {
    let sink = StdUdp::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(WAIT)).unwrap();
    let port = sink.local_addr().unwrap().port();
    let sender = Sender::new(Destination::Udp { host: "127.0.0.1".to_owned(), port, timeout: WAIT });
    let mut room = [0; 16];
    for message in ["one", "two"] {
        sender.send(message.as_bytes().to_vec());
        assert_eq!(sink.recv(&mut room).map(|n| room[..n].to_vec()).unwrap(), message.as_bytes());
    }
}

#[test]
fn sends_over_a_kept_connection_and_makes_it_anew() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let sender =
        Sender::new(Destination::Tcp { host: "127.0.0.1".to_owned(), port, timeout: WAIT, keepalive: WAIT, tls: None });
    sender.send(b"one\n".to_vec());
    let (stream, _) = sink.accept().unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    sender.send(b"two\n".to_vec());
    assert_eq!(lines.next().unwrap().unwrap(), "two");
}

#[test]
fn counts_what_it_cannot_send() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let before = dropped();
    let sender = Sender::new(Destination::Tcp {
        host: "127.0.0.1".to_owned(),
        port: closed,
        timeout: WAIT,
        keepalive: WAIT,
        tls: None,
    });
    sender.send(b"lost\n".to_vec());
    let until = std::time::Instant::now() + WAIT;
    while dropped() == before && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(dropped() > before);
}
