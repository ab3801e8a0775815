//! The Admin API: what Kong's answers on port 8001, as a function from [`Request`] to [`Response`]. It has no HTTP engine and
//! holds nothing of the proxy; what it needs of the running node comes through the trait [`Node`].
mod access;
mod api;
mod audit;
mod body;
mod bounded;
mod crud;
mod dispatch;
mod entity;
mod failure;
mod generate;
mod http;
mod json;
mod keys;
mod listing;
mod multipart;
mod node;
mod openapi;
mod routes;
mod special;
#[cfg(test)]
mod tests;
mod transaction;
mod urlencoded;

pub use access::{Access, Role};
pub use api::{Api, Settings};
pub use audit::{Audit, AuditSettings};
pub use http::{Request, Response};
pub use node::{
    AddressHealth, Asked, CircuitHealth, Explained, HostHealth, HttpVersion, MemoryUse, Node, Pids, PluginEndpoint,
    RetryCounts, Status, UpstreamHealth,
};
pub use openapi::{openapi, plugin_reference, reference};
