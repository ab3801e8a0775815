//! What was learnt lately of things that are known by a digest: a bounded memory of two halves, of which the older one is
//! forgotten when the younger is full.

use ahash::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) type Digest = [u8; 32];

struct Halves<V> {
    young: HashMap<Digest, V>,
    old: HashMap<Digest, V>,
}

pub(crate) struct Recent<V> {
    /// How many values each half keeps.
    most: usize,
    halves: Mutex<Halves<V>>,
}

impl<V: Clone> Recent<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, halves: Mutex::new(Halves { young: HashMap::default(), old: HashMap::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Halves<V>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<V> {
        let halves = self.lock();
        halves.young.get(digest).or_else(|| halves.old.get(digest)).cloned()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let halves = self.lock();
        halves.young.len() + halves.old.len()
    }

    pub(crate) fn keep(&self, digest: Digest, value: V) {
        put(&mut self.lock(), self.most, digest, value);
    }

    /// The value that is still good, or a new one that is kept in its place: the same for all who ask at once.
    pub(crate) fn get_or_keep(&self, digest: Digest, is_good: impl Fn(&V) -> bool, make: impl FnOnce() -> V) -> V {
        let mut halves = self.lock();
        let known = halves.young.get(&digest).or_else(|| halves.old.get(&digest)).filter(|value| is_good(value));
        if let Some(known) = known {
            return known.clone();
        }
        let made = make();
        put(&mut halves, self.most, digest, made.clone());
        made
    }
}

fn put<V>(halves: &mut Halves<V>, most: usize, digest: Digest, value: V) {
    if halves.young.len() >= most && !halves.young.contains_key(&digest) {
        halves.old = std::mem::take(&mut halves.young);
    }
    halves.young.insert(digest, value);
}
