//! The gateway's error answers: formats, negotiation and default texts (Kong's, router.md section 9).

use std::sync::Arc;

/// The format of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Plain,
    Html,
    Xml,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
        }
    }

    /// From a media type without parameters, as `error_default_type` names it.
    pub fn from_media_type(media: &str) -> Option<Self> {
        Some(match media {
            "application/json" | "application/*" | "*/*" => Self::Json,
            "text/plain" | "text/*" => Self::Plain,
            "text/html" => Self::Html,
            "application/xml" => Self::Xml,
            _ => return None,
        })
    }
}

/// Templates of `error_template_{html,json,xml,plain}`, with two `%s`: the message and the request id.
pub type Templates = [Option<Arc<str>>; 4];

/// The format that an `Accept` (or `Content-Type`) value asks for: the highest q wins, the first on a tie, and a media
/// type that no template is for asks for JSON. `None` where the header is absent.
pub fn negotiate(accept: Option<&[u8]>) -> Option<Format> {
    let accept = std::str::from_utf8(accept?).unwrap_or_default();
    let mut best = (0.0, Format::Json);
    for range in accept.split(',') {
        let mut parts = range.split(';');
        let media = parts.next().unwrap_or_default().trim();
        let quality = parts.find_map(|part| quality(part.trim())).unwrap_or(1.0);
        if is_media_range(media) && quality > best.0 {
            best = (quality, Format::from_media_type(media).unwrap_or(Format::Json));
        }
    }
    Some(best.1)
}

/// `type/subtype`, each of them `*` or at least two characters, as Kong's pattern has it.
fn is_media_range(media: &str) -> bool {
    let is_name = |name: &str| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-!#$&^_+.".contains(&b);
        name == "*"
            || (name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(is_allowed))
    };
    media.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// The q of a parameter that is a valid one.
fn quality(parameter: &str) -> Option<f32> {
    let value = parameter.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    value.parse().ok().filter(|q| value.starts_with(['0', '1']) && (0.0..=1.0).contains(q))
}

/// The body of an error answer.
pub fn error_body(templates: &Templates, format: Format, message: &str, request_id: &str) -> Vec<u8> {
    if let Some(template) = &templates[format as usize] {
        return template.replacen("%s", message, 1).replacen("%s", request_id, 1).into_bytes();
    }
    match format {
        Format::Json => {
            format!("{{\n  \"message\":{},\n  \"request_id\":\"{request_id}\"\n}}", serde_json::Value::from(message))
        }
        Format::Plain => format!("{message}\nrequest_id: {request_id}\n"),
        Format::Html => format!(
            "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  <body>\n    \
             <h1>Error</h1>\n    <p>{message}.</p>\n    <p>request_id: {request_id}</p>\n  </body>\n</html>\n"
        ),
        Format::Xml => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{message}</message>\n  \
             <requestid>{request_id}</requestid>\n</error>\n"
        ),
    }
    .into_bytes()
}

/// The text of a status where no message is given.
pub fn default_message(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "Unauthorized",
        402 => "Payment required",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        406 => "Not acceptable",
        407 => "Proxy authentication required",
        408 => "Request timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        415 => "Unsupported media type",
        416 => "Range not satisfiable",
        417 => "Expectation failed",
        418 => "I'm a teapot",
        421 => "Misdirected request",
        422 => "Unprocessable entity",
        423 => "Locked",
        424 => "Failed dependency",
        425 => "Too early",
        426 => "Upgrade required",
        428 => "Precondition required",
        429 => "Too many requests",
        431 => "Request header fields too large",
        451 => "Unavailable for legal reasons",
        494 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        501 => "Not implemented",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        505 => "HTTP version not supported",
        506 => "Variant also negotiates",
        507 => "Insufficient storage",
        508 => "Loop detected",
        510 => "Not extended",
        511 => "Network authentication required",
        _ => "The upstream server responded with an error",
    }
}

/// The grpc-status of an HTTP status.
pub fn grpc_status(status: u16) -> u8 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        200..=299 => 0,
        402..=498 => 3,
        500..=599 => 13,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
