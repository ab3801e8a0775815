//! One probe of one address: a connection, or a request of which only the answer's status line is read.

use super::super::tls::Offer;
use super::plain::Sockets;
use crate::http::h2::check::is_serving;
use balancer::Address;
use balancer::health::Report;
use entities::Upstream;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// The longest status line that is read.
pub(super) const LONGEST_LINE: usize = 4096;
/// The shortest interval: Kong's timer goes by tenths of a second.
const SHORTEST: f64 = 0.1;
/// What a time-out of 0 stands for, as in OpenResty's sockets.
const NO_TIMEOUT: Duration = Duration::from_secs(60);

/// How an upstream's addresses are probed: `healthchecks.active`, ready for use.
pub(in crate::upstream) struct Probing {
    kind: Kind,
    /// How often healthy and unhealthy addresses are probed; `None` = not at all.
    pub(super) healthy: Option<Duration>,
    pub(super) unhealthy: Option<Duration>,
    pub(super) concurrency: usize,
    timeout: Duration,
    /// The request up to its Host field.
    head: String,
    /// The gRPC service that is asked for: `http_path` without its slash.
    service: String,
    /// The upstream's own `host_header`; else an address is called by its target's name.
    host: Option<String>,
    /// The name in TLS, where it is not that of the Host field.
    sni: Option<String>,
}

enum Kind {
    Tcp,
    Http,
    /// `None`: the settings cannot be used, so that no greeting can succeed.
    Https(Option<Arc<ClientConfig>>),
    /// gRPC's health service; by TLS as for HTTPS.
    Grpc(Option<Option<Arc<ClientConfig>>>),
}

impl Probing {
    /// `None` where nothing is to be probed. `tls` makes the client's side for a choice to verify, a certificate and
    /// an HTTP version.
    pub(in crate::upstream) fn of(
        upstream: &Upstream,
        tls: impl FnOnce(bool, Option<Uuid>, Offer) -> Result<Arc<ClientConfig>, String>,
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let active = &upstream.healthchecks.active;
        let every = |seconds: Option<f64>| {
            seconds.filter(|s| *s > 0.0).map(|s| Duration::from_secs_f64(s.clamp(SHORTEST, 65_535.0)))
        };
        let (healthy, unhealthy) = (every(active.healthy.interval), every(active.unhealthy.interval));
        if healthy.is_none() && unhealthy.is_none() {
            return None;
        }
        let offer = match active.r#type.as_deref() {
            Some("https") => Some(Offer::Http1),
            Some("grpcs") => Some(Offer::Http2),
            _ => None,
        };
        let config = offer.map(|offer| {
            let client = upstream.client_certificate.as_ref().map(|c| c.id);
            let config = tls(active.https_verify_certificate, client, offer);
            config.map_err(|e| problems.push(format!("health checks of '{}': {e}", upstream.name))).ok()
        });
        let kind = match active.r#type.as_deref() {
            Some("tcp") => Kind::Tcp,
            Some("https") => Kind::Https(config.flatten()),
            Some("grpc" | "grpcs") => Kind::Grpc(config),
            _ => Kind::Http,
        };
        let mut head = format!("GET {} HTTP/1.0\r\n", active.http_path.as_deref().unwrap_or("/"));
        for (name, values) in active.headers.iter().flatten() {
            for value in values.iter().filter(|value| !value.contains(['\r', '\n'])) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let limit = active.timeout.filter(|s| *s > 0.0).map(|s| Duration::from_secs_f64(s.min(65_535.0)));
        Some(Self {
            kind,
            healthy,
            unhealthy,
            concurrency: active.concurrency.and_then(|n| usize::try_from(n).ok()).unwrap_or(10).max(1),
            timeout: limit.unwrap_or(NO_TIMEOUT),
            head,
            service: active.http_path.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
            host: upstream.host_header.clone(),
            sni: active.https_sni.clone(),
        })
    }

    /// Whether addresses are probed as often as by the other.
    pub(super) fn has_rhythm_of(&self, other: &Self) -> bool {
        (self.healthy, self.unhealthy) == (other.healthy, other.unhealthy)
    }

    fn host<'a>(&'a self, address: &'a Address) -> &'a str {
        self.host.as_deref().unwrap_or(&address.hostname)
    }

    fn request(&self, address: &Address) -> String {
        format!("{}Host: {}\r\n\r\n", self.head, self.host(address))
    }

    /// The name that the address is to prove in TLS.
    fn server_name(&self, address: &Address) -> Option<ServerName<'static>> {
        let name = self.sni.as_deref().unwrap_or_else(|| balancer::host_and_port(self.host(address)).0);
        ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).ok()
    }
}

