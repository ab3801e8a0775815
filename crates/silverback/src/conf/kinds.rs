//! The types a property can have: how each is read from its text, named in the documentation, and shown by the Admin API.

use std::path::PathBuf;

use serde_json::Value;

use super::units::{parse_size, parse_time};

/// A property's type.
pub trait Kind: Sized {
    /// How the documentation names the type.
    const TYPE: &'static str;
    /// The words a choice allows; empty for every other type.
    const CHOICES: &'static [&'static str] = &[];
    /// Whether the value must never be shown.
    const SECRET: bool = false;

    /// Reads the text of a value.
    ///
    /// # Errors
    /// What is wrong with the text; the caller adds the property's name and place.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// The value of a property that is not set and has no default.
    fn unset() -> Option<Self> {
        None
    }

    /// The value as the Admin API shows it; `Null` is left out of the dump, as Kong does for unset properties.
    fn dump(&self) -> Value;
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    NotANumber,
    NotABoolean,
    NotOneOf(&'static [&'static str]),
    /// A message that follows the property's name.
    Because(String),
}

impl Wrong {
    pub(super) fn message(&self, name: &str, value: &str) -> String {
        match self {
            Self::NotANumber => format!("{name} is not a number: '{value}'"),
            Self::NotABoolean => format!("{name} is not a boolean: '{value}' (on, off)"),
            Self::NotOneOf(choices) => format!("{name} has an invalid value: '{value}' ({})", choices.join(", ")),
            Self::Because(reason) => format!("{name} {reason}"),
        }
    }
}

impl Kind for bool {
    const TYPE: &'static str = "switch";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err(Wrong::NotABoolean),
        }
    }

    fn dump(&self) -> Value {
        Value::Bool(*self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Kind for $type {
            const TYPE: &'static str = "whole number";

            fn parse(text: &str) -> Result<Self, Wrong> {
                if let Ok(number) = text.parse() {
                    return Ok(number);
                }
                if text.parse::<f64>().is_ok_and(f64::is_finite) {
                    let (low, high) = (Self::MIN, Self::MAX);
                    return Err(Wrong::Because(format!("must be a whole number between {low} and {high}: '{text}'")));
                }
                Err(Wrong::NotANumber)
            }

            fn dump(&self) -> Value {
                Value::from(*self)
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64);

impl Kind for f64 {
    const TYPE: &'static str = "number";

    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().ok().filter(|number: &Self| number.is_finite()).ok_or(Wrong::NotANumber)
    }

    fn dump(&self) -> Value {
        // Whole numbers show without a fraction, as Lua's JSON does.
        if self.fract() == 0.0 && self.abs() < 1e15 { Value::from(*self as i64) } else { Value::from(*self) }
    }
}

impl Kind for String {
    const TYPE: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }

    fn dump(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Kind for PathBuf {
    const TYPE: &'static str = "path";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(Self::from(text))
    }

    fn dump(&self) -> Value {
        Value::from(self.to_string_lossy())
    }
}

impl<T: Kind> Kind for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const CHOICES: &'static [&'static str] = T::CHOICES;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, Wrong> {
        T::parse(text).map(Some)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }

    fn dump(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::dump)
    }
}

/// A comma-separated list; `\,` is a comma inside an entry.
impl<T: Kind> Kind for Vec<T> {
    const TYPE: &'static str = "list";
    const CHOICES: &'static [&'static str] = T::CHOICES;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, Wrong> {
        split_list(text).iter().map(|entry| T::parse(entry)).collect()
    }

    fn unset() -> Option<Self> {
        Some(Self::new())
    }

    fn dump(&self) -> Value {
        self.iter().map(T::dump).collect()
    }
}

pub(super) fn split_list(text: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, entries.last_mut()) {
            ('\\', Some(entry)) if characters.peek() == Some(&',') => {
                entry.push(',');
                characters.next();
            }
            (',', _) => entries.push(String::new()),
            (_, Some(entry)) => entry.push(character),
            (_, None) => {}
        }
    }
    entries.iter().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself: for the one place that needs it, never for a message.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("******")
    }
}

impl Kind for Secret {
    const TYPE: &'static str = "text";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(Self(text.to_owned()))
    }

    fn dump(&self) -> Value {
        Value::from(self.0.as_str())
    }
}

/// A size in bytes, written `65535`, `8k`, `10m` or `1g`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    text: String,
}

impl Kind for Size {
    const TYPE: &'static str = "size";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let bytes = parse_size(text).ok_or_else(|| {
            Wrong::Because(format!("is not a size: '{text}' (a number of bytes, or with a unit: 8k, 10m, 1g)"))
        })?;
        Ok(Self { bytes, text: text.to_owned() })
    }

    fn dump(&self) -> Value {
        Value::from(self.text.as_str())
    }
}

/// A time, written `60`, `60s`, `500ms`, `10m`, `1h 30m` or `1d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    pub duration: std::time::Duration,
    text: String,
}

impl Kind for Time {
    const TYPE: &'static str = "time";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let duration = parse_time(text).ok_or_else(|| {
            Wrong::Because(format!("is not a time: '{text}' (seconds, or with a unit: 500ms, 30s, 10m, 1h, 1d)"))
        })?;
        Ok(Self { duration, text: text.to_owned() })
    }

    fn dump(&self) -> Value {
        Value::from(self.text.as_str())
    }
}
