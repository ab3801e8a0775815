//! What is known of sessions without opening them.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// Whose a session is.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "session_metadatas", generate_admin_api = false)]
pub struct SessionMetadata {
    #[field(auto)]
    pub id: Uuid,
    /// The session.
    #[field(reference = "sessions", on_delete = "cascade")]
    pub session: Foreign,
    pub sid: Option<String>,
    pub audience: Option<String>,
    pub subject: Option<String>,
    #[field(auto, timestamp)]
    pub created_at: i64,
}
