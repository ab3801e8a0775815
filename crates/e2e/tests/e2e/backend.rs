//! An upstream that speaks HTTP/2 and HTTP/1.1, plain or by TLS, on a thread: it tells what it saw, and echoes bodies and
//! trailers.

use bytes::Bytes;
use http::{HeaderMap, Response};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::pki::Identity;

pub(crate) struct Backend {
    pub(crate) at: SocketAddr,
}

/// How the backend greets by TLS.
pub(crate) struct Greeting<'a> {
    pub(crate) identity: &'a Identity,
    /// The protocols on offer.
    pub(crate) alpn: &'a [&'a str],
    /// Whose clients may come; `None`: everybody, without a certificate.
    pub(crate) clients: Option<&'a Identity>,
}

impl Greeting<'_> {
    fn config(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.chain[0].clone()).unwrap();
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(self.identity.chain.clone(), self.identity.key_der()).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Backend {
    /// One that speaks HTTP/2 with prior knowledge.
    pub(crate) fn plain() -> Backend {
        Backend::start(None)
    }

    pub(crate) fn tls(greeting: &Greeting<'_>) -> Backend {
        Backend::start(Some(greeting.config()))
    }

    fn start(config: Option<Arc<ServerConfig>>) -> Backend {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    // The gateway ends a connection as it likes.
                    tokio::spawn(serve(stream, config.clone()));
                }
            });
        });
        Backend { at }
    }
}

async fn serve(stream: TcpStream, config: Option<Arc<ServerConfig>>) {
    let Some(config) = config else { return http2(stream, "none").await };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let session = stream.get_ref().1;
    let client = if session.peer_certificates().is_some() { "shown" } else { "none" };
    if session.alpn_protocol() == Some(b"h2") { http2(stream, client).await } else { http1(stream, client).await }
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin, client: &'static str) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, client));
    }
}

/// What was seen, as headers; the body and the trailers come back. `/early` gets a 103 before, and gRPC its status.
async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    client: &'static str,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    if head.uri.path().ends_with("/early") {
        let hint = Response::builder().status(103).header("link", "</a.css>; rel=preload").body(()).ok()?;
        respond.send_informational(hint).ok()?;
    }
    let is_grpc = head.headers.get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    let mut response = Response::builder()
        .header("x-seen", format!("{:?} {} {}", head.version, head.method, head.uri.path()))
        .header("x-seen-authority", head.uri.authority().map(ToString::to_string).unwrap_or_default())
        .header("x-client-certificate", client);
    for name in ["te", "content-type", "connection", "content-length"] {
        if let Some(value) = head.headers.get(name) {
            response = response.header(format!("x-seen-{name}"), value);
        }
    }
    if is_grpc {
        response = response.header("content-type", "application/grpc");
    }
    let mut out = respond.send_response(response.body(()).ok()?, false).ok()?;
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        out.send_data(data, false).ok()?;
    }
    let mut trailers: HeaderMap = body.trailers().await.ok()?.unwrap_or_default();
    if is_grpc {
        trailers.insert("grpc-status", "0".parse().ok()?);
    }
    if trailers.is_empty() { out.send_data(Bytes::new(), true).ok() } else { out.send_trailers(trailers).ok() }
}

/// Requests without a body, one after another.
async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, client: &'static str) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
            _ => return,
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        let is_upgrade = head.to_ascii_lowercase().windows(9).any(|w| w == b"websocket");
        head.clear();
        let answer = if is_upgrade {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-seen: {line}\r\nx-client-certificate: {client}\r\n\r\n")
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
