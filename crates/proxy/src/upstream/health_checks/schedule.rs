//! What is to be probed when: one queue, in the order of time, for all upstreams.

use ahash::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The recurring probes of an upstream's healthy, or of its unhealthy, addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Job {
    pub(super) upstream: Uuid,
    pub(super) is_healthy: bool,
}

struct Planned {
    interval: Duration,
    at: Instant,
}

#[derive(Default)]
pub(super) struct Schedule {
    jobs: HashMap<Job, Planned>,
    queue: BTreeSet<(Instant, Job)>,
}

impl Schedule {
    /// Takes over what a configuration wants. What it does not change keeps its time; `first_after` says when the others
    /// begin. Gives the jobs that are no more.
    pub(super) fn update(
        &mut self,
        wanted: Vec<(Job, Duration)>,
        now: Instant,
        first_after: impl Fn(Duration) -> Duration,
    ) -> Vec<Job> {
        let names: HashSet<Job> = wanted.iter().map(|(job, _)| *job).collect();
        let gone: Vec<Job> = self.jobs.keys().filter(|job| !names.contains(job)).copied().collect();
        for job in &gone {
            self.remove(*job);
        }
        for (job, interval) in wanted {
            if self.jobs.get(&job).is_none_or(|planned| planned.interval != interval) {
                self.remove(job);
                self.plan(job, interval, now + first_after(interval));
            }
        }
        gone
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// A job whose time has come; its next time is an interval later.
    pub(super) fn due(&mut self, now: Instant) -> Option<Job> {
        let (at, job) = self.queue.first().copied().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, job));
        let interval = self.jobs.remove(&job)?.interval;
        // Turns that were missed, as when the machine slept, are not made up for.
        let next = if at + interval > now { at + interval } else { now + interval };
        self.plan(job, interval, next);
        Some(job)
    }

    fn plan(&mut self, job: Job, interval: Duration, at: Instant) {
        self.jobs.insert(job, Planned { interval, at });
        self.queue.insert((at, job));
    }

    fn remove(&mut self, job: Job) {
        if let Some(planned) = self.jobs.remove(&job) {
            self.queue.remove(&(planned.at, job));
        }
    }
}
