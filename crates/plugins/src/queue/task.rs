//! How a queue is emptied: batch after batch, each tried until it is sent or its time is over.

use super::{Entries, Queue, Sender, lock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Sends batches until nothing waits.
pub(super) async fn run(queue: Arc<Queue>) {
    let _running = Running(&queue);
    while queue.is_waiting() {
        queue.refill().await;
        queue.coalesce().await;
        let batch = lock(&queue.state).take_batch();
        if !batch.is_empty() {
            queue.deliver(&batch).await;
        }
        lock(&queue.state).end_batch(batch.len());
        queue.remove_sent().await;
    }
}

/// Sends one entry, beside others.
pub(super) async fn send_alone(queue: Arc<Queue>, entry: Vec<u8>) {
    let size = entry.len();
    queue.deliver(&[entry].into_iter().collect()).await;
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
    async fn deliver(&self, batch: &Entries) {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            let (parameters, sender): (_, Arc<dyn Sender>) = {
                let state = lock(&self.state);
                (state.parameters.clone(), state.sender.clone())
            };
            let Err(failure) = sender.send(batch).await else {
                lock(&self.state).is_full = false;
                return;
            };
            // With a disk to wait on, a destination that is out of reach is waited for.
            let is_waited_for = parameters.max_spill_bytes() > 0 && self.disk().is_some() && !failure.is_refusal;
            let time = if is_waited_for { Duration::MAX } else { parameters.max_retry_time() };
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                self.queues.drop_entries(batch.len());
                let (label, count, reason) = (&self.label, batch.len(), failure.reason);
                return log::error!("queue {label}: {count} entries lost after {tries} retries: {reason}");
            }
            if tries == 0 {
                log::warn!("queue {}: sending failed and is tried again: {}", self.label, failure.reason);
            }
            sleep(parameters.retry_delay(tries).min(left)).await;
            tries += 1;
        }
    }
}
