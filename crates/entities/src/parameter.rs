//! Parameters: values that the nodes of a cluster share.

use schema::Record;
use serde::{Deserialize, Serialize};

/// A named value.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "parameters", primary_key(["key"]), cache_key(["key"]), generate_admin_api = false)]
pub struct Parameter {
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// The name.
    #[field(unique)]
    pub key: String,
    /// The value.
    pub value: String,
}
