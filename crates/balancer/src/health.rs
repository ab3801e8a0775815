//! The health of one address: Kong's state machine. Reports arrive from probes (active) and from proxied traffic
//! (passive) with limits of their own, and count towards the same four counters.

pub mod json;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::settings::{Checks, Limits};

/// What was seen of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An answer; 0 = one that could not be parsed.
    HttpStatus(u16),
    TcpFailure,
    Timeout,
    /// It is reachable, or says that it serves; for probes that see no status.
    Success,
    /// It says that it does not serve.
    NotServing,
}

/// Who saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Active,
    Passive,
}

/// The four internal states: `Mostly` ones have seen reports to the contrary, but not enough of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Healthy,
    MostlyHealthy,
    MostlyUnhealthy,
    Unhealthy,
}

/// Why an address is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The last status of those that made the limit.
    HttpFailures {
        source: Source,
        status: u16,
    },
    /// Its health service said so.
    NotServing {
        source: Source,
    },
    TcpFailures {
        source: Source,
    },
    Timeouts {
        source: Source,
    },
    Successes {
        source: Source,
    },
    /// Set through the Admin API.
    Manual,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = |source: Source| match source {
            Source::Active => "probes",
            Source::Passive => "proxied requests",
        };
        match *self {
            Self::HttpFailures { source, status: 0 } => write!(f, "no HTTP answer to {}", seen(source)),
            Self::HttpFailures { source, status } => write!(f, "status {status} of {}", seen(source)),
            Self::NotServing { source } => write!(f, "its health service told {} that it does not serve", seen(source)),
            Self::TcpFailures { source } => write!(f, "failed connections of {}", seen(source)),
            Self::Timeouts { source } => write!(f, "time-outs of {}", seen(source)),
            Self::Successes { source } => write!(f, "successful {}", seen(source)),
            Self::Manual => f.write_str("set through the Admin API"),
        }
    }
}

/// An address has become healthy or unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub is_healthy: bool,
    pub reason: Reason,
    pub at: SystemTime,
}

/// Health of one address. The state and all counters are one word, so a report is one atomic step.
#[derive(Debug, Default)]
pub struct Health {
    word: AtomicU64,
    last_change: Mutex<Option<Change>>,
}

/// Counters since the last report of the opposite kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub successes: u8,
    pub http_failures: u8,
    pub tcp_failures: u8,
    pub timeouts: u8,
}

#[derive(Clone, Copy)]
enum Counter {
    Successes,
    HttpFailures,
    TcpFailures,
    Timeouts,
}

impl Health {
    /// Whether requests may go there: `Healthy` and `MostlyHealthy`.
    pub fn is_healthy(&self) -> bool {
        self.word.load(Ordering::Acquire) & UNHEALTHY_BIT == 0
    }

    pub fn state(&self) -> State {
        state_of(self.word.load(Ordering::Acquire))
    }

    pub fn counters(&self) -> Counters {
        counters_of(self.word.load(Ordering::Acquire))
    }

