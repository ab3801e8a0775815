//! HTTP/1.0 and 1.1 on both sides (RFC 9112).

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod server;
