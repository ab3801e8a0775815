//! HTTP/1.1 by hand: what is sent is what the test says, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A connection to the gateway, plain or TLS.
pub(crate) struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A connection as the operating system gives it, with time limits.
pub(crate) fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One GET over a connection of its own.
pub(crate) fn get(at: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    Client::open(at).get(path, headers)
}

impl Client {
    pub(crate) fn open(at: SocketAddr) -> Client {
        Client::over(connect(at).unwrap())
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Client<S> {
        Client { stream: BufReader::new(stream) }
    }

    pub(crate) fn get(&mut self, path: &str, headers: &[&str]) -> Answer {
        self.try_get(path, headers).unwrap()
    }

    pub(crate) fn try_get(&mut self, path: &str, headers: &[&str]) -> std::io::Result<Answer> {
        let host = if headers.iter().any(|h| h.starts_with("Host:")) { "" } else { "Host: test\r\n" };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.send(format!("GET {path} HTTP/1.1\r\n{host}{headers}\r\n").as_bytes())?;
        self.answer()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// The status of an interim answer, which has nothing but a head.
    pub(crate) fn interim(&mut self) -> std::io::Result<String> {
        let line = self.line()?;
        while !self.line()?.is_empty() {}
        Ok(line)
    }

    /// An interim answer: its first line and its fields.
    pub(crate) fn interim_head(&mut self) -> std::io::Result<(String, Vec<String>)> {
        let line = self.line()?;
        let mut fields = Vec::new();
        loop {
            match self.line()? {
                end if end.is_empty() => return Ok((line, fields)),
                field => fields.push(field),
            }
        }
    }

    /// The next answer; after a 101 the connection is a tunnel.
    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let mut answer = self.answer_to_head()?;
        if matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        let body = if answer.header("transfer-encoding").is_some() {
            self.chunks(&mut answer.trailers)?
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(std::io::Error::other)?;
            self.bytes(length)?
        } else {
            let mut body = Vec::new();
            self.stream.read_to_end(&mut body)?;
            body
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// An interim answer with its fields.
    pub(crate) fn interim_answer(&mut self) -> std::io::Result<Answer> {
        self.answer_to_head()
    }

    /// The next answer without its body: all that there is of one to HEAD.
    pub(crate) fn answer_to_head(&mut self) -> std::io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: String::new(), trailers: Vec::new() })
    }

    fn chunks(&mut self, trailers: &mut Vec<(String, String)>) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(std::io::Error::other)?;
            if size == 0 {
                while let Some((name, value)) = self.line()?.split_once(':') {
                    trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                return Ok(body);
            }
            body.extend(self.bytes(size)?);
            self.line()?;
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// True where the other side closes and sends nothing before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            // Closed with something of ours unread.
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
