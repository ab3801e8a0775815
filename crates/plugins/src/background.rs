//! Threads of the process that work beside requests, each with a runtime of its own.

use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle};

/// Names that are resolved at once, by a thread each.
const RESOLVING: usize = 16;

/// Starts a thread that lives as long as the process, and runs what its handle is given. `None` where it cannot be started.
pub(crate) fn start(name: &str) -> Option<Handle> {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(RESOLVING).build().ok()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || runtime.block_on(std::future::pending::<()>())).ok()?;
    Some(handle)
}

/// The runtime of a thread for what plugins do beside requests, other than emptying queues; `None` where it could not be
/// started.
pub(crate) fn runtime() -> Option<&'static Handle> {
    static RUNTIME: OnceLock<Option<Handle>> = OnceLock::new();
    RUNTIME.get_or_init(|| start("plugins")).as_ref()
}
