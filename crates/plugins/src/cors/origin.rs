//! Which origins are allowed.

use crate::pcre;
use regex::Regex;
use schema::validators;
use std::borrow::Cow;

/// The answer to an origin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Allowed<'a> {
    Any,
    This(Cow<'a, str>),
    None,
}

/// The origins of a config, made ready.
pub(super) enum Origins {
    Any,
    /// One literal origin, which is told to everybody.
    One(String),
    Some(Vec<Entry>),
}

pub(super) enum Entry {
    Any,
    Literal(String),
    Regex {
        regex: Pattern,
        /// Whether the host alone is matched: the entry has no `:`.
        is_host: bool,
    },
}

fn is_literal(entry: &str) -> bool {
    !entry.is_empty() && entry.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'/' | b'-'))
}

/// A regex that matches a whole text: in linear time, but for what only PCRE understands (a look-around, a reference).
pub(super) enum Pattern {
    Linear(Regex),
    Pcre(pcre2::bytes::Regex),
}

impl Pattern {
    /// The error is in PCRE's words: Kong takes what PCRE takes.
    pub(super) fn new(entry: &str) -> Result<Self, String> {
        // The entry must be valid on its own: what it opens, it must close.
        if let Some(error) = validators::pcre_error(entry) {
            return Err(error);
        }
        if let Ok(regex) = Regex::new(entry).and_then(|_| Regex::new(&format!("^(?:{entry})$"))) {
            return Ok(Self::Linear(regex));
        }
        // The \E ends a quotation that the entry leaves open.
        pcre::compile(&format!("^(?:{entry}\\E)$")).map(Self::Pcre)
    }

    /// No match where PCRE gives up at its limits.
    fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Linear(regex) => regex.is_match(text),
            Self::Pcre(regex) => regex.is_match(text.as_bytes()).unwrap_or(false),
        }
    }
}

impl Origins {
    pub(super) fn new(entries: Vec<String>) -> Result<Self, String> {
        match entries.as_slice() {
            [] => return Ok(Self::Any),
            [one] if one == "*" => return Ok(Self::Any),
            [one] if is_literal(one) => return Ok(Self::One(one.clone())),
            // Wherever it stands, `*` has the say.
            all if all.iter().any(|entry| entry == "*") => return Ok(Self::Some(vec![Entry::Any])),
            _ => {}
        }
        let entry = |entry: &String| {
            Ok(match entry.as_str() {
                text if is_literal(text) => Entry::Literal(normalize(text).origin.into_owned()),
                text => Entry::Regex { regex: Pattern::new(text)?, is_host: !text.contains(':') },
            })
        };
        entries.iter().map(entry).collect::<Result<_, _>>().map(Self::Some)
    }

    /// Whether answers differ with the origin (or would, were there another).
    pub(super) fn is_told_apart(&self) -> bool {
        !matches!(self, Self::Any)
    }

    pub(super) fn judge<'a>(&'a self, origin: Option<&'a str>) -> Allowed<'a> {
        let entries = match self {
            Self::Any => return Allowed::Any,
            Self::One(one) => return Allowed::This(Cow::Borrowed(one)),
            Self::Some(entries) => entries,
        };
        let Some(origin) = origin else { return Allowed::None };
        let asked = normalize(origin);
        for entry in entries {
            let is_match = match entry {
                Entry::Any => return Allowed::Any,
                Entry::Literal(literal) => *literal == *asked.origin,
                Entry::Regex { regex, is_host } => regex.is_match(if *is_host { asked.host } else { &asked.origin }),
            };
            if is_match {
                return Allowed::This(asked.origin);
            }
        }
        Allowed::None
    }
}

struct Normal<'a> {
    origin: Cow<'a, str>,
    host: &'a str,
}

/// Scheme, host and port; the port only where it is not the scheme's own, and no user. What is no URL stays as it is.
fn normalize(origin: &str) -> Normal<'_> {
    let Some((scheme, rest)) = origin.split_once("://").filter(|(scheme, _)| !scheme.is_empty()) else {
        return Normal { origin: Cow::Borrowed(origin), host: origin };
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.split_once('@').map_or(authority, |(_, server)| server);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    };
    let is_default = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")) | (_, Some("")));
    let port = port.filter(|_| !is_default);
    let wanted = scheme.len() + 3 + host.len() + port.map_or(0, |p| p.len() + 1);
    let origin = if wanted == origin.len() {
        Cow::Borrowed(origin)
    } else {
        let colon = if port.is_some() { ":" } else { "" };
        Cow::Owned(format!("{scheme}://{host}{colon}{}", port.unwrap_or_default()))
    };
    Normal { origin, host }
}
