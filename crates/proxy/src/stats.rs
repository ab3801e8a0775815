//! Counts of connections and requests: each thread writes its own, readers add them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One thread's counts. Only that thread writes, so that plain loads and stores do.
#[derive(Debug, Default)]
pub(crate) struct ThreadStats {
    pub(crate) accepted: Counter,
    pub(crate) active: Counter,
    pub(crate) requests: Counter,
    /// Requests in work.
    pub(crate) busy: Counter,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of all threads of a worker.
#[derive(Clone, Debug)]
pub struct Stats(Arc<[Arc<ThreadStats>]>);

/// The sums, as `/status` and metrics show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsView {
    pub accepted: u64,
    pub active: u64,
    /// Connections with a request in work.
    pub writing: u64,
    /// Connections between requests.
    pub waiting: u64,
    pub requests: u64,
}

impl Stats {
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Arc::default()).collect())
    }

    pub(crate) fn thread(&self, index: usize) -> Arc<ThreadStats> {
        self.0.get(index).cloned().unwrap_or_default()
    }

    pub fn view(&self) -> StatsView {
        let mut view = StatsView::default();
        for thread in self.0.iter() {
            view.accepted += thread.accepted.get();
            view.active += thread.active.get();
            view.writing += thread.busy.get();
            view.requests += thread.requests.get();
        }
        view.waiting = view.active.saturating_sub(view.writing);
        view
    }
}
