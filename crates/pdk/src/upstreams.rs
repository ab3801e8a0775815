//! The upstream entities, as plugins may ask for them: a host that bears the name of one is balanced over its targets.

use std::net::SocketAddr;
use std::sync::Arc;

/// A target of an upstream entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// What `Host` says: the entity's `host_header`, else the target's name.
    pub host: Arc<str>,
}

/// The upstream entities of the configuration that a request sees.
pub trait Upstreams {
    /// Whether an upstream entity has targets that take requests; `None` where there is none of this name.
    fn is_healthy(&self, name: &str) -> Option<bool>;

    /// A target as the entity's balancer chooses it, for a request of the plugin's own. `None` where there is no entity of this
    /// name, `Some(None)` where none of its targets takes requests.
    fn peer(&self, name: &str) -> Option<Option<Peer>>;
}
