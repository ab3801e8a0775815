//! What authorities say over HTTP, directly or through a proxy: one short exchange a connection (HTTP/1.0, as OCSP clients
//! do it), bounded in time and length.

use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest head of an answer.
const LONGEST_HEAD: usize = 16 << 10;

/// A proxy's host and port.
pub(super) type Proxy = Option<(String, u16)>;

pub(super) struct Fetcher {
    pub(super) http_proxy: Proxy,
    pub(super) https_proxy: Proxy,
    pub(super) timeout: Duration,
    pub(super) tls: TlsConnector,
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) url: &'a str,
    /// A body to send (by POST), and its type.
    pub(super) body: Option<(&'static str, &'a [u8])>,
    /// The longest answer that is taken, in bytes.
    pub(super) longest: usize,
}

impl Fetcher {
    pub(super) fn new(http_proxy: Proxy, https_proxy: Proxy, timeout: Duration) -> Result<Self, String> {
        let tls = crate::trust::client().map_err(|error| error.to_string())?;
        Ok(Self { http_proxy, https_proxy, timeout, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// The body of an answer of status 200.
    pub(super) async fn fetch(&self, wanted: &Wanted<'_>) -> Result<Vec<u8>, String> {
        match tokio::time::timeout(self.timeout, self.exchange(wanted)).await {
            Ok(done) => done,
            Err(_) => Err("timeout".to_owned()),
        }
    }

    async fn exchange(&self, wanted: &Wanted<'_>) -> Result<Vec<u8>, String> {
        let uri: http::Uri = wanted.url.parse().map_err(|_| "not a valid URL")?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("a URL without a host")?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let proxy = if is_tls { &self.https_proxy } else { &self.http_proxy };
        let (to, to_port) = proxy.as_ref().map_or((host, port), |(host, port)| (host.as_str(), *port));
        let mut stream = TcpStream::connect((bare(to), to_port)).await.map_err(said)?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let authority = if uri.port_u16().is_some() { format!("{host}:{port}") } else { host.to_owned() };
        let target = if proxy.is_some() && !is_tls { format!("http://{authority}{path}") } else { path.to_owned() };
        let request = request(&target, &authority, wanted.body);
        if !is_tls {
            return ask(&mut stream, &request, wanted.longest).await;
        }
        if proxy.is_some() {
            tunnel(&mut stream, host, port).await?;
        }
        let name = ServerName::try_from(bare(host).to_owned()).map_err(|_| "no name of a server")?;
        let mut stream = self.tls.connect(name, stream).await.map_err(said)?;
        ask(&mut stream, &request, wanted.longest).await
    }
}

fn said(error: io::Error) -> String {
    error.to_string()
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn request(target: &str, authority: &str, body: Option<(&str, &[u8])>) -> Vec<u8> {
    let Some((kind, body)) = body else {
        return format!("GET {target} HTTP/1.0\r\nHost: {authority}\r\n\r\n").into_bytes();
    };
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.0\r\nHost: {authority}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Has a proxy open the way to a host (RFC 9110, 9.3.6).
async fn tunnel(stream: &mut TcpStream, host: &str, port: u16) -> Result<(), String> {
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is not the proxy's any more.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err("the proxy's answer is too long".to_owned());
        }
        head.push(stream.read_u8().await.map_err(said)?);
    }
    match status(&head) {
        Some(200..=299) => Ok(()),
        other => Err(format!("the proxy answers {}", other.unwrap_or_default())),
    }
}

/// The status that a head begins with.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok().filter(|line| line.starts_with("HTTP/1."))?;
    line.split(' ').nth(1)?.parse().ok()
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    longest: usize,
) -> Result<Vec<u8>, String> {
    stream.write_all(request).await.map_err(said)?;
    let mut answer = Vec::new();
    let mut head = None;
    let mut piece = [0; 4096];
    loop {
        if head.is_none()
            && let Some(at) = memchr::memmem::find(&answer, b"\r\n\r\n")
        {
            head = Some((at + 4, content_length(answer.get(..at).unwrap_or_default())?));
        }
        let (start, length) = match head {
            Some((start, length)) => (start, length),
            None if answer.len() > LONGEST_HEAD => return Err("the answer's head is too long".to_owned()),
            None => (0, None),
        };
        if answer.len() > start + longest.max(LONGEST_HEAD) || length.is_some_and(|length| length > longest) {
            return Err(format!("the answer is longer than {longest} bytes"));
        }
        if head.is_some() && length.is_some_and(|length| answer.len() >= start + length) {
            break;
        }
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            // Peers that end TLS without a word are common; what was read is judged by its signature.
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(said(error)),
        }
    }
    let (start, length) = head.ok_or("the answer is no HTTP")?;
    let body = answer.get(start..).unwrap_or_default();
    match length {
        Some(length) => body.get(..length).map(<[u8]>::to_vec).ok_or_else(|| "the answer is cut off".to_owned()),
        None if body.len() > longest => Err(format!("the answer is longer than {longest} bytes")),
        None => Ok(body.to_vec()),
    }
}

/// The length that the head of a good answer tells, if it does.
fn content_length(head: &[u8]) -> Result<Option<usize>, String> {
    match status(head) {
        Some(200) => {}
        other => return Err(format!("the answer is {}", other.unwrap_or_default())),
    }
    let head = String::from_utf8_lossy(head);
    let mut length = None;
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| "a length that is no number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("the answer is in chunks, which HTTP/1.0 does not have".to_owned());
        }
    }
    Ok(length)
}
