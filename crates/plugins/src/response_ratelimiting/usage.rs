//! What was used of the limits: process-wide counters, which hold thousandths, since upstreams may count in fractions.

use crate::rate_limiting::period::Period;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use uuid::Uuid;

/// Counters in the process; of more, those that are seldom used are forgotten.
pub(super) const CAPACITY: usize = 64 * 1024;
/// The lower bits of a window hold the count, the upper ones the window's number.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const COUNT_MAX: i64 = (1 << (COUNT_BITS - 1)) - 1;

/// Thousandths of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i64);

impl Amount {
    /// What is beyond the range counts as its end.
    pub(super) fn new(units: f64) -> Self {
        Self(((units * 1000.0).round() as i64).clamp(-COUNT_MAX, COUNT_MAX))
    }

    pub(super) fn units(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// What is counted together.
#[derive(Hash)]
pub(super) struct Key<'a> {
    pub(super) route: Uuid,
    pub(super) service: Uuid,
    pub(super) limit: &'a str,
    pub(super) identifier: &'a str,
}

/// The use of one limit by one client, a window a period.
#[derive(Debug, Default)]
pub(super) struct Counter([AtomicU64; 6]);

impl Counter {
    /// What was used in the window that holds `now`.
    pub(super) fn used(&self, period: Period, now: Duration) -> Amount {
        used_of(self.0[period as usize].load(Relaxed), window(period, now))
    }

    /// Counts more, unless the limit is used up already; `false` where it is.
    pub(super) fn add(&self, period: Period, now: Duration, more: Amount, limit: Amount) -> bool {
        let window = window(period, now);
        let counted = self.0[period as usize].fetch_update(Relaxed, Relaxed, |packed| {
            let used = used_of(packed, window);
            (more.0 <= 0 || used < limit).then(|| pack(window, Amount(used.0 + more.0)))
        });
        counted.is_ok()
    }

    /// Takes back what was counted.
    pub(super) fn take_back(&self, period: Period, now: Duration, more: Amount) {
        let window = window(period, now);
        let _ = self.0[period as usize]
            .fetch_update(Relaxed, Relaxed, |packed| Some(pack(window, Amount(used_of(packed, window).0 - more.0))));
    }
}

/// The number of a window, as far as there is room for it: it comes again after half a year of seconds, when a counter
/// that nobody touched is long forgotten or harmless.
fn window(period: Period, now: Duration) -> u64 {
    let start = period.start(now);
    let number = if period == Period::Second { start } else { start / 60 };
    // The empty word is no window.
    (number & ((1 << (64 - COUNT_BITS)) - 1)).max(1)
}

fn pack(window: u64, used: Amount) -> u64 {
    window << COUNT_BITS | (used.0.clamp(-COUNT_MAX, COUNT_MAX) as u64 & COUNT_MASK)
}

fn used_of(packed: u64, window: u64) -> Amount {
    if packed >> COUNT_BITS != window {
        return Amount(0);
    }
    let shift = 64 - COUNT_BITS;
    Amount(((packed << shift) as i64) >> shift)
}

type Known = Cache<u128, Arc<Counter>, UnitWeighter, ahash::RandomState, DefaultLifecycle<u128, Arc<Counter>>>;

/// The counters by their keys. A key is known by a digest under secrets of the process, however long it is.
pub(super) struct Counters {
    digest: [ahash::RandomState; 2],
    known: Known,
}

/// The counters of the process.
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
    pub(super) fn get(&self, key: &Key<'_>) -> Arc<Counter> {
        let [high, low] = &self.digest;
        let digest = u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key));
        let made = self.known.get_or_insert_with(&digest, || Ok::<_, Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
