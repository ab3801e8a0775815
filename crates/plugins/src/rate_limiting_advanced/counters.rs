//! Counters of the process: numbers that all threads change, each in one step, known by the digest of their keys.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::convert::Infallible;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

/// Counters in the process; of more, those that are seldom used are forgotten.
pub(super) const CAPACITY: usize = 256 * 1024;

/// What is counted together.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Key<'a> {
    pub(super) namespace: &'a str,
    pub(super) identifier: &'a str,
    /// In nanoseconds.
    pub(super) window: u64,
    /// How it is counted: counters of one kind say nothing to another.
    pub(super) kind: u8,
    /// Which of the windows; 0 where there is one.
    pub(super) number: u64,
}

type Known = Cache<u128, Arc<AtomicU64>, UnitWeighter, ahash::RandomState, DefaultLifecycle<u128, Arc<AtomicU64>>>;

pub(super) struct Counters {
    digest: [ahash::RandomState; 2],
    known: Known,
}

pub(super) fn counters() -> &'static Counters {
    static SHARED: OnceLock<Counters> = OnceLock::new();
    SHARED.get_or_init(Counters::new)
}

impl Counters {
    pub(super) fn new() -> Self {
        let hasher = ahash::RandomState::new();
        Self {
            digest: [ahash::RandomState::new(), ahash::RandomState::new()],
            known: Cache::with(CAPACITY, CAPACITY as u64, UnitWeighter, hasher, DefaultLifecycle::default()),
        }
    }

    /// The counter of a key, made where there is none.
    pub(super) fn get(&self, key: Key<'_>) -> Arc<AtomicU64> {
        let made = self.known.get_or_insert_with(&self.digest(key), || Ok::<_, Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }

    /// The counter of a key, where there is one.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Arc<AtomicU64>> {
        self.known.get(&self.digest(key))
    }

    fn digest(&self, key: Key<'_>) -> u128 {
        let [high, low] = &self.digest;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
