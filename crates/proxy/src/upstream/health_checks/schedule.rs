//! What is to be probed when: one timing wheel for the addresses of all upstreams.

use ahash::HashMap;
use balancer::AddressId;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};
use uuid::Uuid;

/// Probes begin in turns of this length, so that many of them do not wake the thread one by one.
pub(super) const TURN: Duration = Duration::from_millis(10);

/// The recurring probes of an address while it is healthy, or while it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Job {
    pub(super) upstream: Uuid,
    pub(super) address: AddressId,
    pub(super) is_healthy: bool,
}

struct Planned {
    interval: Duration,
    at: Instant,
    key: delay_queue::Key,
}

pub(super) struct Schedule {
    start: Instant,
    planned: HashMap<Job, Planned>,
    wheel: DelayQueue<Job>,
}

impl Schedule {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), planned: HashMap::default(), wheel: DelayQueue::new() }
    }

    /// Has a job come every `interval` from now on, for the first time after `first_after` of it. One that does so already
    /// keeps its time.
    pub(super) fn set(&mut self, job: Job, interval: Duration, first_after: impl FnOnce(Duration) -> Duration) {
        if self.planned.get(&job).is_none_or(|planned| planned.interval != interval) {
            self.remove(job);
            self.plan(job, interval, Instant::now() + first_after(interval));
        }
    }

    pub(super) fn remove(&mut self, job: Job) {
        if let Some(planned) = self.planned.remove(&job) {
            self.wheel.remove(&planned.key);
        }
    }

    /// Waits for the next job whose time has come; its next time is an interval later.
    pub(super) async fn due(&mut self) -> Job {
        loop {
            let Some(expired) = poll_fn(|context| Pin::new(&mut self.wheel).poll_expired(context)).await else {
                // Nothing is planned, and nothing will be while this waits.
                return std::future::pending().await;
            };
            let job = expired.into_inner();
            let Some(Planned { interval, at, .. }) = self.planned.remove(&job) else { continue };
            // Turns that were missed, as when the machine slept, are not made up for.
            let (next, now) = (at + interval, Instant::now());
            self.plan(job, interval, if next > now { next } else { now + interval });
            return job;
        }
    }

    fn plan(&mut self, job: Job, interval: Duration, at: Instant) {
        let turns = (at - self.start).as_nanos().div_ceil(TURN.as_nanos());
        let turn = self.start + TURN * u32::try_from(turns).unwrap_or(u32::MAX);
        let key = self.wheel.insert_at(job, turn);
        self.planned.insert(job, Planned { interval, at, key });
    }
}
