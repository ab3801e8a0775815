//! Short text that is made on the stack.

use pdk::digits;
use std::fmt::{Display, Write};
use std::net::IpAddr;
use uuid::Uuid;

/// Text of at most `N` bytes. What does not fit is left out.
pub(crate) struct StackText<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> StackText<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn of(value: impl Display) -> Self {
        let mut text = Self::new();
        let _ = write!(text, "{value}");
        text
    }

    pub(crate) fn of_number(number: u64) -> Self {
        Self::of_ascii(digits::decimal(number, &mut [0; digits::LONGEST]))
    }

    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::of_ascii(digits::address(address, &mut [0; digits::LONGEST]))
    }

    pub(crate) fn of_id(id: Uuid) -> Self {
        Self::of_ascii(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
    }

    fn of_ascii(ascii: &[u8]) -> Self {
        let mut text = Self::new();
        text.push_ascii(ascii);
        text
    }

    /// Adds ASCII text.
    pub(crate) fn push_ascii(&mut self, text: &[u8]) {
        debug_assert!(text.is_ascii());
        let end = self.len + text.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(text);
            self.len = end;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl<const N: usize> Write for StackText<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut text = StackText::<4>::new();
        text.push_ascii(b"abc");
        text.push_ascii(b"de");
        assert_eq!(text.as_str(), "abc");
        assert_eq!(StackText::<2>::of_number(100).as_str(), "");
    }
}
