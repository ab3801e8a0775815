//! Outlier detection: an address that does worse than the others rests, longer each time. What was seen of it is counted
//! where it is seen; what follows of it as time goes by is worked out about twice a second, off the requests' way.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::address::Member;
use crate::beyond::OutlierLimits;

/// How many times its first rest an address rests at most.
const LONGEST: u32 = 10;

/// What was seen of one address.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    failures_in_a_row: AtomicU32,
    /// Since the last comparison.
    succeeded: AtomicU32,
    failed: AtomicU32,
    /// Milliseconds of rest that are left; 0 = it is in use.
    rest: AtomicU64,
    /// How often it has rested lately.
    rests: AtomicU32,
}

/// Why an address rests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    FailuresInARow(u32),
    /// Its percentage of good answers, and what it should have been at least.
    SuccessRate {
        is: f64,
        least: f64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FailuresInARow(count) => write!(f, "{count} failures in a row"),
            Self::SuccessRate { is, least } => {
                write!(f, "{is:.1} % of its answers were good, at least {least:.1} % expected")
            }
        }
    }
}

impl Tally {
    pub(crate) fn is_resting(&self) -> bool {
        self.rest.load(Ordering::Relaxed) > 0
    }

    /// How long it will rest.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let left = self.rest.load(Ordering::Relaxed);
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Counts an answer; gives the failures in a row.
    pub(crate) fn count(&self, is_failure: bool) -> u32 {
        if is_failure {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        }
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        0
    }

    pub(crate) fn begin_rest(&self, limits: &OutlierLimits) {
        let times = (self.rests.load(Ordering::Relaxed) + 1).min(LONGEST);
        self.rests.store(times, Ordering::Relaxed);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        let rest = limits.ejection_time * times;
        self.rest.store(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Lets time pass; whether its rest has ended.
    pub(crate) fn pass(&self, elapsed: Duration) -> bool {
        let left = self.rest.load(Ordering::Relaxed);
        if left == 0 {
            return false;
        }
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.rest.store(left.saturating_sub(elapsed), Ordering::Relaxed);
        left <= elapsed
    }

    /// Back to the start, for an upstream that watches no longer.
    pub(crate) fn reset(&self) {
        self.rest.store(0, Ordering::Relaxed);
        for counter in [&self.failures_in_a_row, &self.succeeded, &self.failed, &self.rests] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// What was counted since the last comparison.
    fn take(&self) -> (u32, u32) {
        (self.succeeded.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }
}

/// Compares the addresses at the end of an interval: those whose share of good answers is too far below the mean.
pub(crate) fn compare(members: &[Member], limits: &OutlierLimits) -> Vec<(usize, Fault)> {
    let mut rates = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let tally = &member.state.tally;
        let (succeeded, failed) = tally.take();
        let requests = u64::from(succeeded) + u64::from(failed);
        // An interval in use makes the next rest shorter.
        if requests > 0 && !tally.is_resting() {
            let rests = tally.rests.load(Ordering::Relaxed);
            tally.rests.store(rests.saturating_sub(1), Ordering::Relaxed);
        }
        if requests >= u64::from(limits.min_requests) {
            rates.push((index, f64::from(succeeded) * 100.0 / requests as f64));
        }
    }
    if limits.deviation <= 0.0 || rates.len() < limits.min_targets {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let least = mean - limits.deviation * variance.sqrt();
    let is_far_below =
        |(index, rate): (usize, f64)| (rate < least).then_some((index, Fault::SuccessRate { is: rate, least }));
    rates.into_iter().filter_map(is_far_below).collect()
}

/// Whether one more may rest: never more than the limit, never all.
pub(crate) fn may_rest(members: &[Member], limits: &OutlierLimits) -> bool {
    let counts = |member: &&Member| member.address.weight > 0;
    let all = members.iter().filter(counts).count();
    let resting = members.iter().filter(counts).filter(|member| member.state.tally.is_resting()).count();
    resting + 1 < all && (resting + 1) as f64 <= limits.max_ejected_percent / 100.0 * all as f64
}
