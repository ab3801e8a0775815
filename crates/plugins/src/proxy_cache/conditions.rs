//! Conditional requests (RFC 9110, 13): those of clients, and those that ask the upstream whether a response still holds.

use super::store::Stored;
use crate::http_date;
use pdk::{Headers, Response};

/// Fields of a 304 (RFC 9110, 15.4.5).
const NOT_MODIFIED: [&str; 6] = ["cache-control", "content-location", "date", "etag", "expires", "vary"];
/// Fields that say how the body stands in a message: those of what is kept hold, whatever a 304 says (RFC 9111, 3.2).
const OF_BODY: [&str; 5] = ["content-encoding", "content-length", "content-md5", "content-range", "content-type"];
/// The fields that make a request conditional.
const CONDITIONS: [&str; 5] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];

pub(super) fn is_conditional(request: &Headers) -> bool {
    CONDITIONS.iter().any(|name| request.contains(name))
}

/// Whether the client has the response already.
pub(super) fn is_known(request: &Headers, stored: &Headers, received: u64) -> bool {
    if request.contains("if-none-match") {
        let Some(tag) = stored.get("etag").map(opaque) else { return false };
        let named = |value: &[u8]| {
            value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|t| t == b"*" || opaque(t) == tag)
        };
        return request.get_all("if-none-match").any(named);
    }
    let since = request.get_str("if-modified-since").and_then(http_date::parse);
    // What does not say when it was changed was not changed after it was made, or came (RFC 9111, 4.3.2).
    let changed = stored.get_str("last-modified").or(stored.get_str("date"));
    let changed = changed.map_or(Some(received), http_date::parse);
    since.zip(changed).is_some_and(|(since, changed)| changed <= since)
}

/// The tag without the mark of weakness, which does not count here (RFC 9110, 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The answer to a client that has the response already.
pub(super) fn not_modified(mut response: Response) -> Response {
    response.status = 304;
    response.body = pdk::Body::Empty;
    let is_told = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"age") || NOT_MODIFIED.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
    };
    response.headers.retain(|name, _| is_told(name));
    response
}

/// Whether it can be asked if a response still holds.
pub(super) fn has_validator(response: &Headers) -> bool {
    response.contains("etag") || response.contains("last-modified")
}

/// Makes a request ask whether the response still holds; `false` where nothing can be asked for.
pub(super) fn ask(request: &mut Headers, stored: &Stored) -> bool {
    let (tag, modified) = (stored.headers.get("etag"), stored.headers.get("last-modified"));
    if let Some(tag) = tag {
        request.set("If-None-Match", tag);
    }
    if let Some(modified) = modified {
        request.set("If-Modified-Since", modified);
    }
    has_validator(&stored.headers)
}

/// Undoes [`ask`].
pub(super) fn ask_no_more(request: &mut Headers) {
    request.remove("if-none-match");
    request.remove("if-modified-since");
}

/// The fields of a response after the upstream has said that it still holds (RFC 9111, 3.2).
pub(super) fn renewed(stored: &Headers, said: &Headers) -> Headers {
    let is_of_body = |name: &[u8]| {
        OF_BODY.iter().any(|of_body| name.eq_ignore_ascii_case(of_body.as_bytes())) || !super::keep::is_kept(name)
    };
    let mut fields = stored.clone();
    // It holds from now on, whether the answer says when it was made or not.
    fields.remove("date");
    fields.retain(|name, _| is_of_body(name) || !said.iter().any(|(new, _)| new.eq_ignore_ascii_case(name)));
    for (name, value) in said.iter().filter(|(name, _)| !is_of_body(name)) {
        fields.append(&String::from_utf8_lossy(name), value);
    }
    fields
}
