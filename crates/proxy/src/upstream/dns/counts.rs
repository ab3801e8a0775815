//! What the resolver counts: of each name for `/status/dns`, in sum for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::ResolveError;
use super::settings::Kind;

/// A number that is only ever shown.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one name.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Answered from the cache, by an answer in force, or by one that had expired.
    pub(super) hits: Count,
    pub(super) stale: Count,
    /// Had to wait for a query; told of a failure.
    pub(super) misses: Count,
    pub(super) failures: Count,
    of_kinds: [Queries; 3],
}

/// The queries of one type for a name, those for its candidates of the search list among them.
#[derive(Debug, Default)]
struct Queries {
    sent: Count,
    succeeded: Count,
    unanswered: Count,
    unknown: Count,
    empty: Count,
    refused: Count,
    last_millis: AtomicU64,
}

const KINDS: [Kind; 3] = [Kind::A, Kind::Aaaa, Kind::Srv];

impl Counts {
    /// Takes note of a query's outcome.
    pub(super) fn queried<T>(&self, kind: Kind, outcome: &Result<T, ResolveError>, took: Duration) {
        let known = KINDS.iter().zip(&self.of_kinds).find(|(of, _)| **of == kind);
        let Some((_, queries)) = known else { return };
        queries.sent.one();
        queries.last_millis.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match outcome {
            Ok(_) => queries.succeeded.one(),
            Err(ResolveError::NameError) => queries.unknown.one(),
            Err(ResolveError::EmptyRecord) => queries.empty.one(),
            Err(ResolveError::Server { .. }) => queries.refused.one(),
            Err(_) => queries.unanswered.one(),
        }
    }

    /// The members of `/status/dns` for a name, called as in Kong; counts of 0 are left out.
    pub(super) fn show(&self, name: &str, into: &mut Map<String, Value>) {
        let [hits, stale, misses, failures] = [&self.hits, &self.stale, &self.misses, &self.failures].map(Count::get);
        let runs = hits + stale + misses + failures;
        let all = [
            ("runs", runs),
            ("hit_lru", hits),
            ("hit_stale", stale),
            ("stale", stale),
            ("miss", misses),
            ("fail", failures),
        ];
        add(into, format!("{name}:all"), &all);
        for (kind, queries) in KINDS.iter().zip(&self.of_kinds) {
            let shown = [
                ("query", queries.sent.get()),
                ("query_last_time", queries.last_millis.load(Ordering::Relaxed)),
                ("query_succ", queries.succeeded.get()),
                ("query_fail_nameserver", queries.unanswered.get()),
                ("query_fail:name error", queries.unknown.get()),
                ("query_fail:empty record received", queries.empty.get()),
                ("query_fail:server error", queries.refused.get()),
            ];
            add(into, format!("{name}:{}", kind.name()), &shown);
        }
    }
}

fn add(into: &mut Map<String, Value>, key: String, counts: &[(&str, u64)]) {
    let shown: Map<String, Value> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect();
    if !shown.is_empty() {
        into.insert(key, Value::Object(shown));
    }
}

/// Of all names together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    succeeded: Count,
    unknown: Count,
    failed: Count,
    stale: Count,
    micros: AtomicU64,
}

/// What metrics show of the resolver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Look-ups that ended with addresses, without any, and that failed. A look-up may take several queries.
    pub succeeded: u64,
    pub unknown: u64,
    pub failed: u64,
    /// Failed look-ups at whose end an expired answer went on serving.
    pub stale: u64,
    /// The time that all look-ups took together.
    pub time: Duration,
    /// Names in the cache.
    pub names: usize,
}

impl Totals {
    pub(super) fn looked_up<T>(&self, outcome: &Result<T, ResolveError>, took: Duration) {
        let counter = match outcome {
            Ok(_) => &self.succeeded,
            Err(error) if error.is_not_found() => &self.unknown,
            Err(_) => &self.failed,
        };
        counter.one();
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn served_stale(&self) {
        self.stale.one();
    }

    pub(super) fn figures(&self, names: usize) -> Figures {
        Figures {
            succeeded: self.succeeded.get(),
            unknown: self.unknown.get(),
            failed: self.failed.get(),
            stale: self.stale.get(),
            time: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            names,
        }
    }
}
