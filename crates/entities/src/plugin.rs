//! Plugins: what the gateway does to requests, and to which.

use schema::{Foreign, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

use crate::protocols::{HTTP_FAMILY, PROTOCOLS};

/// A plugin with its configuration, on everything or on a route, service or consumer.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(
    name = "plugins",
    endpoint_key = "instance_name",
    cache_key(["name", "route", "service", "consumer"]),
    subschema_key = "name",
    subschema_error = "plugin '%s' not enabled; add it to the 'plugins' configuration property",
    workspaceable
)]
pub struct Plugin {
    #[field(auto)]
    pub id: Uuid,
    /// Which plugin it is.
    pub name: String,
    /// A name for this use of the plugin.
    #[field(typedef = utf8_name, unique)]
    pub instance_name: Option<String>,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The only route it works on.
    #[field(reference = "routes", on_delete = "cascade", default = null)]
    pub route: Option<Foreign>,
    /// The only service it works on.
    #[field(reference = "services", on_delete = "cascade", default = null)]
    pub service: Option<Foreign>,
    /// The only consumer it works for.
    #[field(reference = "consumers", on_delete = "cascade", default = null)]
    pub consumer: Option<Foreign>,
    /// The plugin's own settings.
    #[field(abstract_record)]
    pub config: Value,
    /// The protocols of the requests it works on.
    #[field(set, default = HTTP_FAMILY, elements(one_of(PROTOCOLS)))]
    pub protocols: Vec<String>,
    /// Whether it is in use.
    #[field(default = true)]
    pub enabled: bool,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// The only consumer group it works for.
    #[field(reference = "consumer_groups", on_delete = "cascade", hidden)]
    pub consumer_group: Option<Foreign>,
}
