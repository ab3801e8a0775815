//! The counters in this node's memory: one of a kind in the process, exact across threads.
//!
//! Each thread remembers the counters it has used, so a request takes no lock; the process-wide shards, behind locks,
//! are asked only for counters that are new to a thread. Both are bounded: a full shard drops the counters whose windows
//! are over, and where too few are, those whose windows end first.

use super::period::Period;
use super::window_key;
use crate::tallies::{Center, DATABASE, Name, Tally, Unsynced};
use hashbrown::HashTable;
use pdk::Count;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use uuid::Uuid;

const SHARDS: usize = 64;
/// 256 Ki counters in the process.
const SHARD_CAPACITY: usize = 4096;
const THREAD_CAPACITY: usize = 16 * 1024;
/// Longer identifiers are kept as their hashes.
pub(crate) const IDENTIFIER_MAX: usize = 128;

/// What a counter counts: the scope of the plugin entity (not of the request) and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// Whose counters these are: this node's alone (0), or a Redis's (its number).
    pub(crate) store: u64,
    pub(crate) route: Uuid,
    pub(crate) service: Uuid,
    pub(crate) identifier: &'a str,
}

/// One identifier's counts, a window a period.
#[derive(Debug)]
pub(crate) struct Counter {
    hash: u64,
    store: u64,
    route: Uuid,
    service: Uuid,
    identifier: Box<str>,
    /// Of each period: the window's start (seconds, upper half) and the count (lower half).
    windows: [AtomicU64; 6],
    /// Of each period, in the same form: what Redis knew after the last sync.
    synced: [AtomicU64; 6],
    /// Something was counted since the last sync.
    is_changed: AtomicBool,
    /// When the last of its windows is over, in seconds after the epoch.
    expires: AtomicU64,
    is_dropped: AtomicBool,
}

const COUNT_BITS: u32 = 32;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl Counter {
    fn is(&self, key: &Key<'_>) -> bool {
        self.store == key.store
            && self.route == key.route
            && self.service == key.service
            && *self.identifier == *key.identifier
    }

    /// The count in the window that began at `start`.
    pub(crate) fn count(&self, period: Period, start: u64) -> u64 {
        let packed = self.windows[period as usize].load(Relaxed);
        if packed >> COUNT_BITS == start { packed & COUNT_MAX } else { 0 }
    }

    /// Counts one more, unless the count has reached the limit already. Returns the count before.
    pub(crate) fn reserve(&self, period: Period, start: u64, limit: f64) -> Result<u64, u64> {
        let mut before = 0;
        let reserved = self.windows[period as usize].fetch_update(Relaxed, Relaxed, |packed| {
            before = if packed >> COUNT_BITS == start { packed & COUNT_MAX } else { 0 };
            let is_free = (before as f64) < limit;
            is_free.then(|| start << COUNT_BITS | (before + 1).min(COUNT_MAX))
        });
        reserved.map(|_| before).map_err(|_| before)
    }

    pub(crate) fn key(&self) -> Key<'_> {
        Key { store: self.store, route: self.route, service: self.service, identifier: &self.identifier }
    }

    fn name(&self, period: Period, start: u64, center: &Center) -> Name {
        if self.store != DATABASE {
            return Name::Key(window_key(&self.key(), period, start, center.is_cluster()));
        }
        Name::Row(Count {
            identifier: self.identifier.to_string(),
            route: self.route,
            service: self.service,
            limit: None,
            period: period.name(),
            start,
            delta: 0,
            ttl: period.longest(),
        })
    }

    /// Takes back a reservation.
    pub(crate) fn release(&self, period: Period, start: u64) {
        let _ = self.windows[period as usize].fetch_update(Relaxed, Relaxed, |packed| {
            (packed >> COUNT_BITS == start && packed & COUNT_MAX > 0).then(|| packed - 1)
        });
    }

    /// Keeps the counter at least until then.
    pub(crate) fn keep_until(&self, seconds: u64) {
        if self.expires.load(Relaxed) < seconds {
            self.expires.fetch_max(seconds, Relaxed);
        }
    }
}

impl Tally for Counter {
    fn mark_changed(&self) -> bool {
        !self.is_changed.load(Relaxed) && !self.is_changed.swap(true, Relaxed)
    }

    fn mark_synced(&self) {
        self.is_changed.store(false, Relaxed);
    }

