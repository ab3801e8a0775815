//! Data planes: the nodes a control plane has heard of.

use indexmap::IndexMap;
use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// A data plane, as its heartbeats describe it.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(
    name = "clustering_data_planes",
    admin_api_name = "clustering/data-planes",
    ttl,
    generate_admin_api = false,
    db_export = false
)]
pub struct ClusteringDataPlane {
    #[field(auto, required)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub last_seen: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// Its address.
    #[field(typedef = ip)]
    pub ip: String,
    /// The hash of the configuration it has.
    #[field(len_eq = 32)]
    pub config_hash: Option<String>,
    /// Its host name.
    #[field(typedef = host)]
    pub hostname: String,
    /// Its version.
    #[field(typedef = semantic_version)]
    pub version: Option<String>,
    /// Whether it can have the configuration.
    #[field(default = "unknown", one_of(SYNC_STATUSES))]
    pub sync_status: String,
    /// Labels that its operator gave it.
    pub labels: Option<IndexMap<String, String>>,
    /// Its certificate.
    #[field(required)]
    pub cert_details: Option<CertDetails>,
    /// The calls it understands.
    #[field(set)]
    pub rpc_capabilities: Option<Vec<String>>,
}

const SYNC_STATUSES: [&str; 6] = [
    "unknown",
    "normal",
    "kong_version_incompatible",
    "plugin_set_incompatible",
    "plugin_version_incompatible",
    "filter_set_incompatible",
];

/// What is known of a data plane's certificate.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CertDetails {
    /// When it expires.
    #[field(required = false, timestamp)]
    pub expiry_timestamp: Option<f64>,
}
