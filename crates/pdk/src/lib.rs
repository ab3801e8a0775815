//! What a plugin sees of a request: the request and response, the phases, the exit, the services.
//!
//! Plugins and the proxy meet only here. Nothing in this crate names an HTTP engine.

pub mod args;
mod body;
mod clock;
mod consumers;
mod context;
pub mod digits;
mod error;
pub mod form;
mod headers;
pub mod json;
mod ledger;
pub mod log;
mod method;
mod node;
mod pages;
mod plugin;
mod request;
mod response;
mod storage;
mod swift;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
mod upstreams;

pub use body::{Body, BodyError, BodyStream, Frame};
pub use clock::Clock;
pub use consumers::{Consumers, Lookup};
pub use context::{
    Address, Attempt, Client, Context, Credential, Data, Scheme, Shared, Source, Timing, TlsInfo, Upstream,
    host_without_port,
};
pub use error::{Format, Templates, default_message, error_body, grpc_status, negotiate};
pub use headers::{Headers, ReadyField, Span};
pub use ledger::{Count, Ledger};
pub use method::Method;
pub use node::Node;
pub use plugin::{BuildError, Chunk, Definition, Flow, Instance, LimitedGroup, Phases, Plugin, Step};
pub use request::{Request, Version};
pub use response::Response;
pub use storage::{NoStorage, Storage, StorageError, Stored, Write};
pub use swift::{ends_line, is_same_name};
pub use upstreams::{Peer, Upstreams};
