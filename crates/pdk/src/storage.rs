//! What plugins keep in the gateway's store: rows of the entities that are theirs, as tokens and sessions are.
//!
//! Every node of a database sees them. A row that was written is found from then on, by this node at once.

use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// An answer of the store, which may have to come from a disk or over a network.
pub type Stored<T> = Pin<Box<dyn Future<Output = Result<T, StorageError>>>>;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// `database = off`: nothing but the declarative configuration is ever there.
    #[error("nothing can be kept without a database (database = off)")]
    ReadOnly,
    /// A bound was reached; it may work again in a moment.
    #[error("too much waits for the database already")]
    Busy,
    /// It may work again when the database does.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The row is not as its schema or its keys want it: trying again does not help.
    #[error("the row is refused: {0}")]
    Refused(String),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new row. What the schema generates (id, times, keys) and defaults may be left out.
    Insert { entity: &'static str, row: Value, ttl: Option<Duration> },
    /// Changes fields of a row that must be there; with a `ttl` its life begins anew.
    Update { entity: &'static str, id: Uuid, patch: Value, ttl: Option<Duration> },
    /// Deletes a row that must be there.
    Delete { entity: &'static str, id: Uuid },
}

/// The store as plugins see it.
pub trait Storage: Send + Sync {
    /// The row with this value of a unique field. A row whose time is over is not there. Of rows with a time to live,
    /// `ttl` says how many seconds were left when it was read.
    fn find(&self, entity: &'static str, field: &'static str, value: &str) -> Stored<Option<Arc<Value>>>;

    /// Does all of it or nothing: the rows as they now are, none for a deletion. `None`: a row that must be there was
    /// not, so that of two who want the same row, one gets it.
    fn write(&self, writes: Vec<Write>) -> Stored<Option<Vec<Value>>>;
}

/// Has nothing and takes nothing.
pub struct NoStorage;

impl Storage for NoStorage {
    fn find(&self, _: &'static str, _: &'static str, _: &str) -> Stored<Option<Arc<Value>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn write(&self, _: Vec<Write>) -> Stored<Option<Vec<Value>>> {
        Box::pin(std::future::ready(Err(StorageError::ReadOnly)))
    }
}
