//! The wall clock as plugins read it: the system's, or one that a test has stopped.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A worker's wall clock.
#[derive(Debug, Default)]
pub struct Clock {
    stopped: Option<Cell<Duration>>,
}

impl Clock {
    /// A clock that only [`advance`](Self::advance) moves.
    pub fn stopped(at: Duration) -> Self {
        Self { stopped: Some(Cell::new(at)) }
    }

    /// The time since the epoch.
    pub fn now(&self) -> Duration {
        match &self.stopped {
            Some(at) => at.get(),
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Moves a stopped clock.
    pub fn advance(&self, by: Duration) {
        if let Some(at) = &self.stopped {
            at.set(at.get() + by);
        }
    }
}
