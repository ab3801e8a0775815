//! Parts of a response that is kept whole (RFC 9110, 14): one range of bytes, where the client still means this response.

use crate::http_date;
use bytes::Bytes;
use pdk::{Body, Headers, Method, Request, Response};

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// From the first byte to the last, which is there.
    Part(usize, usize),
    /// Nothing of it is there.
    Nothing,
}

/// Cuts a whole response to the range that the request asks for. Whatever is no single range of bytes is answered whole, as the
/// RFC allows.
pub(super) fn cut(request: &Request, body: &Bytes, mut response: Response) -> Response {
    if request.method != Method::Get || response.status != 200 || response.headers.contains("content-encoding") {
        return response;
    }
    response.headers.set("Accept-Ranges", b"bytes");
    let Some(range) = request.headers.get_str("range") else { return response };
    if !is_meant(&request.headers, &response.headers) {
        return response;
    }
    match asked(range, body.len()) {
        None => response,
        Some(Asked::Nothing) => {
            response.status = 416;
            response.headers.set("Content-Range", format!("bytes */{}", body.len()).as_bytes());
            response.headers.set("Content-Length", b"0");
            response.body = Body::Empty;
            response
        }
        Some(Asked::Part(first, last)) => {
            response.status = 206;
            response.headers.set("Content-Range", format!("bytes {first}-{last}/{}", body.len()).as_bytes());
            response.headers.set("Content-Length", (last + 1 - first).to_string().as_bytes());
            response.body = body.slice(first..=last).into();
            response
        }
    }
}

/// Whether the client has a part of this very response, where it says so (`If-Range`; RFC 9110, 13.1.5).
fn is_meant(request: &Headers, response: &Headers) -> bool {
    let Some(condition) = request.get_str("if-range") else { return true };
    if condition.starts_with('"') {
        // Only a strong tag tells that the bytes are the same.
        return response.get_str("etag") == Some(condition);
    }
    let said = http_date::parse(condition);
    said.is_some() && said == response.get_str("last-modified").and_then(http_date::parse)
}

fn asked(range: &str, length: usize) -> Option<Asked> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let number = |text: &str| -> Option<usize> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(usize::MAX))
    };
    let (first, last) = match (first.trim(), last.trim()) {
        ("", "") => return None,
        ("", count) => match number(count)? {
            0 => return Some(Asked::Nothing),
            count => (length.saturating_sub(count), usize::MAX),
        },
        (first, "") => (number(first)?, usize::MAX),
        (first, last) => (number(first)?, number(last)?),
    };
    if last < first {
        return None;
    }
    Some(if first < length { Asked::Part(first, last.min(length - 1)) } else { Asked::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_range_of_bytes() {
        for (range, want) in [
            ("bytes=0-1", Some(Asked::Part(0, 1))),
            ("bytes=2-", Some(Asked::Part(2, 4))),
            ("bytes=-2", Some(Asked::Part(3, 4))),
            ("bytes=-9", Some(Asked::Part(0, 4))),
            ("Bytes = 1-99999999999999999999999", Some(Asked::Part(1, 4))),
            ("bytes=5-", Some(Asked::Nothing)),
            ("bytes=-0", Some(Asked::Nothing)),
            ("bytes=2-1", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("lines=0-1", None),
            ("0-1", None),
        ] {
            assert_eq!(asked(range, 5), want, "{range}");
        }
    }
}
