//! A request in words, for this router and for Kong's own engine.

use crate::definition::split_host;
use crate::{Fields, Protocol, Query};
use atc_router::ast::Value;
use atc_router::context::Context;
use atc_router::schema::Schema;
use std::net::SocketAddr;

/// Says what is wrong where a test is written wrongly.
const WORDS: &str = "a request is written as `GET http://host:port/path x-a:1`";

/// A request from words: `GET http://host:port/path?query x-a:1`, `https` with `sni=name`, `tcp://`, `tls://`, `udp://`;
/// `from=ip:port`, `to=ip:port` are the ends of the connection.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) protocol: Protocol,
    method: String,
    pub(crate) host: Option<String>,
    path: Vec<u8>,
    query: String,
    sni: Option<String>,
    source: SocketAddr,
    destination: SocketAddr,
    pub(crate) headers: Vec<(String, String)>,
}

impl Fields for Request {
    fn headers<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        for (name, value) in &self.headers {
            visit(name.as_bytes(), value.as_bytes());
        }
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }
}

impl Request {
    pub(crate) fn new(text: &str) -> Self {
        let mut words = text.split(' ');
        let method = words.next().expect(WORDS).to_owned();
        let (scheme, rest) = words.next().expect(WORDS).split_once("://").expect(WORDS);
        let (protocol, port) = match scheme {
            "http" => (Protocol::Http, 8000),
            "https" => (Protocol::Https, 8443),
            "tcp" => (Protocol::Tcp, 9000),
            "tls" => (Protocol::Tls, 9443),
            "udp" => (Protocol::Udp, 9001),
            other => panic!("no protocol {other}"),
        };
        let (host, target) = rest.split_once('/').unwrap_or((rest, ""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            protocol,
            method,
            host: (!host.is_empty()).then(|| host.to_owned()),
            path: crate::path::normalize(format!("/{path}").as_bytes()).expect(WORDS).into_owned(),
            query: query.to_owned(),
            sni: None,
            source: "127.0.0.1:50000".parse().expect(WORDS),
            destination: SocketAddr::new([127, 0, 0, 1].into(), port),
            headers: Vec::new(),
        };
        if let Some(host) = &request.host {
            request.headers.push(("Host".to_owned(), host.clone()));
        }
        for word in words {
            match word.split_once([':', '=']).expect(WORDS) {
                ("sni", name) => request.sni = Some(name.to_owned()),
                ("from", address) => request.source = address.parse().expect(WORDS),
                ("to", address) => request.destination = address.parse().expect(WORDS),
                (header, value) => request.headers.push((header.to_owned(), value.to_owned())),
            }
        }
        request
    }

    pub(crate) fn query(&self) -> Query<'_> {
        Query {
            protocol: self.protocol,
            method: &self.method,
            host: self.host.as_deref().map(str::as_bytes),
            path: &self.path,
            sni: self.sni.as_deref(),
            source: Some(self.source),
            destination: Some(self.destination),
            fields: self,
        }
    }

    /// The same for Kong's own engine.
    pub(crate) fn context<'a>(&self, schema: &'a Schema, is_expression: bool) -> Context<'a> {
        let mut context = Context::new(schema);
        let query = self.query();
        let mut add = |name: &str, value: Value| context.add_value(name, value);
        let text = |text: &str| Value::String(text.to_owned());
        add("net.protocol", text(query.protocol.name()));
        add("http.method", text(query.method));
        add("http.path", text(std::str::from_utf8(query.path).expect(WORDS)));
        let mut port = self.destination.port();
        if let Some(host) = query.host {
            let (name, named) = split_host(host);
            add("http.host", text(std::str::from_utf8(name).expect(WORDS)));
            port = if is_expression { port } else { named.unwrap_or(port) };
        }
        add("net.dst.port", Value::Int(port.into()));
        if let Some(sni) = query.sni {
            add("tls.sni", text(sni));
        }
        add("net.src.ip", Value::IpAddr(self.source.ip()));
        add("net.src.port", Value::Int(self.source.port().into()));
        for (name, value) in &self.headers {
            add(&format!("http.headers.{}", name.to_lowercase().replace('-', "_")), text(value));
        }
        context
    }
}
