//! The upstream of `make run`: answers every request with what it was sent, and speaks WebSocket as an echo.
//! One thread a connection: it serves a demonstration, not load.

mod websocket;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// More than a demonstration sends; a longer one ends the connection.
const LONGEST_BODY: u64 = 1024 * 1024;
const LONGEST_LINE: u64 = 16 * 1024;
const MOST_HEADERS: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9080")]
    listen: SocketAddr,
}

struct Request {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let listener = bind(options.listen)?;
    println!("upstream at http://{}", options.listen);
    serve(&listener);
    Ok(())
}

pub(crate) fn bind(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).with_context(|| format!("cannot listen on {at} for the upstream"))
}

/// Serves until the program ends.
pub(crate) fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // A client that goes away ends its connection, which is no error of the upstream's.
            let _ = converse(&stream);
        });
    }
}

fn converse(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request) = read_request(&mut reader)? else { return Ok(()) };
        if let Some(key) = request.header("sec-websocket-key") {
            return websocket::echo(&mut reader, key);
        }
        let body = describe(&request).to_string() + "\n";
        let closing = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let sent = if request.method == "HEAD" { "" } else { &body };
        let (length, connection) = (body.len(), if closing { "close" } else { "keep-alive" });
        let mut out = stream;
        out.write_all(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                 Connection: {connection}\r\n\r\n{sent}"
            )
            .as_bytes(),
        )?;
        if closing || request.version == "HTTP/1.0" {
            return Ok(());
        }
    }
}

fn describe(request: &Request) -> Value {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        let text = match headers.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        headers.insert(name.clone(), Value::String(text));
    }
    json!({
        "method": request.method,
        "uri": request.target,
        "headers": headers,
        "body": String::from_utf8_lossy(&request.body),
    })
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// One request, or nothing where the connection has ended.
fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let first = read_line(reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request = Request { method, target, version, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if request.headers.len() == MOST_HEADERS {
            return Err(ErrorKind::InvalidData.into());
        }
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.body = read_body(reader, &request)?;
    Ok(Some(request))
}

fn read_body(reader: &mut impl BufRead, request: &Request) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_none() {
        let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        read_exactly(reader, length, &mut body)?;
        return Ok(body);
    }
    loop {
        let line = read_line(reader)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
            .map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(body);
        }
        read_exactly(reader, size, &mut body)?;
        read_line(reader)?;
    }
}

fn read_exactly(reader: &mut impl BufRead, count: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    let wanted = into.len() as u64 + count;
    if wanted > LONGEST_BODY {
        return Err(ErrorKind::InvalidData.into());
    }
    reader.take(count).read_to_end(into)?;
    if into.len() as u64 == wanted { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// A line without its end; empty at the end of the connection.
fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}
