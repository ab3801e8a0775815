//! Requests and answers as plain values, and the answers that Kong leaves to nginx.
use crate::json;
use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// As it came, percent-encoded, without the query.
    pub path: String,
    /// As it came, without the question mark.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Who sent it, for the logs.
    pub client: Option<IpAddr>,
    /// The certificate (DER) that the client showed and the listener verified.
    pub certificate: Option<Vec<u8>>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer without the headers that the HTTP engine adds (Date, Content-Length, Connection).
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub rest: Option<Rest>,
}

/// What comes after the body, made while it is sent: nobody knows yet how much.
pub struct Rest(Box<dyn Iterator<Item = Vec<u8>> + Send>);

impl Iterator for Rest {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.0.next()
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl Response {
    pub fn empty(status: u16) -> Response {
        Response { status, ..Response::default() }
    }

    pub fn json(status: u16, body: &Value) -> Response {
        Response::json_text(status, json::encode(body))
    }

    /// With a body that is JSON already.
    pub(crate) fn json_text(status: u16, body: Vec<u8>) -> Response {
        Response::empty(status).with("Content-Type", "application/json; charset=utf-8").with_body(body)
    }

    pub fn message(status: u16, message: &str) -> Response {
        Response::json(status, &json!({ "message": message }))
    }

    pub fn not_found() -> Response {
        Response::message(404, "Not found")
    }

    pub fn method_not_allowed() -> Response {
        Response::message(405, "Method not allowed")
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        Response::empty(status).with("Content-Type", content_type).with_body(body.into())
    }

    /// With a body that is made piece by piece.
    pub fn pieces(status: u16, content_type: &str, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Response {
        let rest = Some(Rest(Box::new(pieces)));
        Response { rest, ..Response::empty(status).with("Content-Type", content_type) }
    }

    /// nginx's own error page.
    pub fn page(status: u16) -> Response {
        let title = match status {
            404 => "404 Not Found",
            405 => "405 Not Allowed",
            413 => "413 Request Entity Too Large",
            415 => "415 Unsupported Media Type",
            _ => "400 Bad Request",
        };
        let page = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        Response::text(status, "text/html; charset=UTF-8", page)
    }

    /// For the engine, where more bytes come than `Settings::body_limit`.
    pub fn too_large() -> Response {
        Response::page(413)
    }

    pub fn with(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with_body(mut self, body: Vec<u8>) -> Response {
        self.body = body;
        self
    }
}
