//! The answer of a look-up.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::Route;
use crate::pattern::Pattern;

/// The route found, and what of the path it matched.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    pub route: &'a Arc<Route>,
    /// What the route's path rule matched at the start of the path: the value of X-Forwarded-Prefix, and as many bytes of the
    /// path as `strip_path` takes off. None if no path rule matched, or matched elsewhere than at the start.
    pub prefix: Option<&'a [u8]>,
    /// Only if the matched regex has groups.
    pub captures: Option<Captures<'a>>,
}

/// Groups of the path regex that matched.
#[derive(Clone, Debug)]
pub struct Captures<'a> {
    pattern: &'a Pattern,
    groups: SmallVec<[Option<&'a [u8]>; 6]>,
}

impl<'a> Captures<'a> {
    pub(crate) fn new(pattern: &'a Pattern, path: &'a [u8]) -> Option<Self> {
        let found = pattern.regex().captures(path)?;
        let groups = found.iter().map(|group| group.map(|group| group.as_bytes())).collect();
        Some(Captures { pattern, groups })
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
        let names = self.pattern.regex().capture_names().zip(&self.groups);
        names.filter_map(|(name, group)| Some((name?, (*group)?)))
    }
}
