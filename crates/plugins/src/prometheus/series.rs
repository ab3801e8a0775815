//! Counters and histograms: one of each series a thread, added up when they are read.

use pdk::digits::{LONGEST, decimal};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Series of one family; what comes after is counted as an error and not shown.
const SERIES: usize = 50_000;
/// How many series of a family are read in one go.
const AT_ONCE: usize = 16;

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

/// A number that one thread adds to, and others read: it takes no atomic addition.
#[derive(Debug, Default)]
struct Sum(AtomicU64);

impl Sum {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Makes it zero; for who adds up others in it.
    fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A count of one thread.
#[derive(Debug, Default)]
pub(super) struct Counter(Sum);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.add(count);
    }
}

/// A request that stands for others: the id of its trace, what was observed, and when (seconds after the epoch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    trace: u128,
    value: u64,
    at: f64,
}

impl Exemplar {
    fn now(trace: u128, value: u64) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { trace, value, at }
    }
}

/// Observations of one thread, by upper bound.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// One a bound, and one for what is beyond.
    buckets: Box<[Sum]>,
    sum: Sum,
    /// The newest of each bucket, where there are any. Only sampled requests leave one, and only a scrape waits for them.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Sum::default()).collect();
        Self { bounds, buckets, sum: Sum::default(), exemplars: Mutex::default() }
    }

    /// `trace` is the id of the request's trace, where it is an exemplar.
    pub(super) fn observe(&self, value: u64, trace: Option<u128>) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(trace) = trace {
            self.put(at, Exemplar::now(trace, value));
        }
        self.buckets[at].add(1);
        self.sum.add(value);
    }
}

impl Histogram {
    fn put(&self, bucket: usize, exemplar: Exemplar) {
        let mut known = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            known.resize(self.buckets.len(), None);
        }
        if let Some(slot) = known.get_mut(bucket).filter(|slot| slot.is_none_or(|old| old.at <= exemplar.at)) {
            *slot = Some(exemplar);
        }
    }

    /// What goes behind the line of a bucket.
    fn exemplar(&self, bucket: usize) -> Option<String> {
        let known = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        let Exemplar { trace, value, at } = (*known.get(bucket)?)?;
        Some(format!(" # {{trace_id=\"{trace:032x}\"}} {value} {at:.3}"))
    }
}

/// In which format series are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Prometheus,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

/// What a thread keeps of a series.
pub(super) trait Value {
    fn absorb(&self, other: &Self);
    /// Makes it what a new one is; for who adds up others in it.
    fn clear(&self);
    fn write(&self, name: &str, labels: &str, syntax: Syntax, out: &mut String);
    const TYPE: &'static str;
}

impl Value for Counter {
    const TYPE: &'static str = "counter";

    fn absorb(&self, other: &Self) {
        self.add(other.0.get());
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn write(&self, name: &str, labels: &str, _: Syntax, out: &mut String) {
        put(out, &[name, "{", labels, "} "]);
        end(out, self.0.get(), None);
    }
}

impl Value for Histogram {
    const TYPE: &'static str = "histogram";

    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.add(theirs.get());
        }
        self.sum.add(other.sum.get());
        let theirs = other.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (at, exemplar) in theirs.into_iter().enumerate() {
            exemplar.into_iter().for_each(|exemplar| self.put(at, exemplar));
        }
    }

    fn clear(&self) {
        self.buckets.iter().for_each(Sum::clear);
        self.sum.clear();
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn write(&self, name: &str, labels: &str, syntax: Syntax, out: &mut String) {
        let exemplar = |at: usize| match syntax {
            Syntax::Prometheus => None,
            Syntax::OpenMetrics => self.exemplar(at),
        };
        // What all lines of buckets begin with.
        let start = [name, "_bucket{", labels, ",le=\""].concat();
        let mut count = 0;
        for (at, (bucket, bound)) in self.buckets.iter().zip(self.bounds).enumerate() {
            count += bucket.get();
            out.push_str(&start);
            number(out, *bound);
            out.push_str("\"} ");
            end(out, count, exemplar(at));
        }
        count += self.buckets.last().map(Sum::get).unwrap_or_default();
        put(out, &[&start, "+Inf\"} "]);
        end(out, count, exemplar(self.bounds.len()));
        put(out, &[name, "_count{", labels, "} "]);
        end(out, count, None);
        put(out, &[name, "_sum{", labels, "} "]);
        end(out, self.sum.get(), None);
    }
}

// A scrape may have a hundred thousand lines: they are put together without the machinery of formatting.

fn put(out: &mut String, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.push_str(piece));
}

fn number(out: &mut String, number: u64) {
    out.push_str(std::str::from_utf8(decimal(number, &mut [0; LONGEST])).unwrap_or_default());
}

