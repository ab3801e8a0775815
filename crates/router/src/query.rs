//! What a route is looked up by: borrowed views of one request or connection.

use std::net::SocketAddr;

/// The transport of the connection: of the client's own connection, never of a forwarded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Https,
    Tcp,
    /// A stream connection with a server name, terminated here or passed through.
    Tls,
    Udp,
}

impl Protocol {
    /// The value of `net.protocol`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Udp => "udp",
        }
    }

    /// Whether the stream (L4) routes are meant.
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::Tls | Protocol::Udp)
    }
}

/// Headers and query arguments, asked for only when a route that could match needs them.
pub trait Fields {
    /// Calls `visit` with the name (any case) and value of every request header, repeated ones once each, in the order
    /// received. Stop after `lua_max_req_headers`.
    fn headers<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], &'a [u8]));

    /// The raw query string, without the `?`.
    fn query(&self) -> &[u8];
}

/// The fields of a stream connection: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFields;

impl Fields for NoFields {
    fn headers<'a>(&'a self, _visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {}

    fn query(&self) -> &[u8] {
        b""
    }
}

/// One look-up.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub protocol: Protocol,
    /// As received (methods are case-sensitive). Empty for streams.
    pub method: &'a str,
    /// The `Host` header or `:authority` as received, with its port if any.
    pub host: Option<&'a [u8]>,
    /// From [`crate::path::normalize`]. Empty for streams.
    pub path: &'a [u8],
    /// Server name of the TLS connection.
    pub sni: Option<&'a str>,
    /// The client, after real_ip. None for a unix socket.
    pub source: Option<SocketAddr>,
    /// The local end of the connection, with the port after port_maps.
    pub destination: Option<SocketAddr>,
    pub fields: &'a dyn Fields,
}

impl std::fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("protocol", &self.protocol)
            .field("method", &self.method)
            .field("host", &self.host.map(String::from_utf8_lossy))
            .field("path", &String::from_utf8_lossy(self.path))
            .field("sni", &self.sni)
            .field("source", &self.source)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}
