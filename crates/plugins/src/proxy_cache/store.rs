//! The memory that responses are kept in: one for the process, bounded in bytes.
//!
//! An entry has the variants of one key that the upstream tells apart by `Vary` (RFC 9111, 4.1).

use super::key::Key;
use bytes::Bytes;
use pdk::Headers;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// All that is kept takes at most this many bytes, unless [`bound`] says otherwise: the size of Kong's `kong_db_cache`.
const CAPACITY: u64 = 128 << 20;
/// Larger bodies are not kept.
pub(super) const BODY_MAX: usize = 4 << 20;
/// Parts of the memory that are bounded each on their own; the largest entry must fit into one.
const SHARDS: usize = 8;
/// What an entry is taken to weigh on average.
const AVERAGE: u64 = 16 << 10;
/// Variants of one key; the oldest gives way.
pub(super) const VARIANTS_MAX: usize = 8;
/// The memory's own cost of an entry, in bytes.
const OVERHEAD: usize = 256;

/// A response that is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    /// `X-Cache-Status` of the response as the client got it.
    pub(super) told: &'static str,
    /// When it was stored, in seconds after the epoch.
    pub(super) timestamp: u64,
    /// How old it was then, in seconds.
    pub(super) age: u64,
    /// How long it is fresh, in seconds since then.
    pub(super) ttl: u64,
    /// When it is forgotten, in seconds after the epoch.
    pub(super) ends: u64,
    /// Whether it must not be used once it is stale.
    pub(super) must_revalidate: bool,
    /// How long it may be used once it is stale, in seconds, while a new one is fetched (`stale-while-revalidate` of its
    /// `Cache-Control`, where that is heeded); `None`: as configured.
    pub(super) stale_while: Option<u64>,
    /// The same where the upstream fails (`stale-if-error`).
    pub(super) stale_on_error: Option<u64>,
    /// The mark that its URI had when it was asked for; 0 where there are none.
    pub(super) mark: u64,
    /// The request's fields that the upstream chose it by: names in lower case, and their values.
    pub(super) chosen_by: Vec<(String, Option<Vec<u8>>)>,
}

impl Stored {
    /// How old it is, in seconds.
    pub(super) fn age(&self, now: u64) -> u64 {
        self.age.saturating_add(now.saturating_sub(self.timestamp))
    }

    /// How long it is still fresh, in seconds; below zero: how stale it is.
    pub(super) fn freshness(&self, now: u64) -> i64 {
        let ttl = i64::try_from(self.ttl).unwrap_or(i64::MAX);
        ttl.saturating_sub_unsigned(now.saturating_sub(self.timestamp))
    }

    fn is_for(&self, request: &Headers) -> bool {
        self.chosen_by.iter().all(|(name, value)| request.joined(name) == *value)
    }

    fn weight(&self) -> usize {
        let fields = |(name, value): &(String, Option<Vec<u8>>)| name.len() + value.as_ref().map_or(0, Vec::len);
        let chosen_by: usize = self.chosen_by.iter().map(fields).sum();
        OVERHEAD + self.body.len() + self.headers.wire_size() + 16 * self.headers.len() + chosen_by
    }
}

/// The variants of a key, the newest last.
#[derive(Clone, Debug, Default)]
struct Entry(Vec<Arc<Stored>>);

#[derive(Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Entry>> for Bytewise {
    fn weight(&self, _key: &Key, entry: &Arc<Entry>) -> u64 {
        entry.0.iter().map(|stored| stored.weight() as u64).sum::<u64>().max(1)
    }
}

/// All responses that are kept.
pub(super) struct Store {
    entries: Cache<Key, Arc<Entry>, Bytewise, ahash::RandomState, DefaultLifecycle<Key, Arc<Entry>>>,
}

static BOUND: AtomicU64 = AtomicU64::new(CAPACITY);

/// Says how many bytes the memory of the process takes at most; for the start, before a response is kept.
pub fn bound(bytes: u64) {
    BOUND.store(bytes, Relaxed);
}

static STORE: OnceLock<Store> = OnceLock::new();

/// The bytes that are kept, and how many can be.
pub fn memory() -> (u64, u64) {
    (STORE.get().map_or(0, Store::weight), BOUND.load(Relaxed))
}

/// The memory of the process.
pub(super) fn store() -> &'static Store {
    STORE.get_or_init(|| Store::new(BOUND.load(Relaxed)))
}

impl Store {
    #[expect(clippy::expect_used, reason = "both capacities are said, and nothing else can be missing")]
    pub(super) fn new(capacity: u64) -> Self {
        let options = OptionsBuilder::new()
            .weight_capacity(capacity)
            .estimated_items_capacity((capacity / AVERAGE).max(1) as usize)
            .shards(SHARDS)
            .build()
            .expect("both capacities are said");
        let hasher = ahash::RandomState::new();
        Self { entries: Cache::with_options(options, Bytewise, hasher, DefaultLifecycle::default()) }
    }

    /// The response that is kept for a request, and not forgotten yet.
    pub(super) fn get(&self, key: &Key, request: &Headers, now: u64) -> Option<Arc<Stored>> {
        let entry = self.entries.get(key)?;
        entry.0.iter().rev().find(|stored| stored.ends > now && stored.is_for(request)).cloned()
    }

    /// The newest response that is kept under a key.
    pub(super) fn newest(&self, key: &Key, now: u64) -> Option<Arc<Stored>> {
        let entry = self.entries.peek(key)?;
        entry.0.iter().rev().find(|stored| stored.ends > now).cloned()
    }

    /// Keeps a response in place of one that the upstream chose by the same fields.
    pub(super) fn put(&self, key: Key, stored: Stored) {
        let known = self.entries.peek(&key).map(|entry| entry.0.clone()).unwrap_or_default();
        let mut variants: Vec<Arc<Stored>> = known
            .into_iter()
            .filter(|known| known.ends > stored.timestamp && known.chosen_by != stored.chosen_by)
            // Once the upstream chooses by other fields, what was chosen by the old ones tells nothing.
            .filter(|known| known.chosen_by.iter().map(|(n, _)| n).eq(stored.chosen_by.iter().map(|(n, _)| n)))
            .collect();
        variants.drain(..variants.len().saturating_sub(VARIANTS_MAX - 1));
        variants.push(Arc::new(stored));
        self.entries.insert(key, Arc::new(Entry(variants)));
    }

    /// Forgets what is kept under a key; tells whether there was something.
    pub(super) fn remove(&self, key: &Key, now: u64) -> bool {
        let removed = self.entries.remove(key);
        removed.is_some_and(|(_, entry)| entry.0.iter().any(|stored| stored.ends > now))
    }

    pub(super) fn clear(&self) {
        self.entries.clear();
    }

    /// The bytes that are kept.
    pub(super) fn weight(&self) -> u64 {
        self.entries.weight()
    }
}
