//! The path that the upstream is asked for.

use std::borrow::Cow;

/// `path_handling` of a route. Flavors other than traditional know `V0` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathHandling {
    #[default]
    V0,
    V1,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// What may stand in a path as it is; `%` because escapes of reserved characters are still there.
const UNESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$&'()*+,/:;=?@[]-_.~%";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// A normalised path as it may go over the wire. Borrows if nothing changes.
#[must_use]
pub fn escape_upstream(path: &[u8]) -> Cow<'_, [u8]> {
    if path.iter().all(|byte| UNESCAPED[usize::from(*byte)]) {
        return Cow::Borrowed(path);
    }
    let mut escaped = Vec::with_capacity(path.len() + 16);
    for byte in path {
        if UNESCAPED[usize::from(*byte)] {
            escaped.push(*byte);
        } else {
            push_escape(&mut escaped, *byte);
        }
    }
    Cow::Owned(escaped)
}

/// A matched prefix as the value of X-Forwarded-Prefix: as decoded, as in Kong, but control characters other than the tab stay escaped (Kong lets
/// them add headers to the upstream's request). Borrows if nothing changes.
#[must_use]
pub fn forwarded_prefix(prefix: &[u8]) -> Cow<'_, [u8]> {
    let is_bad = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if !prefix.iter().any(is_bad) {
        return Cow::Borrowed(prefix);
    }
    let mut escaped = Vec::with_capacity(prefix.len() + 16);
    for byte in prefix {
        if is_bad(byte) {
            push_escape(&mut escaped, *byte);
        } else {
            escaped.push(*byte);
        }
    }
    Cow::Owned(escaped)
}

fn push_escape(buffer: &mut Vec<u8>, byte: u8) {
    buffer.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// The upstream's path, not yet escaped, put together from:
/// - `base`: `service.path`, or none;
/// - `prefix`: what the route matched ([`crate::Match::prefix`]), taken off if `strip` (`route.strip_path`);
/// - `path`: the normalised path of the request.
///
/// Borrows if it is the request's own.
#[must_use]
pub fn upstream_path<'a>(
    base: Option<&str>,
    prefix: Option<&[u8]>,
    path: &'a [u8],
    strip: bool,
    handling: PathHandling,
) -> Cow<'a, [u8]> {
    let is_stripped = strip && prefix.is_some();
    if matches!(base, None | Some("" | "/")) && !is_stripped {
        return Cow::Borrowed(path);
    }
    let mut joined = Vec::with_capacity(base.map_or(0, str::len) + path.len() + 1);
    upstream_path_into(&mut joined, base, prefix, path, strip, handling);
    Cow::Owned(joined)
}

/// [`upstream_path`], appended to a buffer.
pub fn upstream_path_into(
    buffer: &mut Vec<u8>,
    base: Option<&str>,
    prefix: Option<&[u8]>,
    path: &[u8],
    strip: bool,
    handling: PathHandling,
) {
    let base = base.filter(|base| !base.is_empty()).unwrap_or("/").as_bytes();
    let rest = prefix.filter(|_| strip).map(|prefix| without_dots(path.get(prefix.len()..).unwrap_or_default()));
    let bare = base.strip_suffix(b"/");
    let parts: [&[u8]; 2] = match (handling, rest, bare) {
        (PathHandling::V1, Some(rest), Some(bare)) if rest.starts_with(b"/") => [bare, rest],
        (PathHandling::V1, Some(rest), _) => [base, rest],
        (PathHandling::V1, None, _) => [base, path.get(1..).unwrap_or_default()],
        (PathHandling::V0, Some(b""), Some(bare)) if base.len() > 1 && !path.ends_with(b"/") => [bare, b""],
        (PathHandling::V0, Some(b""), Some(_)) => [base, b""],
        (PathHandling::V0, Some(b""), None) if path.len() > 1 && path.ends_with(b"/") => [base, b"/"],
        (PathHandling::V0, Some(b""), None) => [base, b""],
        (PathHandling::V0, Some(rest), Some(bare)) if rest.starts_with(b"/") => [bare, rest],
        (PathHandling::V0, Some(rest), None) if !rest.starts_with(b"/") => {
            buffer.extend_from_slice(base);
            [b"/", rest]
        }
        (PathHandling::V0, Some(rest), _) => [base, rest],
        (PathHandling::V0, None, Some(_)) => [base, path.get(1..).unwrap_or_default()],
        (PathHandling::V0, None, None) if path == b"/" => [base, b""],
        (PathHandling::V0, None, None) => [base, path],
    };
    for part in parts {
        buffer.extend_from_slice(part);
    }
}

/// Dots right behind a stripped prefix would begin a dot segment of their own.
fn without_dots(rest: &[u8]) -> &[u8] {
    match rest {
        [b'.', b'/', after @ ..] | [b'.', b'.', b'/', after @ ..] => after,
        b"." | b".." => b"",
        rest => rest,
    }
}
