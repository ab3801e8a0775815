//! The one way of configuration into the data plane: rows change the typed configuration, which becomes a snapshot.

use entities::Configuration;
use proxy::{Environment, Snapshot, SnapshotHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Change, Store};

/// Holds the configuration and makes snapshots of it. Writers take turns; readers see whole snapshots only.
pub(super) struct ConfigLine {
    environment: Environment,
    snapshots: Arc<SnapshotHandle>,
    current: Mutex<Configuration>,
}

impl ConfigLine {
    pub(super) fn new(environment: Environment, snapshots: Arc<SnapshotHandle>) -> Self {
        Self { environment, snapshots, current: Mutex::default() }
    }

    pub(super) fn current(&self) -> MutexGuard<'_, Configuration> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn upstreams(&self) -> &proxy::Upstreams {
        &self.environment.upstreams
    }

    /// Takes over everything that a store holds.
    pub(super) fn load(&self, store: &dyn Store) -> anyhow::Result<()> {
        let mut new = Configuration::default();
        let read = store.each(&mut |entity, row| set(&mut new, entity, &row));
        read.map_err(|e| anyhow::anyhow!("the stored configuration cannot be read: {e}"))?;
        *self.current() = new;
        self.publish();
        Ok(())
    }

    /// Changes the configuration; the next request sees it when this returns.
    pub(super) fn apply(&self, changes: &[Change]) {
        {
            let mut current = self.current();
            for change in changes {
                match &change.value {
                    Some(row) => set(&mut current, &change.entity, row),
                    None => current.remove(&change.entity, change.id),
                }
            }
        }
        self.publish();
    }

    /// Replaces the whole configuration.
    pub(super) fn replace(&self, rows: &[Change]) {
        let mut new = Configuration::default();
        for change in rows {
            if let Some(row) = &change.value {
                set(&mut new, &change.entity, row);
            }
        }
        *self.current() = new;
        self.publish();
    }

    fn publish(&self) {
        let current = self.current();
        let previous = self.snapshots.load();
        let (snapshot, problems) = Snapshot::build(&current, Some(&previous), &self.environment);
        for problem in problems {
            log::error!("{problem}");
        }
        self.snapshots.swap(snapshot);
    }
}

fn set(configuration: &mut Configuration, entity: &str, row: &serde_json::Value) {
    if let Err(error) = configuration.set(entity, row) {
        log::error!("a stored row of {entity} cannot be used and is left out: {error}");
    }
}
