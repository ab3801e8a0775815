//! Short text that is made on the stack.

use std::fmt::{Display, Write};

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

    /// Adds an ASCII character.
    pub(crate) fn push(&mut self, character: u8) {
        debug_assert!(character.is_ascii());
        if let Some(room) = self.bytes.get_mut(self.len) {
            *room = character;
            self.len += 1;
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
