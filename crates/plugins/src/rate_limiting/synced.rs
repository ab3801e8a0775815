//! Counters in this node's memory that are brought into line, in the background, with what all nodes have counted: with
//! Redis every `sync_rate` seconds, with the database (policy `cluster`) twice a second.
//!
//! A request is counted as with policy `local`. Of one limit, all nodes together let through at most the limit and what
//! the other nodes let through between two syncs: a node does not know of those yet. While the others' counts are out
//! of reach each node goes on counting for itself; what it counted is added when they are back, unless its window is
//! over by then.

use super::counters::Counter;
use super::period::Period;
use super::{LEDGER, window_key};
use crate::redis::resp::{self, Reply};
use crate::redis::{Failure, Redis};
use crate::sender;
use ahash::HashMap;
use pdk::Count;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::sleep;

/// `KEYS`: a window each; `ARGV`: what was counted and the lifetime in seconds of each. Answers the counts after.
const SCRIPT: &str = "\
local counts = {}
for i, key in ipairs(KEYS) do
  counts[i] = redis.call('INCRBY', key, ARGV[2 * i - 1])
  if redis.call('TTL', key) < 0 then redis.call('EXPIRE', key, ARGV[2 * i]) end
end
return counts";

/// Windows of one command.
const CHUNK: usize = 64;
/// Counters that wait for a sync.
const CHANGED: usize = 64 * 1024;

/// Where all nodes' counts are.
#[derive(Clone)]
enum Center {
    Redis(Arc<Redis>),
    Database,
}

/// How often counts go to the database.
const DATABASE_RATE: Duration = Duration::from_millis(500);
/// The number of the database's counters; those of Redis begin at one.
const DATABASE: u64 = u64::MAX;

/// What of the counters the others do not know yet.
pub(super) struct Synced {
    center: Center,
    rate: Duration,
    changed: Mutex<Vec<Arc<Counter>>>,
    is_running: AtomicBool,
}

/// By Redis and rate.
type Known = HashMap<(u64, Duration), Weak<Synced>>;

/// A window and what was counted in it when it was sent.
struct Window {
    counter: Arc<Counter>,
    period: Period,
    start: u64,
    count: u64,
    delta: u64,
}

impl Synced {
    /// Instances with the same Redis and rate share one.
    pub(super) fn with_redis(redis: Arc<Redis>, rate: Duration) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (redis.id(), rate);
        if let Some(synced) = known.get(&id).and_then(Weak::upgrade) {
            return synced;
        }
        known.retain(|_, synced| synced.strong_count() > 0);
        let synced = Arc::new(Self::new(Center::Redis(redis), rate));
        known.insert(id, Arc::downgrade(&synced));
        synced
    }

    /// All instances share the database.
    pub(super) fn with_database() -> Arc<Self> {
        static SYNCED: LazyLock<Arc<Synced>> = LazyLock::new(|| Arc::new(Synced::new(Center::Database, DATABASE_RATE)));
        SYNCED.clone()
    }

    fn new(center: Center, rate: Duration) -> Self {
        Self { center, rate, changed: Mutex::default(), is_running: AtomicBool::new(false) }
    }

    /// The number under which these counters are kept.
    pub(super) fn id(&self) -> u64 {
        match &self.center {
            Center::Redis(redis) => redis.id(),
            Center::Database => DATABASE,
        }
    }

    /// Something was counted: the others learn of it with the next sync.
    pub(super) fn note(self: &Arc<Self>, counter: &Arc<Counter>) {
        if !counter.mark_changed() {
            return;
        }
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.len() >= CHANGED {
            // A flood of identifiers: this one counts on this node alone until it is noted again.
            return counter.mark_synced();
        }
        changed.push(counter.clone());
        drop(changed);
        if !self.is_running.swap(true, Relaxed)
            && let Some(runtime) = sender::runtime()
        {
            runtime.spawn(self.clone().run());
        }
    }

    fn take_changed(&self) -> Vec<Arc<Counter>> {
        std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Syncs until nothing is counted for a whole interval.
    async fn run(self: Arc<Self>) {
        loop {
            sleep(self.rate).await;
            let changed = self.take_changed();
            if changed.is_empty() {
                self.is_running.store(false, Relaxed);
                // One that came between the two is not forgotten.
                let is_idle = self.changed.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
                if is_idle || self.is_running.swap(true, Relaxed) {
                    return;
                }
                continue;
            }
            self.sync(changed).await;
        }
    }

    /// Sends what was counted, and learns what all nodes have counted.
    pub(super) async fn sync(self: &Arc<Self>, changed: Vec<Arc<Counter>>) {
        let mut windows = Vec::new();
        for counter in changed {
            counter.mark_synced();
            for period in Period::ALL {
                if let Some((start, count, delta)) = counter.unsynced(period) {
                    windows.push(Window { counter: counter.clone(), period, start, count, delta });
                }
            }
        }
        for chunk in windows.chunks(CHUNK) {
            let totals = match &self.center {
                Center::Redis(redis) => send(redis, chunk).await.map_err(|failure| failure.to_string()),
                Center::Database => count(chunk).await,
            };
            match totals {
                Ok(totals) => {
                    for (window, total) in chunk.iter().zip(totals) {
                        window.counter.merge(window.period, window.start, window.count, total);
                    }
                }
                Err(failure) => {
                    // Redis itself says once that it is out of reach.
                    log::debug!("rate-limiting: counters are not synced: {failure}");
                    chunk.iter().for_each(|window| self.note(&window.counter));
                }
            }
        }
    }
}

async fn send(redis: &Arc<Redis>, windows: &[Window]) -> Result<Vec<u64>, Failure> {
    let texts: Vec<[String; 3]> = windows
        .iter()
        .map(|w| [window_key(&w.counter.key(), w.period, w.start), w.delta.to_string(), w.period.longest().to_string()])
        .collect();
    let count = texts.len().to_string();
    let mut parts: Vec<&[u8]> = vec![b"EVAL", SCRIPT.as_bytes(), count.as_bytes()];
    parts.extend(texts.iter().map(|[key, ..]| key.as_bytes()));
    parts.extend(texts.iter().flat_map(|[_, delta, lifetime]| [delta.as_bytes(), lifetime.as_bytes()]));
    let mut command = Vec::new();
    resp::command(&mut command, &parts);
    let reply = redis.call(command).await?;
    let Reply::Array(totals) = &reply else { return Err(Failure::Other(format!("{reply:?}"))) };
    let number = |total: &Reply| match total {
        Reply::Number(total) => u64::try_from(*total).ok(),
        _ => None,
    };
    let totals: Option<Vec<u64>> = totals.iter().map(number).collect();
    totals
        .filter(|all| all.len() == windows.len())
        .ok_or_else(|| Failure::new("an answer that is none of the script's"))
}

/// Adds to the database's counts, on a thread that may wait for it.
async fn count(windows: &[Window]) -> Result<Vec<u64>, String> {
    let ledger = LEDGER.get().cloned().ok_or("there is no database")?;
    let counts: Vec<Count> = windows
        .iter()
        .map(|window| {
            let key = window.counter.key();
            Count {
                identifier: key.identifier.to_owned(),
                route: key.route,
                service: key.service,
                period: window.period.name(),
                start: window.start,
                delta: window.delta,
                ttl: window.period.longest(),
            }
        })
        .collect();
    let added = tokio::task::spawn_blocking(move || ledger.add(&counts)).await;
    let totals = added.map_err(|error| error.to_string())??;
    if totals.len() == windows.len() { Ok(totals) } else { Err("counts are missing".to_owned()) }
}
