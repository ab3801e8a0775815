//! Sessions of the plugin session.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A session.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "sessions", endpoint_key = "session_id", cache_key(["session_id"]), ttl)]
pub struct Session {
    #[field(auto)]
    pub id: Uuid,
    /// The id in the cookie.
    #[field(unique)]
    pub session_id: String,
    /// When it ends.
    pub expires: Option<i64>,
    /// What it holds, sealed.
    pub data: Option<String>,
    #[field(auto, timestamp)]
    pub created_at: i64,
}
