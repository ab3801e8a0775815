//! Credentials of the plugin hmac-auth.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A credential of the plugin hmac-auth.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "hmacauth_credentials", endpoint_key = "username", cache_key(["username"]), admin_api_name = "hmac-auths", admin_api_nested_name = "hmac-auth", workspaceable)]
pub struct HmacauthCredential {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The user's name.
    #[field(unique)]
    pub username: String,
    /// What requests are signed with.
    #[field(auto)]
    pub secret: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
