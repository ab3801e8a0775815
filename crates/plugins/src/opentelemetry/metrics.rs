//! The counters and histograms of the plugin `prometheus` as OTLP metrics, sent again and again with their sums since the start.

use super::otlp::{Attribute, attribute};
use super::{LARGEST, Sink};
use crate::background;
use crate::prometheus::{Point, Points, snapshot};
use prost::Message;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// A metric with more bytes of points is sent in parts, each as the metric.
const LARGEST_METRIC: usize = LARGEST / 4;
/// `AggregationTemporality`: sums since the start.
const CUMULATIVE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(message, optional, tag = "7")]
    pub(super) sum: Option<Sum>,
    #[prost(message, optional, tag = "9")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

/// `NumberDataPoint`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberPoint {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    /// One of the value's forms: also a zero is said.
    #[prost(sfixed64, optional, tag = "6")]
    pub(super) as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

/// `HistogramDataPoint`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramPoint {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) buckets: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<Attribute>,
}

/// Sends metrics while it lives.
pub(super) struct Metrics {
    /// The task that sends ends with it.
    _sink: Arc<Sink>,
}

impl Metrics {
    pub(super) fn new(sink: Sink, interval: Duration) -> Self {
        let sink = Arc::new(sink);
        if let Some(runtime) = background::runtime() {
            runtime.spawn(run(Arc::downgrade(&sink), interval));
        }
        Self { _sink: sink }
    }
}

async fn run(sink: Weak<Sink>, interval: Duration) {
    let start = now();
    loop {
        sleep(interval).await;
        let Some(sink) = sink.upgrade() else { return };
        // As long as a scrape; other queues send meanwhile.
        let Ok(metrics) = spawn_blocking(move || metrics(start)).await else { continue };
        sink.queue.push_all(metrics.iter().map(Message::encode_to_vec));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn metrics(start: u64) -> Vec<Metric> {
    let times = (start, now());
    let families = snapshot().into_iter();
    families.flat_map(|family| metric(family.name, family.help, family.points, times)).collect()
}

/// A family of series, in as many parts as its size asks for. `times` are those of the sums' start and of now.
pub(super) fn metric(name: &str, help: &str, points: Points, times: (u64, u64)) -> Vec<Metric> {
    let (start_time_unix_nano, time_unix_nano) = times;
    let attributes = |labels: Vec<(String, String)>| -> Vec<Attribute> {
        labels.into_iter().map(|(key, value)| attribute(&key, value)).collect()
    };
    let named = || Metric {
        name: name.to_owned(),
        description: help.to_owned(),
        unit: unit(name).to_owned(),
        ..Metric::default()
    };
    match points {
        Points::Counts(points) => {
            let points = points.into_iter().map(|Point { labels, value }| NumberPoint {
                start_time_unix_nano,
                time_unix_nano,
                as_int: Some(i64::try_from(value).unwrap_or(i64::MAX)),
                attributes: attributes(labels),
            });
            let sum = |points| Sum { points, temporality: CUMULATIVE, is_monotonic: true };
            parts(points).map(|points| Metric { sum: Some(sum(points)), ..named() }).collect()
        }
        Points::Histograms(bounds, points) => {
            let points = points.into_iter().map(|Point { labels, value: (buckets, sum) }| HistogramPoint {
                start_time_unix_nano,
                time_unix_nano,
                count: buckets.iter().sum(),
                sum: Some(sum as f64),
                buckets,
                bounds: bounds.iter().map(|bound| *bound as f64).collect(),
                attributes: attributes(labels),
            });
            let histogram = |points| Histogram { points, temporality: CUMULATIVE };
            parts(points).map(|points| Metric { histogram: Some(histogram(points)), ..named() }).collect()
        }
    }
}

/// Points put together up to the size of a metric.
fn parts<T: Message>(points: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    let mut points = points.peekable();
    std::iter::from_fn(move || {
        let mut part = Vec::new();
        let mut size = 0;
        while let Some(point) = points.next_if(|_| size < LARGEST_METRIC) {
            size += point.encoded_len();
            part.push(point);
        }
        (!part.is_empty()).then_some(part)
    })
}

/// As UCUM writes it.
fn unit(name: &str) -> &'static str {
    match name {
        name if name.ends_with("_ms") => "ms",
        name if name.ends_with("_bytes") => "By",
        _ => "1",
    }
}
