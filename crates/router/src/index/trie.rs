//! A persistent radix trie over path prefixes: a change copies the nodes from the root to it and shares the rest.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::Entry;
use crate::HasRoute;

/// Every list of entries that a look-up met.
pub(crate) type Lists<'a, R> = SmallVec<[&'a [Entry<R>]; 16]>;

#[derive(Debug)]
pub(crate) struct Node<R> {
    /// The bytes from the parent to here, then the first byte of each child.
    text: SmallVec<[u8; 24]>,
    label: usize,
    children: Vec<Arc<Node<R>>>,
    /// Best rank first. Most nodes at the ends have one.
    entries: SmallVec<[Entry<R>; 1]>,
}

impl<R> Clone for Node<R> {
    fn clone(&self) -> Self {
        let Self { text, label, children, entries } = self;
        Self { text: text.clone(), label: *label, children: children.clone(), entries: entries.clone() }
    }
}

impl<R> Default for Node<R> {
    fn default() -> Self {
        Self::new(b"")
    }
}

impl<R> Node<R> {
    fn new(label: &[u8]) -> Self {
        let text = SmallVec::from_slice(label);
        Node { text, label: label.len(), children: Vec::new(), entries: SmallVec::new() }
    }

    fn label(&self) -> &[u8] {
        &self.text[..self.label]
    }

    fn child(&self, first: u8) -> Option<usize> {
        self.text[self.label..].iter().position(|byte| *byte == first)
    }

    /// Collects the entries of every key that `path` starts with.
    pub(crate) fn collect<'a>(&'a self, path: &[u8], lists: &mut Lists<'a, R>) {
        let mut node = self;
        let mut rest = path;
        loop {
            if !node.entries.is_empty() {
                lists.push(&node.entries);
            }
            let Some(next) = rest.first().and_then(|first| node.child(*first)) else { return };
            node = &node.children[next];
            let Some(after) = rest.strip_prefix(node.label()) else { return };
            rest = after;
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.children.is_empty()
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
        let Some(next) = node.child(*first) else {
            let mut leaf = Arc::new(Node::new(key));
            leaf.insert(b"", entry);
            node.text.push(*first);
            node.children.push(leaf);
            return;
        };
        let child = &mut node.children[next];
        let shared = key.iter().zip(child.label()).take_while(|(one, two)| one == two).count();
        if shared < child.label {
            let upper = Arc::new(Node::new(&key[..shared]));
            let mut lower = std::mem::replace(child, upper);
            Arc::make_mut(&mut lower).cut_label(shared);
            let upper = Arc::make_mut(child);
            upper.text.push(lower.text[0]);
            upper.children.push(lower);
        }
        child.insert(&key[shared..], entry);
    }

    /// Puts something else in the place of a route under that key.
    pub(crate) fn replace(self: &mut Arc<Self>, key: &[u8], route: &Arc<R>) {
        if !self.holds(key, route.route().id) {
            return;
        }
        let node = Arc::make_mut(self);
        match key.first().and_then(|first| node.child(*first)) {
            None => {
                let of_route = node.entries.iter_mut().filter(|entry| entry.id() == route.route().id);
                of_route.for_each(|entry| entry.route = Arc::clone(route));
            }
            Some(next) => {
                let child = &mut node.children[next];
                let rest = &key[child.label..];
                child.replace(rest, route);
            }
        }
    }

    fn cut_label(&mut self, length: usize) {
        self.text.drain(..length);
        self.label -= length;
    }

    /// Takes out the entries of the route under that key, and the nodes that are then of no use. Answers whether nothing is left.
    pub(crate) fn remove(self: &mut Arc<Self>, key: &[u8], route: Uuid) -> bool {
        if !self.holds(key, route) {
            return self.is_empty();
        }
        let node = Arc::make_mut(self);
        match key.first().and_then(|first| node.child(*first)) {
            None => node.entries.retain(|entry| entry.id() != route),
            Some(next) => {
                let child = &mut node.children[next];
                let rest = &key[child.label..];
                if child.remove(rest, route) {
                    node.children.remove(next);
                    node.text.remove(node.label + next);
                } else if child.entries.is_empty() && child.children.len() == 1 {
                    Arc::make_mut(child).absorb_only_child();
                }
            }
        }
        node.is_empty()
    }

    fn absorb_only_child(&mut self) {
        let Some(child) = self.children.pop() else { return };
        self.text.truncate(self.label);
        self.text.extend_from_slice(&child.text);
        self.label += child.label;
        self.children.clone_from(&child.children);
        self.entries.clone_from(&child.entries);
    }

    fn holds(&self, key: &[u8], route: Uuid) -> bool {
        match key.first() {
            None => self.entries.iter().any(|entry| entry.id() == route),
            Some(first) => self.child(*first).is_some_and(|next| {
                let child = &self.children[next];
                key.strip_prefix(child.label()).is_some_and(|rest| child.holds(rest, route))
            }),
        }
    }
}
