//! How a queue is emptied: batch after batch, each tried until it is sent or its time is over.

use super::{Entries, Part, Queue, Sender, lock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Sends batches until nothing waits.
pub(super) async fn run(queue: Arc<Queue>) {
    let _running = Running(&queue);
    while queue.is_waiting() {
        queue.refill().await;
        queue.coalesce().await;
        let batch = lock(&queue.state).take_batch();
        let count = batch.len();
        if count > 0 {
            queue.deliver(batch).await;
        }
        let ended = lock(&queue.state).end_batch(count);
        drop(ended);
        queue.remove_sent().await;
    }
}

/// Sends one entry, beside others.
pub(super) async fn send_alone(queue: Arc<Queue>, entry: Vec<u8>) {
    let size = entry.len();
    queue.deliver(Arc::new([entry].into_iter().collect())).await;
    let mut state = lock(&queue.state);
    state.sending -= 1;
    state.bytes -= size;
}

/// Lets the next entry start a task where this one broke off.
struct Running<'a>(&'a Queue);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.state).is_running = false;
        }
    }
}

impl Queue {
    /// Whether there is a next batch; without one the next entry starts a new task.
    fn is_waiting(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_running = state.has_any();
        state.is_flushing &= state.is_running;
        state.is_running
    }

    /// Waits until a batch is full, or has waited long enough.
    async fn coalesce(&self) {
        let start = Instant::now();
        loop {
            let end = {
                let state = lock(&self.state);
                let is_ready = state.waiting.len() >= state.batch_size() || state.waiting.is_empty();
                if state.is_flushing || is_ready {
                    return;
                }
                start + state.parameters.max_coalescing_delay()
            };
            if timeout_at(end, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Sends a batch. What it is sent with, and how often, is as configured by then.
    async fn deliver(&self, mut batch: Arc<Entries>) {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            let (parameters, sender): (_, Arc<dyn Sender>) = {
                let state = lock(&self.state);
                (state.parameters.clone(), state.sender.clone())
            };
            let Err(mut failure) = sender.send(&batch).await else { return };
            if let Some(Part { left, refused }) = failure.part.take() {
                self.lose(refused, &failure.reason);
                batch = self.shrink(&batch, left);
                if batch.is_empty() {
                    return;
                }
            }
            // With a disk to wait on, a destination that is out of reach is waited for.
            let is_waited_for = parameters.max_spill_bytes() > 0 && self.disk().is_some() && !failure.is_refusal;
            let time = if is_waited_for { Duration::MAX } else { parameters.max_retry_time() };
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return self.lose(batch.len(), &format!("after {tries} retries: {}", failure.reason));
            }
            if tries == 0 {
                log::warn!("queue {}: sending failed and is tried again: {}", self.label, failure.reason);
            }
            self.pause(parameters.retry_delay(tries).min(left)).await;
            tries += 1;
        }
    }

    /// What is left of a batch is all of it from now on, also for what goes to disk at the end.
    fn shrink(&self, batch: &Arc<Entries>, left: Entries) -> Arc<Entries> {
        let left = Arc::new(left);
        let mut state = lock(&self.state);
        if Arc::ptr_eq(&state.in_flight, batch) {
            state.sending -= batch.len() - left.len();
            state.in_flight = left.clone();
        }
        left
    }

    /// Waits before a retry, which comes at once where the queue is to be emptied.
    async fn pause(&self, delay: Duration) {
        let end = Instant::now() + delay;
        while timeout_at(end, self.changed.notified()).await.is_ok() && !lock(&self.state).is_flushing {}
    }
}
