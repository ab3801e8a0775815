//! Programs and libraries that people use, as clients: curl, OpenSSL, and a WebSocket library on both sides.

use crate::client::connect;
use crate::gateway::Gateway;
use crate::packages::program;
use crate::pki::Identity;
use crate::upstream::Upstream;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A certificate entity for these names.
fn certificate(identity: &Identity, names: &[&str]) -> serde_json::Value {
    let snis: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({ "cert": identity.pem(), "key": identity.key_pem(), "snis": snis })
}

/// A WebSocket server that takes the first subprotocol on offer and sends back what it gets.
fn echo(identity: Option<&Identity>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let config = identity.map(|own| {
        let builder = ServerConfig::builder().with_no_client_auth();
        Arc::new(builder.with_single_cert(own.chain.clone(), own.key_der()).unwrap())
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || {
                let stream: Box<dyn Duplex> = match config {
                    Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)),
                    None => Box::new(stream),
                };
                let mut socket = tungstenite::accept_hdr(stream, choose).unwrap();
                // Ends with the closing handshake.
                while let Ok(message) = socket.read() {
                    if matches!(message, Message::Text(_) | Message::Binary(_)) {
                        socket.send(message).unwrap();
                    }
                }
            });
        }
    });
    at
}

#[expect(clippy::result_large_err, reason = "the library's own signature")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
    if let Some(first) = offered.and_then(|offered| offered.split(',').next()) {
        response.headers_mut().insert("sec-websocket-protocol", first.trim().parse().unwrap());
    }
    Ok(response)
}

fn open(gateway: &Gateway, authority: Option<&Identity>) -> WebSocket<Box<dyn Duplex>> {
    let at = if authority.is_some() { gateway.ports.tls } else { gateway.ports.proxy };
    let stream: Box<dyn Duplex> = match authority {
        None => Box::new(connect(at).unwrap()),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.chain[0].clone()).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let name = ServerName::try_from("gateway.test").unwrap();
            let session = ClientConnection::new(Arc::new(config), name).unwrap();
            Box::new(StreamOwned::new(session, connect(at).unwrap()))
        }
    };
    let mut request = "ws://gateway.test/chat?room=1".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat.v2, chat.v1".parse().unwrap());
    let Ok((socket, response)) = tungstenite::client(request, stream) else { panic!("no WebSocket") };
    assert_eq!(response.headers().get("sec-websocket-protocol").unwrap(), "chat.v2");
    socket
}

#[test]
fn websockets_carry_messages_pings_and_the_closing_handshake_in_the_clear_and_by_tls() {
    let authority = Identity::authority("WebSocket test");
    let (own, upstream) = (authority.issue(&["gateway.test"]), authority.issue(&["127.0.0.1"]));
    for (scheme, at) in [("http", echo(None)), ("https", echo(Some(&upstream)))] {
        let service =
            json!({ "url": format!("{scheme}://{at}"), "routes": [{ "paths": ["/chat"], "strip_path": false }] });
        let all = json!({
            "_format_version": "3.0", "services": [service], "certificates": [certificate(&own, &["gateway.test"])],
        });
        let gateway = Gateway::start(&all.to_string());
        for trusted in [None, Some(&authority)] {
            let what = format!("{scheme} upstream, TLS from the client: {}", trusted.is_some());
            let mut socket = open(&gateway, trusted);
            let long: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
            for message in [Message::text("grüß dich"), Message::binary(long), Message::text("")] {
                socket.send(message.clone()).unwrap();
                assert!(socket.read().unwrap() == message, "{what}");
            }
            socket.send(Message::Ping("are you there".into())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()), "{what}");
            let bye = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
            socket.close(Some(bye.clone())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Close(Some(bye)), "{what}");
            assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)), "{what}");
        }
    }
}

