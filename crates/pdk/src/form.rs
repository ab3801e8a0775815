//! Request bodies as forms: URL-encoded, JSON or multipart, told by the content type as in `kong.request.get_body`.

use crate::args::{Arg, Args};
use crate::json::Json;
use crate::{BodyError, Context, Method, Response};
use std::borrow::Cow;

/// How much of a body is read to look for form fields.
pub const LIMIT: usize = 8 << 20;

/// A body taken apart.
#[derive(Debug)]
pub enum Form {
    Args(Args),
    Json(Json),
    Multipart(Multipart),
}

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("missing content type")]
    MissingContentType,
    #[error("unsupported content type")]
    UnsupportedContentType,
    #[error("invalid json body")]
    InvalidJson,
    #[error("unable to decode multipart body")]
    InvalidMultipart,
}

impl Form {
    pub fn parse(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, FormError> {
        let full = content_type.ok_or(FormError::MissingContentType)?;
        let media = full.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return Ok(Self::Args(Args::parse(body)));
        }
        if media.eq_ignore_ascii_case(b"application/json") {
            return Json::parse(body).map(Self::Json).ok_or(FormError::InvalidJson);
        }
        if media.eq_ignore_ascii_case(b"multipart/form-data") {
            let boundary = boundary(full).ok_or(FormError::InvalidMultipart)?;
            return Ok(Self::Multipart(Multipart::parse(boundary, body)));
        }
        Err(FormError::UnsupportedContentType)
    }

    /// Looks a field up. A JSON number, boolean or null counts as bare, an array or object as many.
    pub fn find(&self, name: &str) -> Arg<'_> {
        match self {
            Self::Args(args) => {
                let mut values = args.iter().filter(|(n, _)| *n == name.as_bytes()).map(|(_, v)| v);
                match (values.next(), values.next()) {
                    (None, _) => Arg::Absent,
                    (Some(_), Some(_)) => Arg::Many,
                    (Some(None), _) => Arg::Bare,
                    (Some(Some(value)), _) => Arg::One(Cow::Borrowed(value)),
                }
            }
            Self::Json(json) => match json.raw(name).map(|raw| (raw, raw.as_bytes().first())) {
                None => Arg::Absent,
                Some((_, Some(b'[' | b'{'))) => Arg::Many,
                Some((raw, Some(b'"'))) => {
                    Arg::One(Cow::Owned(serde_json::from_str(raw).map(String::into_bytes).unwrap_or_default()))
                }
                Some(_) => Arg::Bare,
            },
            Self::Multipart(parts) => match parts.get(name) {
                Some(value) => Arg::One(Cow::Borrowed(value)),
                None => Arg::Absent,
            },
        }
    }

    pub fn remove(&mut self, name: &str) {
        match self {
            Self::Args(args) => {
                args.remove(name.as_bytes());
            }
            Self::Json(json) => {
                json.remove(name);
            }
            Self::Multipart(parts) => {
                parts.remove(name);
            }
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Args(args) => args.encode(),
            Self::Json(json) => json.encode_compact(),
            Self::Multipart(parts) => parts.encode(),
        }
    }
}

/// The parts of a `multipart/form-data` body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    boundary: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: Option<String>,
    head: Vec<u8>,
    value: Vec<u8>,
}

impl Multipart {
    fn parse(boundary: &[u8], body: &[u8]) -> Self {
        let delimiter = [b"--", boundary].concat();
        let finder = memchr::memmem::Finder::new(&delimiter);
        let starts: Vec<usize> = finder.find_iter(body).filter(|at| *at == 0 || body[at - 1] == b'\n').collect();
        let mut parts = Vec::new();
        for pair in starts.windows(2) {
            let piece = &body[pair[0] + delimiter.len()..pair[1]];
            let piece = strip_break(piece);
            let piece = piece.strip_suffix(b"\r\n").or_else(|| piece.strip_suffix(b"\n")).unwrap_or(piece);
            let (head, value) = match memchr::memmem::find(piece, b"\r\n\r\n") {
                Some(at) => (&piece[..at], &piece[at + 4..]),
                None => (piece, &[][..]),
            };
            parts.push(Part { name: part_name(head), head: head.to_vec(), value: value.to_vec() });
        }
        Self { boundary: boundary.to_vec(), parts }
    }

