//! Consumer groups, with the fields they have in Kong Enterprise.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// Consumers that share plugins.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "consumer_groups", endpoint_key = "name", workspaceable)]
pub struct ConsumerGroup {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The group's name.
    #[field(typedef = utf8_name, unique)]
    pub name: String,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
