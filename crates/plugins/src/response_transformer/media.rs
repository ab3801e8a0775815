//! Media types as Kong reads them: RFC 2045, 5.1, to the letter, so that what is amiss in the parameters is no media type.

/// Type and subtype; `None`: this is no media type.
pub(super) fn parse(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (kind, rest) = token(text)?;
    let (subtype, mut rest) = token(rest.strip_prefix(b"/")?)?;
    while !rest.is_empty() {
        rest = parameter(rest)?;
    }
    Some((kind, subtype))
}

/// What follows a parameter, with the semicolon before it.
fn parameter(text: &[u8]) -> Option<&[u8]> {
    let text = blanks(blanks(text).strip_prefix(b";")?);
    let (_, text) = token(text)?;
    let text = text.strip_prefix(b"=")?;
    let Some(quoted) = text.strip_prefix(b"\"") else { return token(text).map(|(_, rest)| rest) };
    let end = quoted.iter().position(|byte| *byte == b'"' || byte.is_ascii_control())?;
    quoted.get(end..)?.strip_prefix(b"\"")
}

fn blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text.get(end..).unwrap_or_default()
}

/// A token, which has at least a byte, and what follows it.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &&u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(byte);
    text.split_at_checked(text.iter().take_while(is_token).count()).filter(|(token, _)| !token.is_empty())
}
