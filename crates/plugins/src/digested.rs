//! What a process keeps by keys that clients make: bounded in number, and known by a digest under secrets of the process, however
//! long a key is.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;

type Known<T> = Cache<u128, Arc<T>, UnitWeighter, ahash::RandomState, DefaultLifecycle<u128, Arc<T>>>;

/// Values by their keys; beyond the capacity, those that are seldom used are forgotten.
pub(crate) struct Digested<T> {
    digest: [ahash::RandomState; 2],
    known: Known<T>,
}

impl<T: Default> Digested<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let hasher = ahash::RandomState::new();
        Self {
            digest: [ahash::RandomState::new(), ahash::RandomState::new()],
            known: Cache::with(capacity, capacity as u64, UnitWeighter, hasher, DefaultLifecycle::default()),
        }
    }

    /// The value of a key, made where there is none.
    pub(crate) fn get(&self, key: &impl Hash) -> Arc<T> {
        let made = self.known.get_or_insert_with(&self.digest(key), || Ok::<_, Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }

    /// The value of a key, where there is one.
    pub(crate) fn find(&self, key: &impl Hash) -> Option<Arc<T>> {
        self.known.get(&self.digest(key))
    }

    fn digest(&self, key: &impl Hash) -> u128 {
        let [high, low] = &self.digest;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
