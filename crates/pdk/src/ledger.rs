//! Counts that all nodes of a database share.

use uuid::Uuid;

/// What is added to a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Whose count it is, within the scope of the plugin entity that counts (zero where it has no such scope).
    pub identifier: String,
    pub route: Uuid,
    pub service: Uuid,
    /// Of limits on responses, the name of the limit; `None` counts requests.
    pub limit: Option<String>,
    /// `second`, `minute`, `hour`, `day`, `month`, `year`.
    pub period: &'static str,
    /// When the period began, in seconds after the epoch.
    pub start: u64,
    pub delta: i64,
    /// How long the count is kept, in seconds.
    pub ttl: u64,
}

/// Keeps the counts.
pub trait Ledger: Send + Sync {
    /// Adds to all counts or to none; what they are then, in the same order. Waits for the database: not for threads
    /// that proxy. An error says what is wrong with the database.
    fn add(&self, counts: &[Count]) -> Result<Vec<i64>, String>;
}
