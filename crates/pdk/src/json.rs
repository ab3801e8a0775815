//! A JSON document whose top level is changed while all else stays as it was written: numbers keep every digit.

mod compact;

use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, from_slice, from_str, to_vec};

/// An object with its members as written, or an array as a whole.
#[derive(Debug)]
pub enum Json {
    Object(IndexMap<String, Box<RawValue>>),
    Array(Box<RawValue>),
}

impl Json {
    /// `None`: this is neither an object nor an array.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.trim_ascii_start().first()? {
            b'{' => from_slice(text).ok().map(Self::Object),
            b'[' => from_slice(text).ok().map(Self::Array),
            _ => None,
        }
    }

    /// An object without members.
    pub fn empty() -> Self {
        Self::Object(IndexMap::new())
    }

    /// The text of a member's value.
    pub fn raw(&self, name: &str) -> Option<&str> {
        match self {
            Self::Object(members) => members.get(name).map(|raw| raw.get()),
            Self::Array(_) => None,
        }
    }

    /// Sets a member; an array has none and stays as it is.
    pub fn set(&mut self, name: &str, value: &Value) {
        if let (Self::Object(members), Ok(raw)) = (self, to_raw_value(value)) {
            members.insert(name.to_owned(), raw);
        }
    }

    /// Removes a member; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        match self {
            Self::Object(members) => members.shift_remove(name).is_some(),
            Self::Array(_) => false,
        }
    }

    /// Gives a member another name, in place of what has that name.
    pub fn rename(&mut self, old: &str, new: &str) {
        if let Self::Object(members) = self
            && old != new
            && let Some(value) = members.shift_remove(old)
        {
            members.insert(new.to_owned(), value);
        }
    }

    /// Appends to a member as Kong's transformers do: a string becomes an array with it, an array grows, an object with
    /// members gets the next number as a name, and all else gives way to an array (to Lua an empty object is none).
    pub fn append(&mut self, name: &str, value: &Value) {
        let known = self.raw(name).and_then(|raw| from_str(raw).ok());
        let appended = match known {
            Some(Value::String(text)) => Value::from(vec![text.into(), value.clone()]),
            Some(Value::Array(mut items)) => {
                items.push(value.clone());
                Value::Array(items)
            }
            Some(Value::Object(mut members)) if !members.is_empty() => {
                members.insert("1".to_owned(), value.clone());
                Value::Object(members)
            }
            _ => Value::from(vec![value.clone()]),
        };
        self.set(name, &appended);
    }

    pub fn encode(&self) -> Vec<u8> {
        let text = match self {
            Self::Object(members) => to_vec(members),
            Self::Array(raw) => to_vec(raw),
        };
        text.unwrap_or_default()
    }

    /// Encodes the whole document anew, as cjson does: without blanks and with short numbers. No number loses a digit.
    pub fn encode_compact(&self) -> Vec<u8> {
        compact::compact(&self.encode())
    }
}

#[cfg(test)]
mod tests;