/// Probes an address: what is to be reported of it.
pub(super) async fn probe(how: &Probing, address: &Address, sockets: &Sockets) -> Report {
    match &how.kind {
        Kind::Tcp => sockets.probe(address.socket(), None, how.timeout).await,
        Kind::Http => sockets.probe(address.socket(), Some(how.request(address)), how.timeout).await,
        // Boxed: what ten thousand plain probes do not need does not make their futures larger.
        kind => Box::pin(speak(how, kind, address)).await.unwrap_or_else(|failure| failure),
    }
}

/// The kinds that need more than a line of text.
async fn speak(how: &Probing, kind: &Kind, address: &Address) -> Result<Report, Report> {
    let stream = within(how.timeout, TcpStream::connect(address.socket())).await?;
    // Whatever goes wrong in TLS, Kong counts as a failed connection.
    let greet = async |config: Option<&Arc<ClientConfig>>, stream| {
        greet(how, config, address, stream).await.ok_or(Report::TcpFailure)
    };
    match kind {
        Kind::Https(config) => ask(how, address, greet(config.as_ref(), stream).await?).await,
        Kind::Grpc(Some(config)) => call(how, address, "https", greet(config.as_ref(), stream).await?).await,
        _ => call(how, address, "http", stream).await,
    }
}

async fn greet(
    how: &Probing,
    config: Option<&Arc<ClientConfig>>,
    address: &Address,
    stream: TcpStream,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let greeting = TlsConnector::from(config?.clone()).connect(how.server_name(address)?, stream);
    match timeout(how.timeout, greeting).await.ok()? {
        Ok(stream) => Some(stream),
        Err(error) => {
            log::info!("health check of {} ({}): TLS: {error}", address.hostname, address.socket());
            None
        }
    }
}

async fn ask(how: &Probing, address: &Address, stream: impl AsyncRead + AsyncWrite) -> Result<Report, Report> {
    let mut stream = std::pin::pin!(stream);
    let sending = async {
        stream.write_all(how.request(address).as_bytes()).await?;
        stream.flush().await
    };
    within(how.timeout, sending).await?;
    let line = within(how.timeout, status_line(&mut stream)).await?;
    Ok(Report::HttpStatus(status(&line)))
}

/// Asks gRPC's health service. Whatever is no answer of it counts as one that cannot be parsed.
async fn call<S>(how: &Probing, address: &Address, scheme: &str, stream: S) -> Result<Report, Report>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = is_serving(stream, scheme, how.host(address), &how.service);
    match timeout(how.timeout, asked).await {
        Ok(Ok(true)) => Ok(Report::Success),
        Ok(Ok(false)) => Ok(Report::NotServing),
        Ok(Err(error)) => {
            log::info!("health check of {} ({}): {error}", address.hostname, address.socket());
            Ok(Report::HttpStatus(0))
        }
        Err(_) => Err(Report::Timeout),
    }
}

/// The first line of the answer, cut off where it is too long for one.
async fn status_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    let mut stream = stream.take(LONGEST_LINE as u64);
    loop {
        let from = line.len();
        if stream.read_buf(&mut line).await? == 0 {
            let is_cut = stream.limit() == 0;
            return if is_cut { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if let Some(end) = line[from..].iter().position(|b| *b == b'\n') {
            line.truncate(from + end);
            return Ok(line);
        }
    }
}

/// The status of a status line; 0 = it is none.
pub(super) fn status(line: &[u8]) -> u16 {
    let found = line.strip_prefix(b"HTTP/").and_then(|rest| {
        let (version, rest) = rest.split_at(rest.iter().position(u8::is_ascii_whitespace)?);
        let (major, minor) = std::str::from_utf8(version).ok()?.split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let digits: String =
            rest.trim_ascii_start().iter().map_while(|b| b.is_ascii_digit().then_some(*b as char)).collect();
        (is_number(major) && is_number(minor) && !digits.is_empty()).then_some(digits)
    });
    // A number beyond all lists counts for nothing.
    found.map_or(0, |digits| digits.parse().unwrap_or(u16::MAX))
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, Report> {
    match timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(Report::Timeout),
    }
}

/// What a broken connection is reported as.
pub(super) fn failure(error: &io::Error) -> Report {
    if error.kind() == io::ErrorKind::TimedOut { Report::Timeout } else { Report::TcpFailure }
}
