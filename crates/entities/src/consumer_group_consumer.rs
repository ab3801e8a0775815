//! Which consumer is in which group, as Kong Enterprise stores it.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A consumer's membership in a group.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(
    name = "consumer_group_consumers",
    cache_key(["consumer_group", "consumer"]),
    workspaceable,
    generate_admin_api = false
)]
pub struct ConsumerGroupConsumer {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The group.
    #[field(reference = "consumer_groups", on_delete = "cascade")]
    pub consumer_group: Foreign,
    /// The consumer.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
}
