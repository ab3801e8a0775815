//! Counters and histograms: one of each series a thread, added up when they are read.

use pdk::digits::{LONGEST, decimal};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Series of one family. Those of what is gone make room for new ones; what comes beyond is counted as an error and not shown.
const SERIES: usize = 50_000;
/// How often it is looked for room: it takes milliseconds.
const LOOK: Duration = Duration::from_secs(10);
/// How many series of a family are read in one go.
const AT_ONCE: usize = 8;
/// How much text is made at a time, about: it is sent while caches still have it.
const PIECE: usize = 64 * 1024;

pub(super) static REQUESTS: Family<Counter> =
    Family::new("kong_http_requests_total", "HTTP status codes per consumer/service/route in Kong", Counter::default);
pub(super) static BANDWIDTH: Family<Counter> =
    Family::new("kong_bandwidth_bytes", "Total bandwidth (ingress/egress) throughput in bytes", Counter::default);
pub(super) static KONG_LATENCY: Family<Histogram> = Family::new(
    "kong_kong_latency_ms",
    "Latency added by Kong and enabled plugins for each service/route in Kong",
    || Histogram::new(KONG_BOUNDS),
);
pub(super) static UPSTREAM_LATENCY: Family<Histogram> = Family::new(
    "kong_upstream_latency_ms",
    "Latency added by upstream response for each service/route in Kong",
    || Histogram::new(UPSTREAM_BOUNDS),
);
pub(super) static REQUEST_LATENCY: Family<Histogram> = Family::new(
    "kong_request_latency_ms",
    "Total latency incurred during requests for each service/route in Kong",
    || Histogram::new(UPSTREAM_BOUNDS),
);

const KONG_BOUNDS: &[u64] = &[1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
const UPSTREAM_BOUNDS: &[u64] = &[25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000];

/// One bucket a bound, where there are most of them, and one for what is beyond.
const BUCKETS: usize = KONG_BOUNDS.len() + 1;

static ERRORS: AtomicU64 = AtomicU64::new(0);
static SHORTAGES: AtomicU64 = AtomicU64::new(0);

/// How often there was no room: threads then let go of what they no longer count.
pub(super) fn shortages() -> u64 {
    SHORTAGES.load(Relaxed)
}

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

/// Observations of one thread, by upper bound. All in one place: a scrape reads thousands.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    sum: Sum,
    /// As many as `buckets` tells are used.
    all_buckets: [Sum; BUCKETS],
    /// The newest of each bucket, where there are any. Only sampled requests leave one, and only a scrape waits for them.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, sum: Sum::default(), all_buckets: Default::default(), exemplars: Mutex::default() }
    }

    /// One a bound, and one for what is beyond.
    fn buckets(&self) -> &[Sum] {
        self.all_buckets.get(..=self.bounds.len()).unwrap_or(&self.all_buckets)
    }

    /// `trace` is the id of the request's trace, where it is an exemplar.
    pub(super) fn observe(&self, value: u64, trace: Option<u128>) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(trace) = trace {
            self.put(at, Exemplar::now(trace, value));
        }
        self.buckets()[at].add(1);
        self.sum.add(value);
    }

    fn put(&self, bucket: usize, exemplar: Exemplar) {
        let mut known = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            known.resize(self.buckets().len(), None);
        }
        if let Some(slot) = known.get_mut(bucket).filter(|slot| slot.is_none_or(|old| old.at <= exemplar.at)) {
            *slot = Some(exemplar);
        }
    }

    /// What goes behind the line of a bucket.
    fn exemplar(&self, bucket: usize, syntax: Syntax) -> Option<String> {
        if syntax == Syntax::Prometheus {
            return None;
        }
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
        put(out, &[name, "{", labels, "} ", text(self.0.get(), &mut [0; LONGEST])]);
        end(out, None);
    }
}

