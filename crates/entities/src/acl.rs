//! ACL groups: names that the plugin acl allows or denies.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A group that a consumer is in.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "acls", cache_key(["consumer", "group"]), workspaceable)]
pub struct Acl {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The group.
    pub group: String,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
