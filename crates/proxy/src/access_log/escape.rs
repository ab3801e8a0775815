//! How values are written so that nothing a client sends can end a line or a quoted field.

use std::io::Write;

/// nginx's `escape` parameter of `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Quotes, backslashes and what is no printable ASCII as `\xXX`.
    #[default]
    Default,
    /// As inside a JSON string.
    Json,
    /// As it is, but for line ends: those are written as by default.
    None,
}

impl Escape {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "default" => Self::Default,
            "json" => Self::Json,
            "none" => Self::None,
            _ => return None,
        })
    }

    /// What stands for a variable without a value.
    pub(crate) fn nothing(self) -> &'static [u8] {
        if self == Self::Default { b"-" } else { b"" }
    }

    pub(crate) fn write(self, out: &mut Vec<u8>, value: &[u8]) {
        match self {
            Self::Default => escape(out, value),
            Self::Json => json(out, value),
            Self::None => each(out, value, |byte| matches!(byte, b'\r' | b'\n')),
        }
    }
}

/// nginx's default.
pub(crate) fn escape(out: &mut Vec<u8>, value: &[u8]) {
    each(out, value, |byte| matches!(byte, b'"' | b'\\' | 0..=31 | 127..=255));
}

fn each(out: &mut Vec<u8>, value: &[u8], needs_escape: impl Fn(u8) -> bool) {
    if !value.iter().any(|byte| needs_escape(*byte)) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        if needs_escape(*byte) {
            let _ = write!(out, "\\x{byte:02X}");
        } else {
            out.push(*byte);
        }
    }
}

fn json(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..=31 => {
                let _ = write!(out, "\\u{byte:04X}");
            }
            _ => out.push(*byte),
        }
    }
}
