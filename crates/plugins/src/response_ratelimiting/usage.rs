//! What was used of the limits: process-wide counters, which hold thousandths, since upstreams may count in fractions.

use crate::digested::Digested;
use crate::rate_limiting::period::Period;
use crate::tallies::{Center, Name, Synced, Tally, Unsynced};
use pdk::Count;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
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

    /// What is beyond the range counts as its end.
    pub(super) fn of_thousandths(thousandths: i64) -> Self {
        Self(thousandths.clamp(-COUNT_MAX, COUNT_MAX))
    }

    pub(super) fn units(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// What is counted together.
#[derive(Clone, Copy, Hash)]
pub(super) struct Key<'a> {
    /// Whose counters these are: this node's alone (0), or those of all nodes of a database.
    pub(super) store: u64,
    pub(super) route: Uuid,
    pub(super) service: Uuid,
    pub(super) limit: &'a str,
    pub(super) identifier: &'a str,
}

/// The use of one limit by one client, a window a period.
#[derive(Debug, Default)]
pub(super) struct Counter {
    windows: [AtomicU64; 6],
    /// What the others knew after the last sync, in the same form.
    synced: [AtomicU64; 6],
    /// Something was counted since the last sync.
    is_changed: AtomicBool,
    /// When that was, in seconds after the epoch.
    changed_at: AtomicU64,
    /// What the others call it, once they are told of it.
    told: OnceLock<Count>,
}

impl Counter {
    /// What was used in the window that holds `now`.
    pub(super) fn used(&self, period: Period, now: Duration) -> Amount {
        used_of(self.windows[period as usize].load(Relaxed), window(period, now))
    }

    pub(super) fn set(&self, period: Period, now: Duration, used: Amount) {
        self.windows[period as usize].store(pack(window(period, now), used), Relaxed);
    }

    /// Has the other nodes told of what was counted.
    pub(super) fn note(self: &Arc<Self>, synced: &Arc<Synced>, key: Key<'_>, now: Duration) {
        self.told.get_or_init(|| Count {
            identifier: key.identifier.to_owned(),
            route: key.route,
            service: key.service,
            limit: Some(key.limit.to_owned()),
            period: "",
            start: 0,
            delta: 0,
            ttl: 0,
        });
        self.changed_at.store(now.as_secs(), Relaxed);
        synced.note(self);
    }

    /// Counts more, unless the limit is used up already; `false` where it is.
    pub(super) fn add(&self, period: Period, now: Duration, more: Amount, limit: Amount) -> bool {
        let window = window(period, now);
        let counted = self.windows[period as usize].fetch_update(Relaxed, Relaxed, |packed| {
            let used = used_of(packed, window);
            (more.0 <= 0 || used < limit).then(|| pack(window, Amount(used.0 + more.0)))
        });
        counted.is_ok()
    }

    /// Takes back what was counted.
    pub(super) fn take_back(&self, period: Period, now: Duration, more: Amount) {
        let window = window(period, now);
        let _ = self.windows[period as usize]
            .fetch_update(Relaxed, Relaxed, |packed| Some(pack(window, Amount(used_of(packed, window).0 - more.0))));
    }
}

impl Tally for Counter {
    fn mark_changed(&self) -> bool {
        !self.is_changed.swap(true, Relaxed)
    }

    fn mark_synced(&self) {
        self.is_changed.store(false, Relaxed);
    }

    fn unsynced(&self, _center: &Center) -> Vec<Unsynced> {
        let Some(told) = self.told.get() else { return Vec::new() };
        let now = Duration::from_secs(self.changed_at.load(Relaxed));
        let of_period = |period: Period| {
            let at = window(period, now);
            let known = used_of(self.synced[period as usize].load(Relaxed), at).0;
            // The table holds whole units: thousandths wait until they are one.
            let delta = (self.used(period, now).0 - known) / 1000;
            let (number, start, ttl) = (period as usize, period.start(now), period.longest());
            let row = Count { period: period.name(), start, ttl, ..told.clone() };
            let (name, count) = (Name::Row(row), known + 1000 * delta);
            (delta != 0).then_some(Unsynced { name, number, start: at, count, delta, lifetime: ttl })
        };
        Period::ALL.into_iter().filter_map(of_period).collect()
    }

    fn merge(&self, window: &Unsynced, total: i64) {
        let Amount(total) = Amount::of_thousandths(total.saturating_mul(1000));
        self.synced[window.number].store(pack(window.start, Amount(total)), Relaxed);
        let _ = self.windows[window.number].fetch_update(Relaxed, Relaxed, |packed| {
            let used = used_of(packed, window.start).0 + total - window.count;
            (packed >> COUNT_BITS == window.start).then(|| pack(window.start, Amount::of_thousandths(used)))
        });
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

/// The counters by their keys.
pub(super) type Counters = Digested<Counter>;

/// The counters of the process.
pub(super) fn counters() -> &'static Counters {
    static SHARED: OnceLock<Counters> = OnceLock::new();
    SHARED.get_or_init(|| Counters::new(CAPACITY))
}
