//! A persistent hash map: cut into shards, so that a change copies one of them and shares the others.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

const SHARDS: usize = 256;

type Shard<V> = HashMap<Arc<[u8]>, V, RandomState>;

#[derive(Clone, Debug)]
pub(crate) struct Shards<V> {
    /// Empty until the first key comes.
    shards: Box<[Arc<Shard<V>>]>,
    hasher: RandomState,
    len: usize,
}

impl<V: Clone> Default for Shards<V> {
    fn default() -> Self {
        Shards { shards: Box::default(), hasher: RandomState::new(), len: 0 }
    }
}

impl<V: Clone> Shards<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn number(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) >> 56) as usize % SHARDS
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        self.shards.get(self.number(key))?.get(key)
    }

    /// The value of the key, made if there is none, to be changed in place; shared shards are copied first.
    pub(crate) fn entry(&mut self, key: &[u8], new: impl FnOnce() -> V) -> &mut V {
        if self.shards.is_empty() {
            let empty = Arc::new(Shard::with_hasher(self.hasher.clone()));
            self.shards = vec![empty; SHARDS].into_boxed_slice();
        }
        let number = self.number(key);
        let shard = Arc::make_mut(&mut self.shards[number]);
        if !shard.contains_key(key) {
            self.len += 1;
        }
        shard.entry(Arc::from(key)).or_insert_with(new)
    }

    /// Lets `change` alter the value of the key, and drops the key if it answers that nothing is left.
    pub(crate) fn reduce(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> bool) {
        if self.get(key).is_none() {
            return;
        }
        let number = self.number(key);
        let shard = Arc::make_mut(&mut self.shards[number]);
        let is_empty = shard.get_mut(key).is_some_and(change);
        if is_empty && shard.remove(key).is_some() {
            self.len -= 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let value = self.get(key)?.clone();
        self.reduce(key, |_| true);
        Some(value)
    }

    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Self) -> usize {
        self.shards.iter().zip(&other.shards).filter(|(one, two)| Arc::ptr_eq(one, two)).count()
    }
}
