//! What an expression cannot hold without: names and path prefixes that the index may keep it under.

use super::predicate::{Comparison, Field, Operation, Predicate, Test};
use crate::compile::name_key;
use crate::definition::NameRule;
use crate::index::NameKey;
use crate::pattern::required_prefix;

/// An expression of more alternatives is kept under none of them.
const MAX_KEYS: usize = 256;

impl Predicate {
    /// The hosts (server names, for streams) of which one must be the request's.
    pub(crate) fn names(&self, is_stream: bool) -> Option<Vec<NameKey>> {
        // The fewer the better.
        self.keys(&|test| Some(vec![test.name(is_stream)?]), &|keys| usize::MAX - keys.len())
    }

    /// The prefixes of which one must be the path's (for streams: the destination ports, as the index spells them).
    pub(crate) fn path_keys(&self, is_stream: bool) -> Option<Vec<Vec<u8>>> {
        // The longer the better.
        self.keys(&|test| Some(vec![test.path_key(is_stream)?]), &|keys| keys.iter().map(Vec::len).min().unwrap_or(0))
    }

    fn keys<K: Ord>(&self, of: &dyn Fn(&Test) -> Option<Vec<K>>, worth: &dyn Fn(&Vec<K>) -> usize) -> Option<Vec<K>> {
        match self {
            Predicate::Test(test) => of(test),
            Predicate::Not(_) => None,
            Predicate::All(parts) => parts.iter().filter_map(|part| part.keys(of, worth)).max_by_key(worth),
            Predicate::AnyOf(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(part.keys(of, worth)?);
                }
                all.sort();
                all.dedup();
                (all.len() <= MAX_KEYS).then_some(all)
            }
        }
    }
}

impl Test {
    fn name(&self, is_stream: bool) -> Option<NameKey> {
        match (&self.field, is_stream) {
            (Field::Host, false) | (Field::Sni, true) if !self.is_lower => match &self.operation {
                Operation::Equals(text) => name_key(&NameRule::Exact(text.clone())),
                Operation::Starts(text) => name_key(&NameRule::Prefix(text.clone())),
                Operation::Ends(text) => name_key(&NameRule::Suffix(text.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    fn path_key(&self, is_stream: bool) -> Option<Vec<u8>> {
        match (&self.field, &self.operation) {
            (Field::DestinationPort, Operation::Number { is: Comparison::Equal, value }) if is_stream => {
                u16::try_from(*value).ok().map(|port| port.to_be_bytes().to_vec())
            }
            (Field::Path, _) if self.is_lower => None,
            (Field::Path, Operation::Equals(text) | Operation::Starts(text)) => Some(text.as_bytes().to_vec()),
            (Field::Path, Operation::Matches { text, .. }) => Some(required_prefix(text)).filter(|key| !key.is_empty()),
            _ => None,
        }
    }
}
