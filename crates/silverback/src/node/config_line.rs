//! The one way of configuration into the data plane: rows change the typed configuration, which becomes a snapshot.

use crate::conf::vault::Prefixes;
use anyhow::Context as _;
use balancer::{ResolvedTarget, Which};
use entities::{Configuration, Touched};
use proxy::{Builder, Environment, Snapshot, SnapshotHandle, Upstreams};
use rayon_core::{ThreadPool, ThreadPoolBuilder};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;
use store::{Change, HealthMark, Held, Loaded};
use uuid::Uuid;

/// Rows that plugins keep while they work (`pdk::Storage`): they are read from the store, never from a snapshot.
const KEPT_BY_PLUGINS: [&str; 4] = ["oauth2_authorization_codes", "oauth2_tokens", "session_metadatas", "sessions"];

/// Holds the configuration and makes snapshots of it. Writers take turns; readers see whole snapshots only.
pub(super) struct ConfigLine {
    /// One thread, which does the work whoever asks for it: memory of what changes is then taken from where what it replaces
    /// has left some. The allocator keeps a place of its own for each thread.
    thread: ThreadPool,
    builder: Mutex<Builder>,
    snapshots: Arc<SnapshotHandle>,
    upstreams: Arc<Upstreams>,
    /// Locked before the builder, by whoever needs both.
    current: Mutex<Configuration>,
    is_empty: AtomicBool,
    vaults: Arc<Vaults>,
}

/// The vault entities in force: references to secrets are looked up among them.
pub(super) type Vaults = RwLock<Prefixes>;

impl ConfigLine {
    pub(super) fn new(environment: Environment, vaults: Arc<Vaults>) -> anyhow::Result<Self> {
        let thread = ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "config".to_owned())
            // Of what is freed after the answer: the hook has told of it, and the node goes on.
            .panic_handler(drop)
            .build()?;
        let upstreams = environment.upstreams.clone();
        let builder = Builder::new(environment);
        let snapshots = Arc::new(SnapshotHandle::new(builder.snapshot()));
        let (builder, current, is_empty) = (Mutex::new(builder), Mutex::default(), AtomicBool::new(true));
        Ok(Self { thread, builder, snapshots, upstreams, current, is_empty, vaults })
    }

    pub(super) fn snapshots(&self) -> &Arc<SnapshotHandle> {
        &self.snapshots
    }

    pub(super) fn current(&self) -> MutexGuard<'_, Configuration> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without waiting for a change that is being made.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Relaxed)
    }

    pub(super) fn upstreams(&self) -> &proxy::Upstreams {
        &self.upstreams
    }

    /// Takes over everything that a store gives.
    pub(super) fn load(
        &self,
        each: impl FnOnce(&mut dyn FnMut(&str, Value)) -> Result<Loaded, store::Error> + Send,
    ) -> anyhow::Result<Loaded> {
        self.thread.install(|| {
            let mut new = Configuration::default();
            let read = each(&mut |entity, row| {
                pace::breathe();
                set(&mut new, entity, &row);
            });
            let loaded = read.context("the stored configuration cannot be read")?;
            self.take_over(new);
            Ok(loaded)
        })
    }

    /// Changes the configuration; the next request sees it when this returns.
    pub(super) fn apply(&self, changes: &[Change]) {
        let mut configuring = changes.iter().filter(|change| is_configuration(&change.entity)).peekable();
        if configuring.peek().is_none() {
            return;
        }
        self.thread.install(|| {
            let mut touched = Vec::with_capacity(changes.len());
            let mut current = self.current();
            for change in pace::each(configuring) {
                touched.push(match &change.value {
                    Some(row) => set(&mut current, &change.entity, row),
                    None => current.remove(&change.entity, change.id),
                });
            }
            pace::breathe();
            // What has secrets of a vault is made anew with it.
            let has_other_vaults = self.take_vaults(&current);
            self.swap(|builder| match has_other_vaults {
                true => builder.build(&current, false),
                false => builder.change(&touched, &current),
            });
            self.is_empty.store(current.is_empty(), Ordering::Relaxed);
        });
        self.sweep_later();
    }

    /// Replaces the whole configuration.
    pub(super) fn replace(&self, rows: &[Change]) {
        self.thread.install(|| {
            let mut new = Configuration::default();
            for change in pace::each(rows) {
                if let Some(row) = &change.value {
                    set(&mut new, &change.entity, row);
                }
            }
            self.take_over(new);
        });
    }

    /// Only this thread changes anything: it is locked once all is done.
    fn take_over(&self, new: Configuration) {
        let has_other_vaults = self.take_vaults(&new);
        self.swap(|builder| builder.build(&new, !has_other_vaults));
        self.is_empty.store(new.is_empty(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.current(), new);
        self.thread.spawn(move || old.free());
        self.sweep_later();
    }

    /// Frees the snapshots of the past that it can, once the one who waits for this change has its answer: a second of changes
    /// would leave holes between what stays.
    fn sweep_later(&self) {
        let snapshots = self.snapshots.clone();
        self.thread.spawn(move || {
            snapshots.sweep();
        });
    }

    fn swap(&self, make: impl FnOnce(&mut Builder) -> (Snapshot, Vec<String>)) {
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, problems) = make(&mut builder);
        self.snapshots.swap(snapshot);
        drop(builder);
        for problem in problems {
            log::error!("{problem}");
        }
    }

    /// Takes the vaults of a configuration into force; whether they differ from those before.
    fn take_vaults(&self, from: &Configuration) -> bool {
        let prefix = |config: &serde_json::Value| config["prefix"].as_str().unwrap_or_default().to_owned();
        let new: Prefixes =
            from.vaults.values().filter(|v| v.name == "env").map(|v| (v.prefix.clone(), prefix(&v.config))).collect();
        let mut vaults = self.vaults.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *vaults != new;
        *vaults = new;
        is_other
    }
}

