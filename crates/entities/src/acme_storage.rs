//! What the plugin acme keeps: accounts, certificates, challenges.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A named value of the plugin acme.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "acme_storage", cache_key(["key"]), ttl)]
pub struct AcmeStorage {
    #[field(auto)]
    pub id: Uuid,
    /// The name.
    #[field(auto, required, unique)]
    pub key: String,
    /// The value.
    #[field(auto, required)]
    pub value: String,
    #[field(auto, timestamp)]
    pub created_at: i64,
}
