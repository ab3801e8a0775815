//! Paths: of services, and those that routes match by prefix or regex.

use serde_json::Value;

use super::{pcre_error, text};

pub fn path(value: &Value) -> Result<(), String> {
    let given = text(value);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%:@!$&'()*+,;=".contains(&byte);
    if !given.starts_with('/') || !given.bytes().all(allowed) {
        return Err(format!("invalid path: '{given}' (characters outside of the reserved list of RFC 3986 found)"));
    }
    percent_encoding(given)
}

/// `/prefix` in its normal form, or `~/regex`.
pub fn router_path(value: &Value) -> Result<(), String> {
    let given = text(value);
    if let Some(pattern) = given.strip_prefix('~') {
        return match pcre_error(pattern) {
            None => Ok(()),
            Some(err) => Err(format!("invalid regex: '{pattern}' (PCRE returned: {err})")),
        };
    }
    percent_encoding(given)?;
    let normal = normalize(given);
    if normal != given {
        return Err(format!("non-normalized path, consider use '{normal}' instead"));
    }
    Ok(())
}

/// Every `%` begins a triplet. The message shows where one does not as Kong shows it: triplets beside it are blanked out.
fn percent_encoding(given: &str) -> Result<(), String> {
    let mut blanked = Vec::with_capacity(given.len());
    let mut rest = given.as_bytes();
    while let [first, tail @ ..] = rest {
        match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                blanked.extend_from_slice(b"___");
                rest = after;
            }
            _ => {
                blanked.push(*first);
                rest = tail;
            }
        }
    }
    if !blanked.contains(&b'%') {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(&blanked).chars().skip_while(|c| *c != '%').take(3).collect();
    Err(format!("invalid url-encoded value: '{shown}'"))
}

/// The normal form of a URI's path: triplets of unreserved octets decoded, the others in upper case, dot segments and
/// empty segments removed.
pub fn normalize(uri: &str) -> String {
    if uri.is_empty() || uri == "/" {
        return uri.to_owned();
    }
    let decoded = decode(uri.as_bytes());
    let out = if decoded.contains(&b'.') || decoded.windows(2).any(|pair| pair == b"//") {
        remove_segments(&decoded)
    } else {
        decoded
    };
    String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
}

fn decode(uri: &[u8]) -> Vec<u8> {
    const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";
    let mut out = Vec::with_capacity(uri.len());
    let mut rest = uri;
    while let [first, tail @ ..] = rest {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(h), Some(l)) = (hex(*high), hex(*low))
        {
            let octet = h * 16 + l;
            if RESERVED.contains(&octet) {
                out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
            } else {
                out.push(octet);
            }
            rest = after;
            continue;
        }
        out.push(*first);
        rest = tail;
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// RFC 3986, 5.2.4, with runs of slashes taken as one.
fn remove_segments(path: &[u8]) -> Vec<u8> {
    let absolute = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = segments.len() - 1;
    let mut directory = false;
    for (at, segment) in segments.iter().enumerate() {
        directory = false;
        match *segment {
            b"" | b"." => directory = at == last,
            b".." => {
                kept.pop();
                directory = at == last;
            }
            segment => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for (at, segment) in kept.iter().enumerate() {
        if at > 0 || absolute {
            out.push(b'/');
        }
        out.extend_from_slice(segment);
    }
    if (directory || out.is_empty()) && out.last() != Some(&b'/') {
        out.push(b'/');
    }
    out
}
