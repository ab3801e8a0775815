//! Workspaces. There is one, `default`; the Admin API does not show it.

use schema::{Field, Record, RecordSchema, Uuid, Value};
use serde::{Deserialize, Serialize};

/// A workspace.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "workspaces", endpoint_key = "name", cache_key(["name"]), generate_admin_api = false)]
pub struct Workspace {
    #[field(auto)]
    pub id: Uuid,
    /// The workspace's name; not that of an entity, so that paths stay unambiguous.
    #[field(typedef = utf8_name, unique, not_one_of(CORE_ENTITIES))]
    pub name: String,
    /// A remark.
    pub comment: Option<String>,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    #[field(typedef = crate::workspace::nothing)]
    pub meta: Value,
    #[field(typedef = crate::workspace::nothing)]
    pub config: Value,
}

/// The id of the workspace `default` where no database has given it one.
pub const DEFAULT_ID: Uuid = Uuid::from_u128(0x0dc6f45b_8f8d_40d2_a504_473544ee190b);

const CORE_ENTITIES: [&str; 17] = [
    "workspaces",
    "consumers",
    "certificates",
    "services",
    "routes",
    "snis",
    "upstreams",
    "targets",
    "plugins",
    "tags",
    "ca_certificates",
    "clustering_data_planes",
    "parameters",
    "vaults",
    "key_sets",
    "keys",
    "filter_chains",
];

/// A record that has no fields in the open-source edition.
pub(crate) fn nothing() -> Field {
    Field::record(RecordSchema::default().into())
}
