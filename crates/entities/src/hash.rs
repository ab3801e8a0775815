//! Digests as text.

use md5::{Digest, Md5};

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// MD5: names a configuration, protects nothing.
pub(crate) fn md5(text: &str) -> String {
    let mut digest = Md5::new();
    pace::each(text.as_bytes().chunks(16 * 1024)).for_each(|chunk| digest.update(chunk));
    hex(&digest.finalize())
}
