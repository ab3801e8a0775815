//! Probes of servers on loopback that answer in every way.

use super::super::super::tests::Node;
use super::super::plain::Sockets;
use super::super::probe::{self, Probing};
use super::checks;
use balancer::Address;
use balancer::health::Report;
use entities::upstream::ActiveHealthchecks;
use indexmap::IndexMap;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// Reads a request, answers it and, unless `holds`, closes.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
    holds: bool,
    seen: mpsc::Sender<String>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let _ = seen.send(String::from_utf8(request).unwrap()).await;
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if holds {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

/// A server that gives one answer, and the requests that it gets.
async fn server(answer: Vec<u8>, holds: bool, tls: Option<TlsAcceptor>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => serve(stream, &answer, holds, seen.clone()).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &answer, holds, seen.clone()).await;
                    }
                }
            }
        }
    });
    (port, requests)
}

/// The settings and the address for a probe of a port.
fn probing(mut node: Node, port: u16, active: ActiveHealthchecks) -> (Arc<Probing>, Address) {
    let id = node.upstream(1, active);
    node.target(id, &format!("127.0.0.1:{port}"), 100);
    node.apply();
    let how = node.upstreams.by_id(id).unwrap().probing.clone().unwrap();
    (how, node.addresses(id).remove(0))
}

async fn probe(how: &Probing, address: &Address) -> Report {
    let sockets = Sockets::default();
    tokio::select! {
        report = probe::probe(how, address, &sockets) => report,
        () = sockets.attend() => unreachable!("sockets are attended to for ever"),
    }
}

fn of_type(name: &str) -> ActiveHealthchecks {
    ActiveHealthchecks { r#type: Some(name.to_owned()), timeout: Some(10.0), ..checks(1.0, 1.0) }
}

#[tokio::test]
async fn the_status_line_decides() {
    let long = "x".repeat(10_000);
    let endless = format!("HTTP/1.1 200 {long}");
    let cases: [(&str, bool, Report); 13] = [
        ("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", true, Report::HttpStatus(200)),
        ("HTTP/1.0 503 Service Unavailable\r\n", true, Report::HttpStatus(503)),
        ("HTTP/2.0   404\n", true, Report::HttpStatus(404)),
        ("HTTP/1.1 200x\r\n", true, Report::HttpStatus(200)),
        ("HTTP/1.1 99999 Much\r\n", true, Report::HttpStatus(u16::MAX)),
        ("HTTP/1.1 OK\r\n", true, Report::HttpStatus(0)),
        ("HTTP/x 200 OK\r\n", true, Report::HttpStatus(0)),
        ("SSH-2.0-OpenSSH_9\r\n", true, Report::HttpStatus(0)),
        ("\r\nHTTP/1.1 200 OK\r\n", true, Report::HttpStatus(0)),
        (&long, true, Report::HttpStatus(0)),
        (&endless, true, Report::HttpStatus(200)),
        ("HTTP/1.1 200 OK", false, Report::TcpFailure),
        ("", false, Report::TcpFailure),
    ];
    for (answer, holds, expected) in cases {
        let (port, _requests) = server(answer.as_bytes().to_vec(), holds, None).await;
        let (how, address) = probing(Node::new(), port, of_type("http"));
        assert_eq!(probe(&how, &address).await, expected, "{answer:.40}");
    }
}

/// A gRPC server whose health service answers with this message and status; what it was asked.
async fn grpc_server(message: &'static [u8], status: &'static str, tls: Option<TlsAcceptor>) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tell, tls) = (tell.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => health_service(stream, message, status, tell).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => health_service(stream, message, status, tell).await,
                        Err(_) => None,
                    },
                }
            });
        }
    });
    (port, asked)
}

type Asked = mpsc::Receiver<String>;

async fn health_service(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    message: &'static [u8],
    status: &'static str,
    tell: mpsc::Sender<String>,
) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        let tell = tell.clone();
        tokio::spawn(async move {
            let question = body.data().await?.ok()?;
            tell.send(format!("{} {} {:?}", head.method, head.uri, &question[..])).await.ok()?;
            let response = http::Response::builder().header("content-type", "application/grpc").body(()).ok()?;
            let mut out = respond.send_response(response, false).ok()?;
            if !message.is_empty() {
                out.send_data(message.into(), false).ok()?;
            }
            let trailers = http::HeaderMap::from_iter([("grpc-status".parse().ok()?, status.parse().ok()?)]);
            out.send_trailers(trailers).ok()
        });
    }
    Some(())
}