/// Runs a program with this input; what it printed, errors included.
fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that wants no input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn curl_is_served_in_every_way_it_can_ask() {
    let upstream = Upstream::start();
    let authority = Identity::authority("curl test");
    let own = authority.issue(&["a.test", "b.test"]);
    let routes = ["a", "b"].map(|name| {
        json!({ "snis": [format!("{name}.test")], "protocols": ["https"], "paths": ["/sni"],
                "name": name, "strip_path": false })
    });
    let mut routes = routes.to_vec();
    routes.push(json!({ "name": "all", "paths": ["/"], "strip_path": false }));
    let plugin = |route: &str| json!({ "name": "request-termination", "route": route, "config": { "status_code": 299, "message": route } });
    let all = json!({
        "_format_version": "3.0", "services": [{ "name": "up", "url": format!("http://{}", upstream.at), "routes": routes }],
        "plugins": [plugin("a"), plugin("b")], "certificates": [certificate(&own, &["a.test", "b.test"])],
    });
    let announced = crate::gateway::free_address();
    let (plain, tls) = (crate::gateway::free_address(), crate::gateway::free_address());
    let listen = format!("{plain}, {tls} ssl http2, {announced} proxy_protocol, unix:curl.sock");
    let gateway = Gateway::start_with(&all.to_string(), &[("proxy_listen", &listen)]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let trusted = file("authority.pem", &authority.pem());
    let long = format!("@{}", file("long", &"x".repeat(1_500_000)));
    let socket = gateway.prefix().join("curl.sock").display().to_string();
    let (a, b) = (format!("a.test:443:{tls}"), format!("b.test:443:{tls}"));
    let at = |address: SocketAddr| format!("http://{address}/x");
    let by_tls = |host: &str, path: &str| format!("https://{host}{path}");
    #[rustfmt::skip]
    let cases: &[(&[&str], String, &str)] = &[
        (&["--http1.0"], at(plain), "1.1 200 GET /x"),
        (&["--http1.1"], at(plain), "1.1 200 GET /x"),
        (&["--http2"], at(plain), "1.1 200 GET /x"),
        (&["--http2-prior-knowledge"], at(plain), "2 200 GET /x"),
        (&["--head"], at(plain), "1.1 200 HTTP/1.1 200"),
        (&["--data-binary", &long], at(plain), "1.1 200 POST /x"),
        (&["--data-binary", &long, "-H", "Transfer-Encoding: chunked"], at(plain), "1.1 200 POST /x"),
        (&["--data-binary", &long, "--http2-prior-knowledge"], at(plain), "2 200 POST /x"),
        (&["--haproxy-protocol"], at(announced), "1.1 200 GET /x"),
        (&["--unix-socket", &socket], "http://gateway.test/x".to_owned(), "1.1 200 GET /x"),
        (&["--cacert", &trusted, "--connect-to", &a], by_tls("a.test", "/x"), "2 200 GET /x"),
        (&["--cacert", &trusted, "--connect-to", &a, "--http1.1", "--tls-max", "1.2"], by_tls("a.test", "/x"), "1.1 200 GET /x"),
        (&["--cacert", &trusted, "--connect-to", &a], by_tls("a.test", "/sni"), r#"2 299 {"message":"a"}"#),
        (&["--cacert", &trusted, "--connect-to", &b, "--http1.1"], by_tls("b.test", "/sni"), r#"1.1 299 {"message":"b"}"#),
    ];
    let curl = program("curl", "curl");
    for (options, url, expected) in cases {
        let mut command = Command::new(&curl);
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--output",
            "-",
            "--write-out",
            "\n%{http_version} %{http_code} ",
        ]);
        let said = run(command.args(*options).arg(url).env("NO_PROXY", "*"), "");
        let (body, told) = said.rsplit_once('\n').unwrap_or(("", &said));
        let got = format!("{told}{body}");
        assert!(got.starts_with(expected), "{options:?} {url}: {}", got.chars().take(300).collect::<String>());
    }
    // Nothing of a long body is lost.
    let bodies: Vec<usize> =
        upstream.seen().iter().map(|seen| seen.matches('x').count()).filter(|n| *n > 1_000).collect();
    assert!(bodies.len() == 3 && bodies.iter().all(|count| *count >= 1_500_000), "{bodies:?}");
}

#[test]
fn openssl_resumes_a_session_for_as_long_as_the_configuration_says() {
    let upstream = Upstream::start();
    let authority = Identity::authority("OpenSSL test");
    let own = authority.issue(&["a.test"]);
    let all = json!({
        "_format_version": "3.0", "certificates": [certificate(&own, &["a.test"])],
        "services": [{ "url": format!("http://{}", upstream.at), "routes": [{ "paths": ["/"] }] }],
    });
    let openssl = program("openssl", "openssl");
    let folder = tempfile::tempdir().unwrap();
    let ask = |gateway: &Gateway, version: &str, option: &str, file: &Path| -> String {
        let mut command = Command::new(&openssl);
        let at = gateway.ports.tls.to_string();
        command.args(["s_client", "-ign_eof", "-servername", "a.test", "-connect", &at, version, option]).arg(file);
        run(&mut command, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    };
    let short = ("ssl_session_timeout", "1s");
    let in_memory = ("ssl_session_tickets", "off");
    for (properties, is_resumed) in
        [(&[][..], true), (&[in_memory], true), (&[short], false), (&[in_memory, short], false)]
    {
        let gateway = Gateway::start_with(&all.to_string(), properties);
        for version in ["-tls1_2", "-tls1_3"] {
            let file = folder.path().join("session");
            let said = ask(&gateway, version, "-sess_out", &file);
            assert!(
                said.contains("HTTP/1.1 200 OK") && said.contains("New, TLSv1"),
                "{properties:?} {version}: {said}"
            );
            if !is_resumed {
                // Older than it may be; being slower changes nothing.
                std::thread::sleep(Duration::from_millis(2_100));
            }
            let said = ask(&gateway, version, "-sess_in", &file);
            let expected = if is_resumed { "Reused, TLSv1" } else { "New, TLSv1" };
            assert!(said.contains("HTTP/1.1 200 OK") && said.contains(expected), "{properties:?} {version}: {said}");
        }
    }
}