impl Value for Histogram {
    const TYPE: &'static str = "histogram";

    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets().iter().zip(other.buckets()) {
            mine.add(theirs.get());
        }
        self.sum.add(other.sum.get());
        let theirs = other.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (at, exemplar) in theirs.into_iter().enumerate() {
            exemplar.into_iter().for_each(|exemplar| self.put(at, exemplar));
        }
    }

    fn clear(&self) {
        self.buckets().iter().for_each(Sum::clear);
        self.sum.clear();
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn write(&self, name: &str, labels: &str, syntax: Syntax, out: &mut String) {
        let begin = out.len();
        let start = |out: &mut String, of: &str| put(out, &[name, of, "{", labels]);
        start(out, "_bucket");
        out.push_str(",le=\"");
        let prefix = begin..out.len();
        // Most buckets are empty: they have the count of the one before.
        let mut count = 0;
        let mut room = [0; LONGEST];
        let mut digits = text(0, &mut room);
        for (at, bucket) in self.buckets().iter().enumerate() {
            if at > 0 {
                out.extend_from_within(prefix.clone());
            }
            match self.bounds.get(at) {
                Some(bound) => out.push_str(text(*bound, &mut [0; LONGEST])),
                None => out.push_str("+Inf"),
            }
            let more = bucket.get();
            if more > 0 {
                count += more;
                digits = text(count, &mut room);
            }
            put(out, &["\"} ", digits]);
            end(out, self.exemplar(at, syntax));
        }
        start(out, "_count");
        put(out, &["} ", digits]);
        end(out, None);
        start(out, "_sum");
        put(out, &["} ", text(self.sum.get(), &mut room)]);
        end(out, None);
    }
}

// A scrape may have a hundred thousand lines: they are put together without the machinery of formatting.

fn put(out: &mut String, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.push_str(piece));
}

fn text(number: u64, room: &mut [u8; LONGEST]) -> &str {
    std::str::from_utf8(decimal(number, room)).unwrap_or_default()
}

/// What goes behind a value, and the line's end.
fn end(out: &mut String, exemplar: Option<String>) {
    exemplar.into_iter().for_each(|exemplar| out.push_str(&exemplar));
    out.push('\n');
}

/// A series: what each thread has counted, and what threads that let go of it had.
struct Series<T> {
    live: SmallVec<[Arc<T>; 1]>,
    retired: Option<Arc<T>>,
}

impl<T: Value> Series<T> {
    /// Takes over what no thread uses any longer.
    fn fold(&mut self) {
        let Self { live, retired } = self;
        live.retain(|value| {
            // Threads clone their own alone, so a value that is only held here stays so.
            let is_used = Arc::strong_count(value) > 1;
            if !is_used {
                match retired {
                    Some(retired) => retired.absorb(value),
                    None => *retired = Some(value.clone()),
                }
            }
            is_used
        });
    }

    /// What all threads have counted; `total` is room to add it up.
    fn sum<'a>(&'a mut self, total: &'a T) -> &'a T {
        self.fold();
        match (&self.live[..], &self.retired) {
            ([only], None) | ([], Some(only)) => return only,
            _ => total.clear(),
        }
        self.live.iter().chain(&self.retired).for_each(|value| total.absorb(value));
        total
    }
}

/// All series of one name, by their labels.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    help: &'static str,
    new: fn() -> T,
    series: Mutex<All<T>>,
}

struct All<T> {
    by_labels: BTreeMap<String, Series<T>>,
    /// When it was last looked for room.
    looked: Option<Instant>,
}

impl<T: Value> All<T> {
    /// Forgets series that no thread counts any longer, where there is no room for another one.
    fn make_room(&mut self) {
        if self.by_labels.len() < SERIES || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        self.by_labels.retain(|_, series| {
            series.fold();
            !series.live.is_empty()
        });
        // Of what is gone, threads may still have counters: there is room for it the next time.
        SHORTAGES.fetch_add(1, Relaxed);
    }
}

impl<T: Value> Family<T> {
    const fn new(name: &'static str, help: &'static str, new: fn() -> T) -> Self {
        Self { name, help, new, series: Mutex::new(All { by_labels: BTreeMap::new(), looked: None }) }
    }

    /// A new value of the series, for the calling thread.
    pub(super) fn register(&self, labels: String) -> Arc<T> {
        let value = Arc::new((self.new)());
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.by_labels.contains_key(&labels) {
            all.make_room();
            if all.by_labels.len() >= SERIES {
                ERRORS.fetch_add(1, Relaxed);
                return value;
            }
        }
        let series = all.by_labels.entry(labels).or_insert_with(|| Series { live: SmallVec::new(), retired: None });
        series.fold();
        series.live.push(value.clone());
        value
    }

