//! Where the queues of log messages end that are not sent by HTTP: lines over TCP, and datagrams.

mod datagrams;
mod lines;

use crate::background;
use std::sync::OnceLock;
use tokio::runtime::Handle;

pub(crate) use datagrams::Datagrams;
pub(crate) use lines::{Lines, Tls};

/// The runtime of a thread for what plugins do beside requests, other than emptying queues; `None` where it could not be
/// started.
pub(crate) fn runtime() -> Option<&'static Handle> {
    static RUNTIME: OnceLock<Option<Handle>> = OnceLock::new();
    RUNTIME.get_or_init(|| background::start("log-sender")).as_ref()
}

#[cfg(test)]
mod tests;
