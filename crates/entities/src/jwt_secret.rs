//! Credentials of the plugin jwt.

use schema::{Foreign, Record, Uuid, Value, is};
use serde::{Deserialize, Serialize};

/// A credential of the plugin jwt.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "jwt_secrets", endpoint_key = "key", cache_key(["key"]), admin_api_name = "jwts", admin_api_nested_name = "jwt", workspaceable)]
#[check(conditional(
    "algorithm",
    is().match_any(["^RS256$", "^RS384$", "^RS512$", "^PS256$", "^PS384$", "^PS512$", "^EdDSA$"], ""),
    "rsa_public_key",
    is().required(true).validator(public_key)
))]
pub struct JwtSecret {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The issuer's name in tokens.
    #[field(auto, unique, required = false)]
    pub key: String,
    /// What tokens are signed with, for HS algorithms.
    #[field(auto)]
    pub secret: Option<String>,
    /// The key that tokens are verified with, for the other algorithms.
    pub rsa_public_key: Option<String>,
    /// How tokens are signed.
    #[field(default = "HS256", one_of(ALGORITHMS))]
    pub algorithm: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}

const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
];

fn public_key(value: &Value) -> Result<(), String> {
    let pem = value.as_str().unwrap_or_default();
    schema::validators::public_key(pem).map(|_| ()).map_err(|_| "invalid key".to_owned())
}