    /// Calls with some of the series, those after `after`; tells with which it ended, where there are more. Threads that
    /// have a new series wait for it meanwhile.
    fn some(&self, after: Option<&str>, mut then: impl FnMut(&str, &mut Series<T>)) -> Option<String> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut read = 0;
        let mut last = None;
        for (labels, series) in all.by_labels.range_mut::<str, _>((start, Bound::Unbounded)).take(AT_ONCE) {
            then(labels, series);
            read += 1;
            last = Some(labels);
        }
        last.filter(|_| read == AT_ONCE).cloned()
    }

    /// Calls with each series, gently.
    fn each(&self, mut then: impl FnMut(&str, &mut Series<T>)) {
        let mut after = None;
        loop {
            after = self.some(after.as_deref(), &mut then);
            if after.is_none() {
                return;
            }
            pace::breathe();
        }
    }

    /// The family's text, in pieces; nothing where it has no series.
    pub(super) fn text(&'static self, syntax: Syntax) -> impl Iterator<Item = String> {
        let total = (self.new)();
        let mut after = None;
        let mut is_first = true;
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let mut out = String::with_capacity(PIECE);
            while out.len() < PIECE / 2 && !is_over {
                pace::breathe();
                after = self.some(after.as_deref(), |labels, series| {
                    if std::mem::take(&mut is_first) {
                        head(&mut out, self.name, self.help, T::TYPE, syntax);
                    }
                    series.sum(&total).write(self.name, labels, syntax, &mut out);
                });
                is_over = after.is_none();
            }
            Some(out)
        })
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
        let points = family.points(|total| total.0.get());
        (points.is_empty(), Snapshot { name: family.name, help: family.help, points: Points::Counts(points) })
    });
    let histograms = [&KONG_LATENCY, &UPSTREAM_LATENCY, &REQUEST_LATENCY].map(|family| {
        let points = family.points(|total| (total.buckets().iter().map(Sum::get).collect(), total.sum.get()));
        let is_empty = points.is_empty();
        let points = Points::Histograms((family.new)().bounds, points);
        (is_empty, Snapshot { name: family.name, help: family.help, points })
    });
    let all = counters.into_iter().chain(histograms);
    all.filter(|(is_empty, _)| !is_empty).map(|(_, snapshot)| snapshot).collect()
}

impl<T: Value> Family<T> {
    fn points<V>(&self, read: impl Fn(&T) -> V) -> Vec<Point<V>> {
        let total = (self.new)();
        let mut points = Vec::new();
        self.each(|labels, series| {
            points.push(Point { labels: taken_apart(labels), value: read(series.sum(&total)) });
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
        static FLOOD: Family<Counter> = Family::new("kong_flood", "", Counter::default);
        let family = &FLOOD;
        let before = errors();
        let mut counted: Vec<Arc<Counter>> = (0..SERIES + 100).map(|n| family.register(format!("n=\"{n}\""))).collect();
        counted.iter().for_each(|counter| counter.add(1));
        assert_eq!(family.series.lock().unwrap().by_labels.len(), SERIES);
        assert!(errors() >= before + 100, "{before} {}", errors());
        // What is there already goes on.
        family.register("n=\"5\"".to_owned()).add(1);
        let pieces: Vec<String> = family.text(Syntax::Prometheus).collect();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= PIECE), "{}", pieces.len());
        let out = pieces.concat();
        assert_eq!(out.lines().count(), SERIES + 2, "each once, and two lines on top");
        assert!(out.contains("kong_flood{n=\"5\"} 2\n") && !out.contains(&format!("n=\"{SERIES}\"")));
        // What nobody counts any longer makes room, once it is looked for some.
        counted.drain(..SERIES / 2);
        let is_new = || family.register("n=\"new\"".to_owned()).add(1);
        is_new();
        assert_eq!(family.series.lock().unwrap().by_labels.len(), SERIES, "it was looked a moment ago");
        family.series.lock().unwrap().looked = None;
        is_new();
        let out: String = family.text(Syntax::Prometheus).collect();
        assert_eq!(out.lines().count(), SERIES / 2 + 1 + 2);
        assert!(out.contains("kong_flood{n=\"new\"} 1\n") && !out.contains("{n=\"5\"}"));
    }
}
