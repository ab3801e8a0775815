//! A persistent radix trie over path prefixes: a change copies the nodes from the root to it and shares the rest.
//!
//! Nine of ten nodes are leaves with one entry. These lie beside each other in their parent, so that the last step of a
//! look-up leads to the entry itself: among very many routes each further place in memory is one to wait for.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::Entry;
use crate::HasRoute;

/// Entries under one key, best rank first; never none.
#[derive(Debug)]
pub(crate) struct List<'a, R> {
    /// The rank of the first one, without those that break ties.
    pub(crate) major: u64,
    pub(crate) entries: &'a [Entry<R>],
    /// How long the key is.
    pub(crate) length: usize,
}

impl<R> Clone for List<'_, R> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// Every list of entries that a look-up met.
pub(crate) type Lists<'a, R> = SmallVec<[List<'a, R>; 16]>;

/// A step of a look-up reads the first line of the processor's caches, and what it leads to; the second one where there are
/// entries.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Node<R> {
    /// The bytes from the parent to here; the first byte of each inner child, then of each leaf; the further bytes of the
    /// leaves.
    text: SmallVec<[u8; 16]>,
    inner: Box<[Arc<Node<R>>]>,
    /// Nodes without children and with one entry.
    leaves: Box<[Entry<R>]>,
    label: u32,
    has_entries: bool,
    /// The rank of the first entry.
    major: u64,
    /// Best rank first.
    entries: Vec<Entry<R>>,
}

/// The last snapshot of a large configuration that a trie is in takes it along: tens of milliseconds' work.
impl<R> Drop for Node<R> {
    fn drop(&mut self) {
        pace::breathe();
    }
}

