//! The HTTP engine: the only place that knows how messages stand on the wire.

pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod date;
pub(crate) mod downstream;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod head;
pub(crate) mod idle;
pub(crate) mod scratch;
pub(crate) mod tunnel;

pub use head::HeadLimits;

use pdk::{Client, Request};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use downstream::{BodyLength, ClientGone, Downstream};

/// Limits and time-outs towards clients.
#[derive(Clone, Debug)]
pub struct Limits {
    pub head: HeadLimits,
    /// Requests on one connection (`nginx_http_keepalive_requests`).
    pub requests: u64,
    /// Silence between requests (`keepalive_timeout`).
    pub keep_alive: Duration,
    /// Time for a whole head (`client_header_timeout`).
    pub head_timeout: Duration,
    /// Silence within a body (`client_body_timeout`).
    pub body_timeout: Duration,
    /// Time for a write to get on (`send_timeout`).
    pub send_timeout: Duration,
    /// Concurrent streams of an HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            requests: 10_000,
            keep_alive: Duration::from_secs(75),
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            streams: 128,
        }
    }
}

/// How a request is refused that is no HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is 497, nginx's own number for a request without TLS on a port that asks for it, clients are told 400.
    pub status: u16,
    /// Empty where nginx has a page of its own.
    pub message: &'static str,
}

/// What is done with requests: the proxy's pipeline, the Admin API, the status pages.
pub trait Service {
    /// Answers a request. The future ends when the answer has gone out.
    fn call(&self, request: Request, client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>>;

    /// Answers a request that could not be understood, with status and message. `request` is what of it could.
    fn refuse(
        &self,
        request: Request,
        client: Client,
        refusal: Refusal,
        to: Downstream,
    ) -> Pin<Box<dyn Future<Output = ()>>>;

    /// Whether connections are to end after their current request.
    fn is_draining(&self) -> bool;
}
