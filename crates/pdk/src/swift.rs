//! What is done with all text that passes, eight bytes at a time: names compared without case, text searched for the few
//! bytes that cannot stay as they are.

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Eight bytes with ASCII's capital letters made small.
fn lower(bytes: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(bytes);
    // The top bit of each byte of `from_a` says that it is `A` or beyond, that of `beyond_z` that it is beyond `Z`.
    let low = word & eight(0x7f);
    let from_a = low + eight(0x80 - b'A');
    let beyond_z = low + eight(0x7f - b'Z');
    word | ((from_a & !beyond_z & !word & eight(0x80)) >> 2)
}

/// Whether two names are the same but for the case of letters (RFC 9110, 5.1).
#[inline]
pub fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    // The first byte tells most names of one length apart.
    let first = |name: &[u8]| name.first().map(|byte| byte | 0x20);
    one.len() == other.len() && first(one) == first(other) && is_same_to_the_end(one, other)
}

/// As above, of names of one length.
fn is_same_to_the_end(one: &[u8], other: &[u8]) -> bool {
    let (Some(one_end), Some(other_end)) = (one.last_chunk(), other.last_chunk()) else {
        return one.eq_ignore_ascii_case(other);
    };
    lower(*one_end) == lower(*other_end)
        && one.as_chunks().0.iter().zip(other.as_chunks().0).all(|(one, other)| lower(*one) == lower(*other))
}

/// Whether a value has bytes that would end its line: CR, LF and NUL.
pub fn ends_line(value: &[u8]) -> bool {
    has_control(value) && memchr::memchr3(b'\r', b'\n', 0, value).is_some()
}

/// The top bit of some byte is set where a byte is below `limit`; a higher byte than the lowest such one may be wrong.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(eight(limit)) & !word & eight(0x80)
}

/// Whether a byte is below 14, which hardly any value has.
fn has_control(value: &[u8]) -> bool {
    any(value, |word| below(word, 14))
}

/// The top bit of some byte is set where one of them does not stand in JSON as it is: a quote, a backslash, a control
/// character, or what is not ASCII. It may be that of a higher byte than the first such one.
const fn is_not_plain_json(word: u64) -> u64 {
    let quotes = (word ^ eight(b'"')).wrapping_sub(eight(1)) | (word ^ eight(b'\\')).wrapping_sub(eight(1));
    (word.wrapping_sub(eight(b' ')) | quotes | word) & eight(0x80)
}

/// Writes text that stands in JSON as it is; whether it does. Otherwise nothing is written.
#[inline]
pub(crate) fn push_plain_json(out: &mut Vec<u8>, text: &[u8]) -> bool {
    push_words(out, text, |word| word)
}

/// The same, in small letters.
#[inline]
pub(crate) fn push_lower_json(out: &mut Vec<u8>, text: &[u8]) -> bool {
    push_words(out, text, |word| lower(word.to_ne_bytes()))
}

/// Text is looked at, changed and written in one go: most is shorter than what a call of its own is worth.
#[inline(always)]
fn push_words(out: &mut Vec<u8>, text: &[u8], change: impl Fn(u64) -> u64) -> bool {
    let start = out.len();
    out.reserve(text.len() + 8);
    let mut found = 0;
    let mut push = |out: &mut Vec<u8>, word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        found |= is_not_plain_json(word);
        out.extend_from_slice(&change(word).to_ne_bytes());
    };
    if let Some(end) = text.last_chunk() {
        let (words, rest) = text.as_chunks();
        words.iter().for_each(|word| push(out, word));
        if !rest.is_empty() {
            // The last eight bytes, over what of them is there already.
            out.truncate(start + text.len() - 8);
            push(out, end);
        }
    } else {
        // Shorter text is made longer by what no one looks for.
        let mut bytes = [b'x'; 8];
        for (byte, of_text) in bytes.iter_mut().zip(text) {
            *byte = *of_text;
        }
        push(out, &bytes);
        out.truncate(start + text.len());
    }
    if found != 0 {
        out.truncate(start);
    }
    found == 0
}

/// Whether the function is not zero for any eight bytes.
fn any(text: &[u8], of: impl Fn(u64) -> u64) -> bool {
    let of = |bytes: &[u8; 8]| of(u64::from_ne_bytes(*bytes));
    let Some(end) = text.last_chunk() else {
        // Shorter text is made longer by what no one looks for.
        let mut bytes = [b' '; 8];
        for (byte, of_text) in bytes.iter_mut().zip(text) {
            *byte = *of_text;
        }
        return of(&bytes) != 0;
    };
    (text.as_chunks().0.iter().fold(0, |found, bytes| found | of(bytes)) | of(end)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_compared_as_ascii_says() {
        for one in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                for len in [1, 7, 8, 9, 16, 17] {
                    let name = |byte| [&b"aB-_9~[`@{zZ.Q|x"[..len - 1], &[byte]].concat();
                    let (a, b) = (name(one), name(other));
                    assert_eq!(is_same_name(&a, &b), a.eq_ignore_ascii_case(&b), "{a:?} {b:?}");
                }
            }
        }
        assert!(is_same_name(b"CONTENT-LENGTH", b"content-length"));
        assert!(!is_same_name(b"xontent-length", b"content-length"));
        assert!(!is_same_name(b"accept", b"accept-"));
    }

    #[test]
    fn every_byte_that_ends_a_line_is_found_wherever_it_is() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut value = vec![b'x'; len];
                    value[at] = byte;
                    assert_eq!(ends_line(&value), matches!(byte, b'\r' | b'\n' | 0), "{byte} at {at} of {len}");
                }
            }
        }
        assert!(!ends_line("\t\u{b}äöü\u{7f}€ and so on".as_bytes()));
    }

    #[test]
    fn text_is_written_where_json_has_it_as_it_is() {
        for len in 1..20 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'X'; len];
                    text[at] = byte;
                    let as_it_is = std::str::from_utf8(&text)
                        .is_ok_and(|text| serde_json::to_string(text).is_ok_and(|json| json == format!("\"{text}\"")));
                    let as_it_is = as_it_is && byte.is_ascii();
                    let (mut same, mut small) = (b"before".to_vec(), b"before".to_vec());
                    assert_eq!(push_plain_json(&mut same, &text), as_it_is, "{byte} at {at} of {len}");
                    assert_eq!(push_lower_json(&mut small, &text), as_it_is, "{byte} at {at} of {len}");
                    let written = if as_it_is { &*text } else { &[] };
                    assert_eq!(same, [b"before", written].concat(), "{byte} at {at} of {len}");
                    assert_eq!(small, [b"before", &*written.to_ascii_lowercase()].concat(), "{byte} at {at} of {len}");
                }
            }
        }
        assert!(push_plain_json(&mut Vec::new(), b""));
    }
}
