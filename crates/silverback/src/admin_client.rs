//! Reads from the Admin API of a running Kong: GET over HTTP/1.1, one connection a request, nothing else. Commands use it, never
//! a node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use crate::conf::Conf;
use crate::node;

/// For a connection, and for each piece of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer: a page of a thousand rows.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Rows a page: Kong's most.
const PAGE: usize = 1000;

pub(crate) struct AdminClient {
    host: String,
    port: u16,
    /// Before every path.
    base: String,
    headers: String,
    tls: Option<Arc<ClientConfig>>,
}

impl AdminClient {
    pub(crate) fn new(url: &str, headers: &[String], conf: &Conf) -> anyhow::Result<Self> {
        let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => bail!("'{url}' is no URL of an Admin API: http://host:port or https://host:port"),
        };
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let default = if is_tls { 8444 } else { 8001 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("'{url}' has no valid port"))?)
            }
            _ => (authority, default),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ensure!(!host.is_empty(), "'{url}' names no host");
        let mut lines = String::new();
        for header in headers {
            let is_one = header.contains(':') && !header.contains(['\r', '\n']);
            ensure!(is_one, "a header is written 'Name: value'");
            lines.push_str(header);
            lines.push_str("\r\n");
        }
        let tls = if is_tls { Some(tls(conf)?) } else { None };
        let base = match base.trim_end_matches('/') {
            "" => String::new(),
            base => format!("/{base}"),
        };
        Ok(Self { host, port, base, headers: lines, tls })
    }

    /// The rows of a collection, page by page; whether there is such a collection.
    pub(crate) fn pages(
        &self,
        path: &str,
        mut take: impl FnMut(Vec<Value>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut next = Some(format!("{path}?size={PAGE}"));
        while let Some(path) = next.take() {
            let Some(mut page) = self.get(&path)? else { return Ok(false) };
            match page.get_mut("data").map(Value::take) {
                Some(Value::Array(data)) => take(data)?,
                // An empty list of Lua's.
                Some(Value::Object(data)) if data.is_empty() => {}
                _ => bail!("{path} is no collection"),
            }
            // Kong's own path, with the offset but without the size.
            next = page.get("next").and_then(Value::as_str).map(|next| match next.contains('?') {
                true => format!("{next}&size={PAGE}"),
                false => format!("{next}?size={PAGE}"),
            });
        }
        Ok(true)
    }

    /// `None` where there is nothing, or where Kong does not have it.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let (status, body) = self.ask(path).with_context(|| format!("GET {path} of {}:{}", self.host, self.port))?;
        match status {
            200 => Ok(Some(serde_json::from_slice(&body).with_context(|| format!("{path} is no JSON"))?)),
            // What is switched off (filter chains without wasm) is refused, not absent.
            400 | 404 => Ok(None),
            401 | 403 => bail!("{path} is answered with {status}: --header gives a token"),
            _ => bail!("{path} is answered with {status}"),
        }
    }

    fn ask(&self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let address = std::net::ToSocketAddrs::to_socket_addrs(&(self.host.as_str(), self.port))?;
        let mut last = None;
        let socket =
            address.filter_map(|at| TcpStream::connect_timeout(&at, TIMEOUT).map_err(|e| last = Some(e)).ok()).next();
        let Some(socket) = socket else {
            return Err(last.map_or_else(|| anyhow::anyhow!("no address"), anyhow::Error::from));
        };
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        // HTTP/1.0: the answer is not cut into chunks, and the connection ends with it.
        let head = format!(
            "GET {}{path} HTTP/1.0\r\nHost: {host}:{}\r\nAccept: application/json\r\nUser-Agent: silverback\r\n{}\r\n",
            self.base, self.port, self.headers
        );
        let mut answer = Vec::new();
        match &self.tls {
            None => exchange(socket, &head, &mut answer)?,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())?;
                let connection = ClientConnection::new(config.clone(), name)?;
                exchange(StreamOwned::new(connection, socket), &head, &mut answer)?;
            }
        }
        split(&answer)
    }
}

fn exchange(mut stream: impl Read + Write, head: &str, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    match stream.take(LARGEST).read_to_end(answer) {
        // Whoever ends a TLS connection without saying so; the length tells whether all came.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        outcome => Ok(outcome.map(|_| ())?),
    }
}

/// The status and the body of an answer.
fn split(answer: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").context("the answer has no end of its head")?;
    let (head, body) = answer.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let field = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let body = match (field("transfer-encoding"), field("content-length").and_then(|length| length.parse().ok())) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => dechunked(body)?,
        (Some(coding), _) => bail!("the answer is coded as {coding}"),
        (None, Some(length)) => body.get(..length).context("the answer was cut off")?.to_vec(),
        (None, None) => body.to_vec(),
    };
    Ok((status.context("the answer has no status")?, body))
}

/// A server may answer with chunks all the same (RFC 9112, section 7.1).
fn dechunked(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("the answer was cut off")?;
        let (size, after) = rest.split_at(end);
        let size = String::from_utf8_lossy(size);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let data = after.get(2..).unwrap_or_default();
        body.extend_from_slice(data.get(..size).context("the answer was cut off")?);
        rest = data.get(size + 2..).context("the answer was cut off")?;
    }
}

fn tls(conf: &Conf) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for text in node::trusted_authorities(conf)? {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests;
