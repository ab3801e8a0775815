//! Where threads find the current snapshot, and where those of the past end.

use super::Snapshot;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Reading it costs a load of a counter while nothing changes.
pub struct SnapshotHandle {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
    /// Those that requests may still hold. Held here, too, they are never freed by the thread of a request: a large one takes
    /// tens of milliseconds.
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl SnapshotHandle {
    pub fn new(snapshot: Snapshot) -> Self {
        let version = AtomicU64::new(1);
        Self { current: ArcSwap::from_pointee(snapshot), version, retired: Mutex::default() }
    }

    /// Makes a snapshot the current one: the next request of every thread sees it.
    pub fn swap(&self, snapshot: Snapshot) {
        let old = self.current.swap(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::Release);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
    }

    /// Frees the snapshots that nothing uses any more, and tells how many are left. For threads that do not proxy.
    pub fn sweep(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, unused): (Vec<_>, Vec<_>) = retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        *retired = held;
        let left = retired.len();
        drop(retired);
        drop(unused);
        left
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Another number for each snapshot.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}
