//! A small HTTP/1.1 client over one connection: enough to ask a gateway on this machine and to hold a connection open.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(20);
/// More than any answer asked for here; an endless one must not fill the memory.
const LONGEST_BODY: u64 = 64 * 1024 * 1024;

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One request over a connection of its own.
pub(crate) fn get(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    Connection::open(at)?.ask("GET", path, headers, b"")
}

impl Connection {
    pub(crate) fn open(at: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&at, TIME_LIMIT).with_context(|| format!("cannot connect to {at}"))?;
        stream.set_read_timeout(Some(TIME_LIMIT))?;
        stream.set_nodelay(true)?;
        // A small buffer: the benchmark holds 10,000 of these.
        Ok(Connection { stream: BufReader::with_capacity(1024, stream) })
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes).context("cannot send the request")?;
        self.read_answer(method == "HEAD")
    }

    /// Reads one answer; after a 101 the connection is a tunnel.
    fn read_answer(&mut self, without_body: bool) -> Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let Some(status) = status else { bail!("not an HTTP answer: {status_line:?}") };
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { bail!("not a header: {line:?}") };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if without_body || matches!(status, 101 | 204 | 304) {
            return Ok(answer);
        }
        if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            answer.body = self.chunks()?;
        } else if let Some(length) = answer.header("content-length") {
            let length: u64 = length.parse().context("a Content-Length that is no number")?;
            answer.body = self.bytes(length)?;
        } else {
            (&mut self.stream).take(LONGEST_BODY).read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .with_context(|| format!("not a chunk size: {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.bytes(size)?);
            self.line()?;
        }
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > LONGEST_BODY {
            bail!("a body of {length} bytes");
        }
        let mut body = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            bail!("the body ended after {} of {length} bytes", body.len());
        }
        Ok(body)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if (&mut self.stream).take(64 * 1024).read_line(&mut line)? == 0 {
            bail!("the connection was closed before the answer");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Sends bytes as they are: frames of a tunnel.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("cannot send")
    }

    /// Receives exactly as many bytes.
    pub(crate) fn receive(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).context("the connection ended")?;
        Ok(bytes)
    }
}
