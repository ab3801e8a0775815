//! Files of format 1.1 and 2.1: a route's path was a regex when it looked like one; since 3.0 a `~` says so.

use schema::Value;

pub(super) fn migrate(config: &mut Value) {
    if !matches!(config.get("_format_version").and_then(Value::as_str), Some("1.1" | "2.1")) {
        return;
    }
    routes_in(config);
}

/// Routes may be nested at any depth.
fn routes_in(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(routes_in),
        Value::Object(map) => {
            for (name, value) in map {
                if name == "routes" {
                    value.as_array_mut().into_iter().flatten().for_each(paths_of);
                }
                // A plugin's config is its own business.
                if name != "config" {
                    routes_in(value);
                }
            }
        }
        _ => {}
    }
}

fn paths_of(route: &mut Value) {
    let paths = route.get_mut("paths").and_then(Value::as_array_mut);
    for path in paths.into_iter().flatten() {
        if let Value::String(text) = path {
            *text = migrated(text);
        }
    }
}

fn migrated(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b'/' | b'%');
    if path.bytes().all(is_plain) { schema::validators::normalize(path) } else { format!("~{}", decoded(path)) }
}

/// Regexes were matched with paths whose triplets were decoded, and are no more: what they say is decoded once.
fn decoded(regex: &str) -> String {
    const RESERVED: &[u8] = b"!#$%&'()*+,/:;=?@[]";
    const META: &[u8] = b".^-{}|\\";
    let mut out = Vec::with_capacity(regex.len());
    let mut rest = regex.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(h), Some(l)) = (digit(*high), digit(*low))
        {
            rest = after;
            match h << 4 | l {
                byte if RESERVED.contains(&byte) => {
                    out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                }
                byte if META.contains(&byte) => out.extend([b'\\', byte]),
                byte => out.push(byte),
            }
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
