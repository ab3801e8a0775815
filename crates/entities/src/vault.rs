//! Vaults: where secrets come from.

use schema::{Record, Subschema, Uuid, Value};
use serde::{Deserialize, Serialize};

/// A source of secrets, under a prefix of its own.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(
    name = "vaults",
    endpoint_key = "prefix",
    cache_key(["prefix"]),
    admin_api_name = "vaults",
    subschema_key = "name",
    subschema_error = "vault '%s' is not installed",
    table_name = "sm_vaults",
    workspaceable
)]
pub struct Vault {
    #[field(auto)]
    pub id: Uuid,
    /// What references begin with: `{vault://<prefix>/...}`.
    #[field(unique, unique_across_ws, not_one_of([ENV]), pattern("^[a-z][a-z%d-]-[a-z%d]+$"))]
    pub prefix: String,
    /// The kind of vault.
    pub name: String,
    /// A remark.
    pub description: Option<String>,
    /// The vault's own settings.
    #[field(abstract_record)]
    pub config: Value,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}

const ENV: &str = "env";

/// Settings of the vault `env`: the environment's variables.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EnvConfig {
    /// What the variables' names begin with.
    #[field(pattern("^[%a_-][%a%d_-]*$"))]
    pub prefix: Option<String>,
}

/// The vaults there are.
pub(crate) fn subschemas() -> Vec<Subschema> {
    vec![Subschema::new(ENV).config(EnvConfig::record())]
}
