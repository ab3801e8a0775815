//! A persistent hash map: cut into shards, so that a change copies one of them and shares the others.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use ahash::RandomState;

const SHARDS: usize = 256;

type Shard<K, V> = HashMap<K, V, RandomState>;

/// What many snapshots of a configuration share: a copy costs 256 pointers, a change of the copy one shard.
#[derive(Clone, Debug)]
pub struct Shards<K, V> {
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

/// What only this map holds may be much.
impl<K, V> Drop for Shards<K, V> {
    fn drop(&mut self) {
        for shard in std::mem::take(&mut self.shards) {
            if Arc::into_inner(shard).is_some() {
                pace::breathe();
            }
        }
    }
}

impl<K, V> Shards<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// How many shards are the very same in two maps.
    pub fn shared_with(&self, other: &Self) -> usize {
        self.shards.iter().zip(&other.shards).filter(|(one, two)| Arc::ptr_eq(one, two)).count()
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Shards<K, V> {
    /// The uppermost bits: the shard's own table goes by others.
    fn number<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.hasher.hash_one(key) >> 56) as usize % SHARDS
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if self.len == 0 {
            return None;
        }
        self.shards.get(self.number(key))?.get(key)
    }

    /// The shard of a key, to be changed; a shared one is copied first.
    fn shard(&mut self, key: &K) -> &mut Shard<K, V> {
        if self.shards.is_empty() {
            let empty = Arc::new(Shard::with_hasher(self.hasher.clone()));
            self.shards = vec![empty; SHARDS].into_boxed_slice();
        }
        let number = self.number(key);
        Arc::make_mut(&mut self.shards[number])
    }

    /// The value of the key, made if there is none, to be changed in place.
    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if self.get(&key).is_none() {
            self.len += 1;
        }
        self.shard(&key).entry(key).or_insert_with(new)
    }

    /// Sets the value of the key.
    pub fn insert(&mut self, key: K, value: V) {
        let old = self.shard(&key).insert(key, value);
        self.len += usize::from(old.is_none());
    }

    /// Lets `change` alter the value of the key, and drops the key if it answers that nothing is left.
    pub fn reduce<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> bool)
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

    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.get(key)?.clone();
        self.reduce(key, |_| true);
        Some(value)
    }
}
