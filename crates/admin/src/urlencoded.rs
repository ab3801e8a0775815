//! Arguments of queries and forms, and percent-encoding, as OpenResty reads and writes them.

/// The argument's name and, where it has a `=`, its value; not yet known to be UTF-8.
pub(crate) type Argument = (Vec<u8>, Option<Vec<u8>>);

/// More are refused by the caller: parsing stops one beyond.
pub(crate) const MOST_ARGUMENTS: usize = 1000;

pub(crate) fn arguments(text: &[u8]) -> Vec<Argument> {
    let parts = text.split(|byte| *byte == b'&').filter(|part| !part.is_empty() && part[0] != b'=');
    let argument = |part: &[u8]| match memchr::memchr(b'=', part) {
        Some(at) => (decode(&part[..at], true), Some(decode(&part[at + 1..], true))),
        None => (decode(part, true), None),
    };
    parts.take(MOST_ARGUMENTS + 1).map(argument).collect()
}

/// Sequences that are no encoding stay as they are.
pub(crate) fn decode(text: &[u8], plus_is_space: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match (first, others) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(*first),
        }
    }
    out
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// As `ngx.escape_uri`: everything but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
