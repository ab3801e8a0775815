//! JSON in the making. Nearly all text stands in it as it is, which is seen eight bytes at a time.

use crate::digits::{LONGEST, address, decimal};
use crate::swift::{push_lower_json, push_plain_json};
use std::net::IpAddr;

/// A document that is written from its start to its end.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Writes behind what is there.
    pub(super) fn on(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// JSON, or a part of it, as it stands.
    // Inlined, what is known at compile time is a few stores instead of a call: a document has dozens of them.
    #[inline(always)]
    pub(super) fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// A comma, where something stands before.
    // As a text that may be empty it would be a call.
    #[inline(always)]
    pub(super) fn comma(&mut self, is_next: bool) {
        if is_next {
            self.0.push(b',');
        }
    }

    /// Takes the last brace back: there are more members.
    pub(super) fn reopen(&mut self) {
        self.0.pop();
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(decimal(number, &mut [0; 20]));
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.0.push(b'"');
        self.part(text);
        self.0.push(b'"');
    }

    pub(super) fn address(&mut self, ip: IpAddr) {
        self.0.push(b'"');
        self.0.extend_from_slice(address(ip, &mut [0; LONGEST]));
        self.0.push(b'"');
    }

    /// The name of a header field, in small letters, and a colon.
    pub(super) fn name(&mut self, name: &[u8]) {
        self.0.push(b'"');
        if !push_lower_json(&mut self.0, name) {
            self.escaped(&String::from_utf8_lossy(name).to_ascii_lowercase());
        }
        self.0.extend_from_slice(b"\":");
    }

    /// A part of a text, whose quotes the caller writes. What is no UTF-8 is replaced.
    pub(super) fn part(&mut self, text: &[u8]) {
        if !push_plain_json(&mut self.0, text) {
            self.escaped(&String::from_utf8_lossy(text));
        }
    }

    #[cold]
    fn escaped(&mut self, text: &str) {
        for byte in text.bytes() {
            let escape = match byte {
                b'"' | b'\\' => byte,
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0..b' ' => {
                    let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                    self.0.extend_from_slice(b"\\u00");
                    self.0.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
                    continue;
                }
                _ => {
                    self.0.push(byte);
                    continue;
                }
            };
            self.0.extend_from_slice(&[b'\\', escape]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Writer;

    #[test]
    fn text_is_written_as_json_says() {
        let mut all: Vec<String> = (0..=0x250).filter_map(char::from_u32).map(|c| format!("a{c}longer")).collect();
        all.extend(["", "\"", "plain", "\u{2028}\u{1f600}\\"].map(str::to_owned));
        for text in all {
            let mut out = Writer::on(Vec::new());
            out.text(text.as_bytes());
            assert_eq!(String::from_utf8(out.into_bytes()).unwrap(), serde_json::to_string(&text).unwrap());
        }
        let mut out = Writer::on(Vec::new());
        out.name(b"A\xffB");
        out.number(10);
        out.raw(",");
        out.name(b"X-Name\"");
        assert_eq!(String::from_utf8(out.into_bytes()).unwrap(), "\"a\u{fffd}b\":10,\"x-name\\\"\":");
    }
}
