//! Counters of the process: numbers that all threads change, each in one step, known by the digest of their keys.

use super::redis::Names;
use super::window::SECOND;
use crate::digested::Digested;
use crate::tallies::{Center, Name, Synced, Tally, Unsynced};
use pdk::Count;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Counters in the process; of more, those that are seldom used are forgotten.
pub(super) const CAPACITY: usize = 256 * 1024;

/// What Redis says beyond this counts as this.
const COUNT_MAX: i64 = 1 << 52;

/// What is counted together.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Key<'a> {
    /// Whose counters these are: this node's alone (0), or a Redis's (its number).
    pub(super) store: u64,
    pub(super) namespace: &'a str,
    pub(super) identifier: &'a str,
    /// In nanoseconds.
    pub(super) window: u64,
    /// How it is counted: counters of one kind say nothing to another.
    pub(super) kind: u8,
    /// Which of the windows; 0 where there is one.
    pub(super) number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) count: AtomicU64,
    /// What the others knew after the last sync.
    synced: AtomicU64,
    /// Something was counted since the last sync.
    is_changed: AtomicBool,
    /// What the others call it, when it began, and how long it is kept, in seconds; known once it is to be synced.
    told: OnceLock<(String, u64, u64)>,
}

pub(super) struct Counters(Digested<Counter>);

pub(super) fn counters() -> &'static Counters {
    static SHARED: OnceLock<Counters> = OnceLock::new();
    SHARED.get_or_init(Counters::new)
}

impl Counters {
    pub(super) fn new() -> Self {
        Self(Digested::new(CAPACITY))
    }

    /// The counter of a key, made where there is none.
    pub(super) fn get(&self, key: Key<'_>) -> Arc<Counter> {
        self.0.get(&key)
    }

    /// The counter of a key, where there is one.
    pub(super) fn find(&self, key: Key<'_>) -> Option<Arc<Counter>> {
        self.0.find(&key)
    }

    /// Has the others told of what was counted under a key, and asked what others counted there.
    pub(super) fn note(&self, synced: &Arc<Synced>, key: Key<'_>) {
        let is_new = self.tell(synced, key);
        // Others may have let a client through in the window before that is new to this node.
        if let Some(number) = key.number.checked_sub(1).filter(|_| is_new) {
            self.tell(synced, Key { number, ..key });
        }
    }

    /// Says whether the counter was told of for the first time.
    fn tell(&self, synced: &Arc<Synced>, key: Key<'_>) -> bool {
        let counter = self.get(key);
        let is_new = counter.told.get().is_none();
        counter.told.get_or_init(|| {
            let names = Names { namespace: key.namespace, identifier: key.identifier };
            let told = names.of_window(key.window, key.number);
            (told, (key.number * key.window) / SECOND, (2 * key.window).div_ceil(SECOND))
        });
        synced.note(&counter);
        is_new
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
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
        let Some((key, start, lifetime)) = self.told.get() else { return Vec::new() };
        let count = self.count.load(Relaxed) as i64;
        let delta = count - self.synced.load(Relaxed) as i64;
        let name = match center {
            Center::Redis(_) => Name::Key(key.clone()),
            // Kong's table of requests that are limited, whose periods have names: this one's is none of Kong's.
            Center::Database => Name::Row(Count {
                identifier: key.clone(),
                route: Uuid::nil(),
                service: Uuid::nil(),
                limit: None,
                period: "window",
                start: *start,
                delta: 0,
                ttl: *lifetime,
            }),
        };
        vec![Unsynced { name, number: 0, start: 0, count, delta, lifetime: *lifetime }]
    }

    fn merge(&self, window: &Unsynced, total: i64) {
        let total = total.clamp(0, COUNT_MAX);
        self.synced.store(total as u64, Relaxed);
        let merged = |count: u64| Some((count as i64 + total - window.count).max(0) as u64);
        let _ = self.count.fetch_update(Relaxed, Relaxed, merged);
    }
}
