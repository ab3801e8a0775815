//! The tokens that a request shows.

use pdk::Request;
use pdk::args::{Arg, Args, find};
use std::borrow::Cow;

/// Where tokens are looked for.
pub(super) struct Sources {
    pub(super) arguments: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) headers: Vec<String>,
}

/// What a request shows; the same token in several places counts once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    None,
    One(Cow<'a, [u8]>),
    Many,
    /// An argument without a value.
    Bare,
}

impl<'a> Shown<'a> {
    fn and(self, token: Cow<'a, [u8]>) -> Self {
        match self {
            _ if token.is_empty() => self,
            Self::None => Self::One(token),
            Self::One(known) if known == token => Self::One(known),
            _ => Self::Many,
        }
    }

    fn and_bare(self) -> Self {
        match self {
            Self::None | Self::Bare => Self::Bare,
            Self::One(_) | Self::Many => Self::Many,
        }
    }
}

impl Sources {
    pub(super) fn look<'a>(&self, request: &'a Request) -> Shown<'a> {
        let mut shown = Shown::None;
        let query = request.query().unwrap_or_default();
        for name in &self.arguments {
            match find(query, name.as_bytes()) {
                Arg::Absent => {}
                Arg::Bare => shown = shown.and_bare(),
                Arg::One(token) => shown = shown.and(token),
                Arg::Many => {
                    for token in Args::parse(query).get_all(name.as_bytes()) {
                        shown = match token {
                            Some(token) => shown.and(Cow::Owned(token.to_vec())),
                            None => shown.and_bare(),
                        };
                    }
                }
            }
        }
        for name in &self.cookies {
            if let Some(token) = cookie(request, name) {
                shown = shown.and(Cow::Borrowed(token));
            }
        }
        for name in &self.headers {
            if let Some(token) = request.headers.get(name).and_then(bearer) {
                shown = shown.and(Cow::Borrowed(token));
            }
        }
        shown
    }
}

/// The first cookie of a name; names are compared without case, as nginx does.
fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    let mut all = request.headers.get_all("cookie").flat_map(|field| field.split(|b| *b == b';'));
    all.find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = memchr::memchr(b'=', pair)?;
        pair[..at].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()).then(|| pair[at + 1..].trim_ascii_start())
    })
}

/// What stands behind `Bearer` (or `bearer`) and a space, wherever that is in the field.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    fn token_of(behind: &[u8]) -> Option<&[u8]> {
        let token = behind.trim_ascii_start();
        (token.len() < behind.len() && !token.is_empty()).then_some(token)
    }
    // Where it is as it should be, nothing has to be searched for.
    field.strip_prefix(b"Bearer").and_then(token_of).or_else(|| {
        memchr::memmem::find_iter(field, b"earer").find_map(|at| {
            let is_scheme = at > 0 && matches!(field[at - 1], b'B' | b'b');
            field.get(at + 5..).filter(|_| is_scheme).and_then(token_of)
        })
    })
}
