//! A thread's idle connections to upstreams, and those that carry many requests at once.

use super::channels::Channels;
use crate::http::connection::Connection;
use crate::settings::PoolSettings;
use ahash::HashMap;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What makes two connections interchangeable (balancer.md, 7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) address: SocketAddr,
    /// The server name, and the identity of the TLS settings.
    pub(crate) tls: Option<(Arc<str>, Arc<str>)>,
}

struct Idle {
    conn: Rc<Connection>,
    /// When a sweep first saw it: the way of a request reads no clock for this.
    seen: Option<Instant>,
    requests: u64,
}

/// Idle connections by destination, the last used first.
pub(crate) struct Pool {
    settings: PoolSettings,
    idle: RefCell<HashMap<PoolKey, Vec<Idle>>>,
    pub(crate) channels: Channels,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self { settings, idle: RefCell::default(), channels: Channels::new(settings) }
    }

    /// A connection that is still of use, and how many requests it has carried.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<(Rc<Connection>, u64)> {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.get_mut(key)?;
        while let Some(Idle { conn, requests, .. }) = waiting.pop() {
            if conn.is_quiet() {
                return Some((conn, requests));
            }
        }
        None
    }

    /// Takes back a connection that has carried `requests`.
    pub(crate) fn put(&self, key: PoolKey, conn: Rc<Connection>, requests: u64) {
        let spent = self.settings.max_requests > 0 && requests >= self.settings.max_requests;
        if spent || self.settings.size == 0 || !conn.input().is_empty() {
            return;
        }
        conn.rest();
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.entry(key).or_default();
        if waiting.len() >= self.settings.size {
            waiting.remove(0);
        }
        waiting.push(Idle { conn, seen: None, requests });
    }

    /// A kept connection to there turned out to be closed: the others will be too (the upstream has restarted).
    pub(crate) fn forget(&self, key: &PoolKey) {
        self.idle.borrow_mut().remove(key);
    }

    /// Whether there have lately been connections to there that carry one request at a time.
    pub(crate) fn has_seen_http1(&self, key: &PoolKey) -> bool {
        self.idle.borrow().contains_key(key)
    }

    /// Closes what has been idle for too long or was closed by its peer.
    pub(crate) fn sweep(&self) {
        let (limit, now) = (self.settings.idle_timeout, Instant::now());
        self.idle.borrow_mut().retain(|_, waiting| {
            waiting.retain_mut(|idle| {
                let seen = *idle.seen.get_or_insert(now);
                now.saturating_duration_since(seen) < limit && idle.conn.is_quiet()
            });
            !waiting.is_empty()
        });
        self.channels.sweep();
    }
}
