//! The names a node knows. Reading takes no lock: each shard is an immutable map that a new name replaces by a copy, and
//! a new answer for a known name only swaps a pointer inside its entry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::answers::Answers;
use super::counts::Counts;
use super::error::ResolveError;
use super::settings::Kind;

type Map = HashMap<Arc<str>, Arc<Entry>, RandomState>;
/// What a query ended with; `None` before the first.
pub(super) type Outcome = Option<Result<Arc<Answers>, ResolveError>>;

const MOST_SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Cache {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Names per shard.
    room: usize,
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Shard {
    names: ArcSwap<Map>,
    /// Held to add a name, never to read.
    adding: Mutex<()>,
}

/// What is known of one name.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// The last good answer.
    pub(super) answers: ArcSwapOption<Answers>,
    /// The last failure while it counts.
    pub(super) failure: ArcSwapOption<Failure>,
    /// Set while a query is on its way: there is never more than one.
    pub(super) is_refreshing: AtomicBool,
    pub(super) outcome: watch::Sender<Outcome>,
    pub(super) turn: Arc<AtomicU32>,
    pub(super) counts: Counts,
    last_kind: AtomicU8,
    /// Seconds after the cache's start of the last use.
    used: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ResolveError,
    pub(super) until: Instant,
}

impl Cache {
    pub(super) fn new(size: usize, now: Instant) -> Self {
        let size = size.max(1);
        let shards = (size / 16).clamp(1, MOST_SHARDS);
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            room: size / shards,
            epoch: now,
        }
    }

    /// Runs `read` on the entry of a name, if there is one.
    pub(super) fn read<T>(&self, name: &str, now: Instant, read: impl FnOnce(&Arc<Entry>) -> T) -> Option<T> {
        let names = self.shard(name)?.names.load();
        let entry = names.get(name)?;
        self.touch(entry, now);
        Some(read(entry))
    }

    /// The entry of a name, made where there is none; the longest unused name of the shard goes when it is full.
    pub(super) fn entry(&self, name: &str, now: Instant) -> Option<Arc<Entry>> {
        if let Some(entry) = self.read(name, now, Arc::clone) {
            return Some(entry);
        }
        let shard = self.shard(name)?;
        let _adding = shard.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let names = shard.names.load();
        if let Some(entry) = names.get(name) {
            return Some(Arc::clone(entry));
        }
        let mut names = Map::clone(&names);
        while names.len() >= self.room {
            let by_use = |entry: &&Arc<Entry>| entry.used.load(Ordering::Relaxed);
            let Some(oldest) = names.values().min_by_key(by_use).map(|entry| Arc::clone(&entry.name)) else { break };
            names.remove(&oldest);
        }
        let entry = Arc::new(Entry::new(name));
        self.touch(&entry, now);
        names.insert(Arc::clone(&entry.name), Arc::clone(&entry));
        shard.names.store(Arc::new(names));
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.names.load().len()).sum()
    }

    pub(super) fn for_each(&self, mut each: impl FnMut(&Arc<Entry>)) {
        for shard in &self.shards {
            shard.names.load().values().for_each(&mut each);
        }
    }

    /// Whether a name was asked for within the last `span`.
    pub(super) fn is_in_use(&self, entry: &Entry, now: Instant, span: Duration) -> bool {
        let second = now.saturating_duration_since(self.epoch).as_secs();
        second.saturating_sub(entry.used.load(Ordering::Relaxed)) <= span.as_secs()
    }

    fn shard(&self, name: &str) -> Option<&Shard> {
        self.shards.get((self.hasher.hash_one(name) % self.shards.len().max(1) as u64) as usize)
    }

    /// Written at most once a second, so that a busy name's line is not fought over.
    fn touch(&self, entry: &Entry, now: Instant) {
        let second = now.saturating_duration_since(self.epoch).as_secs();
        if entry.used.load(Ordering::Relaxed) != second {
            entry.used.store(second, Ordering::Relaxed);
        }
    }
}

impl Entry {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            answers: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            is_refreshing: AtomicBool::new(false),
            outcome: watch::Sender::new(None),
            turn: Arc::default(),
            counts: Counts::default(),
            last_kind: AtomicU8::new(0),
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn last_kind(&self) -> Option<Kind> {
        match self.last_kind.load(Ordering::Relaxed) {
            1 => Some(Kind::A),
            2 => Some(Kind::Aaaa),
            3 => Some(Kind::Srv),
            _ => None,
        }
    }

    pub(super) fn set_last_kind(&self, kind: Kind) {
        let number = match kind {
            Kind::A => 1,
            Kind::Aaaa => 2,
            Kind::Srv => 3,
            Kind::Last | Kind::Cname => 0,
        };
        self.last_kind.store(number, Ordering::Relaxed);
    }

    /// The failure that still counts.
    pub(super) fn failed(&self, now: Instant) -> Option<ResolveError> {
        self.failure.load().as_ref().filter(|failure| now < failure.until).map(|failure| failure.error.clone())
    }

    /// The last answer if it may serve now although it has expired.
    pub(super) fn stale(&self, now: Instant, stale_ttl: Duration) -> Option<Arc<Answers>> {
        let answers = self.answers.load_full()?;
        answers.valid_until.is_none_or(|end| now < end + stale_ttl).then_some(answers)
    }

    /// Ends a query: whoever comes from now on starts another, whoever waits gets the outcome.
    pub(super) fn finish(&self, outcome: Result<Arc<Answers>, ResolveError>) {
        self.is_refreshing.store(false, Ordering::Release);
        self.outcome.send_replace(Some(outcome));
    }
}
