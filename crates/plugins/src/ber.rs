//! As much of BER (X.690) as an LDAP bind, a public key and OCSP need: definite lengths, one level at a time.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;

/// A value with its tag and length before it.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => out.push(length),
        _ => {
            let bytes = content.len().to_be_bytes();
            let length: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | length.len() as u8);
            out.extend_from_slice(&length);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A small number, which is not negative.
pub(crate) fn integer(tag: u8, value: u8) -> Vec<u8> {
    // A first bit that is set would be a sign.
    if value < 0x80 { element(tag, &[value]) } else { element(tag, &[0, value]) }
}

/// How long the element is whose first bytes these are: its head, and what follows. `Ok(None)`: more bytes are needed.
pub(crate) fn length(start: &[u8], longest: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let Some(first) = start.get(1) else { return Ok(None) };
    if *first < 0x80 {
        return Ok(Some((2, usize::from(*first))));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed);
    }
    let Some(bytes) = start.get(2..2 + count) else { return Ok(None) };
    let length = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > longest { Err(Malformed) } else { Ok(Some((2 + count, length))) }
}

/// Bytes that are no BER, or longer than they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is no LDAP")]
pub(crate) struct Malformed;

/// Reads elements one after the other.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element's tag.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element's tag, the element as a whole, and its content.
    pub(crate) fn whole(&mut self) -> Result<(u8, &'a [u8], &'a [u8]), Malformed> {
        let tag = self.peek().ok_or(Malformed)?;
        let (head, length) = length(self.0, self.0.len())?.ok_or(Malformed)?;
        let (whole, rest) = self.0.split_at_checked(head + length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, whole, whole.get(head..).unwrap_or_default()))
    }

    /// The next element's tag and content.
    pub(crate) fn next(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        self.whole().map(|(tag, _, content)| (tag, content))
    }

    /// The next element's content, where it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }
}
