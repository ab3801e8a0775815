//! The plugin: its phases, how a phase ends, how an instance is built.

use crate::trace::Tracing;
use crate::{Context, Response};
use bytes::Bytes;
use entities::{CaCertificate, ConsumerGroup, ConsumerGroupPlugin, Plugin as PluginEntity, PluginSchema};
use std::future::Future;
use std::ops::BitOr;
use std::pin::Pin;
use std::sync::Arc;

/// A set of phases. The plan of a route lists, for each phase, only the plugins that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(u16);

impl Phases {
    pub const NONE: Self = Self(0);
    /// Before routing; only global instances run.
    pub const REWRITE: Self = Self(1);
    /// After routing, before the upstream is contacted.
    pub const ACCESS: Self = Self(2);
    /// With the whole response at hand; forces the upstream's response to be buffered.
    pub const RESPONSE: Self = Self(4);
    /// The response's head can be changed.
    pub const HEADER_FILTER: Self = Self(8);
    /// Each piece of the response's body can be changed.
    pub const BODY_FILTER: Self = Self(16);
    /// After the last byte went to the client.
    pub const LOG: Self = Self(32);

    /// All of them in their order, by Kong's names.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::REWRITE, "rewrite"),
        (Self::ACCESS, "access"),
        (Self::RESPONSE, "response"),
        (Self::HEADER_FILTER, "header_filter"),
        (Self::BODY_FILTER, "body_filter"),
        (Self::LOG, "log"),
    ];

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Phases {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// How a phase goes on.
pub enum Flow {
    Continue,
    /// The request ends here with this response; it still passes the response phases.
    Exit(Box<Response>),
}

/// What a phase that may wait answers at once.
pub enum Step<'a> {
    Continue,
    Exit(Box<Response>),
    /// Only a plugin that really waits pays for a future. It is dropped where the client goes away meanwhile: what has to be
    /// done all the same belongs into a task of its own, or into the log phase.
    Wait(Pin<Box<dyn Future<Output = Flow> + 'a>>),
}

impl Step<'_> {
    pub fn exit(response: Response) -> Self {
        Self::Exit(Box::new(response))
    }

    /// How the phase goes on, waited for where it must be.
    pub async fn settle(self) -> Flow {
        match self {
            Self::Continue => Flow::Continue,
            Self::Exit(response) => Flow::Exit(response),
            Self::Wait(wait) => wait.await,
        }
    }
}

/// A piece of a response body on its way to the client.
pub struct Chunk {
    /// The bytes; a plugin may change, empty or replace them.
    pub data: Bytes,
    /// Whether this is the end of the body (its data may be empty).
    pub is_last: bool,
}

/// An instance of a plugin: its configuration, made ready when the snapshot is built. One instance serves all threads.
pub trait Plugin: Send + Sync {
    /// The share of requests (0 to 1) that it may report the steps of, for which they are then recorded; `None` for a plugin
    /// that reports no traces. `tracing` is what the node says.
    fn share_of_traces(&self, _tracing: Tracing) -> Option<f64> {
        None
    }

    /// Whether clients are asked for a certificate in the TLS handshake where this may run, and the distinguished names (DER)
    /// of the authorities to name there; with none, clients choose freely. `None`: they are not asked.
    fn client_certificates(&self) -> Option<&[Vec<u8>]> {
        None
    }

    fn rewrite<'a>(&'a self, _cx: &'a mut Context) -> Step<'a> {
        Step::Continue
    }

    fn access<'a>(&'a self, _cx: &'a mut Context) -> Step<'a> {
        Step::Continue
    }

    fn response<'a>(&'a self, _cx: &'a mut Context) -> Step<'a> {
        Step::Continue
    }

    fn header_filter(&self, _cx: &mut Context) {}

    fn body_filter(&self, _cx: &mut Context, _chunk: &mut Chunk) {}

    fn log(&self, _cx: &mut Context) {}
}

/// What an instance is built from.
pub struct Instance<'a> {
    /// The plugin entity: id, scope, protocols.
    pub entity: &'a PluginEntity,
    /// Its config: validated, defaults filled in, secret references resolved.
    pub config: &'a serde_json::Value,
    /// The certificates that its `ca_certificates` names; those that are not there are left out.
    pub authorities: &'a [Arc<CaCertificate>],
    /// The consumer groups that its `consumer_groups` names, in that order, where `enforce_consumer_groups` says that their
    /// limits count; those that are not there are left out.
    pub groups: &'a [LimitedGroup],
}

/// A consumer group, and the limits that it has of its own.
#[derive(Clone, Debug)]
pub struct LimitedGroup {
    pub group: Arc<ConsumerGroup>,
    pub limits: Option<Arc<ConsumerGroupPlugin>>,
}

impl Instance<'_> {
    /// The typed config.
    pub fn config<T: serde::de::DeserializeOwned>(&self) -> Result<T, BuildError> {
        T::deserialize(self.config).map_err(|e| BuildError(e.to_string()))
    }
}

/// Why an instance could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);

/// A plugin, as the table of plugins lists it.
#[derive(Clone)]
pub struct Definition {
    pub name: &'static str,
    /// Kong's PRIORITY: higher runs earlier.
    pub priority: i32,
    pub version: &'static str,
    pub phases: Phases,
    /// The schema of its config and of its scopes.
    pub schema: fn() -> PluginSchema,
    pub build: fn(&Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError>,
}