/// The value, what goes behind it, and the line's end.
fn end(out: &mut String, value: u64, exemplar: Option<String>) {
    number(out, value);
    exemplar.into_iter().for_each(|exemplar| out.push_str(&exemplar));
    out.push('\n');
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

    /// Makes `total` what all threads have counted.
    fn add_up(&mut self, total: &T) {
        self.fold();
        total.clear();
        total.absorb(&self.retired);
        self.live.iter().for_each(|value| total.absorb(value));
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

    /// Calls with each series. A request that has a new one waits for some of them at most, and so do requests where the system
    /// has no other core for them: it would else let a scrape go on for milliseconds.
    fn each(&self, mut then: impl FnMut(&str, &mut Series<T>)) {
        let mut after: Option<String> = None;
        loop {
            let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            for (labels, series) in all.range_mut::<str, _>((start, Bound::Unbounded)).take(AT_ONCE) {
                then(labels, series);
                last = Some(labels);
            }
            match last {
                Some(last) => after = Some(last.clone()),
                None => return,
            }
            drop(all);
            pace::breathe();
        }
    }

    /// Writes the family; nothing where it has no series.
    fn write_with(&self, out: &mut String, syntax: Syntax, total: &T) {
        let mut is_first = true;
        self.each(|labels, series| {
            if std::mem::take(&mut is_first) {
                head(out, self.name, self.help, T::TYPE, syntax);
            }
            series.add_up(total);
            total.write(self.name, labels, syntax, out);
        });
    }
}

impl Family<Counter> {
    /// A new counter of the series, for the calling thread.
    pub(super) fn counter(&self, labels: String) -> Arc<Counter> {
        self.register(labels, Counter::default)
    }

    pub(super) fn write(&self, out: &mut String, syntax: Syntax) {
        self.write_with(out, syntax, &Counter::default());
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

    pub(super) fn write(&self, out: &mut String, syntax: Syntax) {
        self.write_with(out, syntax, &Histogram::new(self.bounds()));
    }
}

/// What goes before the lines of a metric. OpenMetrics has a name for a counter's lines only where it ends in `_total`: a
/// counter that Kong calls otherwise keeps its name and is of a type that is not known.
pub(super) fn head(out: &mut String, name: &str, help: &str, kind: &str, syntax: Syntax) {
    let (shown, kind) = match (syntax, kind, name.strip_suffix("_total")) {
        (Syntax::OpenMetrics, "counter", Some(short)) => (short, kind),
        (Syntax::OpenMetrics, "counter", None) => (name, "unknown"),
        _ => (name, kind),
    };
    let _ = writeln!(out, "# HELP {shown} {help}\n# TYPE {shown} {kind}");
}

/// The series of a metric at one moment.
pub(crate) struct Snapshot {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) points: Points,
}

pub(crate) enum Points {
    Counts(Vec<Point<u64>>),
    /// The upper bounds; of each series the counts of its buckets, one more than there are bounds, and the sum.
    Histograms(&'static [u64], Vec<Point<(Vec<u64>, u64)>>),
}

/// A series: names and values of its labels, and what it has counted.
pub(crate) struct Point<T> {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: T,
}

/// What the metrics of requests are now; those without series are left out.
pub(crate) fn snapshot() -> Vec<Snapshot> {
    let counters = [&REQUESTS, &BANDWIDTH].map(|family| {
        let points = family.points(&Counter::default(), |total| total.0.get());
        (points.is_empty(), Snapshot { name: family.name, help: family.help, points: Points::Counts(points) })
    });
    let histograms = [&KONG_LATENCY, &UPSTREAM_LATENCY, &REQUEST_LATENCY].map(|family| {
        let bounds = family.bounds();
        let points = family.points(&Histogram::new(bounds), |total| {
            let buckets = total.buckets.iter().map(Sum::get).collect();
            (buckets, total.sum.get())
        });
        let is_empty = points.is_empty();
        (is_empty, Snapshot { name: family.name, help: family.help, points: Points::Histograms(bounds, points) })
    });
    let all = counters.into_iter().chain(histograms);
    all.filter(|(is_empty, _)| !is_empty).map(|(_, snapshot)| snapshot).collect()
}

impl<T: Value> Family<T> {
    fn points<V>(&self, total: &T, read: impl Fn(&T) -> V) -> Vec<Point<V>> {
        let mut points = Vec::new();
        self.each(|labels, series| {
            series.add_up(total);
            points.push(Point { labels: taken_apart(labels), value: read(total) });
        });
        points
    }
}

/// Undoes what labels are written as: `name="value",name="value"`.
fn taken_apart(labels: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = labels;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => {}
                },
                c => value.push(c),
            }
        }
        out.push((name.trim_start_matches(',').to_owned(), value));
        rest = after.get(end..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken_apart_as_they_were_put_together() {
        for values in [["a", "b"], ["", ""], ["a\"b\\", "c,d=\"e\"\n"]] {
            let [a, b] = values.map(super::super::escape);
            let labels = format!("one=\"{a}\",two=\"{b}\"");
            let want = [("one", values[0]), ("two", values[1])].map(|(n, v)| (n.to_owned(), v.to_owned()));
            assert_eq!(taken_apart(&labels), want, "{labels}");
        }
        assert!(taken_apart("").is_empty() && taken_apart("x").is_empty());
    }

    #[test]
    fn a_flood_of_labels_is_bounded_and_counted() {
        let family: Family<Counter> = Family::new("kong_flood", "");
        let before = errors();
        for n in 0..SERIES + 100 {
            family.counter(format!("n=\"{n}\"")).add(1);
        }
        assert_eq!(family.series.lock().unwrap().len(), SERIES);
        assert!(errors() >= before + 100, "{before} {}", errors());
        // What is there already goes on.
        family.counter("n=\"5\"".to_owned()).add(1);
        let mut out = String::new();
        family.write(&mut out, Syntax::Prometheus);
        assert!(out.contains("kong_flood{n=\"5\"} 2\n") && !out.contains(&format!("n=\"{SERIES}\"")));
    }
}
