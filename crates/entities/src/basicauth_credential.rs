//! Credentials of the plugin basic-auth.

use aws_lc_rs::digest;
use schema::{Foreign, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

/// A credential of the plugin basic-auth.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "basicauth_credentials", endpoint_key = "username", cache_key(["username"]), admin_api_name = "basic-auths", admin_api_nested_name = "basic-auth", workspaceable)]
#[record(transformation(["password"], ["consumer.id"], hash_password))]
pub struct BasicauthCredential {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// Whose it is.
    #[field(reference = "consumers", on_delete = "cascade")]
    pub consumer: Foreign,
    /// The user's name.
    #[field(unique)]
    pub username: String,
    /// The password; stored as a hash. An argon2id hash in its usual form is stored as it is.
    #[field(encrypted)]
    pub password: String,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}

/// What is stored in place of a password: the SHA-1 of it and the consumer's id, as Kong stores it.
pub fn password_hash(password: &str, consumer: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(password.as_bytes());
    context.update(consumer.as_bytes());
    crate::hash::hex(context.finish().as_ref())
}

/// Whether a password is an argon2id hash (RFC 9106) in its usual form.
pub fn is_argon2id(password: &str) -> bool {
    password.starts_with("$argon2id$v=19$")
}

fn hash_password(entity: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let password = entity.get("password").and_then(Value::as_str);
    let consumer = entity.get("consumer").and_then(|consumer| consumer.get("id")).and_then(Value::as_str);
    let (Some(password), Some(consumer)) = (password, consumer) else { return Ok(Map::new()) };
    // A hash that the caller has made is the better one, and is kept.
    if is_argon2id(password) {
        return Ok(Map::new());
    }
    Ok(Map::from_iter([("password".into(), password_hash(password, consumer).into())]))
}
