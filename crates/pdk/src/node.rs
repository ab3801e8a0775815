//! What plugins may know of the node they run on.

use uuid::Uuid;

/// The node, as answers, logs and metrics name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub id: Uuid,
    pub hostname: String,
    pub version: String,
    /// The default workspace: `ws_id` of entities in logs.
    pub workspace_id: Uuid,
}

impl Node {
    /// The name of the only workspace there is.
    pub const WORKSPACE: &'static str = "default";
}
