//! Key sets: keys that belong together.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A set of keys.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "key_sets", endpoint_key = "name", admin_api_name = "key-sets", workspaceable)]
pub struct KeySet {
    #[field(auto)]
    pub id: Uuid,
    /// The set's name.
    #[field(unique, required = false)]
    pub name: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
}