    /// Names and values of the parts that have a name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts.iter().filter_map(|part| Some((part.name.as_ref()?.as_bytes(), part.value.as_slice())))
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.parts.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.value.as_slice())
    }

    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.parts.len();
        self.parts.retain(|p| p.name.as_deref() != Some(name));
        self.parts.len() < before
    }

    /// Makes this the only part of its name, at the end. `false`: nothing is changed, for the name or the value would be
    /// read as more than that.
    pub fn put(&mut self, name: &str, value: &[u8]) -> bool {
        let delimiter = [b"--", self.boundary.as_slice()].concat();
        let is_safe = !name.contains(|c: char| c.is_control() || c == '"');
        if !is_safe || memchr::memmem::find(value, &delimiter).is_some() {
            return false;
        }
        self.remove(name);
        self.parts.push(Part {
            name: Some(name.to_owned()),
            head: format!("Content-Disposition: form-data; name=\"{name}\"").into_bytes(),
            value: value.to_vec(),
        });
        true
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            for piece in [b"--", self.boundary.as_slice(), b"\r\n", &part.head, b"\r\n\r\n", &part.value, b"\r\n"] {
                out.extend_from_slice(piece);
            }
        }
        for piece in [b"--", self.boundary.as_slice(), b"--\r\n"] {
            out.extend_from_slice(piece);
        }
        out
    }
}

fn strip_break(piece: &[u8]) -> &[u8] {
    piece.strip_prefix(b"\r\n").or_else(|| piece.strip_prefix(b"\n")).unwrap_or(piece)
}

/// The boundary of a multipart content type.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    parameter(content_type, b"boundary").filter(|b| !b.is_empty() && b.len() <= 70)
}

/// The name of a part, from its Content-Disposition.
fn part_name(head: &[u8]) -> Option<String> {
    let line = head
        .split(|b| *b == b'\n')
        .find(|line| line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case(b"content-disposition:")))?;
    parameter(line.trim_ascii(), b"name").map(|name| String::from_utf8_lossy(name).into_owned())
}

fn parameter<'a>(value: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    value.split(|b| *b == b';').skip(1).find_map(|part| {
        let at = memchr::memchr(b'=', part)?;
        let text = part[at + 1..].trim_ascii();
        let text = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text);
        part[..at].trim_ascii().eq_ignore_ascii_case(wanted).then_some(text)
    })
}

impl Context<'_> {
    /// Reads the request's body as a form. `Ok(None)`: it is none, or larger than [`LIMIT`] and untouched. `Err`: the
    /// answer to a body that broke off.
    pub async fn read_form(&mut self) -> Result<Option<Form>, Box<Response>> {
        if self.request.body.len().is_some_and(|len| len > LIMIT as u64) {
            return Ok(None);
        }
        match self.request.body.collect(LIMIT).await {
            Ok(body) => Ok(Form::parse(self.request.headers.get("content-type"), &body).ok()),
            Err(error) => Err(Box::new(self.body_error(error))),
        }
    }

    /// The answer to a request whose body could not be read.
    pub fn body_error(&self, error: BodyError) -> Response {
        let status = match error {
            BodyError::TooLarge => 413,
            BodyError::Timeout => 408,
            BodyError::Malformed | BodyError::Closed => 400,
        };
        Response::error(self, status, crate::default_message(status))
    }

    /// Replaces the request's body, and what the header fields say of its length.
    pub fn set_request_body(&mut self, body: Vec<u8>) {
        self.request.headers.remove("transfer-encoding");
        self.request.headers.set("Content-Length", body.len().to_string().as_bytes());
        self.request.body = body.into();
    }

    /// The query as it goes upstream.
    pub fn upstream_query(&self) -> Option<&[u8]> {
        match self.upstream.as_ref().and_then(|u| u.query.as_deref()) {
            Some(query) => Some(query),
            None => self.request.query(),
        }
    }

    /// The method as it goes upstream.
    pub fn upstream_method(&self) -> &Method {
        self.upstream.as_ref().and_then(|upstream| upstream.method.as_ref()).unwrap_or(&self.request.method)
    }

    /// Replaces the query that goes upstream; an empty one leaves none.
    pub fn set_upstream_query(&mut self, query: Vec<u8>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.query = Some(query);
        }
    }
}

#[cfg(test)]
mod tests;
