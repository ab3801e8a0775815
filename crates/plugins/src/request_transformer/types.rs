//! The types that values of JSON bodies get: the config has them as texts.

use serde_json::{Number, Value};

/// As `json_types` names them.
pub(crate) const TYPES: [&str; 3] = ["boolean", "number", "string"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonType {
    Boolean,
    Number,
    String,
}

impl JsonType {
    /// The types of a list's entries, in its order: strings where too few are named.
    pub(crate) fn all(names: &[String]) -> impl Iterator<Item = Self> {
        let named = names.iter().map(|name| match name.as_str() {
            "boolean" => Self::Boolean,
            "number" => Self::Number,
            _ => Self::String,
        });
        named.chain(std::iter::repeat(Self::String))
    }

    /// The value that a text stands for; a text that is no number is none.
    pub(crate) fn value(self, text: &str) -> Option<Value> {
        match self {
            Self::Boolean => Some(Value::Bool(text == "true")),
            Self::Number => number(text),
            Self::String => Some(Value::String(text.to_owned())),
        }
    }
}

/// A number as `tonumber` reads it: decimal or hexadecimal, with blanks around.
fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| Value::from(sign * n));
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value = text.parse::<f64>().ok().filter(|_| is_plain)?;
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}
