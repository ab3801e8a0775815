//! A persistent radix trie over path prefixes: a change copies the nodes from the root to it, with their siblings, and shares
//! the rest.
//!
//! The children of a node lie beside each other, each in two lines of the processor's caches: a step of a look-up leads from one
//! to the other, and the last one to the entry itself. Among very many routes each further place in memory is one to wait for.

use std::sync::Arc;

use entities::SharedArray;
use smallvec::SmallVec;
use uuid::Uuid;

use super::Entry;
use super::block::{Block, Blocks};
use crate::HasRoute;

/// The entries under one key.
#[derive(Debug)]
pub(crate) struct List<'a, R> {
    /// The rank of the first one, without what breaks ties.
    pub(crate) major: u64,
    /// How long the key is.
    pub(crate) length: usize,
    pub(crate) entries: Entries<'a, R>,
}

/// Where the entries are: to find out who is first, they need not be looked at.
#[derive(Debug)]
pub(crate) enum Entries<'a, R> {
    Of(&'a Node<R>),
    /// Those after the first. Which of the first block may match is not known yet.
    After(&'a [Arc<Block<R>>]),
    /// Those of the first block that may match and were not tried, as bits; and all of the others.
    Left(u64, &'a [Arc<Block<R>>]),
}

impl<R> Clone for List<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for List<'_, R> {}

impl<R> Clone for Entries<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Entries<'_, R> {}

impl<'a, R> List<'a, R> {
    /// The entry of the best rank, and whether it is known that it may match.
    pub(crate) fn first(self) -> Option<(&'a Entry<R>, bool)> {
        match self.entries {
            Entries::Of(node) => Some((node.first.as_ref()?, true)),
            Entries::After(blocks) => Some((blocks.first()?.entries().first()?, false)),
            Entries::Left(left, blocks) => Some((blocks.first()?.entries().get(left.trailing_zeros() as usize)?, true)),
        }
    }

    /// The same with the entries of its first block that may match the path; `None` where nothing is left.
    pub(crate) fn screened(self, path: &[u8]) -> Option<Self> {
        let Entries::After(blocks) = self.entries else { return Some(self) };
        self.with(Entries::Left(blocks.first()?.open(path), blocks))
    }

    /// Without the first entry; `None` where nothing is left.
    pub(crate) fn rest(self) -> Option<Self> {
        self.with(match self.entries {
            Entries::Of(node) => Entries::After(node.blocks()),
            Entries::After(_) => return None,
            Entries::Left(left, blocks) => Entries::Left(left & left.wrapping_sub(1), blocks),
        })
    }

    fn with(mut self, entries: Entries<'a, R>) -> Option<Self> {
        self.entries = match entries {
            Entries::Left(0, blocks) => Entries::After(blocks.get(1..)?),
            entries => entries,
        };
        self.major = self.first()?.0.major;
        Some(self)
    }
}

/// Every list of entries that a look-up met.
pub(crate) type Lists<'a, R> = SmallVec<[List<'a, R>; 16]>;

/// All keys that begin with a text, which the label of the root ends.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Node<R> {
    /// The bytes from the parent to here, then the first byte of each child.
    text: SmallVec<[u8; 16]>,
    children: SharedArray<Node<R>>,
    /// The rank of the first entry.
    major: u64,
    label: u32,
    has_entries: bool,
    /// Entries after the first one.
    others: Option<Arc<Blocks<R>>>,
    first: Option<Entry<R>>,
}

impl<R> Default for Node<R> {
    fn default() -> Self {
        Self::new(b"")
    }
}

impl<R> Node<R> {
    fn new(label: &[u8]) -> Self {
        Node {
            text: SmallVec::from_slice(label),
            children: SharedArray::default(),
            major: 0,
            label: number(label.len()),
            has_entries: false,
            others: None,
            first: None,
        }
    }

    fn label(&self) -> &[u8] {
        &self.text[..self.label as usize]
    }

    fn blocks(&self) -> &[Arc<Block<R>>] {
        self.others.as_ref().map_or(&[], |others| others.as_slice())
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<R>> {
        self.first.iter().chain(self.blocks().iter().flat_map(|block| block.entries()))
    }

    /// Makes what requests with this key run through before entries are tried one by one.
    pub(crate) fn make_screens(&self, key: &[u8]) {
        let Some(rest) = key.strip_prefix(self.label()) else { return };
        match rest.first().map(|first| self.child(*first)) {
            None => self.others.iter().for_each(|others| others.make_screens()),
            Some(at) => at.into_iter().for_each(|at| self.children[at].make_screens(rest)),
        }
    }

    /// Which child's keys go on with this byte.
    fn child(&self, first: u8) -> Option<usize> {
        self.text[self.label as usize..].iter().position(|byte| *byte == first)
    }

    /// Collects the entries of every key that `path` starts with.
    pub(crate) fn collect<'a>(&'a self, path: &[u8], lists: &mut Lists<'a, R>) {
        let mut node = self;
        let Some(mut rest) = path.strip_prefix(node.label()) else { return };
        loop {
            if node.has_entries {
                lists.push(List { major: node.major, length: path.len() - rest.len(), entries: Entries::Of(node) });
            }
            let Some((first, after)) = rest.split_first() else { return };
            let Some(at) = node.child(*first) else { return };
            node = &node.children[at];
            // The parent has compared the first byte, mostly the only one.
            let label = &node.label()[1..];
            if !label.is_empty() && !after.starts_with(label) {
                return;
            }
            rest = &after[label.len()..];
        }
    }

