//! `Dns`: the cache in front, one background task with the queries behind.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::answers::Answers;
use super::cache::{Cache, Entry, Failure};
use super::client::Client;
use super::counts::{Figures, Totals};
use super::error::ResolveError;
use super::hosts::Hosts;
use super::resolv_conf::ResolvConf;
use super::settings::{Kind, Settings, SetupError};

/// Names whose queries run at the same time; the others wait in the queue.
const MOST_QUERIES: usize = 128;
/// How often what is in use is looked after.
const TICK: Duration = Duration::from_millis(500);
/// A name is in use that was asked for within this time: its answer is renewed as it expires.
const IN_USE: Duration = Duration::from_secs(60);
/// Longest name, as a domain name can be.
const LONGEST_NAME: usize = 254;

/// Resolves names for a whole node; clones share everything.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    settings: Settings,
    hosts: ArcSwap<Hosts>,
    /// What the hosts file looked like when it was read.
    hosts_seen: std::sync::Mutex<Stamp>,
    /// Raised whenever the hosts file was read again.
    generation: AtomicU64,
    totals: Totals,
    cache: Cache,
    client: Client,
    queue: mpsc::Sender<Arc<Entry>>,
    queued: Mutex<mpsc::Receiver<Arc<Entry>>>,
    clock: Clock,
}

type Clock = fn() -> Instant;

