//! One limit: so many requests in a window of time, counted in one of four ways.

use super::counters::{Counter, Counters, Key};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) const SECOND: u64 = 1_000_000_000;

/// How a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Windows begin at multiples of their size after the epoch.
    Fixed,
    /// The window before counts as far as it is still within reach.
    Sliding,
    /// As many requests at once as the limit says; their places come back one by one.
    TokenBucket,
    /// Requests go on one by one; those that come too early wait.
    LeakyBucket,
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) kind: Kind,
    pub(super) limit: f64,
    /// In nanoseconds, as are all times here.
    pub(super) size: u64,
    /// How long a request may be made to wait (leaky bucket).
    pub(super) max_delay: u64,
    /// Whether refused requests count (sliding windows).
    pub(super) has_penalty: bool,
}

/// How a request fared in a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_allowed: bool,
    /// How many more requests would be let through now.
    pub(super) remaining: f64,
    /// Until there is room again.
    pub(super) reset: u64,
    /// How long the request has to wait.
    pub(super) delay: u64,
    /// What was counted where, to take it back; nothing where a refused request stays counted.
    counted: Option<(Arc<Counter>, u64)>,
}

impl Outcome {
    /// Takes back what was counted.
    pub(super) fn undo(&mut self) {
        if let Some((counter, amount)) = self.counted.take() {
            let _ = counter.count.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(amount)));
            self.remaining += 1.0;
        }
    }
}

impl Window {
    pub(super) fn has_buckets(&self) -> bool {
        matches!(self.kind, Kind::TokenBucket | Kind::LeakyBucket)
    }

    /// Whether a refused request counts.
    pub(super) fn counts_refused(&self) -> bool {
        self.has_penalty && self.kind == Kind::Sliding
    }

    pub(super) fn key<'a>(&self, store: u64, namespace: &'a str, identifier: &'a str, now: u64) -> Key<'a> {
        let number = if self.has_buckets() { 0 } else { now / self.size };
        Key { store, namespace, identifier, window: self.size, kind: self.kind as u8, number }
    }

    /// Counts a request, unless the limit is reached.
    pub(super) fn take(&self, counters: &Counters, key: Key<'_>, now: u64) -> Outcome {
        if self.has_buckets() { self.schedule(counters, key, now) } else { self.count(counters, key, now) }
    }

    fn count(&self, counters: &Counters, key: Key<'_>, now: u64) -> Outcome {
        let counter = counters.get(key);
        let passed = now % self.size;
        let previous = key.number.checked_sub(1).filter(|_| self.kind == Kind::Sliding);
        let previous = previous.and_then(|number| counters.find(Key { number, ..key }));
        let before = self.within_reach(previous.map_or(0, |previous| previous.count.load(Relaxed)), passed);
        let has_room = |count: u64| count as f64 + before + 1.0 <= self.limit;
        let counts_refused = self.counts_refused();
        let counted = counter.count.fetch_update(Relaxed, Relaxed, |n| (has_room(n) || counts_refused).then(|| n + 1));
        let (Ok(count) | Err(count)) = counted;
        let mut outcome = self.counted(has_room(count), count, before, passed);
        outcome.counted = outcome.is_allowed.then_some((counter, 1));
        outcome
    }

    /// What of the window before is still within reach.
    pub(super) fn within_reach(&self, previous: u64, passed: u64) -> f64 {
        match self.kind {
            Kind::Sliding => previous as f64 * (1.0 - passed as f64 / self.size as f64),
            _ => 0.0,
        }
    }

    /// How a request fared that found `count` others in its window, and `before` in reach.
    pub(super) fn counted(&self, is_allowed: bool, count: u64, before: f64, passed: u64) -> Outcome {
        let used = count as f64 + before + f64::from(u8::from(is_allowed));
        Outcome {
            is_allowed,
            remaining: (self.limit - used).floor().max(0.0),
            reset: if is_allowed { self.size - passed } else { self.wait(count as f64, before, passed) },
            ..Outcome::default()
        }
    }

    /// Until a request has room, if nobody else comes.
    fn wait(&self, count: f64, before: f64, passed: u64) -> u64 {
        let left = self.size - passed;
        if self.kind == Kind::Fixed {
            return left;
        }
        let room = self.limit - 1.0;
        let share = left as f64 / self.size as f64;
        if count <= room {
            // The window before gives way evenly.
            let previous = before / share;
            let needed = (room - count) / previous;
            return ((share - needed).max(0.0) * self.size as f64) as u64;
        }
        // In the next window, when enough of this one is out of reach.
        let needed = (1.0 - room.max(0.0) / count).clamp(0.0, 1.0);
        left + (needed * self.size as f64) as u64
    }

    /// How long one request takes up the bucket.
    pub(super) fn step(&self) -> u64 {
        ((self.size as f64 / self.limit) as u64).max(1)
    }

    /// How far ahead of now the bucket may be filled before a request.
    pub(super) fn ahead(&self) -> u64 {
        match self.kind {
            Kind::TokenBucket => self.size.saturating_sub(self.step()),
            _ => self.max_delay,
        }
    }

    /// The counter is the time at which the bucket is empty.
    fn schedule(&self, counters: &Counters, key: Key<'_>, now: u64) -> Outcome {
        let counter = counters.get(key);
        let (step, ahead) = (self.step(), self.ahead());
        let counted = counter.count.fetch_update(Relaxed, Relaxed, |empty| {
            let empty = empty.max(now);
            (empty - now <= ahead).then(|| empty + step)
        });
        let is_allowed = counted.is_ok();
        let (Ok(empty) | Err(empty)) = counted;
        let mut outcome = self.scheduled(is_allowed, empty.max(now) - now);
        outcome.counted = is_allowed.then_some((counter, step));
        outcome
    }

    /// How a request fared that found the bucket filled so far ahead of now.
    pub(super) fn scheduled(&self, is_allowed: bool, filled: u64) -> Outcome {
        let (step, ahead) = (self.step(), self.ahead());
        // What Redis says is not believed beyond that: nobody waits longer.
        let filled = if is_allowed { filled.min(ahead) } else { filled };
        let after = if is_allowed { filled + step } else { filled };
        let room = (ahead + step).saturating_sub(after) / step;
        Outcome {
            is_allowed,
            remaining: if is_allowed { room as f64 } else { 0.0 },
            reset: if is_allowed { after } else { filled.saturating_sub(ahead) },
            delay: if self.kind == Kind::LeakyBucket && is_allowed { filled } else { 0 },
            counted: None,
        }
    }
}