    /// The last time it became healthy or unhealthy, and why; `None` = healthy from the start.
    pub fn last_change(&self) -> Option<Change> {
        *self.last_change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a report; tells when the address has turned.
    pub fn report(&self, checks: &Checks, source: Source, report: Report, now: SystemTime) -> Option<Change> {
        let limits = match source {
            Source::Active => &checks.active,
            Source::Passive => &checks.passive,
        };
        let (counter, limit) = counted(limits, report)?;
        // A limit of 0 turns nothing and counts nothing.
        if limit == 0 {
            return None;
        }
        let step = |word| next(word, counter, limit);
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
        let after = step(before)?;
        let has_turned = (after ^ before) & UNHEALTHY_BIT != 0;
        has_turned.then(|| self.changed(after & UNHEALTHY_BIT == 0, reason(counter, source, report), now))
    }

    /// Sets the state by hand; all counters start again. Tells when the address has turned.
    pub fn set(&self, is_healthy: bool, now: SystemTime) -> Option<Change> {
        let after = if is_healthy { word(State::Healthy, NO_COUNTERS) } else { word(State::Unhealthy, NO_COUNTERS) };
        let before = self.word.swap(after, Ordering::AcqRel);
        ((before ^ after) & UNHEALTHY_BIT != 0).then(|| self.changed(is_healthy, Reason::Manual, now))
    }

    /// Back to the start, for an address whose checks were switched off.
    pub(crate) fn reset(&self) {
        self.word.store(word(State::Healthy, NO_COUNTERS), Ordering::Release);
        *self.last_change.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn changed(&self, is_healthy: bool, reason: Reason, at: SystemTime) -> Change {
        let change = Change { is_healthy, reason, at };
        *self.last_change.lock().unwrap_or_else(PoisonError::into_inner) = Some(change);
        change
    }
}

/// Which counter a report goes to, and that counter's limit; `None` = a status in neither list.
fn counted(limits: &Limits, report: Report) -> Option<(Counter, u8)> {
    match report {
        Report::HttpStatus(status) if limits.healthy_statuses.contains(status) => {
            Some((Counter::Successes, limits.successes))
        }
        Report::HttpStatus(status) if status == 0 || limits.unhealthy_statuses.contains(status) => {
            Some((Counter::HttpFailures, limits.http_failures))
        }
        Report::HttpStatus(_) => None,
        Report::TcpFailure => Some((Counter::TcpFailures, limits.tcp_failures)),
        Report::Timeout => Some((Counter::Timeouts, limits.timeouts)),
        Report::Success => Some((Counter::Successes, limits.successes)),
        Report::NotServing => Some((Counter::HttpFailures, limits.http_failures)),
    }
}

/// The word after a report; `None` = the report says what is fully known already.
fn next(before: u64, counter: Counter, limit: u8) -> Option<u64> {
    let state = state_of(before);
    let mut counters = counters_of(before);
    let is_success = matches!(counter, Counter::Successes);
    if state == (if is_success { State::Healthy } else { State::Unhealthy }) {
        return None;
    }
    if is_success {
        counters = Counters { successes: counters.successes, ..NO_COUNTERS };
    } else {
        counters.successes = 0;
    }
    let count = match counter {
        Counter::Successes => &mut counters.successes,
        Counter::HttpFailures => &mut counters.http_failures,
        Counter::TcpFailures => &mut counters.tcp_failures,
        Counter::Timeouts => &mut counters.timeouts,
    };
    *count = count.saturating_add(1);
    let state = match (state, is_success) {
        (_, true) if *count >= limit => State::Healthy,
        (_, false) if *count >= limit => State::Unhealthy,
        (State::Healthy, false) => State::MostlyHealthy,
        (State::Unhealthy, true) => State::MostlyUnhealthy,
        (state, _) => state,
    };
    Some(word(state, counters))
}

fn reason(counter: Counter, source: Source, report: Report) -> Reason {
    match (counter, report) {
        (Counter::HttpFailures, Report::HttpStatus(status)) => Reason::HttpFailures { source, status },
        (Counter::HttpFailures, Report::NotServing) => Reason::NotServing { source },
        (Counter::HttpFailures, _) => Reason::HttpFailures { source, status: 0 },
        (Counter::TcpFailures, _) => Reason::TcpFailures { source },
        (Counter::Timeouts, _) => Reason::Timeouts { source },
        (Counter::Successes, _) => Reason::Successes { source },
    }
}

const NO_COUNTERS: Counters = Counters { successes: 0, http_failures: 0, tcp_failures: 0, timeouts: 0 };
const UNHEALTHY_BIT: u64 = 1 << 32;
const MOSTLY_BIT: u64 = 1 << 33;

fn word(state: State, counters: Counters) -> u64 {
    let Counters { successes, http_failures, tcp_failures, timeouts } = counters;
    let state = match state {
        State::Healthy => 0,
        State::MostlyHealthy => MOSTLY_BIT,
        State::MostlyUnhealthy => MOSTLY_BIT | UNHEALTHY_BIT,
        State::Unhealthy => UNHEALTHY_BIT,
    };
    state | u64::from(u32::from_le_bytes([successes, http_failures, tcp_failures, timeouts]))
}

fn state_of(word: u64) -> State {
    match (word & UNHEALTHY_BIT != 0, word & MOSTLY_BIT != 0) {
        (false, false) => State::Healthy,
        (false, true) => State::MostlyHealthy,
        (true, true) => State::MostlyUnhealthy,
        (true, false) => State::Unhealthy,
    }
}

fn counters_of(word: u64) -> Counters {
    let [successes, http_failures, tcp_failures, timeouts] = (word as u32).to_le_bytes();
    Counters { successes, http_failures, tcp_failures, timeouts }
}
