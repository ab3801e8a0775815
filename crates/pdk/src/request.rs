//! The client's request.

use std::borrow::Cow;

use crate::{Body, Headers, Method, Span};

/// The HTTP version a message came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
    Http3,
}

impl Version {
    /// As it stands in `Via` and in logs: `1.0`, `1.1`, `2`, `3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }

    /// As it stands in a request line: `HTTP/1.1`, `HTTP/2.0`.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Http3 => "HTTP/3.0",
        }
    }
}

/// A request as the client sent it; plugins may change its header fields and body.
pub struct Request {
    pub method: Method,
    pub version: Version,
    pub headers: Headers,
    pub body: Body,
    /// Bytes of the request's head as received.
    pub head_size: u64,
    target: Span,
    host: Span,
    authority: Span,
}

impl Request {
    /// `target` is the origin form (`/path?query`), `host` the value of Host or `:authority`: spans of the headers' arena.
    pub fn new(method: Method, version: Version, headers: Headers, target: Span, host: Span) -> Self {
        Self { method, version, headers, body: Body::Empty, head_size: 0, target, host, authority: Span::default() }
    }

    /// The target's own authority (absolute form).
    pub fn with_authority(mut self, authority: Span) -> Self {
        self.authority = authority;
        self
    }

    /// The raw target: path and query as received.
    pub fn target(&self) -> &[u8] {
        self.headers.bytes(self.target)
    }

    /// The raw path, without the query.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        memchr::memchr(b'?', target).map_or(target, |at| &target[..at])
    }

    /// The raw query, without its `?`; `None` where there is no `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        memchr::memchr(b'?', target).map(|at| &target[at + 1..])
    }

    /// The host asked for, with the port if any: the target's authority where it has one, else the Host field
    /// (RFC 9112, 3.2.2); empty where there is neither.
    pub fn host(&self) -> &[u8] {
        self.headers.bytes(if self.authority.len > 0 { self.authority } else { self.host })
    }

    /// The host alone, in lower case, without port and final dot (nginx's `$host`). Where there is none (HTTP/1.0 needs no
    /// host) it is `kong`, the name of Kong's server.
    pub fn host_name(&self) -> Cow<'_, [u8]> {
        let name = crate::host_without_port(self.host());
        if name.is_empty() {
            return Cow::Borrowed(b"kong");
        }
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    /// The value of a query argument, decoded; `Some(None)` for one without `=`.
    pub fn query_arg(&self, name: &str) -> Option<Option<String>> {
        self.query_args().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// All query arguments, decoded (`+` and `%XX`), in order.
    pub fn query_args(&self) -> impl Iterator<Item = (String, Option<String>)> + '_ {
        self.query().unwrap_or_default().split(|b| *b == b'&').filter(|part| !part.is_empty()).map(|part| {
            let mut halves = part.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default());
            (name, halves.next().map(decode))
        })
    }

    /// Whether this asks for a WebSocket (RFC 6455, 4.2.1).
    pub fn is_websocket(&self) -> bool {
        self.version == Version::Http11
            && self.headers.get("upgrade").is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"))
            && self
                .headers
                .get_all("connection")
                .any(|v| v.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade")))
    }

    /// gRPC runs over HTTP/2 alone; elsewhere its content type means nothing.
    pub fn is_grpc(&self) -> bool {
        self.version >= Version::Http2
            && self.headers.get("content-type").is_some_and(|v| v.starts_with(b"application/grpc"))
    }
}

fn decode(text: &[u8]) -> String {
    String::from_utf8_lossy(&crate::args::decode(text)).into_owned()
}