#[tokio::test]
async fn grpc_servers_are_asked_for_their_health() {
    let cases: [(&[u8], &str, Report); 6] = [
        (&[0, 0, 0, 0, 2, 8, 1], "0", Report::Success),
        (&[0, 0, 0, 0, 2, 8, 2], "0", Report::NotServing),
        (&[0, 0, 0, 0, 0], "0", Report::NotServing),
        (&[], "0", Report::NotServing),
        // No such service; not implemented.
        (&[], "5", Report::HttpStatus(0)),
        (&[], "12", Report::HttpStatus(0)),
    ];
    for (message, status, expected) in cases {
        let (port, mut asked) = grpc_server(message, status, None).await;
        let active = ActiveHealthchecks { http_path: Some("/pkg.A".to_owned()), ..of_type("grpc") };
        let (how, address) = probing(Node::new(), port, active);
        assert_eq!(probe(&how, &address).await, expected, "{message:?} {status}");
        let question = "POST http://web.test/grpc.health.v1.Health/Check [0, 0, 0, 0, 7, 10, 5, 112, 107, 103, 46, 65]";
        assert_eq!(asked.recv().await.as_deref(), Some(question));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let (how, address) = probing(Node::new(), plain, of_type("grpc"));
    assert_eq!(probe(&how, &address).await, Report::HttpStatus(0), "no gRPC server");
}

#[tokio::test]
async fn grpc_servers_are_greeted_by_tls_where_asked() {
    let made = rcgen::generate_simple_self_signed(vec!["web.test".to_owned()]).unwrap();
    let own: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    for (trusted, expected) in [(vec![own], Report::Success), (Vec::new(), Report::TcpFailure)] {
        let (port, _asked) = grpc_server(&[0, 0, 0, 0, 2, 8, 1], "0", Some(tls.clone())).await;
        let active = ActiveHealthchecks { https_verify_certificate: true, ..of_type("grpcs") };
        let (how, address) = probing(Node::trusting(trusted), port, active);
        assert_eq!(probe(&how, &address).await, expected);
    }
}

#[tokio::test]
async fn the_request_is_what_the_upstream_says() {
    let (port, mut requests) = server(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), true, None).await;
    let two = vec!["1".to_owned(), "2".to_owned(), "not\r\nthis: one".to_owned()];
    let headers = IndexMap::from([("X-A".to_owned(), two)]);
    let http_path = Some("/status?of=all".to_owned());
    let active = ActiveHealthchecks { http_path, headers: Some(headers), ..of_type("http") };
    let (how, address) = probing(Node::new(), port, active);
    assert_eq!(probe(&how, &address).await, Report::HttpStatus(200));
    let expected = "GET /status?of=all HTTP/1.0\r\nX-A: 1\r\nX-A: 2\r\nHost: web.test\r\n\r\n";
    assert_eq!(requests.recv().await.as_deref(), Some(expected));
}

#[tokio::test]
async fn a_port_is_tried_by_connecting_alone() {
    let (open, mut requests) = server(Vec::new(), true, None).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (port, kind, expected) in
        [(open, "tcp", Report::Success), (closed, "tcp", Report::TcpFailure), (closed, "http", Report::TcpFailure)]
    {
        let (how, address) = probing(Node::new(), port, of_type(kind));
        assert_eq!(probe(&how, &address).await, expected, "{kind} {port}");
    }
    assert_eq!(requests.recv().await.as_deref(), Some(""));
}

#[tokio::test]
async fn silence_is_a_time_out_but_in_tls_a_failed_connection() {
    for (kind, expected) in [("http", Report::Timeout), ("https", Report::TcpFailure), ("grpc", Report::Timeout)] {
        let (port, _requests) = server(Vec::new(), true, None).await;
        let active = ActiveHealthchecks { timeout: Some(0.05), ..of_type(kind) };
        let (how, address) = probing(Node::new(), port, active);
        assert_eq!(probe(&how, &address).await, expected, "{kind}");
    }
}

#[tokio::test]
async fn certificates_are_verified_where_asked() {
    let made = rcgen::generate_simple_self_signed(vec!["web.test".to_owned(), "other.test".to_owned()]).unwrap();
    let own: CertificateDer<'static> = made.cert.der().clone();
    let stranger = rcgen::generate_simple_self_signed(vec!["web.test".to_owned()]).unwrap().cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let ok = Report::HttpStatus(200);
    // verify, sni, trusted, report
    let cases = [
        (true, None, Some(&own), ok),
        (true, Some("other.test"), Some(&own), ok),
        (true, Some("third.test"), Some(&own), Report::TcpFailure),
        (true, None, Some(&stranger), Report::TcpFailure),
        (true, None, None, Report::TcpFailure),
        (false, None, None, ok),
        (false, Some("third.test"), Some(&stranger), ok),
    ];
    for (verify, sni, trusted, expected) in cases {
        let (port, _requests) = server(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), false, Some(tls.clone())).await;
        let active = ActiveHealthchecks {
            https_verify_certificate: verify,
            https_sni: sni.map(str::to_owned),
            ..of_type("https")
        };
        let node = Node::trusting(trusted.into_iter().cloned().collect());
        let (how, address) = probing(node, port, active);
        let case = format!("{verify} {sni:?} {}", trusted.is_some());
        assert_eq!(probe(&how, &address).await, expected, "{case}");
    }
}
