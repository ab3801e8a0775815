//! The retry budget of an upstream: each request pays in a part of a retry, time pays in some more, each retry takes one.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::beyond::BudgetLimits;

/// What one retry costs.
const RETRY: f64 = 1000.0;
/// Seconds of `min_per_second` that are held in store.
const STORED_SECONDS: f64 = 10.0;

/// How far it is from being full, so that it begins full whatever its size.
#[derive(Debug, Default)]
pub struct Budget {
    spent: AtomicI64,
    retries: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    /// A request goes out for the first time.
    pub fn request(&self, limits: &BudgetLimits) {
        self.pay((limits.percent / 100.0 * RETRY) as i64);
    }

    /// Whether a request may go out once more.
    pub fn retry(&self, limits: &BudgetLimits) -> bool {
        let room = (limits.min_per_second * STORED_SECONDS).max(1.0) * RETRY;
        let take = |spent: i64| Some(spent + RETRY as i64).filter(|after| *after <= room as i64);
        let is_allowed = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        let counter = if is_allowed { &self.retries } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        is_allowed
    }

    pub(crate) fn pass(&self, limits: &BudgetLimits, elapsed: Duration) {
        self.pay((limits.min_per_second * RETRY * elapsed.as_secs_f64()) as i64);
    }

    /// Retries that were made, and that were not to be had.
    pub fn counts(&self) -> (u64, u64) {
        (self.retries.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    fn pay(&self, amount: i64) {
        // A full store, the usual case, is only read.
        let pay = |spent: i64| (spent > 0).then(|| (spent - amount).max(0));
        let _ = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }
}