    fn unsynced(&self, center: &Center) -> Vec<Unsynced> {
        let window = |period: Period| {
            let packed = self.windows[period as usize].load(Relaxed);
            let start = packed >> COUNT_BITS;
            let known = self.synced[period as usize].load(Relaxed);
            let known = if known >> COUNT_BITS == start { known & COUNT_MAX } else { 0 };
            let count = (packed & COUNT_MAX) as i64;
            let delta = count - known as i64;
            let (number, lifetime) = (period as usize, period.longest());
            let name = || self.name(period, start, center);
            (delta > 0).then(|| Unsynced { name: name(), number, start, count, delta, lifetime })
        };
        Period::ALL.into_iter().filter_map(window).collect()
    }

    fn merge(&self, window: &Unsynced, total: i64) {
        let (start, total) = (window.start, total.clamp(0, COUNT_MAX as i64));
        self.synced[window.number].store(start << COUNT_BITS | total as u64, Relaxed);
        let _ = self.windows[window.number].fetch_update(Relaxed, Relaxed, |packed| {
            let count = ((packed & COUNT_MAX) as i64 + total - window.count).clamp(0, COUNT_MAX as i64);
            (packed >> COUNT_BITS == start).then_some(start << COUNT_BITS | count as u64)
        });
    }
}

struct Shards {
    hasher: ahash::RandomState,
    digest: [ahash::RandomState; 2],
    shards: Vec<Mutex<HashTable<Arc<Counter>>>>,
}

fn shards() -> &'static Shards {
    static SHARED: OnceLock<Shards> = OnceLock::new();
    SHARED.get_or_init(|| Shards {
        hasher: ahash::RandomState::new(),
        digest: [ahash::RandomState::new(), ahash::RandomState::new()],
        shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
    })
}

thread_local! {
    static KNOWN: RefCell<HashTable<Arc<Counter>>> = RefCell::default();
}

/// The counter of a key, for this one use.
pub(crate) fn with<R>(key: Key<'_>, now: Duration, then: impl FnOnce(&Arc<Counter>) -> R) -> R {
    let shared = shards();
    let digest;
    let key = if key.identifier.len() > IDENTIFIER_MAX {
        let [a, b] = &shared.digest;
        digest = format!("{:016x}{:016x}", a.hash_one(key.identifier), b.hash_one(key.identifier));
        Key { identifier: &digest, ..key }
    } else {
        key
    };
    let hash = shared.hasher.hash_one((key.store, key.route, key.service, key.identifier));
    KNOWN.with_borrow_mut(|known| {
        match known.find(hash, |c| c.is(&key)) {
            Some(counter) if !counter.is_dropped.load(Relaxed) => return then(counter),
            Some(_) => known.retain(|c| !c.is_dropped.load(Relaxed)),
            None => {}
        }
        if known.len() >= THREAD_CAPACITY {
            known.retain(|c| !c.is_dropped.load(Relaxed) && c.expires.load(Relaxed) > now.as_secs());
            if known.len() >= THREAD_CAPACITY {
                known.clear();
            }
        }
        let counter = shared.get(hash, &key, now);
        let outcome = then(&counter);
        known.insert_unique(hash, counter, |c| c.hash);
        outcome
    })
}

impl Shards {
    fn get(&self, hash: u64, key: &Key<'_>, now: Duration) -> Arc<Counter> {
        // The table itself uses the upper bits.
        let shard = &self.shards[hash as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = shard.find(hash, |c| c.is(key)) {
            return counter.clone();
        }
        if shard.len() >= SHARD_CAPACITY {
            make_room(&mut shard, now);
        }
        let counter = Arc::new(Counter {
            hash,
            store: key.store,
            route: key.route,
            service: key.service,
            identifier: key.identifier.into(),
            windows: Default::default(),
            synced: Default::default(),
            is_changed: AtomicBool::new(false),
            expires: AtomicU64::new(now.as_secs() + 1),
            is_dropped: AtomicBool::new(false),
        });
        shard.insert_unique(hash, counter.clone(), |c| c.hash);
        counter
    }
}

/// Drops the counters that are over, or else an eighth: those that are over first.
fn make_room(shard: &mut HashTable<Arc<Counter>>, now: Duration) {
    let mut ends: Vec<u64> = shard.iter().map(|c| c.expires.load(Relaxed)).collect();
    let (_, eighth, _) = ends.select_nth_unstable(SHARD_CAPACITY / 8);
    let limit = (*eighth).max(now.as_secs());
    let mut live = SHARD_CAPACITY / 8;
    shard.retain(|counter| {
        let expires = counter.expires.load(Relaxed);
        let is_over = expires <= now.as_secs();
        let is_dropped = is_over || (*eighth > now.as_secs() && expires <= limit && live > 0);
        if is_dropped {
            live = live.saturating_sub(usize::from(!is_over));
            counter.is_dropped.store(true, Relaxed);
        }
        !is_dropped
    });
}
