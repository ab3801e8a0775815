//! What of `ngx` expressions see: constants, and functions that give the same for the same arguments and time.

use super::environment::UNUSABLE;
use crate::calendar;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::{Digest, Md5};
use pdk::args;
use schema::lua::{Fault, Function, Value};
use std::time::Duration;

const FUNCTIONS: [&str; 14] = [
    "ngx.decode_base64",
    "ngx.encode_args",
    "ngx.encode_base64",
    "ngx.escape_uri",
    "ngx.localtime",
    "ngx.md5",
    "ngx.md5_bin",
    "ngx.now",
    "ngx.sha1_bin",
    "ngx.time",
    "ngx.today",
    "ngx.unescape_uri",
    "ngx.update_time",
    "ngx.utctime",
];

/// By name, without `HTTP_` where it is a status or a method.
const STATUSES: [(&str, u16); 36] = [
    ("CONTINUE", 100),
    ("SWITCHING_PROTOCOLS", 101),
    ("OK", 200),
    ("CREATED", 201),
    ("ACCEPTED", 202),
    ("NO_CONTENT", 204),
    ("PARTIAL_CONTENT", 206),
    ("SPECIAL_RESPONSE", 300),
    ("MOVED_PERMANENTLY", 301),
    ("MOVED_TEMPORARILY", 302),
    ("SEE_OTHER", 303),
    ("NOT_MODIFIED", 304),
    ("TEMPORARY_REDIRECT", 307),
    ("PERMANENT_REDIRECT", 308),
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("PAYMENT_REQUIRED", 402),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("NOT_ALLOWED", 405),
    ("NOT_ACCEPTABLE", 406),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("GONE", 410),
    ("UPGRADE_REQUIRED", 426),
    ("TOO_MANY_REQUESTS", 429),
    ("CLOSE", 444),
    ("ILLEGAL", 451),
    ("INTERNAL_SERVER_ERROR", 500),
    ("METHOD_NOT_IMPLEMENTED", 501),
    ("NOT_IMPLEMENTED", 501),
    ("BAD_GATEWAY", 502),
    ("SERVICE_UNAVAILABLE", 503),
    ("GATEWAY_TIMEOUT", 504),
    ("VERSION_NOT_SUPPORTED", 505),
    ("INSUFFICIENT_STORAGE", 507),
];

/// Each a bit, from 2 on.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
];

/// Levels of the log, from 0 on.
const LEVELS: [&str; 9] = ["STDERR", "EMERG", "ALERT", "CRIT", "ERR", "WARN", "NOTICE", "INFO", "DEBUG"];
const RESULTS: [(&str, f64); 5] = [("OK", 0.0), ("ERROR", -1.0), ("AGAIN", -2.0), ("DONE", -4.0), ("DECLINED", -5.0)];

/// A constant or a function of `ngx`, by its whole name.
pub(super) fn named<'a>(path: &str) -> Option<Value<'a>> {
    if let Some(function) = FUNCTIONS.into_iter().find(|known| *known == path) {
        return Some(Value::Function(Function::Host(function)));
    }
    let name = path.strip_prefix("ngx.")?;
    if name == "null" {
        return Some(Value::Null);
    }
    let number = if let Some(name) = name.strip_prefix("HTTP_") {
        let status = STATUSES.into_iter().find(|(known, _)| *known == name).map(|(_, status)| f64::from(status));
        status.or_else(|| METHODS.into_iter().position(|known| known == name).map(|at| (at as f64 + 1.0).exp2()))
    } else {
        let result = RESULTS.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number);
        result.or_else(|| LEVELS.into_iter().position(|known| known == name).map(|at| at as f64))
    };
    number.map(Value::Number)
}

/// Calls a function. `now` is the time since the epoch.
pub(super) fn call<'a>(function: &str, arguments: &[Value<'a>], now: Duration) -> Result<Value<'a>, Fault> {
    // Nil is the empty text, and all else is made a text.
    let text = || match arguments.first() {
        None | Some(Value::Nil) => Vec::new(),
        Some(value) => value.clone().display().into_owned(),
    };
    Ok(match function {
        "ngx.time" => Value::Number(now.as_secs() as f64),
        "ngx.now" => Value::Number(now.as_millis() as f64 / 1000.0),
        "ngx.update_time" => Value::Nil,
        "ngx.today" => Value::owned(today(now)),
        // Local time is UTC, as in the containers of Kong.
        "ngx.localtime" | "ngx.utctime" => {
            let (hour, minute, second) = calendar::time(now.as_secs());
            Value::owned(format!("{} {hour:02}:{minute:02}:{second:02}", today(now)))
        }
        "ngx.md5" => Value::owned(hex(&Md5::digest(text()))),
        "ngx.md5_bin" => Value::owned(Md5::digest(text()).to_vec()),
        "ngx.sha1_bin" => Value::owned(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text()).as_ref()),
        "ngx.encode_base64" => {
            let is_padded = !arguments.get(1).is_some_and(Value::is_true);
            Value::owned(if is_padded { STANDARD.encode(text()) } else { STANDARD_NO_PAD.encode(text()) })
        }
        "ngx.decode_base64" => match arguments.first() {
            Some(Value::String(text)) => decode_base64(text).map_or(Value::Nil, Value::owned),
            _ => return Err(Fault::new("ngx.decode_base64 takes a string")),
        },
        "ngx.escape_uri" => {
            let mut out = Vec::new();
            args::encode(&text(), &mut out);
            Value::owned(out)
        }
        "ngx.unescape_uri" => Value::owned(args::decode(&text()).into_owned()),
        "ngx.encode_args" => Value::owned(encode_args(arguments.first())?),
        _ => return Err(Fault::new(function.to_owned() + UNUSABLE)),
    })
}

fn today(now: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let (year, month, day) = calendar::date(now.as_secs() / DAY);
    format!("{year:04}-{month:02}-{day:02}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// nginx takes what has no padding, too, and bits that are too many.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(text).ok()
}

/// A table as arguments: those that are true have names only, those that are false are left out, and lists come one by one.
fn encode_args(table: Option<&Value<'_>>) -> Result<Vec<u8>, Fault> {
    let Some(Value::Table(entries)) = table else { return Err(Fault::new("ngx.encode_args takes a table")) };
    let mut out = Vec::new();
    let mut add = |name: &Value<'_>, value: &Value<'_>| {
        let value = match value {
            Value::Bool(false) => return Ok(()),
            Value::Bool(true) => None,
            Value::String(_) | Value::Number(_) => Some(value.clone().display()),
            _ => return Err(Fault::new("attempt to use a value that is no text as a query argument value")),
        };
        if !out.is_empty() {
            out.push(b'&');
        }
        args::encode(&name.clone().display(), &mut out);
        if let Some(value) = value {
            out.push(b'=');
            args::encode(&value, &mut out);
        }
        Ok(())
    };
    for (name, value) in entries.iter() {
        match value {
            Value::Table(values) => values.iter().try_for_each(|(_, value)| add(name, value))?,
            value => add(name, value)?,
        }
    }
    Ok(out)
}
