//! What a plugin ends a gRPC request with, in gRPC's terms, as `kong.response.exit` does (pdk.md): the client reads fields, no
//! body.

use bytes::Bytes;
use pdk::{Body, Context, Response, grpc_status};
use serde_json::Value;

/// The type of what plugins say as data. Other types are of bodies that they have a reason for.
const JSON: &[u8] = b"application/json; charset=utf-8";

/// By code (grpc.io/docs/guides/status-codes): what stands for a message where there is none.
const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Of any other request nothing is changed.
pub(crate) fn translate(cx: &Context, response: &mut Response) {
    if cx.request.is_grpc() {
        into_fields(response);
    }
}

fn into_fields(response: &mut Response) {
    let Response { status, headers, body, .. } = response;
    let is_json = match headers.get("content-type") {
        None => false,
        Some(JSON) => true,
        Some(_) => return,
    };
    if headers.contains("grpc-status") || body.is_stream() {
        return;
    }
    let said = match std::mem::take(body) {
        Body::Bytes(bytes) => bytes,
        _ => Bytes::new(),
    };
    let message = if is_json {
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        said.get("message").and_then(Value::as_str).map(str::to_owned)
    } else {
        Some(String::from_utf8_lossy(&said).into_owned()).filter(|text| !text.is_empty())
    };
    let code = grpc_status(*status);
    let name = || NAMES.get(usize::from(code)).copied().unwrap_or_default().to_owned();
    headers.set("Content-Type", b"application/grpc");
    headers.append("grpc-status", code.to_string().as_bytes());
    headers.append("grpc-message", message.unwrap_or_else(name).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::into_fields;
    use pdk::{Body, Response};
    use serde_json::json;

    fn with(status: u16, content_type: Option<&str>, body: &str) -> Response {
        let mut response = Response::new(status);
        if let Some(content_type) = content_type {
            response.headers.append("Content-Type", content_type.as_bytes());
        }
        response.body = body.to_owned().into_bytes().into();
        response
    }

    #[test]
    fn data_and_text_become_a_message_and_other_bodies_stay() {
        let plain = Some("text/plain");
        let cases = [
            (Response::message(401, "who?"), "16", "who?"),
            (Response::json(429, &json!({ "error": "x", "message": "later" })), "8", "later"),
            // No message of its own: the code's name.
            (Response::json(409, &json!({ "error": "x" })), "6", "AlreadyExists"),
            (Response::json(500, &json!({ "message": 7 })), "13", "Internal"),
            (Response::new(404), "5", "NotFound"),
            (with(200, None, ""), "0", "OK"),
            (with(418, None, "teapot"), "3", "teapot"),
            (with(302, None, ""), "2", "Unknown"),
            (with(503, plain, "closed"), "", "closed"),
            (with(200, Some("application/grpc"), "\0\0\0\0\0"), "", "\0\0\0\0\0"),
        ];
        for (mut response, status, said) in cases {
            into_fields(&mut response);
            let field = |name| response.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
            assert_eq!(field("grpc-status"), status, "{said}");
            if status.is_empty() {
                assert!(matches!(&response.body, Body::Bytes(bytes) if bytes == said), "{said}");
                continue;
            }
            assert_eq!((field("grpc-message"), field("content-type")), (said.into(), "application/grpc".into()));
            assert!(matches!(response.body, Body::Empty), "{said}");
        }
    }
}
