//! Tests of `sender`.

use super::*;
use crate::background;
use crate::queue::{Entries, Failure, Sender};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(10);

fn batch(entries: &[&str]) -> Entries {
    entries.iter().collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn lines_to(port: u16, keepalive: Duration) -> Lines {
    Lines::new("127.0.0.1", port, WAIT, keepalive, None)
}

#[test]
fn sends_a_datagram_a_message() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(WAIT)).unwrap();
    let datagrams = Datagrams::udp("127.0.0.1", sink.local_addr().unwrap().port(), WAIT);
    block_on(async {
        datagrams.send(&batch(&["one", "two"])).await.unwrap();
        datagrams.send(&batch(&["three"])).await.unwrap();
    });
    let mut room = [0; 16];
    for message in ["one", "two", "three"] {
        assert_eq!(sink.recv(&mut room).map(|n| room[..n].to_vec()).unwrap(), message.as_bytes());
    }
}

#[test]
fn a_datagram_that_is_too_long_costs_no_other() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(WAIT)).unwrap();
    let datagrams = Datagrams::udp("127.0.0.1", sink.local_addr().unwrap().port(), WAIT);
    let long = "l".repeat(70_000);
    let failure = block_on(datagrams.send(&batch(&["one", &long, "two"]))).unwrap_err();
    assert_eq!(failure, Failure::partial(failure.reason.clone(), Entries::default(), 1));
    let mut room = [0; 16];
    for message in ["one", "two"] {
        assert_eq!(sink.recv(&mut room).map(|n| room[..n].to_vec()).unwrap(), message.as_bytes());
    }
}

#[test]
fn a_socket_of_this_host_is_found_anew_and_what_it_has_not_got_is_left() {
    let folder = std::env::temp_dir().join(format!("silverback-datagrams-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("log");
    let datagrams = Datagrams::unix(&path);
    let mut room = [0; 16];
    for message in ["one", "two"] {
        let failure = block_on(datagrams.send(&batch(&[message, "more"]))).unwrap_err();
        assert_eq!(failure, Failure::partial(failure.reason.clone(), batch(&[message, "more"]), 0), "{message}");
        let sink = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        sink.set_read_timeout(Some(WAIT)).unwrap();
        block_on(datagrams.send(&batch(&[message]))).unwrap();
        assert_eq!(sink.recv(&mut room).map(|n| room[..n].to_vec()).unwrap(), message.as_bytes());
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn sends_lines_over_a_connection_that_is_made_anew_where_it_was_closed() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = lines_to(sink.local_addr().unwrap().port(), WAIT);
    block_on(async {
        lines.send(&batch(&["one", "two"])).await.unwrap();
        lines.send(&batch(&["three"])).await.unwrap();
        let (first, _) = sink.accept().unwrap();
        let mut got = BufReader::new(first).lines().map(Result::unwrap);
        assert_eq!(got.by_ref().take(3).collect::<Vec<_>>(), ["one", "two", "three"]);
        drop(got);
        sink.set_nonblocking(true).unwrap();
        let end = Instant::now() + WAIT;
        let second = loop {
            // As long as the end has not been seen, a line is taken that nobody reads; none fails because of it.
            lines.send(&batch(&["four"])).await.unwrap();
            match sink.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert!(error.kind() == ErrorKind::WouldBlock && Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        second.set_nonblocking(false).unwrap();
        assert_eq!(BufReader::new(second).lines().next().unwrap().unwrap(), "four");
    });
}

#[test]
fn a_connection_without_messages_is_closed() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = lines_to(sink.local_addr().unwrap().port(), Duration::from_millis(50));
    let runtime = background::start("lines of a test").unwrap();
    for message in ["one", "two"] {
        runtime.block_on(lines.send(&batch(&[message]))).unwrap();
        let (mut stream, _) = sink.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert_eq!(got, format!("{message}\n"));
    }
}

/// The certificate and the key of a collector that nobody vouches for.
const COLLECTOR: &str = include_str!("collector.pem");

#[test]
fn sends_lines_by_tls_to_whoever_is_there_and_names_the_server_where_that_is_configured() {
    let certificate = CertificateDer::from_pem_slice(COLLECTOR.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(COLLECTOR.as_bytes()).unwrap();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    for server_name in [None, Some("logs.test".to_owned())] {
        let sink = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = sink.local_addr().unwrap().port();
        let config = config.clone();
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = sink.accept().unwrap();
            let mut session = ServerConnection::new(config).unwrap();
            let mut lines = BufReader::new(Stream::new(&mut session, &mut stream)).lines().map(Result::unwrap);
            let got = [lines.next().unwrap(), lines.next().unwrap()];
            drop(lines);
            (got, session.server_name().map(str::to_owned))
        });
        let tls = Some(Tls { server_name: server_name.clone() });
        let lines = Lines::new("localhost", port, WAIT, WAIT, tls);
        block_on(async {
            lines.send(&batch(&["one"])).await.unwrap();
            lines.send(&batch(&["two"])).await.unwrap();
        });
        assert_eq!(collector.join().unwrap(), (["one", "two"].map(str::to_owned), server_name));
    }
}

#[test]
fn a_host_that_is_away_is_a_failure_that_is_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = block_on(lines_to(closed, WAIT).send(&batch(&["lost"]))).unwrap_err();
    assert_eq!(failure, Failure::new(failure.reason.clone()));
    assert!(failure.reason.contains("refused"), "{}", failure.reason);
}
