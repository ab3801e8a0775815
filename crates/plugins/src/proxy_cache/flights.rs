//! Requests for one key that nobody has an answer to yet: one asks the upstream, the others wait for it.

use super::key::Key;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The others wait no longer than this; then they ask themselves.
const PATIENCE: Duration = Duration::from_secs(5);
const SHARDS: usize = 16;

/// The semaphores never have permits: they are closed when the answer is there. As many as requests in work.
type Shard = Mutex<HashMap<Key, Arc<Semaphore>, ahash::RandomState>>;

fn shard(key: &Key) -> MutexGuard<'static, HashMap<Key, Arc<Semaphore>, ahash::RandomState>> {
    static SHARED: OnceLock<Vec<Shard>> = OnceLock::new();
    let shards = SHARED.get_or_init(|| (0..SHARDS).map(|_| Shard::default()).collect());
    shards[usize::from(key[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to ask the upstream for a key. It ends when it is dropped, and whoever waits goes on.
pub(super) struct Flight {
    key: Key,
    landing: Arc<Semaphore>,
}

/// What to do for a key.
pub(super) enum Boarding {
    /// Ask the upstream.
    First(Flight),
    /// Somebody else does.
    Waiting(Arc<Semaphore>),
}

pub(super) fn board(key: &Key) -> Boarding {
    let mut flights = shard(key);
    if let Some(landing) = flights.get(key) {
        return Boarding::Waiting(landing.clone());
    }
    let landing = Arc::new(Semaphore::new(0));
    flights.insert(*key, landing.clone());
    Boarding::First(Flight { key: *key, landing })
}

/// Waits until the answer is there, or not worth waiting for any more.
pub(super) async fn wait(landing: &Semaphore) {
    let _ = tokio::time::timeout(PATIENCE, landing.acquire()).await;
}

impl Drop for Flight {
    fn drop(&mut self) {
        shard(&self.key).remove(&self.key);
        self.landing.close();
    }
}
