//! Answers of a status alone: what nginx sends where a plugin exits without a body.

use crate::{Context, Response, default_message};

impl Response {
    /// `kong.response.exit(status)`: no body below 300; above, the gateway's error text where Kong maps the status to
    /// one, else nginx's page where it has one, else nothing.
    pub fn bare(cx: &Context, status: u16) -> Self {
        if cx.request.is_grpc() {
            // Its clients read fields, which the proxy adds.
            return Self::new(status);
        }
        if matches!(status, 400 | 404 | 405 | 408 | 411 | 412 | 413 | 414 | 417 | 494 | 500 | 502 | 503 | 504) {
            return Self::proxy_error(cx, status, default_message(status));
        }
        let mut response = Self::new(status);
        if let Some(title) = page_title(status) {
            let media: &[u8] = if status < 400 { b"text/html" } else { b"text/html; charset=UTF-8" };
            response.headers.append("Content-Type", media);
            response.body = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
                 </body>\r\n</html>\r\n"
            )
            .into_bytes()
            .into();
        }
        response
    }
}

/// The title of nginx's page for a status.
fn page_title(status: u16) -> Option<&'static str> {
    Some(match status {
        301 => "301 Moved Permanently",
        302 => "302 Found",
        303 => "303 See Other",
        307 => "307 Temporary Redirect",
        308 => "308 Permanent Redirect",
        401 => "401 Authorization Required",
        402 => "402 Payment Required",
        403 => "403 Forbidden",
        406 => "406 Not Acceptable",
        409 => "409 Conflict",
        410 => "410 Gone",
        415 => "415 Unsupported Media Type",
        416 => "416 Requested Range Not Satisfiable",
        421 => "421 Misdirected Request",
        429 => "429 Too Many Requests",
        495 => "400 The SSL certificate error",
        496 => "400 No required SSL certificate was sent",
        497 => "400 The plain HTTP request was sent to HTTPS port",
        501 => "501 Not Implemented",
        505 => "505 HTTP Version Not Supported",
        507 => "507 Insufficient Storage",
        _ => return None,
    })
}
