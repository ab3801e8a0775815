//! Counters and histograms: one of each series a thread, added up when they are read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Series of one family; what comes after is counted as an error and not shown.
const SERIES: usize = 50_000;

pub(super) static REQUESTS: Family<Counter> =
    Family::new("kong_http_requests_total", "HTTP status codes per consumer/service/route in Kong");
pub(super) static BANDWIDTH: Family<Counter> =
    Family::new("kong_bandwidth_bytes", "Total bandwidth (ingress/egress) throughput in bytes");
pub(super) static KONG_LATENCY: Family<Histogram> =
    Family::new("kong_kong_latency_ms", "Latency added by Kong and enabled plugins for each service/route in Kong");
pub(super) static UPSTREAM_LATENCY: Family<Histogram> =
    Family::new("kong_upstream_latency_ms", "Latency added by upstream response for each service/route in Kong");
pub(super) static REQUEST_LATENCY: Family<Histogram> =
    Family::new("kong_request_latency_ms", "Total latency incurred during requests for each service/route in Kong");

const KONG_BOUNDS: &[u64] = &[1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
const UPSTREAM_BOUNDS: &[u64] = &[25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000];

static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How often a series could not be kept.
pub(super) fn errors() -> u64 {
    ERRORS.load(Relaxed)
}

/// A count of one thread.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }
}

/// Observations of one thread, by upper bound.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// One a bound, and one for what is beyond.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// What a thread keeps of a series.
pub(super) trait Value {
    fn absorb(&self, other: &Self);
    fn write(&self, name: &str, labels: &str, out: &mut String);
    const TYPE: &'static str;
}

impl Value for Counter {
    const TYPE: &'static str = "counter";

    fn absorb(&self, other: &Self) {
        self.add(other.0.load(Relaxed));
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let _ = writeln!(out, "{name}{{{labels}}} {}", self.0.load(Relaxed));
    }
}

impl Value for Histogram {
    const TYPE: &'static str = "histogram";

    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.fetch_add(theirs.load(Relaxed), Relaxed);
        }
        self.sum.fetch_add(other.sum.load(Relaxed), Relaxed);
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(self.bounds) {
            count += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        count += self.buckets.last().map(|b| b.load(Relaxed)).unwrap_or_default();
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum.load(Relaxed));
    }
}

/// A series: what each thread has counted, and what threads that let go of it had.
struct Series<T> {
    retired: T,
    live: Vec<Arc<T>>,
}

impl<T: Value> Series<T> {
    /// Takes over what no thread uses any longer.
    fn fold(&mut self) {
        self.live.retain(|value| {
            // Threads clone their own alone, so a value that is only held here stays so.
            let is_used = Arc::strong_count(value) > 1;
            if !is_used {
                self.retired.absorb(value);
            }
            is_used
        });
    }
}

/// All series of one name, by their labels.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    help: &'static str,
    series: Mutex<BTreeMap<String, Series<T>>>,
}

impl<T: Value> Family<T> {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, series: Mutex::new(BTreeMap::new()) }
    }

    fn register(&self, labels: String, new: impl Fn() -> T) -> Arc<T> {
        let value = Arc::new(new());
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SERIES && !all.contains_key(&labels) {
            ERRORS.fetch_add(1, Relaxed);
            return value;
        }
        let series = all.entry(labels).or_insert_with(|| Series { retired: new(), live: Vec::new() });
        series.fold();
        series.live.push(value.clone());
        value
    }

    /// Writes the family in the text format; nothing where it has no series.
    pub(super) fn write(&self, out: &mut String, zero: impl Fn() -> T) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return;
        }
        let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {}", self.name, self.help, self.name, T::TYPE);
        for (labels, series) in all.iter_mut() {
            series.fold();
            let total = zero();
            total.absorb(&series.retired);
            series.live.iter().for_each(|value| total.absorb(value));
            total.write(self.name, labels, out);
        }
    }
}

impl Family<Counter> {
    /// A new counter of the series, for the calling thread.
    pub(super) fn counter(&self, labels: String) -> Arc<Counter> {
        self.register(labels, Counter::default)
    }
}

impl Family<Histogram> {
    fn bounds(&self) -> &'static [u64] {
        if self.name == "kong_kong_latency_ms" { KONG_BOUNDS } else { UPSTREAM_BOUNDS }
    }

    /// A new histogram of the series, for the calling thread.
    pub(super) fn histogram(&self, labels: String) -> Arc<Histogram> {
        self.register(labels, || Histogram::new(self.bounds()))
    }

    pub(super) fn write_all(&self, out: &mut String) {
        self.write(out, || Histogram::new(self.bounds()));
    }
}
