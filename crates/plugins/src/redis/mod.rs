//! A client of Redis: one server, one that sentinels know, or a cluster. A thread has one connection to each server, on
//! which commands do not wait for each other's replies.
//!
//! Nobody waits for a Redis that is out of reach but those whose commands were under way when it went: from the first
//! failure on commands fail at once, while the process tries to reach it again in the background, more and more slowly.

mod cluster;
mod connection;
mod node;
pub(crate) mod resp;
mod script;
mod sentinel;
mod settings;

use ahash::HashMap;
use cluster::Cluster;
use node::Node;
use resp::Reply;
use settings::Servers;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

pub(crate) use script::{Script, ScriptCall};
pub(crate) use settings::{Config, Settings};

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection ended, which says nothing of a next one: Redis closes those that were idle for long.
    Closed,
    Other(String),
}

impl Failure {
    pub(crate) fn new(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection was closed",
            Self::Other(text) => text,
        })
    }
}

/// A Redis, as all threads and instances with the same settings see it.
pub(crate) struct Redis {
    id: u64,
    servers: Reached,
    is_proxied: bool,
}

/// A server that holds a part of the keys.
pub(crate) struct Part(Arc<Node>);

impl Part {
    pub(crate) async fn call(&self, command: Vec<u8>) -> Result<Reply, Failure> {
        self.0.call(command).await
    }
}

enum Reached {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Redis {
    /// The Redis of these settings; instances share it.
    pub(crate) fn of(settings: Settings) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<Settings, Weak<Redis>>>> = LazyLock::new(Mutex::default);
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(redis) = known.get(&settings).and_then(Weak::upgrade) {
            return redis;
        }
        known.retain(|_, redis| redis.strong_count() > 0);
        let servers = match &settings.servers {
            Servers::One(place) => Reached::One(Node::of(place.clone(), settings.access.clone())),
            Servers::Cluster(nodes) => Reached::Cluster(Cluster::new(nodes.clone(), settings.access.clone())),
        };
        let redis = Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), servers, is_proxied: settings.is_proxied });
        known.insert(settings, Arc::downgrade(&redis));
        redis
    }

    /// A number that no other Redis of this process has had.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether keys of one command must have a part in braces in common.
    pub(crate) fn is_cluster(&self) -> bool {
        self.is_proxied || matches!(self.servers, Reached::Cluster(_))
    }

    /// Sends a command (made by [`resp::command`]) about a key and waits for its reply, at most the time-out. Where a kept
    /// connection turns out to have ended, the command goes over a new one.
    pub(crate) async fn call(&self, key: &[u8], command: Vec<u8>) -> Result<Reply, Failure> {
        match &self.servers {
            Reached::One(node) => node.call(command).await,
            Reached::Cluster(cluster) => cluster.call(key, command).await,
        }
    }

    /// The servers that hold the keys, each a part of them.
    pub(crate) fn parts(&self) -> Vec<Part> {
        match &self.servers {
            Reached::One(node) => vec![Part(node.clone())],
            Reached::Cluster(cluster) => cluster.parts().into_iter().map(Part).collect(),
        }
    }

    #[cfg(test)]
    fn is_down(&self) -> bool {
        match &self.servers {
            Reached::One(node) => node.is_down(),
            Reached::Cluster(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
