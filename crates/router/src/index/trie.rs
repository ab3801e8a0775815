//! A persistent radix trie over path prefixes: a change copies the nodes from the root to it and shares the rest.
//!
//! Nine of ten nodes are leaves with one entry. These lie beside each other in their parent, so that the last step of a
//! look-up leads to the entry itself: among very many routes each further place in memory is one to wait for.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::Entry;
use crate::HasRoute;

/// Every list of entries that a look-up met.
pub(crate) type Lists<'a, R> = SmallVec<[&'a [Entry<R>]; 16]>;

/// What a step reads comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Node<R> {
    /// The bytes from the parent to here, then the first byte of each inner child, then of each leaf.
    text: SmallVec<[u8; 24]>,
    label: usize,
    inner: Vec<Arc<Node<R>>>,
    leaves: Vec<Leaf<R>>,
    /// Best rank first.
    entries: SmallVec<[Entry<R>; 1]>,
}

/// A node without children and with one entry.
#[derive(Clone, Debug)]
struct Leaf<R> {
    label: SmallVec<[u8; 16]>,
    entry: Entry<R>,
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
        let text = SmallVec::from_slice(label);
        Node { text, label: label.len(), inner: Vec::new(), leaves: Vec::new(), entries: SmallVec::new() }
    }

    fn label(&self) -> &[u8] {
        &self.text[..self.label]
    }

    fn child(&self, first: u8) -> Option<Child> {
        let at = self.text[self.label..].iter().position(|byte| *byte == first)?;
        Some(at.checked_sub(self.inner.len()).map_or(Child::Inner(at), Child::Leaf))
    }

    /// Collects the entries of every key that `path` starts with.
    pub(crate) fn collect<'a>(&'a self, path: &[u8], lists: &mut Lists<'a, R>) {
        let mut node = self;
        let mut rest = path;
        loop {
            if !node.entries.is_empty() {
                lists.push(&node.entries);
            }
            match rest.first().and_then(|first| node.child(*first)) {
                None => return,
                Some(Child::Inner(at)) => {
                    node = &node.inner[at];
                    let Some(after) = rest.strip_prefix(node.label()) else { return };
                    rest = after;
                }
                Some(Child::Leaf(at)) => {
                    let leaf = &node.leaves[at];
                    if rest.starts_with(&leaf.label) {
                        lists.push(std::slice::from_ref(&leaf.entry));
                    }
                    return;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.inner.is_empty() && self.leaves.is_empty()
    }

    fn add_inner(&mut self, node: Arc<Node<R>>) {
        self.text.insert(self.label + self.inner.len(), node.text[0]);
        self.inner.push(node);
    }

    fn take_inner(&mut self, at: usize) -> Arc<Node<R>> {
        self.text.remove(self.label + at);
        self.inner.remove(at)
    }

    fn add_leaf(&mut self, label: &[u8], entry: Entry<R>) {
        self.text.push(label[0]);
        // There are as many as there are routes: room for more of them would be much.
        self.leaves.reserve_exact(1);
        self.leaves.push(Leaf { label: SmallVec::from_slice(label), entry });
    }

    fn take_leaf(&mut self, at: usize) -> Leaf<R> {
        self.text.remove(self.label + self.inner.len() + at);
        self.leaves.remove(at)
    }

    fn cut_label(&mut self, length: usize) {
        self.text.drain(..length);
        self.label -= length;
    }
}

impl<R: HasRoute> Node<R> {
    pub(crate) fn insert(self: &mut Arc<Self>, key: &[u8], entry: Entry<R>) {
        let node = Arc::make_mut(self);
        let Some(first) = key.first() else {
            let at = node.entries.partition_point(|other| other.precedes(&entry));
            node.entries.insert(at, entry);
            return;
        };
        let at = match node.child(*first) {
            None => return node.add_leaf(key, entry),
            Some(Child::Inner(at)) => at,
            Some(Child::Leaf(at)) => node.open_leaf(at),
        };
        let child = &mut node.inner[at];
        let shared = key.iter().zip(child.label()).take_while(|(one, two)| one == two).count();
        if shared < child.label {
            let upper = Arc::new(Node::new(&key[..shared]));
            let mut lower = std::mem::replace(child, upper);
            Arc::make_mut(&mut lower).cut_label(shared);
            Arc::make_mut(child).add_child(lower);
        }
        child.insert(&key[shared..], entry);
    }

    /// Makes a leaf an inner child; answers which.
    fn open_leaf(&mut self, at: usize) -> usize {
        let leaf = self.take_leaf(at);
        let mut node = Node::new(&leaf.label);
        node.entries.push(leaf.entry);
        self.add_inner(Arc::new(node));
        self.inner.len() - 1
    }

    /// Adds a child as what it is: a leaf, where it can be one.
    fn add_child(&mut self, child: Arc<Node<R>>) {
        if child.inner.is_empty()
            && child.leaves.is_empty()
            && let [only] = &*child.entries
        {
            self.add_leaf(child.label(), only.clone());
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
            Some(Child::Leaf(at)) => node.leaves[at].entry.route = route.clone(),
            Some(Child::Inner(at)) => {
                let child = &mut node.inner[at];
                let rest = &key[child.label..];
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
            None => node.entries.retain(|entry| entry.id() != route),
            Some(Child::Leaf(at)) => drop(node.take_leaf(at)),
            Some(Child::Inner(at)) => {
                let child = &mut node.inner[at];
                let rest = &key[child.label..];
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
            self.add_leaf(&[child.label(), &leaf.label].concat(), leaf.entry.clone());
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
            Some(Child::Leaf(at)) => *self.leaves[at].label == *key && self.leaves[at].entry.id() == route,
            Some(Child::Inner(at)) => {
                let child = &self.inner[at];
                key.strip_prefix(child.label()).is_some_and(|rest| child.holds(rest, route))
            }
        }
    }
}

#[cfg(test)]
mod tests;
