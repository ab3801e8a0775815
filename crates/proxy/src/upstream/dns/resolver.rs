//! `Dns`: the cache in front, one background task with the queries behind.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::answers::Answers;
use super::cache::{Cache, Entry, Failure};
use super::client::Client;
use super::error::ResolveError;
use super::hosts::Hosts;
use super::resolv_conf::ResolvConf;
use super::settings::{Kind, Settings, SetupError};

/// Names whose queries run at the same time; the others wait in the queue.
const MOST_QUERIES: usize = 128;
/// Longest name, as a domain name can be.
const LONGEST_NAME: usize = 254;

/// Resolves names for a whole node; clones share everything.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    settings: Settings,
    hosts: Hosts,
    cache: Cache,
    client: Client,
    queue: mpsc::Sender<Arc<Entry>>,
    queued: Mutex<mpsc::Receiver<Arc<Entry>>>,
    clock: Clock,
}

type Clock = fn() -> Instant;

impl Dns {
    /// Reads the hosts file and resolv.conf; a missing one counts as empty.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Self::with_clock(settings, Instant::now)
    }

    pub(super) fn with_clock(settings: Settings, clock: Clock) -> Result<Self, SetupError> {
        let hosts = Hosts::parse(&read(&settings.hosts_file)?, &settings);
        let text = read(&settings.resolv_conf)?;
        let conf = ResolvConf::parse(&text, settings.local_domain.as_deref(), settings.res_options.as_deref());
        let client = Client::new(&settings, conf)?;
        // One place for every name of the cache, some for names that left it while they waited.
        let (queue, queued) = mpsc::channel(settings.cache_size.clamp(64, 1 << 20));
        let cache = Cache::new(settings.cache_size, clock());
        Ok(Self(Arc::new(Inner { settings, hosts, cache, client, queue, queued: Mutex::new(queued), clock })))
    }

    /// The node's queries: to be spawned once, on any runtime with IO and time, and again when that runtime has ended.
    /// Never returns; a second call waits for the first to be dropped.
    pub async fn run(self) {
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
            // An answer for single use serves again while the servers fail.
            return entry.stale(now, inner.settings.stale_ttl).ok_or(error);
        }
        // Listening before starting: the outcome cannot slip through between the two.
        let mut outcome = entry.outcome.subscribe();
        inner.refresh(&entry)?;
        outcome.changed().await.map_err(|_| ResolveError::Unavailable)?;
        outcome.borrow().clone().unwrap_or(Err(ResolveError::Unavailable))
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
        self.hosts.get(name).cloned()
    }

    fn at_hand(&self, entry: &Arc<Entry>, now: Instant) -> Option<Arc<Answers>> {
        let answers = entry.answers.load();
        let known = answers.as_ref()?;
        if known.is_fresh(now) {
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
        Some(stale)
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
        let found = inner.client.find(&entry.name, &inner.settings.kinds(last), last).await;
        let now = (inner.clock)();
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
                entry.stale(now, settings.stale_ttl).ok_or(error)
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

fn read(path: &Path) -> Result<String, SetupError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(SetupError::File { path: path.to_owned(), source }),
    }
}
