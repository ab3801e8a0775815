//! Credentials of the plugin mtls-auth.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A name in client certificates that stands for a consumer.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "mtls_auth_credentials", cache_key(["subject_name", "ca_certificate"]), admin_api_name = "mtls-auths", admin_api_nested_name = "mtls-auth", workspaceable)]
pub struct MtlsAuthCredential {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The Subject Alternative Name or Common Name of the certificate, letter by letter.
    pub subject_name: String,
    /// The authority that must have signed the certificate; any of the plugin's without it.
    #[field(reference = "ca_certificates", on_delete = "cascade")]
    pub ca_certificate: Option<Foreign>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}
