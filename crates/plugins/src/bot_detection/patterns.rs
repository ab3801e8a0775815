//! A list of regexes as PCRE takes them, tried in linear time wherever that can be.

use crate::pcre;
use pdk::BuildError;
use regex::bytes::{RegexSet, RegexSetBuilder};

/// What a list may compile to.
const SIZE: usize = 10 << 20;

/// The regexes of a list. Those that only PCRE understands (a look-around, a reference) are left to it.
#[derive(Debug)]
pub(super) struct Patterns {
    linear: RegexSet,
    others: Vec<pcre2::bytes::Regex>,
}

fn set(patterns: &[&str]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns).unicode(false).size_limit(SIZE).build()
}

impl Patterns {
    pub(super) fn new(list: &[String]) -> Result<Self, BuildError> {
        let (linear, others): (Vec<_>, Vec<_>) =
            list.iter().map(String::as_str).partition(|pattern| set(&[pattern]).is_ok());
        Ok(Self {
            linear: set(&linear).map_err(|error| BuildError(error.to_string()))?,
            others: others.into_iter().map(pcre::compile).collect::<Result<_, _>>().map_err(BuildError)?,
        })
    }

    /// Whether any of them matches; `unclear` is the answer where PCRE gave up at its limits.
    pub(super) fn match_any(&self, text: &[u8], unclear: bool) -> bool {
        (!self.linear.is_empty() && self.linear.is_match(text))
            || self.others.iter().any(|regex| regex.is_match(text).unwrap_or(unclear))
    }
}
