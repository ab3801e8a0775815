//! A client that speaks HTTP/2: one request over a connection of its own.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::pki::Identity;

const LIMIT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
    /// Statuses and fields of interim answers.
    pub(crate) interims: Vec<(u16, HeaderMap)>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn trailer(&self, name: &str) -> &str {
        self.trailers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// Sends a request, its body in these pieces, then the trailers. With `trusted`, by TLS to a gateway of that authority.
pub(crate) fn call(
    at: SocketAddr,
    trusted: Option<&Identity>,
    request: Request<()>,
    pieces: &[&'static str],
    trailers: Option<HeaderMap>,
) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = TcpStream::connect(at).await.unwrap();
        let Some(authority) = trusted else { return over(stream, request, pieces, trailers).await };
        let mut roots = RootCertStore::empty();
        roots.add(authority.chain[0].clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(request.uri().host().unwrap().to_owned()).unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        over(stream, request, pieces, trailers).await
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, talk).await.unwrap() })
}

async fn over<S>(stream: S, request: Request<()>, pieces: &[&'static str], trailers: Option<HeaderMap>) -> Got
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection): (SendRequest<Bytes>, _) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let is_end = pieces.is_empty() && trailers.is_none();
    let (mut response, mut out) = send.send_request(request, is_end).unwrap();
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = trailers.is_none() && at + 1 == pieces.len();
        out.send_data(Bytes::from_static(piece.as_bytes()), is_last).unwrap();
    }
    if let Some(trailers) = trailers {
        out.send_trailers(trailers).unwrap();
    }
    let mut interims = Vec::new();
    let head = poll_fn(|task| {
        while let Poll::Ready(Some(interim)) = response.poll_informational(task) {
            let interim = interim.unwrap();
            interims.push((interim.status().as_u16(), interim.headers().clone()));
        }
        std::pin::Pin::new(&mut response).poll(task)
    });
    let (head, mut stream) = head.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.unwrap().unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    Got { status: head.status.as_u16(), headers: head.headers, body, trailers, interims }
}