/// When a file was written last, and how long it is; `None` where it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Dns {
    /// Reads the hosts file and resolv.conf; a missing one counts as empty.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Self::with_clock(settings, Instant::now)
    }

    pub(super) fn with_clock(settings: Settings, clock: Clock) -> Result<Self, SetupError> {
        let hosts_seen = stamp(&settings.hosts_file).into();
        let hosts = ArcSwap::from_pointee(Hosts::parse(&read(&settings.hosts_file)?, &settings));
        let text = read(&settings.resolv_conf)?;
        let conf = ResolvConf::parse(&text, settings.local_domain.as_deref(), settings.res_options.as_deref());
        let client = Client::new(&settings, conf)?;
        // One place for every name of the cache, some for names that left it while they waited.
        let (queue, queued) = mpsc::channel(settings.cache_size.clamp(64, 1 << 20));
        let cache = Cache::new(settings.cache_size, clock());
        Ok(Self(Arc::new(Inner {
            settings,
            hosts,
            hosts_seen,
            generation: AtomicU64::new(0),
            totals: Totals::default(),
            cache,
            client,
            queue,
            queued: Mutex::new(queued),
            clock,
        })))
    }

    /// The node's queries: to be spawned once, on any runtime with IO and time, and again when that runtime has ended.
    /// Never returns; a second call waits for the first to be dropped.
    pub async fn run(self) {
        tokio::select! {
            () = self.answer() => {}
            () = self.look_after() => {}
        }
    }

    /// Keeps what is in use fresh: expired answers are asked for again, the hosts file is read when it has changed.
    async fn look_after(&self) {
        let inner = &self.0;
        loop {
            tokio::time::sleep(TICK).await;
            inner.read_hosts_again();
            inner.renew_what_is_in_use();
        }
    }

    async fn answer(&self) {
        let inner = &self.0;
        let mut queued = inner.queued.lock().await;
        let free = Arc::new(Semaphore::new(MOST_QUERIES));
        let mut flights = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
            let Some(entry) = queued.recv().await else { return };
            let dns = self.clone();
            flights.spawn(async move {
                Flight { entry: Some(entry) }.run(&dns.0).await;
                drop(permit);
            });
            while flights.try_join_next().is_some() {}
        }
    }

    /// The answer at hand: an IP literal, a name of the hosts file, localhost, or a cached name. An answer that has expired
    /// still serves within its stale time while a new one is on its way. Never waits.
    pub fn peek(&self, name: &str, now: Instant) -> Option<Arc<Answers>> {
        let inner = &self.0;
        let name = normal(name);
        if let Some(answers) = inner.fixed(&name) {
            return Some(answers);
        }
        inner.cache.read(&name, now, |entry| inner.at_hand(entry, now))?
    }

    /// The addresses of a name. However many ask, one query is on its way.
    pub async fn resolve(&self, name: &str) -> Result<Arc<Answers>, ResolveError> {
        let inner = &self.0;
        let now = (inner.clock)();
        let name = normal(name);
        if let Some(answers) = inner.fixed(&name) {
            return Ok(answers);
        }
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(ResolveError::InvalidName);
        }
        let entry = inner.cache.entry(&name, now).ok_or(ResolveError::Unavailable)?;
        if let Some(answers) = inner.at_hand(&entry, now) {
            return Ok(answers);
        }
        if let Some(error) = entry.failed(now) {
            entry.counts.failures.one();
            // An answer for single use serves again while the servers fail.
            return entry.stale(now, inner.settings.stale_ttl).ok_or(error);
        }
        entry.counts.misses.one();
        // Listening before starting: the outcome cannot slip through between the two.
        let mut outcome = entry.outcome.subscribe();
        inner.refresh(&entry)?;
        outcome.changed().await.map_err(|_| ResolveError::Unavailable)?;
        outcome.borrow().clone().unwrap_or(Err(ResolveError::Unavailable))
    }

    /// As `resolve`, but an answer that has expired serves only where no other can be had.
    pub(crate) async fn renew(&self, name: &str) -> Result<Arc<Answers>, ResolveError> {
        let known = self.peek(name, (self.0.clock)());
        match known {
            Some(answers) if !answers.is_fresh((self.0.clock)()) => {
                let name = normal(name);
                let Some(entry) = self.0.cache.entry(&name, (self.0.clock)()) else { return Ok(answers) };
                // `peek` has started a query, unless the last one failed a moment ago.
                let mut outcome = entry.outcome.subscribe();
                if !entry.is_refreshing.load(Ordering::Acquire) {
                    return Ok(entry.answers.load_full().unwrap_or(answers));
                }
                outcome.changed().await.map_err(|_| ResolveError::Unavailable)?;
                outcome.borrow().clone().unwrap_or(Err(ResolveError::Unavailable))
            }
            Some(answers) => Ok(answers),
            None => self.resolve(name).await,
        }
    }

    /// What is asked of whom, for the log.
    pub(crate) fn asks(&self) -> String {
        let kinds: Vec<&str> = self.0.settings.kinds(None).iter().map(|kind| kind.name()).collect();
        format!("asked {} for {}", self.0.client.servers, kinds.join(", "))
    }

    /// Changes when the hosts file was read again: what was resolved before may be another address now.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// What was counted of each name in the cache, as `/status/dns` shows it.
    pub fn stats(&self) -> Map<String, Value> {
        let mut stats = Map::new();
        self.0.cache.for_each(|entry| entry.counts.show(&entry.name, &mut stats));
        stats
    }

    /// What metrics show.
    pub fn figures(&self) -> Figures {
        self.0.totals.figures(self.0.cache.len())
    }

    #[cfg(test)]
    pub(super) fn cached_names(&self) -> usize {
        self.0.cache.len()
    }
}

impl Inner {
    fn fixed(&self, name: &str) -> Option<Arc<Answers>> {
        if let Some(ip) = literal(name) {
            let kind = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
            return Answers::fixed(kind, [ip]).map(Arc::new);
        }
        self.hosts.load().get(name).cloned()
    }

    fn at_hand(&self, entry: &Arc<Entry>, now: Instant) -> Option<Arc<Answers>> {
        let answers = entry.answers.load();
        let known = answers.as_ref()?;
        if known.is_fresh(now) {
            entry.counts.hits.one();
            return Some(Arc::clone(known));
        }
        if known.is_single_use() {
            return None;
        }
        let stale = entry.stale(now, self.settings.stale_ttl)?;
        // After a failure the next try waits for its time; meanwhile the stale answer serves.
        if entry.failed(now).is_none() {
            // Without a background task there is no refresh: the answer serves until it is too old.
            let _ = self.refresh(entry);
        }
        entry.counts.stale.one();
        Some(stale)
    }

