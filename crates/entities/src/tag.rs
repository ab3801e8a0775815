//! Tags: a view of which entity has which tag.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A tag of an entity.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "tags", primary_key(["tag"]), endpoint_key = "tag", db_export = false)]
pub struct Tag {
    /// The tag.
    #[field(typedef = tag)]
    pub tag: String,
    /// The entity's collection.
    pub entity_name: String,
    /// The entity's id.
    #[field(auto, required)]
    pub entity_id: Uuid,
}
