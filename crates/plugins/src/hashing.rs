//! Slow hashes of passwords, made on threads that may take their time: a few at once, so that they do not take the
//! processor from requests, and with only so many waiting.

use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// How many hashes are made at once; more would only take each other's processor.
const AT_ONCE: usize = 2;
/// How many requests may wait for their turn.
const WAITING: usize = 256;

/// Too many passwords wait to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(WAITING)));

/// Whether a password is the right one, by work that takes long. Nobody else's request waits for it.
pub(crate) async fn verify(work: impl FnOnce() -> bool + Send + 'static) -> Result<bool, Busy> {
    let place = PLACES.clone().try_acquire_owned().map_err(|_| Busy)?;
    let turn = TURNS.clone().acquire_owned().await.map_err(|_| Busy)?;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = (turn, place);
        work()
    });
    Ok(made.await.unwrap_or(false))
}
