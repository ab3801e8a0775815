//! Slow hashes of passwords, made on two threads that stand back behind all others, so that no request waits for the processor
//! because of them; only so many may wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tokio::sync::oneshot;

/// How many hashes are made at once; more would only take each other's processor.
const AT_ONCE: usize = 2;
/// How many passwords may wait for their turn.
const WAITING: usize = 256;
/// The least priority there is.
const NICE: i32 = 19;

/// Too many passwords wait to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the threads; `None` where they could not be started.
static QUEUE: LazyLock<Option<SyncSender<Work>>> = LazyLock::new(|| {
    let (queue, work) = sync_channel(WAITING);
    let work = Arc::new(Mutex::new(work));
    for _ in 0..AT_ONCE {
        let work = work.clone();
        std::thread::Builder::new().name("hashing".to_owned()).spawn(move || run(&work)).ok()?;
    }
    Some(queue)
});

fn run(work: &Mutex<Receiver<Work>>) {
    // Of the calling thread alone, on Linux.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        log::debug!("hashes of passwords are made with the priority of requests: {error}");
    }
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        let _ = catch_unwind(AssertUnwindSafe(next));
    }
}

/// Whether a password is the right one, by work that takes long. Nobody else's request waits for it.
pub(crate) async fn verify(work: impl FnOnce() -> bool + Send + 'static) -> Result<bool, Busy> {
    let (answer, made) = oneshot::channel();
    let work = Box::new(move || {
        // Whose client has gone need not be verified.
        if !answer.is_closed() {
            let _ = answer.send(work());
        }
    });
    QUEUE.as_ref().ok_or(Busy)?.try_send(work).map_err(|_| Busy)?;
    Ok(made.await.unwrap_or(false))
}
