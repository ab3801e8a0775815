//! Look-ups of millions of shared values that many snapshots hold: an entry is one pointer, and a copy shares its shards
//! with the original, so that a change copies one shard of 1,024 and not the whole.

use ahash::{HashMap, RandomState};
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use uuid::Uuid;

const SHARDS: usize = 1024;

/// The shard of a hash: by bits that the tables themselves do not use, neither for buckets nor for tags.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn shards<T: Default>() -> Box<[Arc<T>]> {
    // All are the same empty one until they are written to.
    let empty = Arc::new(T::default());
    (0..SHARDS).map(|_| empty.clone()).collect()
}

/// Values by a unique field of theirs; those without the field are not in it.
pub(super) struct Index<T> {
    key: fn(&T) -> Option<&[u8]>,
    hasher: RandomState,
    shards: Box<[Arc<HashTable<Arc<T>>>]>,
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self { key: self.key, hasher: self.hasher.clone(), shards: self.shards.clone() }
    }
}

impl<T> Index<T> {
    pub(super) fn by(key: fn(&T) -> Option<&[u8]>) -> Self {
        Self { key, hasher: RandomState::new(), shards: shards() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<T>> {
        let hash = self.hasher.hash_one(key);
        self.shards[shard_of(hash)].find(hash, |value| (self.key)(value) == Some(key))
    }

    /// Adds a value, in the place of one with the same key.
    pub(super) fn insert(&mut self, value: Arc<T>) {
        let (of, hasher) = (self.key, &self.hasher);
        let Some(key) = of(&value) else { return };
        let hash = hasher.hash_one(key);
        let table = Arc::make_mut(&mut self.shards[shard_of(hash)]);
        match table.find_mut(hash, |known| of(known) == Some(key)) {
            Some(known) => *known = value,
            None => {
                table.insert_unique(hash, value, |value| of(value).map_or(0, |key| hasher.hash_one(key)));
            }
        }
    }

    /// Removes this very value; one that has taken its key stays.
    pub(super) fn remove(&mut self, value: &Arc<T>) {
        let Some(key) = (self.key)(value) else { return };
        let hash = self.hasher.hash_one(key);
        let shard = &mut self.shards[shard_of(hash)];
        if shard.find(hash, |known| Arc::ptr_eq(known, value)).is_none() {
            return;
        }
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, |known| Arc::ptr_eq(known, value)) {
            entry.remove();
        }
    }
}

type Lists<K, T> = HashMap<K, Vec<Arc<T>>>;

/// Lists of values by what they belong to: an id, mostly.
pub(super) struct Grouped<T, K = Uuid> {
    hasher: RandomState,
    shards: Box<[Arc<Lists<K, T>>]>,
}

impl<T, K> Clone for Grouped<T, K> {
    fn clone(&self) -> Self {
        Self { hasher: self.hasher.clone(), shards: self.shards.clone() }
    }
}

impl<T, K> Default for Grouped<T, K> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: shards() }
    }
}

impl<T, K: Hash + Eq + Clone> Grouped<T, K> {
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, id: &Q) -> &[Arc<T>]
    where
        K: Borrow<Q>,
    {
        let shard = &self.shards[shard_of(self.hasher.hash_one(id))];
        shard.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Changes the list of an id; an empty one is forgotten.
    pub(super) fn change(&mut self, id: K, change: impl FnOnce(&mut Vec<Arc<T>>)) {
        let shard = Arc::make_mut(&mut self.shards[shard_of(self.hasher.hash_one(&id))]);
        let list = shard.entry(id.clone()).or_default();
        change(list);
        if list.is_empty() {
            shard.remove(&id);
        }
    }
}
