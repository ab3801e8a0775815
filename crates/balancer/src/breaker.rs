//! The circuit breaker of an upstream: closed, open after failures in a row, half open while one request is tried.
//!
//! The state is one word, so that every step is atomic. A trial that is never heard of again holds nothing up: after
//! another `open_time` the next one is admitted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::beyond::BreakerLimits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As metrics and the Admin API name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The circuit is open; how long it will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit of the upstream is open")]
pub struct CircuitOpen {
    pub retry_after: Duration,
}

/// Two bits of state; the rest is the count of failures while closed, else the millisecond at which a trial is due.
#[derive(Debug)]
pub struct Breaker {
    word: AtomicU64,
    epoch: Instant,
}

const STATE_SHIFT: u32 = 62;
const VALUE: u64 = (1 << STATE_SHIFT) - 1;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

fn word(state: u64, value: u64) -> u64 {
    state << STATE_SHIFT | value & VALUE
}

impl Breaker {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { word: AtomicU64::new(word(CLOSED, 0)), epoch }
    }

    pub fn state(&self) -> BreakerState {
        match self.word.load(Ordering::Acquire) >> STATE_SHIFT {
            CLOSED => BreakerState::Closed,
            OPEN => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Whether a request may go on.
    pub fn admit(&self, limits: &BreakerLimits, now: Instant) -> Result<(), CircuitOpen> {
        let now = self.millis(now);
        let mut before = self.word.load(Ordering::Acquire);
        loop {
            if before >> STATE_SHIFT == CLOSED || limits.consecutive_failures == 0 {
                return Ok(());
            }
            let due = before & VALUE;
            if now < due {
                return Err(CircuitOpen { retry_after: Duration::from_millis(due - now) });
            }
            let after = word(HALF_OPEN, now + millis(limits.open_time));
            match self.word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => before = other,
            }
        }
    }

    /// Takes note of a try's outcome; the new state where it is another one.
    pub(crate) fn ended(&self, limits: &BreakerLimits, is_failure: bool, now: Instant) -> Option<BreakerState> {
        if limits.consecutive_failures == 0 {
            return None;
        }
        let due = self.millis(now) + millis(limits.open_time);
        let step = |before: u64| match (before >> STATE_SHIFT, is_failure) {
            (CLOSED, false) if before & VALUE == 0 => None,
            (CLOSED, false) | (HALF_OPEN, false) => Some(word(CLOSED, 0)),
            (CLOSED, true) if (before & VALUE) + 1 < u64::from(limits.consecutive_failures) => Some(before + 1),
            (CLOSED, true) | (HALF_OPEN, true) => Some(word(OPEN, due)),
            // What was under way when the circuit opened.
            _ => None,
        };
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
        let after = step(before)?;
        let state = if after >> STATE_SHIFT == CLOSED { BreakerState::Closed } else { BreakerState::Open };
        (before >> STATE_SHIFT != after >> STATE_SHIFT).then_some(state)
    }

    /// For an upstream whose breaker was switched off.
    pub(crate) fn reset(&self) {
        self.word.store(word(CLOSED, 0), Ordering::Release);
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(VALUE)
}
