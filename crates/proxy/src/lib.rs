//! The data plane: connections in, requests through the phases, connections out.
//!
//! A worker thread owns its listeners, its upstream connections and its timers; nothing on the request path takes a lock
//! or crosses a thread. `pipeline::handle` is the path of a request.

mod access_log;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    //! What must hold of the parsers for any input; a check panics where it does not.

    pub use crate::http::fuzz::{chunked, request_head, response_head};
    pub use crate::listen::proxy_protocol::check as proxy_protocol;
}
mod http;
mod listen;
mod phases;
mod pipeline;
mod settings;
mod slots;
mod snapshot;
mod stats;
mod trusted;
mod upstream;
mod worker;

pub use access_log::{AccessLog, CustomFormat, LogFormat, LogTarget, Syslog, SyslogTarget};
pub use explain::{Explained, Matched, NotTaken};
pub use http::h1::client::Patience;
pub use http::{BodyLength, ClientGone, Downstream, HeadLimits, Limits, Refusal, Service};
pub use listen::{Clients, LAST_ACCEPTS, Listener, Listening, ListeningSocket, Shown, Tls, TlsSettings};
pub use settings::{HeaderTokens, PoolSettings, RealIpHeader, Settings};
pub use snapshot::{Builder, Environment, Secrets, Snapshot, SnapshotHandle, Terms, certificate_pair};
pub use stats::{Stats, StatsView};
pub use trusted::TrustedIps;
pub use upstream::Upstreams;
pub use upstream::dns;
pub use upstream::gate::GateView;
pub use worker::{Proxy, Thread};
