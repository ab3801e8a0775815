//! A short array that is copied where it is changed.

use std::ops::Deref;
use std::sync::Arc;

/// Costs a counter to copy. A change of one that others share, or of its length, copies the items.
#[derive(Debug)]
pub struct SharedArray<T>(Option<Arc<[T]>>);

impl<T> Default for SharedArray<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for SharedArray<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for SharedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// The last of a large configuration takes it along: tens of milliseconds' work.
impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|items| Arc::strong_count(items) == 1) {
            pace::breathe();
        }
    }
}

impl<T: Clone> SharedArray<T> {
    /// The items, to be changed in place.
    pub fn make_mut(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], Arc::make_mut)
    }

    /// Puts an item before the one at that place, or at the end.
    pub fn insert(&mut self, at: usize, item: T) {
        let (before, after) = self.split_at(at.min(self.len()));
        self.0 = Some(before.iter().cloned().chain([item]).chain(after.iter().cloned()).collect());
    }

    /// Takes an item out.
    pub fn remove(&mut self, at: usize) {
        let Some((before, [_, after @ ..])) = self.split_at_checked(at) else { return };
        let left = before.len() + after.len();
        self.0 = (left > 0).then(|| before.iter().chain(after).cloned().collect());
    }
}
