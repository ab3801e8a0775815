//! Keys: public and private keys as JWK or PEM.

use schema::{CheckError, Foreign, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

/// A key.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "keys", endpoint_key = "name", cache_key(["kid", "set"]), workspaceable)]
#[check(mutually_exclusive(["pem", "jwk"]))]
#[check(at_least_one_of(["pem", "jwk"]))]
#[check(custom(["jwk", "pem", "kid"], jwk_fits))]
pub struct Key {
    #[field(auto)]
    pub id: Uuid,
    /// The set it belongs to.
    #[field(reference = "key_sets", on_delete = "cascade", required = false)]
    pub set: Option<Foreign>,
    /// The key's name.
    #[field(unique, required = false)]
    pub name: Option<String>,
    /// The key's id in tokens.
    #[field(unique = false)]
    pub kid: String,
    /// The key as a JSON Web Key, in a string.
    #[field(referenceable, encrypted)]
    pub jwk: Option<String>,
    /// The key in PEM.
    #[field(required = false, validator(schema::validators::pem))]
    pub pem: Option<Pem>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
}

/// A key in PEM.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[check(at_least_one_of(["private_key", "public_key"]))]
pub struct Pem {
    /// The private key.
    #[field(referenceable, encrypted, required = false)]
    pub private_key: Option<String>,
    /// The public key.
    #[field(referenceable, required = false)]
    pub public_key: Option<String>,
}

fn jwk_fits(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let Some(jwk) = entity.get("jwk").filter(|jwk| jwk.is_string()) else { return Ok(()) };
    let parsed: Value =
        serde_json::from_str(jwk.as_str().unwrap_or_default()).map_err(|_| "could not json decode jwk string")?;
    if parsed.get("kid") != entity.get("kid") {
        return Err("kid in jwk.kid must be equal to keys.kid".into());
    }
    Ok(schema::validators::jwk(jwk)?)
}
