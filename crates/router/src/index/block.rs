//! The entries after the first of a key, in blocks. Most keys have none. Where many regexes begin with the same literal, a
//! request runs through one automaton a block, which tells the few regexes that are to be tried.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use uuid::Uuid;

use super::Entry;
use crate::HasRoute;
use crate::pattern::Screen;

/// How many entries a block has at most: as many as a word has bits.
const MOST: usize = 64;
/// With fewer regexes, trying each is as fast.
const WORTH_IT: usize = 8;

/// Best rank first.
#[derive(Clone, Debug)]
pub(crate) struct Block<R> {
    entries: Vec<Entry<R>>,
    /// Not yet there after a change; `None` where it would be of no use.
    screen: OnceLock<Option<Arc<Screen>>>,
}

impl<R> Block<R> {
    fn new(entries: Vec<Entry<R>>) -> Self {
        Block { entries, screen: OnceLock::new() }
    }

    pub(crate) fn entries(&self) -> &[Entry<R>] {
        &self.entries
    }

    /// Which entries may match the path, as bits by their places.
    pub(crate) fn open(&self, path: &[u8]) -> u64 {
        match self.screen.get() {
            Some(Some(screen)) => screen.open(path),
            _ => u64::MAX >> (MOST - self.entries.len().clamp(1, MOST)),
        }
    }

    /// Makes what requests run through, where it is not there.
    fn make_screen(&self) {
        let make = || {
            let regexes = self.entries.iter().map(|entry| entry.candidate.as_ref()?.path_regex());
            if regexes.clone().flatten().count() < WORTH_IT { None } else { Screen::new(regexes).map(Arc::new) }
        };
        self.screen.get_or_init(make);
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Entry<R>>) -> T) -> T {
        self.screen = OnceLock::new();
        change(&mut self.entries)
    }
}

/// All blocks of a key, none of them empty.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<R>(SmallVec<[Arc<Block<R>>; 1]>);

impl<R> Default for Blocks<R> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<R> Blocks<R> {
    pub(crate) fn as_slice(&self) -> &[Arc<Block<R>>] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn make_screens(&self) {
        pace::each(&self.0).for_each(|block| block.make_screen());
    }
}

impl<R: HasRoute> Blocks<R> {
    pub(crate) fn insert(&mut self, entry: Entry<R>) {
        let is_before = |block: &Arc<Block<R>>| block.entries.last().is_some_and(|last| last.precedes(&entry));
        let at = self.0.partition_point(is_before).min(self.0.len().saturating_sub(1));
        let Some(block) = self.0.get_mut(at) else { return self.0.push(Arc::new(Block::new(vec![entry]))) };
        let second_half = Arc::make_mut(block).change(|entries| {
            entries.insert(entries.partition_point(|other| other.precedes(&entry)), entry);
            (entries.len() > MOST).then(|| entries.split_off(MOST / 2))
        });
        if let Some(entries) = second_half {
            self.0.insert(at + 1, Arc::new(Block::new(entries)));
        }
    }

    pub(crate) fn take_first(&mut self) -> Option<Entry<R>> {
        let first = Arc::make_mut(self.0.first_mut()?).change(|entries| entries.remove(0));
        self.join(0);
        Some(first)
    }

    pub(crate) fn remove(&mut self, route: Uuid) {
        for at in (0..self.0.len()).rev() {
            if self.0[at].entries.iter().any(|entry| entry.id() == route) {
                Arc::make_mut(&mut self.0[at]).change(|entries| entries.retain(|entry| entry.id() != route));
                self.join(at);
            }
        }
    }

    /// Drops a block that has become empty, and joins one that has become small with the one before or after it.
    fn join(&mut self, at: usize) {
        if self.0[at].entries.is_empty() {
            self.0.remove(at);
            return;
        }
        let fit = |pair: &[Arc<Block<R>>]| pair[0].entries.len() + pair[1].entries.len() <= MOST / 2;
        let first = at.saturating_sub(1);
        let end = self.0.len().min(at + 2);
        if let Some(before) = self.0[first..end].windows(2).position(fit) {
            let next = self.0.remove(first + before + 1);
            Arc::make_mut(&mut self.0[first + before]).change(|entries| entries.extend_from_slice(&next.entries));
        }
    }

    /// Puts something else in the place of a route whose definition has not changed.
    pub(crate) fn replace(&mut self, route: &R) {
        let id = route.route().id;
        for block in self.0.iter_mut().filter(|block| block.entries.iter().any(|entry| entry.id() == id)) {
            let entries = &mut Arc::make_mut(block).entries;
            entries.iter_mut().filter(|entry| entry.id() == id).for_each(|entry| entry.route = route.clone());
        }
    }
}