/// Where a child is.
#[derive(Clone, Copy)]
enum Child {
    Inner(usize),
    Leaf(usize),
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
            label: number(label.len()),
            inner: Box::default(),
            leaves: Box::default(),
            has_entries: false,
            major: 0,
            entries: Vec::new(),
        }
    }

    fn label(&self) -> &[u8] {
        &self.text[..self.label as usize]
    }

    /// Where the first bytes of leaves begin in the text.
    fn firsts(&self) -> usize {
        self.label as usize + self.inner.len()
    }

    /// Where the further bytes of leaves begin in the text.
    fn rests(&self) -> usize {
        self.firsts() + self.leaves.len()
    }

    fn child(&self, first: u8) -> Option<Child> {
        let at = self.text[self.label as usize..self.rests()].iter().position(|byte| *byte == first)?;
        Some(at.checked_sub(self.inner.len()).map_or(Child::Inner(at), Child::Leaf))
    }

    /// What of a leaf's key comes after its first byte.
    fn rest(&self, leaf: &Entry<R>) -> &[u8] {
        let start = self.rests() + leaf.rest.0 as usize;
        &self.text[start..start + leaf.rest.1 as usize]
    }

    /// Collects the entries of every key that `path` starts with.
    pub(crate) fn collect<'a>(&'a self, path: &[u8], lists: &mut Lists<'a, R>) {
        let mut node = self;
        let mut rest = path;
        loop {
            if node.has_entries {
                lists.push(List { major: node.major, entries: &node.entries, length: path.len() - rest.len() });
            }
            let Some((first, after)) = rest.split_first() else { return };
            match node.child(*first) {
                None => return,
                Some(Child::Inner(at)) => {
                    node = &node.inner[at];
                    let Some(after) = rest.strip_prefix(node.label()) else { return };
                    rest = after;
                }
                Some(Child::Leaf(at)) => {
                    let leaf = &node.leaves[at];
                    let end = node.rest(leaf);
                    if after.starts_with(end) {
                        let length = path.len() - after.len() + end.len();
                        lists.push(List { major: leaf.major, entries: std::slice::from_ref(leaf), length });
                    }
                    return;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.inner.is_empty() && self.leaves.is_empty()
    }

    /// Changes the entries.
    fn with_entries<T>(&mut self, change: impl FnOnce(&mut Vec<Entry<R>>) -> T) -> T {
        let changed = change(&mut self.entries);
        self.has_entries = !self.entries.is_empty();
        self.major = self.entries.first().map_or(0, |first| first.major);
        changed
    }

    fn add_inner(&mut self, node: Arc<Node<R>>) {
        self.text.insert(self.firsts(), node.text[0]);
        push(&mut self.inner, node);
    }

    fn take_inner(&mut self, at: usize) -> Arc<Node<R>> {
        self.text.remove(self.label as usize + at);
        take(&mut self.inner, at)
    }

    fn add_leaf(&mut self, first: u8, rest: &[u8], mut entry: Entry<R>) {
        self.text.insert(self.rests(), first);
        let start = self.text.len() - (self.rests() + 1);
        self.text.extend_from_slice(rest);
        entry.rest = (number(start), number(rest.len()));
        push(&mut self.leaves, entry);
    }

    /// Takes out a leaf; its key comes with it.
    fn take_leaf(&mut self, at: usize) -> (SmallVec<[u8; 16]>, Entry<R>) {
        let start = self.rests() + self.leaves[at].rest.0 as usize;
        let first = self.firsts() + at;
        let mut leaf = take(&mut self.leaves, at);
        let mut label = SmallVec::from_slice(&self.text[first..=first]);
        label.extend(self.text.drain(start..start + leaf.rest.1 as usize));
        self.text.remove(first);
        for later in &mut self.leaves[at..] {
            later.rest.0 -= leaf.rest.1;
        }
        leaf.rest = (0, 0);
        (label, leaf)
    }

    fn cut_label(&mut self, length: usize) {
        self.text.drain(..length);
        self.label -= number(length);
    }
}

/// Lengths of paths, which lie in memory several times over.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// There are as many leaves as there are routes: room for more of them would be much.
fn push<T>(all: &mut Box<[T]>, more: T) {
    let mut list = std::mem::take(all).into_vec();
    list.reserve_exact(1);
    list.push(more);
    *all = list.into_boxed_slice();
}

fn take<T>(all: &mut Box<[T]>, at: usize) -> T {
    let mut list = std::mem::take(all).into_vec();
    let taken = list.remove(at);
    *all = list.into_boxed_slice();
    taken
}

impl<R: HasRoute> Node<R> {
    pub(crate) fn insert(self: &mut Arc<Self>, key: &[u8], entry: Entry<R>) {
        let node = Arc::make_mut(self);
        let Some(first) = key.first() else {
            return node.with_entries(|entries| {
                let at = entries.partition_point(|other| other.precedes(&entry));
                entries.insert(at, entry);
            });
        };
        let at = match node.child(*first) {
            None => return node.add_leaf(*first, &key[1..], entry),
            Some(Child::Inner(at)) => at,
            Some(Child::Leaf(at)) => node.open_leaf(at),
        };
        let child = &mut node.inner[at];
        let shared = key.iter().zip(child.label()).take_while(|(one, two)| one == two).count();
        if shared < child.label().len() {
            let upper = Arc::new(Node::new(&key[..shared]));
            let mut lower = std::mem::replace(child, upper);
            Arc::make_mut(&mut lower).cut_label(shared);
            Arc::make_mut(child).add_child(lower);
        }
        child.insert(&key[shared..], entry);
    }

    /// Makes a leaf an inner child; answers which.
    fn open_leaf(&mut self, at: usize) -> usize {
        let (label, leaf) = self.take_leaf(at);
        let mut node = Node::new(&label);
        node.with_entries(|entries| entries.push(leaf));
        self.add_inner(Arc::new(node));
        self.inner.len() - 1
    }

    /// Adds a child as what it is: a leaf, where it can be one.
    fn add_child(&mut self, child: Arc<Node<R>>) {
        if child.inner.is_empty()
            && child.leaves.is_empty()
            && let [only] = &*child.entries
        {
            self.add_leaf(child.text[0], &child.label()[1..], only.clone());
        } else {
            self.add_inner(child);
        }
    }

    /// Puts something else in the place of a route under that key.
    pub(crate) fn replace(self: &mut Arc<Self>, key: &[u8], route: &R) {
        let id = route.route().id;
        if !self.holds(key, id) {
            return;
        }
        let node = Arc::make_mut(self);
        match key.first().and_then(|first| node.child(*first)) {
            None => {
                let of_route = node.entries.iter_mut().filter(|entry| entry.id() == id);
                of_route.for_each(|entry| entry.route = route.clone());
            }
            Some(Child::Leaf(at)) => node.leaves[at].route = route.clone(),
            Some(Child::Inner(at)) => {
                let child = &mut node.inner[at];
                let rest = &key[child.label as usize..];
                child.replace(rest, route);
            }
        }
    }

    /// Takes out the entries of the route under that key, and the nodes that are then of no use. Answers whether nothing is left.
    pub(crate) fn remove(self: &mut Arc<Self>, key: &[u8], route: Uuid) -> bool {
        if !self.holds(key, route) {
            return self.is_empty();
        }
        let node = Arc::make_mut(self);
        match key.first().and_then(|first| node.child(*first)) {
            None => node.with_entries(|entries| entries.retain(|entry| entry.id() != route)),
            Some(Child::Leaf(at)) => drop(node.take_leaf(at)),
            Some(Child::Inner(at)) => {
                let child = &mut node.inner[at];
                let rest = &key[child.label as usize..];
                if child.remove(rest, route) {
                    node.take_inner(at);
                } else {
                    node.tidy(at);
                }
            }
        }
        node.is_empty()
    }

    /// Joins an inner child that leads to one thing only with what it leads to.
    fn tidy(&mut self, at: usize) {
        let child = &self.inner[at];
        if child.entries.len() + child.inner.len() + child.leaves.len() != 1 {
            return;
        }
        let child = self.take_inner(at);
        if let [leaf] = &*child.leaves {
            let rest = [&child.label()[1..], &child.text[child.firsts()..]].concat();
            self.add_leaf(child.text[0], &rest, leaf.clone());
        } else if let [only] = &*child.inner {
            let mut joined = Node::clone(only);
            joined.text.insert_from_slice(0, child.label());
            joined.label += child.label;
            self.add_inner(Arc::new(joined));
        } else {
            self.add_child(child);
        }
    }

    fn holds(&self, key: &[u8], route: Uuid) -> bool {
        let Some(first) = key.first() else { return self.entries.iter().any(|entry| entry.id() == route) };
        match self.child(*first) {
            None => false,
            Some(Child::Leaf(at)) => *self.rest(&self.leaves[at]) == key[1..] && self.leaves[at].id() == route,
            Some(Child::Inner(at)) => {
                let child = &self.inner[at];
                key.strip_prefix(child.label()).is_some_and(|rest| child.holds(rest, route))
            }
        }
    }
}

#[cfg(test)]
mod tests;
