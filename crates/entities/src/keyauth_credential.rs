//! Credentials of the plugin key-auth.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A credential of the plugin key-auth.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "keyauth_credentials", endpoint_key = "key", cache_key(["key"]), admin_api_name = "key-auths", admin_api_nested_name = "key-auth", ttl, workspaceable)]
pub struct KeyauthCredential {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The key that requests show.
    #[field(auto, unique, required = false)]
    pub key: String,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
