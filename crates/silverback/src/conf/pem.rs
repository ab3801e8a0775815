//! Values that are a PEM text: as the path of a file, as the text itself, or as the text in base64.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error::ConfError;
use super::kinds::{Kind, Wrong};

const MARK: &str = "-----BEGIN ";

/// A certificate or another public PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem(Text);

/// A private key in PEM; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PemKey(Text);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    File(PathBuf),
    Inline(String),
}

impl Text {
    fn parse(text: &str) -> Self {
        if text.contains(MARK) {
            return Self::Inline(text.to_owned());
        }
        // No path is valid base64 of a PEM text, so the order of the questions does not matter.
        let packed: String = text.split_whitespace().collect();
        match STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(inner) if inner.contains(MARK) => Self::Inline(inner),
            _ => Self::File(PathBuf::from(text)),
        }
    }

    fn read(&self) -> Result<Vec<u8>, ConfError> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => std::fs::read(path)
                .map_err(|error| ConfError::new(format!("could not read {}: {error}", path.display()))),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl Pem {
    /// The PEM text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, ConfError> {
        self.0.read()
    }

    /// The file, when the value names one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file()
    }
}

impl PemKey {
    /// The PEM text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, ConfError> {
        self.0.read()
    }

    /// The file, when the value names one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file()
    }
}

impl std::fmt::Debug for PemKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("******")
    }
}

impl Kind for Pem {
    const TYPE: &'static str = "PEM";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(Self(Text::parse(text)))
    }

    fn dump(&self) -> Value {
        match &self.0 {
            Text::File(path) => Value::from(path.to_string_lossy()),
            Text::Inline(text) => Value::from(text.as_str()),
        }
    }
}

impl Kind for PemKey {
    const TYPE: &'static str = "PEM";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(Self(Text::parse(text)))
    }

    fn dump(&self) -> Value {
        Value::from("******")
    }
}
