//! The bound of an upstream's requests at the same time (`circuit_breaker`): beyond it some wait, and the others are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use balancer::BreakerLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Shared by all threads; it outlives configurations that do not change its limits.
pub(crate) struct Gate {
    limits: BreakerLimits,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// What is to be seen of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateView {
    pub active: usize,
    pub pending: usize,
    pub refused: u64,
}

/// There is neither room nor a place to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Gate {
    /// `None` where the number of requests is not limited.
    pub(crate) fn of(limits: Option<&BreakerLimits>, before: Option<&Arc<Gate>>) -> Option<Arc<Gate>> {
        let limits = limits.filter(|limits| limits.max_requests > 0)?;
        let same = before.filter(|gate| gate.limits == *limits).cloned();
        Some(same.unwrap_or_else(|| {
            Arc::new(Gate {
                free: Arc::new(Semaphore::new(limits.max_requests)),
                limits: limits.clone(),
                waiting: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
            })
        }))
    }

    /// Room for one request, which lasts as long as what this gives.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Full> {
        if let Ok(room) = self.free.clone().try_acquire_owned() {
            return Ok(room);
        }
        let room = match Waiting::begin(self) {
            Some(_waiting) => timeout(self.limits.pending_timeout, self.free.clone().acquire_owned()).await.ok(),
            None => None,
        };
        room.and_then(Result::ok).ok_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Full
        })
    }

    pub(crate) fn view(&self) -> GateView {
        GateView {
            active: self.limits.max_requests.saturating_sub(self.free.available_permits()),
            pending: self.waiting.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// A place to wait; a client that goes away leaves it.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Option<Self> {
        let one_more = |waiting: usize| (waiting < gate.limits.max_pending).then_some(waiting + 1);
        gate.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self(gate))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Gate, GateView};
    use balancer::BreakerLimits;
    use std::sync::Arc;
    use std::time::Duration;

    fn gate(max_requests: usize, max_pending: usize) -> Arc<Gate> {
        let limits = BreakerLimits {
            max_requests,
            max_pending,
            pending_timeout: Duration::from_secs(1),
            consecutive_failures: 0,
            open_time: Duration::ZERO,
        };
        Gate::of(Some(&limits), None).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_limit_wait_and_those_beyond_the_queue_are_refused() {
        let gate = gate(2, 1);
        let first = gate.enter().await.unwrap();
        let _second = gate.enter().await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.view(), GateView { active: 2, pending: 1, refused: 0 });
        assert_eq!(gate.enter().await.unwrap_err(), Full);
        drop(first);
        let third = waiting.await.unwrap().unwrap();
        assert_eq!(gate.view(), GateView { active: 2, pending: 0, refused: 1 });
        assert_eq!(gate.enter().await.unwrap_err(), Full, "nobody made room within the time");
        drop(third);
        assert_eq!(gate.view(), GateView { active: 1, pending: 0, refused: 2 });
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_queue() {
        let gate = gate(1, 1);
        let _only = gate.enter().await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.view().pending, 1);
        waiting.abort();
        let _ = waiting.await;
        assert_eq!(gate.view().pending, 0);
    }

    #[test]
    fn a_gate_stays_while_its_limits_do() {
        let before = gate(2, 1);
        let same = Gate::of(Some(&before.limits.clone()), Some(&before)).unwrap();
        assert!(Arc::ptr_eq(&before, &same));
        let mut limits = before.limits.clone();
        limits.max_requests = 3;
        assert!(!Arc::ptr_eq(&before, &Gate::of(Some(&limits), Some(&before)).unwrap()));
        limits.max_requests = 0;
        assert!(Gate::of(Some(&limits), Some(&before)).is_none() && Gate::of(None, Some(&before)).is_none());
    }
}