    fn read_hosts_again(&self) {
        let path = &self.settings.hosts_file;
        let mut seen = self.hosts_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(path);
        if *seen == now {
            return;
        }
        match read(path) {
            Ok(text) => {
                *seen = now;
                self.hosts.store(Arc::new(Hosts::parse(&text, &self.settings)));
                self.generation.fetch_add(1, Ordering::AcqRel);
                log::info!("the hosts file {} was read again", path.display());
            }
            // Somebody may be writing it.
            Err(error) => log::warn!("the hosts file stays as it was: {error}"),
        }
    }

    /// So that the next request finds the address of today, not that of the last one.
    fn renew_what_is_in_use(&self) {
        let now = (self.clock)();
        self.cache.for_each(|entry| {
            let answers = entry.answers.load();
            let has_expired = answers.as_ref().is_some_and(|known| !known.is_fresh(now) && !known.is_single_use());
            if has_expired && entry.failed(now).is_none() && self.cache.is_in_use(entry, now, IN_USE) {
                let _ = self.refresh(entry);
            }
        });
    }

    /// Starts a query unless one is on its way.
    fn refresh(&self, entry: &Arc<Entry>) -> Result<(), ResolveError> {
        if entry.is_refreshing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.queue.try_send(Arc::clone(entry)).map_err(|_| {
            entry.finish(Err(ResolveError::Unavailable));
            ResolveError::Unavailable
        })
    }
}

/// A query for one name; whoever waits for it is told even when its task is cancelled or panics.
struct Flight {
    /// Until the query has ended.
    entry: Option<Arc<Entry>>,
}

impl Flight {
    async fn run(mut self, inner: &Inner) {
        let Some(entry) = &self.entry else { return };
        let last = entry.last_kind();
        let start = Instant::now();
        let found = inner.client.find(&entry.name, &inner.settings.kinds(last), last, &entry.counts).await;
        let now = (inner.clock)();
        inner.totals.looked_up(&found, start.elapsed());
        let settings = &inner.settings;
        let outcome = match found {
            Ok(found) => {
                let ttl = settings.valid_ttl.unwrap_or(found.ttl);
                let turn = Arc::clone(&entry.turn);
                entry.set_last_kind(found.kind);
                Answers::new(found.kind, found.records, Some(now + ttl), ttl.is_zero(), turn)
                    .map(Arc::new)
                    .ok_or(ResolveError::EmptyRecord)
            }
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok(answers) => {
                entry.failure.store(None);
                entry.answers.store(Some(Arc::clone(&answers)));
                Ok(answers)
            }
            Err(error) => {
                let is_certain = error.is_not_found() || error == ResolveError::InvalidName;
                let ttl = if is_certain { settings.not_found_ttl } else { settings.error_ttl };
                entry.failure.store(Some(Arc::new(Failure { error: error.clone(), until: now + ttl })));
                if is_certain {
                    // The servers know that the name is gone: nothing stale may stand in for it.
                    entry.answers.store(None);
                }
                match entry.stale(now, settings.stale_ttl) {
                    Some(stale) => {
                        inner.totals.served_stale();
                        Ok(stale)
                    }
                    None => Err(error),
                }
            }
        };
        entry.finish(outcome);
        self.entry = None;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            entry.finish(Err(ResolveError::Unavailable));
        }
    }
}

fn literal(name: &str) -> Option<IpAddr> {
    let first = name.as_bytes().first()?;
    if !first.is_ascii_digit() && !name.contains(':') {
        return None;
    }
    name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name).parse().ok()
}

/// Names are the same in any case.
fn normal(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn read(path: &Path) -> Result<String, SetupError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(SetupError::File { path: path.to_owned(), source }),
    }
}
