//! How a queue behaves: the `queue` record of a config.

use schema::{Field, Type, typedefs};
use serde::Deserialize;
use std::time::Duration;

/// What a queue holds where its config sets no bound: long entries must not fill the memory while their sink is down.
const DEFAULT_BYTES: usize = 128 << 20;

/// The `queue` record, as [`typedefs::queue`] checks it. What is null is the default.
#[derive(Deserialize, Clone, Debug, Default)]
pub(crate) struct Parameters {
    max_batch_size: Option<usize>,
    max_coalescing_delay: Option<f64>,
    max_entries: Option<usize>,
    max_bytes: Option<i64>,
    max_retry_time: Option<f64>,
    initial_retry_delay: Option<f64>,
    max_retry_delay: Option<f64>,
    concurrency_limit: Option<i64>,
    max_spill_bytes: Option<u64>,
}

impl Type for Parameters {
    fn field() -> Field {
        typedefs::queue().required(true)
    }
}

fn seconds(value: Option<f64>, default: f64) -> Duration {
    Duration::try_from_secs_f64(value.unwrap_or(default)).unwrap_or_default()
}

impl Parameters {
    /// The fields that were there before queues had a record: they count unless they say what was their default.
    #[must_use]
    pub(crate) fn with_deprecated(self, queue_size: Option<i64>, flush_timeout: Option<f64>) -> Self {
        self.batching(queue_size.filter(|size| *size != 1), flush_timeout.filter(|delay| *delay != 2.0))
    }

    /// With batches of another size, or that wait for another time (in seconds).
    #[must_use]
    pub(crate) fn batching(mut self, size: Option<i64>, delay: Option<f64>) -> Self {
        if let Some(size) = size {
            self.max_batch_size = Some(usize::try_from(size).unwrap_or_default());
        }
        self.max_coalescing_delay = delay.or(self.max_coalescing_delay);
        self
    }

    /// Whether each entry is sent at once, beside others.
    pub(super) fn is_unlimited(&self) -> bool {
        self.concurrency_limit == Some(-1)
    }

    pub(crate) fn max_batch_size(&self) -> usize {
        self.max_batch_size.unwrap_or(1).max(1)
    }

    pub(super) fn max_coalescing_delay(&self) -> Duration {
        seconds(self.max_coalescing_delay, 1.0)
    }

    pub(super) fn max_entries(&self) -> usize {
        self.max_entries.unwrap_or(10_000).max(1)
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes.map_or(DEFAULT_BYTES, |bytes| usize::try_from(bytes).unwrap_or_default())
    }

    /// What may wait on disk, in bytes; nothing where each entry is sent at once.
    pub(super) fn max_spill_bytes(&self) -> u64 {
        self.max_spill_bytes.filter(|_| !self.is_unlimited()).unwrap_or(0)
    }

    pub(super) fn max_retry_time(&self) -> Duration {
        seconds(self.max_retry_time, 60.0)
    }

    /// How long is waited after a failure, of which there were `tries` before: twice as long each time.
    pub(super) fn retry_delay(&self, tries: u32) -> Duration {
        let factor = 2_u32.saturating_pow(tries.min(31));
        let delay = seconds(self.initial_retry_delay, 0.01).checked_mul(factor).unwrap_or(Duration::MAX);
        delay.min(seconds(self.max_retry_delay, 60.0))
    }
}
