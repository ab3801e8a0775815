//! The validation functions behind Kong's named types, and the application of a field's constraints.

mod certificate;
mod der;
mod host;
mod ip;
mod jwk;
mod names;
mod path;
mod regex;
pub mod url;

pub use certificate::{
    KeyKind, PemError, certificate, certificate_key_kind, key, key_matches_certificate, pem, public_key,
};
pub use host::{Address, HostKind, host, host_with_optional_port, normalize_ip, sni, wildcard_host, wildcard_hosts};
pub use ip::{cidr_v4, ip, ip_or_cidr};
pub use jwk::jwk;
pub use names::{cookie_name, header_name, http_method, name, tag, utf8_name};
pub use path::{normalize, path, router_path};
pub use regex::pcre_error;
pub use url::url;

use serde_json::Value;

use crate::error::message;
use crate::field::{Constraint, Match};
use crate::lua;

/// One constraint on a value that is not null and of the right type.
pub(crate) fn constraint(constraint: &Constraint, value: &Value) -> Result<(), String> {
    let shown = || lua::tostring(value);
    let text = || value.as_str().unwrap_or_default();
    let check = |ok: bool, message: &dyn Fn() -> String| if ok { Ok(()) } else { Err(message()) };
    match constraint {
        Constraint::Eq(wanted) => check(same(value, wanted), &|| message::eq(&lua::tostring(wanted))),
        Constraint::Ne(unwanted) => check(!same(value, unwanted), &|| message::ne(&lua::tostring(unwanted))),
        Constraint::NotOneOf(list) => check(!has(list, value), &|| message::not_one_of(&listed(list))),
        Constraint::OneOf(list) => check(has(list, value), &|| message::one_of(&listed(list))),
        Constraint::OneOfBeyond(list, more) => {
            check(has(list, value) || has(more, value), &|| message::one_of(&listed(list)))
        }
        Constraint::Gt(limit) => check(value.as_f64().is_some_and(|v| v > *limit), &|| message::gt(*limit)),
        Constraint::Timestamp => check(value.as_f64().is_some_and(|v| v > 0.0), &|| message::TIMESTAMP.into()),
        Constraint::Uuid => check(is_uuid(text()), &|| message::UUID.into()),
        Constraint::IsRegex => check(pcre_error(text()).is_none(), &|| message::is_regex(&shown())),
        Constraint::Between(low, high) => {
            check(value.as_f64().is_some_and(|v| (*low..=*high).contains(&v)), &|| message::between(*low, *high))
        }
        Constraint::LenEq(length) => check(len(value) == *length, &|| message::len_eq(*length)),
        Constraint::LenMin(length) => check(len(value) >= *length, &|| message::len_min(*length)),
        Constraint::LenMax(length) => check(len(value) <= *length, &|| message::len_max(*length)),
        Constraint::StartsWith(prefix) => check(text().starts_with(prefix), &|| message::starts_with(prefix)),
        Constraint::NotMatch(pattern) => check(!pattern.is_match(text()), &|| message::invalid(&shown())),
        Constraint::Match(pattern) => check(pattern.is_match(text()), &|| message::invalid(&shown())),
        Constraint::MatchNone(list) => refuse(list.iter().find(|m| m.pattern.is_match(text())), value),
        Constraint::MatchAll(list) => refuse(list.iter().find(|m| !m.pattern.is_match(text())), value),
        Constraint::MatchAny(patterns, err) => check(patterns.iter().any(|p| p.is_match(text())), &|| {
            err.clone().unwrap_or_else(|| message::invalid(&shown()))
        }),
        Constraint::Contains(wanted) => {
            let list = value.as_array().map_or(&[][..], Vec::as_slice);
            check(has(list, wanted), &|| message::contains(&lua::tostring(wanted)))
        }
        Constraint::Custom(custom) => {
            (custom.0)(value).map_err(|text| if text.is_empty() { message::validation(&shown()) } else { text })
        }
        Constraint::MutuallyExclusiveSubsets(subsets) => exclusive(subsets, value),
        Constraint::JsonSchema(_) => Ok(()),
    }
}

fn refuse(found: Option<&Match>, value: &Value) -> Result<(), String> {
    match found {
        None => Ok(()),
        Some(found) => Err(found.err.clone().unwrap_or_else(|| message::invalid(&lua::tostring(value)))),
    }
}

fn exclusive(subsets: &[Vec<Value>], value: &Value) -> Result<(), String> {
    let Some(list) = value.as_array() else { return Ok(()) };
    let found: Vec<String> = subsets
        .iter()
        .filter(|subset| list.iter().any(|item| has(subset, item)))
        .map(|subset| format!("({})", lua::join(subset.iter().map(|item| format!("'{}'", lua::tostring(item))))))
        .collect();
    if found.len() <= 1 { Ok(()) } else { Err(message::mutually_exclusive_sets(&found.join(", "))) }
}

fn listed(list: &[Value]) -> String {
    lua::join(list.iter().map(lua::tostring))
}

fn has(list: &[Value], value: &Value) -> bool {
    list.iter().any(|item| same(item, value))
}

/// Equality as in Lua, where 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn len(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

/// 36 characters, hexadecimal in either case, of any version.
pub fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The text of a value that a validator takes as a string.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
