//! Filter chains: WebAssembly filters of a route or service.

use schema::{Foreign, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

/// The filters of a route or service, in order.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(
    name = "filter_chains",
    endpoint_key = "name",
    cache_key(["route", "service"]),
    admin_api_name = "filter-chains",
    workspaceable
)]
#[check(mutually_exclusive(["service", "route"]))]
#[check(at_least_one_of(["service", "route"]))]
#[check(custom(["filters"], |_| Err("wasm support is not enabled".into())).run_with_invalid_fields())]
pub struct FilterChain {
    #[field(auto)]
    pub id: Uuid,
    /// The chain's name.
    #[field(typedef = utf8_name, unique)]
    pub name: Option<String>,
    /// Whether it is in use.
    #[field(default = true)]
    pub enabled: bool,
    /// The route it works on.
    #[field(reference = "routes", on_delete = "cascade", default = null, unique)]
    pub route: Option<Foreign>,
    /// The service it works on.
    #[field(reference = "services", on_delete = "cascade", default = null, unique)]
    pub service: Option<Foreign>,
    /// The filters.
    #[field(len_min = 1)]
    pub filters: Vec<Filter>,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}

/// A filter of a chain.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Which filter; none is installed.
    #[field(one_of([""; 0]), err = "no such filter")]
    pub name: String,
    /// Whether it is in use.
    #[field(default = true)]
    pub enabled: bool,
    /// The filter's own settings.
    #[field(required = false, json_schema(config_schema()))]
    pub config: Option<Value>,
}

/// What filters that bring no JSON Schema take.
fn config_schema() -> Value {
    schema::json!({
        "parent_subschema_key": "name",
        "namespace": "proxy-wasm-filters",
        "optional": true,
        "default": { "$schema": "http://json-schema.org/draft-04/schema#", "type": ["string", "null"] },
    })
}
