//! Tests of `stats`.

use super::collector::packets;
use super::*;
use crate::queue::{Entries, Sender};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};

#[test]
fn lines_are_packed_up_to_the_size() {
    let batch = ["aa\nbb", "c"].into_iter().collect();
    let cases: [(usize, &[&str]); 5] = [
        (0, &["aa", "bb", "c"]),
        (4, &["aa", "bb\nc"]),
        (5, &["aa\nbb", "c"]),
        (7, &["aa\nbb\nc"]),
        (1, &["aa", "bb", "c"]),
    ];
    for (size, want) in cases {
        let packets: Vec<_> = packets(&batch, size).into_iter().map(|p| String::from_utf8(p).unwrap()).collect();
        assert_eq!(packets, want, "{size}");
    }
}

fn batch(entry: &str) -> Entries {
    [entry].into_iter().collect()
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn sends_datagrams() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let collector = Collector::new("127.0.0.1", sink.local_addr().unwrap().port(), Transport::Udp { packet_size: 0 });
    block_on(async {
        collector.send(&batch("a\nb")).await.unwrap();
        collector.send(&batch("c")).await.unwrap();
    });
    let mut room = [0; 9];
    for want in ["a", "b", "c"] {
        let length = sink.recv(&mut room).unwrap();
        assert_eq!(&room[..length], want.as_bytes());
    }
}

#[test]
fn sends_lines_over_a_connection_that_is_made_anew_where_it_was_closed() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let collector = Collector::new("127.0.0.1", port, Transport::Tcp);
    block_on(async {
        collector.send(&batch("a\nb")).await.unwrap();
        collector.send(&batch("c")).await.unwrap();
        let (first, _) = sink.accept().unwrap();
        let lines: Vec<String> = BufReader::new(&first).lines().take(3).map(Result::unwrap).collect();
        assert_eq!(lines, ["a", "b", "c"]);
        drop(first);
        // The end of the connection is seen once the runtime has looked.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        collector.send(&batch("d")).await.unwrap();
        let (second, _) = sink.accept().unwrap();
        assert_eq!(BufReader::new(second).lines().next().unwrap().unwrap(), "d");
        drop(sink);
    });
    block_on(async {
        let closed = Collector::new("127.0.0.1", 1, Transport::Tcp);
        let failure = closed.send(&batch("e")).await.unwrap_err();
        assert!(failure.reason.starts_with("127.0.0.1:1: "), "{}", failure.reason);
    });
}