    fn is_empty(&self) -> bool {
        !self.has_entries && self.children.is_empty()
    }

    fn note_first(&mut self) {
        self.has_entries = self.first.is_some();
        self.major = self.first.as_ref().map_or(0, |first| first.major);
    }

    fn set_label(&mut self, label: &[u8]) {
        self.text.drain(..self.label as usize);
        self.text.insert_from_slice(0, label);
        self.label = number(label.len());
    }
}

/// Lengths of paths, which lie in memory several times over.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl<R: HasRoute> Node<R> {
    pub(crate) fn insert(&mut self, key: &[u8], entry: Entry<R>) {
        if self.is_empty() {
            *self = Self::leaf(key, entry);
            return;
        }
        let shared = key.iter().zip(self.label()).take_while(|(one, two)| one == two).count();
        if shared < self.label().len() {
            self.split(shared);
        }
        let rest = &key[shared..];
        match rest.first().map(|first| self.child(*first)) {
            None => self.add_entry(entry),
            Some(None) => self.add_child(Self::leaf(rest, entry)),
            Some(Some(at)) => self.child_mut(at).insert(rest, entry),
        }
    }

    fn leaf(label: &[u8], entry: Entry<R>) -> Self {
        let mut leaf = Self::new(label);
        leaf.add_entry(entry);
        leaf
    }

    /// Makes a node of the first bytes of the label, and what was here its only child.
    fn split(&mut self, at: usize) {
        let upper = Self::new(&self.label()[..at]);
        let mut lower = std::mem::replace(self, upper);
        lower.set_label(&lower.label().to_vec()[at..]);
        self.add_child(lower);
    }

    fn add_child(&mut self, child: Self) {
        self.text.push(child.text[0]);
        self.children.insert(self.children.len(), child);
    }

    fn child_mut(&mut self, at: usize) -> &mut Self {
        &mut self.children.make_mut()[at]
    }

    fn take_child(&mut self, at: usize) {
        self.text.remove(self.label as usize + at);
        self.children.remove(at);
    }

    fn add_entry(&mut self, entry: Entry<R>) {
        let Some(first) = &mut self.first else {
            self.first = Some(entry);
            return self.note_first();
        };
        let others = Arc::make_mut(self.others.get_or_insert_default());
        let is_first = entry.precedes(first);
        others.insert(if is_first { std::mem::replace(first, entry) } else { entry });
        self.note_first();
    }

    fn remove_entries(&mut self, route: Uuid) {
        if let Some(others) = &mut self.others {
            Arc::make_mut(others).remove(route);
        }
        if self.first.as_ref().is_some_and(|first| first.id() == route) {
            self.first = self.others.as_mut().and_then(|others| Arc::make_mut(others).take_first());
        }
        self.others.take_if(|others| others.is_empty());
        self.note_first();
    }

    /// Puts something else in the place of a route under that key.
    pub(crate) fn replace(&mut self, key: &[u8], route: &R) {
        let id = route.route().id;
        if !self.holds(key, id) {
            return;
        }
        let rest = &key[self.label as usize..];
        if let Some(at) = rest.first().and_then(|first| self.child(*first)) {
            return self.child_mut(at).replace(rest, route);
        }
        let of_route = |entry: &&mut Entry<R>| entry.id() == id;
        self.first.iter_mut().filter(of_route).for_each(|entry| entry.route = route.clone());
        if let Some(others) = &mut self.others {
            Arc::make_mut(others).replace(route);
        }
    }

    /// Takes out the entries of the route under that key, and the nodes that are then of no use. Answers whether nothing is left.
    pub(crate) fn remove(&mut self, key: &[u8], route: Uuid) -> bool {
        if self.holds(key, route) {
            self.take_out(key, route);
        }
        self.is_empty()
    }

    fn take_out(&mut self, key: &[u8], route: Uuid) {
        let rest = &key[self.label as usize..];
        match rest.first().and_then(|first| self.child(*first)) {
            None => self.remove_entries(route),
            Some(at) => {
                let child = self.child_mut(at);
                child.take_out(rest, route);
                if child.is_empty() {
                    self.take_child(at);
                }
            }
        }
        if self.has_entries {
            return;
        }
        match &*self.children {
            [] => *self = Self::default(),
            // A node that leads to one thing only is joined with that.
            [only] => {
                let label = [self.label(), only.label()].concat();
                let mut only = only.clone();
                only.set_label(&label);
                *self = only;
            }
            _ => {}
        }
    }

    fn holds(&self, key: &[u8], route: Uuid) -> bool {
        let Some(rest) = key.strip_prefix(self.label()) else { return false };
        match rest.first() {
            None => self.entries().any(|entry| entry.id() == route),
            Some(first) => self.child(*first).is_some_and(|at| self.children[at].holds(rest, route)),
        }
    }
}

#[cfg(test)]
mod tests;
