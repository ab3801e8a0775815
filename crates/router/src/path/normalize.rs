//! Normalisation (RFC 3986, and what nginx and Kong add): escapes decoded, dot segments resolved, slashes merged.

use std::borrow::Cow;

/// Why a path cannot be taken; all of them are answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not starting with a slash.
    NotAbsolute,
    /// A `%` without two hex digits behind it.
    BadEscape,
    /// A zero byte, raw or escaped.
    Nul,
    /// A raw space or control character.
    BadCharacter,
    /// A fragment has no place in a request. Kong lets it through, dot segments behind it included.
    Fragment,
    /// Dot segments that lead out of the root.
    AboveRoot,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PathError::NotAbsolute => "path does not start with a slash",
            PathError::BadEscape => "path has an incomplete escape",
            PathError::Nul => "path has a zero byte",
            PathError::BadCharacter => "path has a space or control character",
            PathError::Fragment => "path has a fragment",
            PathError::AboveRoot => "path leads out of the root",
        })
    }
}

impl std::error::Error for PathError {}

/// The path that routes match. `raw` is the request target up to the first `?`. Borrows if nothing changes.
///
/// Escapes of reserved characters stay, in upper case; all others are decoded, so the result may hold any byte but zero.
///
/// # Errors
/// What the client has to be told 400 for.
pub fn normalize(raw: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut is_plain = true;
    let mut after_slash = false;
    for byte in raw {
        match CLASSES[usize::from(*byte)] {
            Class::Plain => after_slash = false,
            Class::Slash => {
                is_plain &= !after_slash;
                after_slash = true;
            }
            Class::Dot => {
                is_plain &= !after_slash;
                after_slash = false;
            }
            Class::Percent => {
                is_plain = false;
                after_slash = false;
            }
            Class::Bad => return Err(bad_byte(*byte)),
        }
    }
    if is_plain { Ok(Cow::Borrowed(raw)) } else { resolve(&decode(raw)?).map(Cow::Owned) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Bad,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte <= 0x20 {
        classes[byte] = Class::Bad;
        byte += 1;
    }
    classes[0x7F] = Class::Bad;
    classes[b'#' as usize] = Class::Bad;
    classes[b'/' as usize] = Class::Slash;
    classes[b'.' as usize] = Class::Dot;
    classes[b'%' as usize] = Class::Percent;
    classes
};

fn bad_byte(byte: u8) -> PathError {
    match byte {
        0 => PathError::Nul,
        b'#' => PathError::Fragment,
        _ => PathError::BadCharacter,
    }
}

/// The byte of an escape whose `%` has been read.
pub(crate) fn escaped_byte(after: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let [high, low, ..] = after else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

pub(super) fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

fn decode(raw: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mut has_escaped_slash = false;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let byte = escaped_byte(after).ok_or(PathError::BadEscape)?;
        rest = &after[2..];
        has_escaped_slash |= byte == b'/';
        match byte {
            0 => return Err(PathError::Nul),
            byte if is_reserved(byte) => {
                decoded.extend([b'%', after[0].to_ascii_uppercase(), after[1].to_ascii_uppercase()])
            }
            byte => decoded.push(byte),
        }
    }
    if has_escaped_slash && leaves_root(&decoded) {
        return Err(PathError::AboveRoot);
    }
    Ok(decoded)
}

/// Whether the path leaves the root once escaped slashes count as slashes: nginx refuses it then, before Kong sees it.
fn leaves_root(decoded: &[u8]) -> bool {
    let mut depth = 0usize;
    let mut rest = decoded;
    loop {
        let end = (0..rest.len()).find(|at| rest[*at] == b'/' || rest[*at..].starts_with(b"%2F")).unwrap_or(rest.len());
        match &rest[..end] {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
        match rest.get(end) {
            Some(b'/') => rest = &rest[end + 1..],
            Some(_) => rest = &rest[end + 3..],
            None => return false,
        }
    }
}

/// Resolves dot segments and merges slashes. A dot segment at the end leaves a slash there.
fn resolve(decoded: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut path: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').peekable();
    // What stands before the leading slash: nothing.
    segments.next();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = path.iter().rposition(|byte| *byte == b'/').ok_or(PathError::AboveRoot)?;
                path.truncate(parent);
            }
            segment => {
                path.push(b'/');
                path.extend_from_slice(segment);
                continue;
            }
        }
        if is_last {
            path.push(b'/');
        }
    }
    Ok(path)
}