impl Held for ConfigLine {
    fn marked(&self, mark: &HealthMark) {
        let Some(balancer) = self.upstreams().balancer(mark.upstream) else { return };
        let which = mark.ip.as_deref().map_or(Which::All, |ip| {
            ResolvedTarget::literal(ip).map_or(Which::OfHost(mark.port), |ip| Which::At(ip, mark.port))
        });
        let is_meant =
            |target: &ResolvedTarget| *target.host == mark.host && (mark.ip.is_some() || target.port == mark.port);
        let ids: Vec<Uuid> = balancer.targets().filter(|(t, _)| is_meant(t)).map(|(t, _)| t.id).collect();
        for id in ids {
            let set = balancer.set_health(id, which, mark.is_healthy, SystemTime::now());
            let state = if mark.is_healthy { "healthy" } else { "unhealthy" };
            if set.is_ok_and(|count| count > 0) {
                log::warn!("upstream {}: target {} was set {state} on another node", mark.upstream_name, mark.host);
            }
        }
    }

    /// Looks at every row of the entity: it is asked only for changes that Kong's nodes made to the same database.
    fn ids(&self, entity: &str, field: &str, value: &str) -> Vec<Uuid> {
        let current = self.current();
        let id = Uuid::parse_str(value).ok();
        macro_rules! found {
            ($rows:ident, $row:ident, $fits:expr) => {
                current.$rows.values().filter(|$row| $fits).map(|row| row.id).collect()
            };
        }
        match (entity, field) {
            ("plugins", "name") => found!(plugins, row, row.name == value),
            ("consumers", "username") => found!(consumers, row, row.username.as_deref() == Some(value)),
            ("acls", "consumer") => found!(acls, row, Some(row.consumer.id) == id),
            ("targets", "upstream") => found!(targets, row, Some(row.upstream.id) == id),
            ("keys", "kid") => found!(keys, row, row.kid == value),
            ("vaults", "prefix") => found!(vaults, row, row.prefix == value),
            ("snis", "name") => found!(snis, row, row.name == value),
            ("keyauth_credentials", "key") => found!(keyauth_credentials, row, row.key == value),
            ("basicauth_credentials", "username") => found!(basicauth_credentials, row, row.username == value),
            ("hmacauth_credentials", "username") => found!(hmacauth_credentials, row, row.username == value),
            ("jwt_secrets", "key") => found!(jwt_secrets, row, row.key == value),
            ("oauth2_credentials", "client_id") => found!(oauth2_credentials, row, row.client_id == value),
            ("oauth2_tokens", "access_token") => found!(oauth2_tokens, row, row.access_token == value),
            _ => Vec::new(),
        }
    }
}

fn is_configuration(entity: &str) -> bool {
    !KEPT_BY_PLUGINS.contains(&entity)
}

fn set(configuration: &mut Configuration, entity: &str, row: &Value) -> Touched {
    if !is_configuration(entity) {
        return Touched::Other;
    }
    configuration.set(entity, row).unwrap_or_else(|error| {
        log::error!("a stored row of {entity} cannot be used and is left out: {error}");
        Touched::Other
    })
}
