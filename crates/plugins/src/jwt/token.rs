//! A token taken apart (RFC 7519, RFC 7515 compact form), before anything of it is believed.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The longest token that is looked at.
const LONGEST: usize = 16 << 10;
/// How deep the JSON of a token may nest.
const DEEPEST: usize = 32;

/// Why text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("Bad token; invalid JSON")]
    Json,
    #[error("Bad token; invalid alg")]
    Algorithm,
    #[error("Bad token; invalid claims")]
    Claims,
    #[error("Bad token; invalid signature")]
    Signature,
    /// It demands what is not understood, so it must be refused (RFC 7515, 4.1.11).
    #[error("Bad token; unsupported crit")]
    Critical,
}

/// Base64 of URLs; padding and all behind it do not count.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    ENGINE.decode(memchr::memchr(b'=', text).map_or(text, |end| &text[..end])).ok()
}

/// The parts of a token, decoded.
pub(super) struct Parts<'a> {
    text: &'a [u8],
    /// What is signed: header and claims as they are written.
    pub(super) signed: &'a [u8],
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Option<Vec<u8>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(token: &'a [u8]) -> Result<Self, Malformed> {
        if token.len() > LONGEST {
            return Err(Malformed::Json);
        }
        let first = memchr::memchr(b'.', token).ok_or(Malformed::Json)?;
        let second = first + 1 + memchr::memchr(b'.', &token[first + 1..]).ok_or(Malformed::Json)?;
        let part = |part: &[u8]| decode(part).filter(|json| !is_deep(json)).ok_or(Malformed::Json);
        Ok(Self {
            text: token,
            signed: &token[..second],
            header: part(&token[..first])?,
            claims: part(&token[first + 1..second])?,
            signature: decode(&token[second + 1..]),
        })
    }

    pub(super) fn parse(&self) -> Result<Token<'_>, Malformed> {
        let (header, claims) = (members(&self.header)?, members(&self.claims)?);
        let header = header.ok_or(Malformed::Algorithm)?;
        let algorithm = header.text("alg").ok_or(Malformed::Algorithm)?;
        let algorithm = super::keys::ALGORITHMS.into_iter().find(|known| *known == algorithm);
        let algorithm = algorithm.ok_or(Malformed::Algorithm)?;
        let claims = claims.ok_or(Malformed::Claims)?;
        let signature = self.signature.as_deref().ok_or(Malformed::Signature)?;
        if header.raw("crit").is_some() {
            return Err(Malformed::Critical);
        }
        Ok(Token { text: self.text, algorithm, header, claims, signed: self.signed, signature })
    }
}

/// Whether JSON nests deeper than any honest token's.
fn is_deep(json: &[u8]) -> bool {
    // Most have fewer brackets than that.
    if memchr::memchr2_iter(b'[', b'{', json).nth(DEEPEST).is_none() {
        return false;
    }
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match (is_text, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_text = !is_text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

/// A token as it claims to be.
pub(super) struct Token<'a> {
    /// The whole token, as the client shows it.
    pub(super) text: &'a [u8],
    pub(super) algorithm: &'static str,
    pub(super) header: Members<'a>,
    pub(super) claims: Members<'a>,
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// The members of a part of a token; `None` where it is JSON of another kind.
fn members(json: &[u8]) -> Result<Option<Members<'_>>, Malformed> {
    let text = std::str::from_utf8(json).map_err(|_| Malformed::Json)?;
    let parsed = if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text).map(Some)
    } else {
        serde_json::from_str::<IgnoredAny>(text).map(|_| None)
    };
    parsed.map_err(|_| Malformed::Json)
}

/// The members of an object, in order; no two have the same name (RFC 7519, 4).
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Members<'_> {
    /// A member's JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, raw)| raw.get())
    }

    /// A member's text; `None` where it is no text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        text(self.raw(name)?)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.raw(name).and_then(|raw| raw.parse().ok()).filter(|number: &f64| number.is_finite())
    }
}

/// The text that a piece of JSON is.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            // A name that is there twice could be read differently by the next who reads it.
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}
