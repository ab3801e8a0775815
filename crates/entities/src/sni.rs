//! SNIs: the server names of certificates.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A server name and the certificate shown for it.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "snis", endpoint_key = "name", workspaceable)]
pub struct Sni {
    #[field(auto)]
    pub id: Uuid,
    /// The server name, with a wildcard at its start or end.
    #[field(typedef = wildcard_host, unique, unique_across_ws)]
    pub name: String,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// The certificate.
    #[field(reference = "certificates")]
    pub certificate: Foreign,
}
