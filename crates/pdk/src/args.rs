//! URL-encoded arguments, of a query or of a form: read without copying, or taken apart and put together as Kong does.

use indexmap::IndexMap;
use std::borrow::Cow;

/// What an argument of some name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg<'a> {
    Absent,
    /// There, without a `=`.
    Bare,
    One(Cow<'a, [u8]>),
    /// There more than once.
    Many,
}

/// Looks a name up in encoded arguments. Allocates only where something must be decoded.
pub fn find<'a>(encoded: &'a [u8], name: &[u8]) -> Arg<'a> {
    let mut found = Arg::Absent;
    for part in encoded.split(|b| *b == b'&') {
        let (key, value) = halves(part);
        if !matches(key, name) {
            continue;
        }
        found = match (found, value) {
            (Arg::Absent, Some(value)) => Arg::One(decode(value)),
            (Arg::Absent, None) => Arg::Bare,
            _ => return Arg::Many,
        };
    }
    found
}

fn halves(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', part) {
        Some(at) => (&part[..at], Some(&part[at + 1..])),
        None => (part, None),
    }
}

fn matches(encoded: &[u8], name: &[u8]) -> bool {
    encoded == name || (memchr::memchr2(b'%', b'+', encoded).is_some() && *decode(encoded) == *name)
}

/// Undoes `+` and `%XX`; what is no valid escape stays.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = |i: usize| text.get(i).and_then(|b| (*b as char).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

/// Encodes all but letters, digits and `-._~` (`ngx.escape_uri`).
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let digit = |n: u8| b"0123456789ABCDEF"[n as usize];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Decoded arguments in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Args {
    pub fn parse(encoded: &[u8]) -> Self {
        let parts = encoded.split(|b| *b == b'&').map(halves).filter(|(key, _)| !key.is_empty());
        Self(parts.map(|(key, value)| (decode(key).into_owned(), value.map(|v| decode(v).into_owned()))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_deref()))
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The values of a name.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = Option<&'a [u8]>> + 'a {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_deref())
    }

    pub fn append(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.0.push((name.to_vec(), value.map(<[u8]>::to_vec)));
    }

    /// Makes this the only value of its name.
    pub fn set(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes all values of a name; tells whether there were any.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| n != name);
        self.0.len() < before
    }

    /// Gives all values of a name another name, in place of what that name had.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) {
        if old == new || !self.contains(old) {
            return;
        }
        self.remove(new);
        for (name, _) in self.0.iter_mut().filter(|(n, _)| n == old) {
            *name = new.to_vec();
        }
    }

    /// Encoded as `kong.service.request.set_query` does it: sorted, the values of one name together and in order.
    pub fn encode(&self) -> Vec<u8> {
        // Found by hash: a client may send as many names as a body holds.
        let mut groups: IndexMap<&[u8], Vec<u8>, ahash::RandomState> = IndexMap::default();
        for (name, value) in &self.0 {
            let group = groups.entry(name).or_default();
            if !group.is_empty() {
                group.push(b'&');
            }
            encode(name, group);
            if let Some(value) = value {
                group.push(b'=');
                encode(value, group);
            }
        }
        let mut groups: Vec<Vec<u8>> = groups.into_values().collect();
        groups.sort_unstable();
        groups.join(&b'&')
    }
}

#[cfg(test)]
mod tests;
