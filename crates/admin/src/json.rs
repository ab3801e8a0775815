//! JSON as lua-cjson writes it: slashes escaped, numbers with at most 16 significant digits and no fraction where it is zero.
use serde_json::{Number, Value};
use std::io::Write as _;

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out);
    out
}

/// Writes an object's fields, each with the function.
pub(crate) fn write_object<'a, V>(
    fields: impl IntoIterator<Item = (&'a String, V)>,
    out: &mut Vec<u8>,
    write: impl Fn(V, &mut Vec<u8>),
) {
    out.push(b'{');
    for (i, (name, field)) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write(field, out);
    }
    out.push(b'}');
}

pub(crate) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => write_object(fields, out, write),
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'/' | 0..0x20 | 0x7f)) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let [special, after @ ..] = after else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Integers up to this are exact in 16 digits.
const EXACT: u64 = 9_999_999_999_999_999;

fn write_number(number: &Number, out: &mut Vec<u8>) {
    if number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= EXACT) {
        let _ = write!(out, "{number}");
        return;
    }
    out.extend_from_slice(general(number.as_f64().unwrap_or_default()).as_bytes());
}

/// C's `%.16g`.
fn general(number: f64) -> String {
    const DIGITS: i32 = 16;
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{number:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", shortened(mantissa), exponent.abs());
    }
    let places = usize::try_from(DIGITS - 1 - exponent).unwrap_or_default();
    shortened(&format!("{number:.places$}")).to_owned()
}

fn shortened(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}
