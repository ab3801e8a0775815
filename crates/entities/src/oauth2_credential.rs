//! Credentials of the plugin oauth2.

use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schema::validators::url::Url;
use schema::{Context, Foreign, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// A credential of the plugin oauth2.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "oauth2_credentials", endpoint_key = "client_id", cache_key(["client_id"]), admin_api_name = "oauth2", workspaceable)]
#[record(transformation_with(["hash_secret"], ["client_secret"], hash_client_secret))]
pub struct Oauth2Credential {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The application's name.
    pub name: String,
    /// The application's id.
    #[field(auto, unique, required = false)]
    pub client_id: String,
    /// Its secret; stored as a hash where `hash_secret` says so.
    #[field(auto, encrypted, required = false)]
    pub client_secret: Option<String>,
    /// Whether the secret is stored as a hash.
    #[field(default = false)]
    pub hash_secret: bool,
    /// Where users may be sent back to.
    #[field(required = false, elements(validator(redirect_uri)))]
    pub redirect_uris: Option<Vec<String>>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// Whether the application can keep a secret.
    #[field(default = "confidential", one_of(["confidential", "public"]))]
    pub client_type: String,
}

/// PBKDF2's cost, and the bytes of its salt and result, as in Kong.
const ITERATIONS: u32 = 10_000;
const LENGTH: usize = 32;
const SALT: usize = 16;

fn redirect_uri(value: &Value) -> Result<(), String> {
    let uri = value.as_str().unwrap_or_default();
    match Url::parse(uri) {
        Some(Url { fragment: Some(_), .. }) => Err(format!("fragment not allowed in '{uri}'")),
        Some(Url { host: Some(_), scheme: Some(_), .. }) => Ok(()),
        _ => Err(format!("cannot parse '{uri}'")),
    }
}

fn hash_client_secret(entity: &Map<String, Value>, cx: &Context<'_>) -> Result<Map<String, Value>, String> {
    let is_hashed = entity.get("hash_secret") == Some(&Value::Bool(true));
    let secret = entity.get("client_secret").and_then(Value::as_str);
    let (true, Some(secret)) = (is_hashed, secret) else { return Ok(Map::new()) };
    let mut salt = [0; SALT];
    (cx.random)(&mut salt);
    Ok(Map::from_iter([("client_secret".into(), secret_hash(secret, &salt).into())]))
}

/// What is stored in place of a secret: a PHC string of PBKDF2 with SHA-512.
fn secret_hash(secret: &str, salt: &[u8]) -> String {
    let mut key = [0; LENGTH];
    let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, secret.as_bytes(), &mut key);
    let (salt, key) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(key));
    format!("$pbkdf2-sha512$i={ITERATIONS},l={LENGTH}${salt}${key}")
}

/// Whether a request's secret is the credential's.
pub fn verify_secret(given: &str, stored: &str) -> bool {
    let Some(parts) = stored.strip_prefix("$pbkdf2-sha512$") else {
        return aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), stored.as_bytes()).is_ok();
    };
    let mut parts = parts.split('$');
    let (Some(parameters), Some(salt), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let iterations = parameters.split(',').find_map(|p| p.strip_prefix("i=")).and_then(|i| i.parse().ok());
    let (Some(iterations), Ok(salt), Ok(key)) = (iterations, STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(key))
    else {
        return false;
    };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &salt, given.as_bytes(), &key).is_ok()
}
