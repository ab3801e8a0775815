//! Consumers: who uses the services.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A user or client of the services.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "consumers", endpoint_key = "username", workspaceable)]
#[check(at_least_one_of(["custom_id", "username"]))]
pub struct Consumer {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The consumer's name.
    #[field(unique)]
    pub username: Option<String>,
    /// What another system calls the consumer.
    #[field(unique)]
    pub custom_id: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
