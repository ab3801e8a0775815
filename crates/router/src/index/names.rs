//! The first step of a look-up: from the host (or server name) to the tries of paths that can match it.

use std::sync::Arc;

use entities::SharedMap;
use smallvec::SmallVec;

use super::trie::Node;

/// Under which name a candidate is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NameKey {
    /// Whatever the name, also none.
    Any,
    Exact(String),
    /// Begins with a dot.
    Suffix(String),
    /// Ends with a dot.
    Prefix(String),
    /// Routes with server names, for connections without TLS: their names do not count then.
    Plaintext,
}

/// One side's wildcards: the texts, and which lengths they have.
#[derive(Clone, Debug)]
struct Wildcards<R> {
    tries: SharedMap<Arc<[u8]>, Node<R>>,
    /// Ascending, with how many texts have it.
    lengths: SmallVec<[(usize, usize); 8]>,
}

impl<R> Default for Wildcards<R> {
    fn default() -> Self {
        Self { tries: SharedMap::default(), lengths: SmallVec::new() }
    }
}

impl<R: Clone> Wildcards<R> {
    fn trie(&mut self, text: &[u8]) -> &mut Node<R> {
        if self.tries.get(text).is_none() {
            match self.lengths.binary_search_by_key(&text.len(), |(length, _)| *length) {
                Ok(at) => self.lengths[at].1 += 1,
                Err(at) => self.lengths.insert(at, (text.len(), 1)),
            }
        }
        self.tries.entry(Arc::from(text), Node::default)
    }

    fn reduce(&mut self, text: &[u8], change: impl FnOnce(&mut Node<R>) -> bool) {
        let before = self.tries.len();
        self.tries.reduce(text, change);
        if self.tries.len() < before
            && let Ok(at) = self.lengths.binary_search_by_key(&text.len(), |(length, _)| *length)
        {
            self.lengths[at].1 -= 1;
            if self.lengths[at].1 == 0 {
                self.lengths.remove(at);
            }
        }
    }
}

/// Compared where the table has it, as long as it is no longer than most.
type Name = SmallVec<[u8; 24]>;

#[derive(Clone, Debug)]
pub(crate) struct Names<R> {
    any: Node<R>,
    exact: SharedMap<Name, Node<R>>,
    suffixes: Wildcards<R>,
    prefixes: Wildcards<R>,
    plaintext: Node<R>,
}

impl<R> Default for Names<R> {
    fn default() -> Self {
        Self {
            any: Node::default(),
            exact: SharedMap::default(),
            suffixes: Wildcards::default(),
            prefixes: Wildcards::default(),
            plaintext: Node::default(),
        }
    }
}

impl<R: Clone> Names<R> {
    /// Visits the trie of every key that the name satisfies. `star` is how many bytes a `*` must stand for at least.
    pub(crate) fn visit<'a>(&'a self, name: Option<&[u8]>, star: usize, visit: &mut dyn FnMut(&'a Node<R>)) {
        visit(&self.any);
        let Some(name) = name else { return };
        if let Some(trie) = self.exact.get(name) {
            visit(trie);
        }
        for (length, _) in &self.suffixes.lengths {
            let Some(start) = name.len().checked_sub(*length).filter(|start| *start >= star) else { break };
            if name[start] == b'.'
                && let Some(trie) = self.suffixes.tries.get(&name[start..])
            {
                visit(trie);
            }
        }
        for (length, _) in &self.prefixes.lengths {
            if *length + star > name.len() {
                break;
            }
            if name[*length - 1] == b'.'
                && let Some(trie) = self.prefixes.tries.get(&name[..*length])
            {
                visit(trie);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn copied_exact(&self, other: &Self) -> usize {
        self.exact.not_shared_with(&other.exact)
    }

    pub(crate) fn plaintext(&self) -> &Node<R> {
        &self.plaintext
    }

    pub(crate) fn get(&self, key: &NameKey) -> Option<&Node<R>> {
        match key {
            NameKey::Any => Some(&self.any),
            NameKey::Exact(name) => self.exact.get(name.as_bytes()),
            NameKey::Suffix(text) => self.suffixes.tries.get(text.as_bytes()),
            NameKey::Prefix(text) => self.prefixes.tries.get(text.as_bytes()),
            NameKey::Plaintext => Some(&self.plaintext),
        }
    }

    /// The trie of a key, to be added to.
    pub(crate) fn trie(&mut self, key: &NameKey) -> &mut Node<R> {
        match key {
            NameKey::Any => &mut self.any,
            NameKey::Exact(name) => self.exact.entry(Name::from_slice(name.as_bytes()), Node::default),
            NameKey::Suffix(text) => self.suffixes.trie(text.as_bytes()),
            NameKey::Prefix(text) => self.prefixes.trie(text.as_bytes()),
            NameKey::Plaintext => &mut self.plaintext,
        }
    }

    /// Lets `change` take something out of the trie of a key; it answers whether nothing is left there.
    pub(crate) fn reduce(&mut self, key: &NameKey, change: impl FnOnce(&mut Node<R>) -> bool) {
        match key {
            NameKey::Any => {
                change(&mut self.any);
            }
            NameKey::Exact(name) => self.exact.reduce(name.as_bytes(), change),
            NameKey::Suffix(text) => self.suffixes.reduce(text.as_bytes(), change),
            NameKey::Prefix(text) => self.prefixes.reduce(text.as_bytes(), change),
            NameKey::Plaintext => {
                change(&mut self.plaintext);
            }
        }
    }
}
