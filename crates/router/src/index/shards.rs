//! A persistent hash map: cut into shards, so that a change copies one of them and shares the others.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use ahash::RandomState;

const SHARDS: usize = 256;

type Shard<K, V> = HashMap<K, V, RandomState>;

#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    /// Empty until the first key comes.
    shards: Box<[Arc<Shard<K, V>>]>,
    hasher: RandomState,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Shards { shards: Box::default(), hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Shards<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The uppermost bits: the shard's own table goes by others.
    fn number<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.hasher.hash_one(key) >> 56) as usize % SHARDS
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if self.len == 0 {
            return None;
        }
        self.shards.get(self.number(key))?.get(key)
    }

    /// The value of the key, made if there is none, to be changed in place; shared shards are copied first.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if self.shards.is_empty() {
            let empty = Arc::new(Shard::with_hasher(self.hasher.clone()));
            self.shards = vec![empty; SHARDS].into_boxed_slice();
        }
        let number = self.number(&key);
        let shard = Arc::make_mut(&mut self.shards[number]);
        if !shard.contains_key(&key) {
            self.len += 1;
        }
        shard.entry(key).or_insert_with(new)
    }

    /// Lets `change` alter the value of the key, and drops the key if it answers that nothing is left.
    pub(crate) fn reduce<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> bool)
    where
        K: Borrow<Q>,
    {
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

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.get(key)?.clone();
        self.reduce(key, |_| true);
        Some(value)
    }

    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Self) -> usize {
        self.shards.iter().zip(&other.shards).filter(|(one, two)| Arc::ptr_eq(one, two)).count()
    }
}
