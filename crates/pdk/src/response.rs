//! The response: an upstream's, a plugin's or the gateway's own.

use crate::{Body, Context, Format, Frame, Headers, error_body, negotiate};
use serde_json::Value;

/// A response on its way to the client.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
    /// Trailer fields to send after the body.
    pub trailers: Option<Headers>,
    /// A plugin answers with what the upstream said earlier: to the client it is told as if it were proxied.
    pub is_cached: bool,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// `kong.response.exit(status, body)` with a JSON body: compact, whatever the client accepts.
    pub fn json(status: u16, body: &Value) -> Self {
        let mut response = Self::new(status);
        response.headers.append("Content-Type", b"application/json; charset=utf-8");
        response.body = body.to_string().into_bytes().into();
        response
    }

    /// `{"message":"..."}`, whatever the client accepts.
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "message": message }))
    }

    /// `kong.response.error(status, message)`: the format follows `Accept`, JSON where it says nothing (router.md, 9 A).
    pub fn error(cx: &Context, status: u16, message: &str) -> Self {
        if cx.request.is_grpc() {
            return Self::grpc_error(status, message);
        }
        let accept = cx.request.headers.joined("accept");
        Self::in_format(cx, status, message, negotiate(accept.as_deref()).unwrap_or(Format::Json))
    }

    /// An error of the proxy itself: `Accept`, else the request's `Content-Type`, else `error_default_type` (router.md, 9 B).
    pub fn proxy_error(cx: &Context, status: u16, message: &str) -> Self {
        if cx.request.is_grpc() {
            return Self::grpc_error(status, message);
        }
        let headers = &cx.request.headers;
        let asked = headers.get("accept").or_else(|| headers.get("content-type"));
        if asked.is_some_and(|media| media.starts_with(b"application/grpc")) {
            // Over HTTP/1 there are no trailers to put it into: Kong answers with the message alone.
            return Self::message(status, message);
        }
        Self::in_format(cx, status, message, negotiate(asked).unwrap_or(cx.shared.error_default))
    }

    /// An error in a format of the caller's choice.
    pub fn in_format(cx: &Context, status: u16, message: &str, format: Format) -> Self {
        let mut response = Self::new(status);
        response.headers.append("Content-Type", format.content_type().as_bytes());
        response.body = error_body(&cx.shared.error_templates, format, message, cx.request_id()).into();
        response
    }

    fn grpc_error(status: u16, message: &str) -> Self {
        let mut response = Self::new(status);
        response.headers.append("Content-Type", b"application/grpc");
        response.headers.append("grpc-status", crate::grpc_status(status).to_string().as_bytes());
        response.headers.append("grpc-message", message.as_bytes());
        response
    }

    /// Whether a body may follow this status (RFC 9110, 6.4.1).
    pub fn may_have_body(status: u16) -> bool {
        !matches!(status, 100..=199 | 204 | 304)
    }

    /// Reads the whole body; the trailers stay at hand.
    pub async fn collect(&mut self, limit: usize) -> Result<bytes::Bytes, crate::BodyError> {
        let mut whole = bytes::BytesMut::new();
        while let Some(frame) = self.body.next().await {
            match frame? {
                Frame::Data(data) if whole.len() + data.len() > limit => return Err(crate::BodyError::TooLarge),
                Frame::Data(data) => whole.extend_from_slice(&data),
                Frame::Trailers(trailers) => self.trailers = Some(trailers),
            }
        }
        let whole = whole.freeze();
        self.body = whole.clone().into();
        Ok(whole)
    }
}
