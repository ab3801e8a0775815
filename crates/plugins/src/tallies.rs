//! Counts in this node's memory that are brought into line, in the background, with what all nodes have counted: with Redis
//! every `sync_rate` seconds, with the database (policy `cluster`) twice a second.
//!
//! A request is counted as where a node counts alone. Of one limit, all nodes together let through at most the limit, and of
//! each node but one what it lets through in the time of two syncs: that in which it tells its counts, and that in which another
//! learns them. While the others' counts are
//! out of reach each node goes on counting for itself; what it counted is added when they are back, unless its window is
//! over by then.

use crate::background;
use crate::redis::{Redis, Script, ScriptCall};
use ahash::HashMap;
use pdk::{Count, Ledger};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// `KEYS`: a window each; `ARGV`: what was counted and the lifetime in seconds of each. Answers the counts after.
static ADD: Script = Script::new(
    "\
local counts = {}
for i, key in ipairs(KEYS) do
  local delta = tonumber(ARGV[2 * i - 1])
  if delta == 0 then
    counts[i] = tonumber(redis.call('GET', key) or '0')
  else
    counts[i] = redis.call('INCRBY', key, ARGV[2 * i - 1])
    if redis.call('TTL', key) < 0 then redis.call('EXPIRE', key, ARGV[2 * i]) end
  end
end
return counts",
);

/// Windows of one command.
const CHUNK: usize = 64;
/// Counters that wait for a sync.
const CHANGED: usize = 64 * 1024;
/// How often counts go to the database.
const DATABASE_RATE: Duration = Duration::from_millis(500);
/// The number of the database's counters; those of Redis begin at one.
pub(crate) const DATABASE: u64 = u64::MAX;

/// Where policy `cluster` counts.
static LEDGER: OnceLock<Arc<dyn Ledger>> = OnceLock::new();

/// Policy `cluster` counts there from now on. To be told before instances are built; the first one told counts.
pub fn count_in(ledger: Arc<dyn Ledger>) {
    let _ = LEDGER.set(ledger);
}

/// A counter of this node's memory, with its windows.
pub(crate) trait Tally: Send + Sync {
    /// Notes that something was counted; `false` where that was noted already.
    fn mark_changed(&self) -> bool;
    fn mark_synced(&self);
    /// The windows that the others are to be told of, or asked about.
    fn unsynced(&self, center: &Center) -> Vec<Unsynced>;
    /// Brings a window into line with the others, who say `total` after they were told of all that was counted by then. What
    /// was counted meanwhile stays counted.
    fn merge(&self, window: &Unsynced, total: i64);
}

/// What the others do not know of a window yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsynced {
    pub(crate) name: Name,
    /// Which of the counter's windows it is, and when that began.
    pub(crate) number: usize,
    pub(crate) start: u64,
    /// What was counted in all by this node's knowledge, and how much of that is new.
    pub(crate) count: i64,
    pub(crate) delta: i64,
    /// In seconds.
    pub(crate) lifetime: u64,
}

/// What the others call a window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A key of Redis.
    Key(String),
    /// A row of the database; what is added to it is said anew.
    Row(Count),
}

/// Where all nodes' counts are.
#[derive(Clone)]
pub(crate) enum Center {
    Redis(Arc<Redis>),
    Database,
}

impl Center {
    /// The number under which its counters are kept in this node's memory.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Redis(redis) => redis.id(),
            Self::Database => DATABASE,
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.is_cluster())
    }
}

/// What of the counters the others do not know yet.
pub(crate) struct Synced {
    center: Center,
    rate: Duration,
    changed: Mutex<Vec<Arc<dyn Tally>>>,
    is_running: AtomicBool,
}

/// By Redis and rate.
type Known = HashMap<(u64, Duration), Weak<Synced>>;

type Sent = (Arc<dyn Tally>, Unsynced);

