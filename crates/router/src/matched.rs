//! The answer of a look-up.

use crate::pattern::{Groups, Pattern};

/// The route found, and what of the path it matched.
#[derive(Debug)]
pub struct Match<'r, 'q, R> {
    pub route: &'r R,
    /// What the route's path rule matched at the start of the path: the value of X-Forwarded-Prefix, and as many bytes of the
    /// path as `strip_path` takes off. None if no path rule matched, or matched elsewhere than at the start.
    pub prefix: Option<&'q [u8]>,
    /// Only if the matched regex has groups.
    pub captures: Option<Captures<'q>>,
}

/// Groups of the path regex that matched.
#[derive(Clone, Debug)]
pub struct Captures<'a> {
    pattern: &'a Pattern,
    groups: Groups<'a>,
}

impl<'a> Captures<'a> {
    pub(crate) fn new(pattern: &'a Pattern, path: &'a [u8]) -> Option<Self> {
        Some(Captures { pattern, groups: pattern.captures(path)? })
    }

    /// The group of that number; 0 is the whole match. None if the group took no part in the match.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        self.groups.get(number).copied().flatten()
    }

    /// The named group.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&'a [u8]> {
        self.named().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// Every group that took part in the match, by number; 0 is the whole match.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.groups.iter().enumerate().filter_map(|(number, group)| group.map(|group| (number, group)))
    }

    /// Every named group that took part in the match.
    pub fn named(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let names = self.pattern.names().zip(&self.groups);
        names.filter_map(|(name, group)| Some((name?, (*group)?)))
    }
}