impl Synced {
    /// Instances with the same Redis and rate share one.
    pub(crate) fn with_redis(redis: Arc<Redis>, rate: Duration) -> Arc<Self> {
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

    /// All instances share the database; `None` where there is none.
    pub(crate) fn with_database() -> Option<Arc<Self>> {
        static SYNCED: LazyLock<Arc<Synced>> = LazyLock::new(|| Arc::new(Synced::new(Center::Database, DATABASE_RATE)));
        LEDGER.get().map(|_| SYNCED.clone())
    }

    fn new(center: Center, rate: Duration) -> Self {
        Self { center, rate, changed: Mutex::default(), is_running: AtomicBool::new(false) }
    }

    pub(crate) fn center(&self) -> &Center {
        &self.center
    }

    /// Something was counted: the others learn of it with the next sync.
    pub(crate) fn note<T: Tally + 'static>(self: &Arc<Self>, tally: &Arc<T>) {
        if !tally.mark_changed() {
            return;
        }
        self.keep(tally.clone());
        if !self.is_running.swap(true, Relaxed)
            && let Some(runtime) = background::runtime()
        {
            runtime.spawn(self.clone().run());
        }
    }

    fn keep(&self, tally: Arc<dyn Tally>) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.len() >= CHANGED {
            // A flood of identifiers: this one counts on this node alone until it is noted again.
            return tally.mark_synced();
        }
        changed.push(tally);
    }

    fn take_changed(&self) -> Vec<Arc<dyn Tally>> {
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
    async fn sync(&self, changed: Vec<Arc<dyn Tally>>) {
        let mut windows: Vec<Sent> = Vec::new();
        for tally in changed {
            tally.mark_synced();
            windows.extend(tally.unsynced(&self.center).into_iter().map(|window| (tally.clone(), window)));
        }
        for chunk in windows.chunks(CHUNK) {
            let totals = match &self.center {
                Center::Redis(redis) => send(redis, chunk).await,
                Center::Database => add(chunk).await,
            };
            match totals {
                Ok(totals) => {
                    for ((tally, window), total) in chunk.iter().zip(totals) {
                        tally.merge(window, total);
                    }
                }
                Err(failure) => {
                    // Redis itself says once that it is out of reach.
                    log::debug!("counters are not synced: {failure}");
                    for (tally, _) in chunk.iter().filter(|(tally, _)| tally.mark_changed()) {
                        self.keep(tally.clone());
                    }
                }
            }
        }
    }
}

async fn send(redis: &Arc<Redis>, windows: &[Sent]) -> Result<Vec<i64>, String> {
    if !redis.is_cluster() {
        return ADD.run(redis, &call(windows), windows.len()).await.map_err(|failure| failure.to_string());
    }
    // Each key has its own node.
    let mut all = JoinSet::new();
    for (at, window) in windows.iter().enumerate() {
        let (redis, call) = (redis.clone(), call(std::slice::from_ref(window)));
        all.spawn(async move { (at, ADD.run(&redis, &call, 1).await) });
    }
    let mut totals = vec![None; windows.len()];
    while let Some(joined) = all.join_next().await {
        let (at, total) = joined.map_err(|error| error.to_string())?;
        totals[at] = Some(total.map_err(|failure| failure.to_string())?[0]);
    }
    totals.into_iter().collect::<Option<_>>().ok_or_else(|| "counts are missing".to_owned())
}

fn call(windows: &[Sent]) -> ScriptCall {
    let mut call = ScriptCall::default();
    for (_, window) in windows {
        let Name::Key(key) = &window.name else { continue };
        call.keys.push(key.clone().into_bytes());
        call.arguments.push(window.delta.to_string().into_bytes());
        call.arguments.push(window.lifetime.to_string().into_bytes());
    }
    call
}

/// Adds to the database's counts, on a thread that may wait for it.
async fn add(windows: &[Sent]) -> Result<Vec<i64>, String> {
    let ledger = LEDGER.get().cloned().ok_or("there is no database")?;
    let counts = windows.iter().filter_map(|(_, window)| match &window.name {
        Name::Row(count) => Some(Count { delta: window.delta, ..count.clone() }),
        Name::Key(_) => None,
    });
    let counts: Vec<Count> = counts.collect();
    let added = tokio::task::spawn_blocking(move || ledger.add(&counts)).await;
    let totals = added.map_err(|error| error.to_string())??;
    if totals.len() == windows.len() { Ok(totals) } else { Err("counts are missing".to_owned()) }
}
