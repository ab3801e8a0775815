//! Certificates: what the gateway shows, to clients by server name and to backends.

use schema::validators::{certificate_key_kind, key_matches_certificate};
use schema::{CheckError, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

/// A certificate with its key, and beside it one with another kind of key.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "certificates", workspaceable)]
#[check(mutually_required(["cert_alt", "key_alt"]))]
#[check(custom(["cert", "key"], matches))]
#[check(custom(["cert_alt", "key_alt"], alternative_matches))]
#[check(custom(["cert", "cert_alt"], kinds_differ))]
pub struct Certificate {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The certificate (chain) in PEM.
    #[field(typedef = certificate, referenceable)]
    pub cert: String,
    /// Its private key in PEM.
    #[field(typedef = key, referenceable, encrypted)]
    pub key: String,
    /// A certificate with another kind of key, for clients that need it.
    #[field(typedef = certificate, referenceable, required = false)]
    pub cert_alt: Option<String>,
    /// Its private key.
    #[field(typedef = key, referenceable, encrypted, required = false)]
    pub key_alt: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
    /// The names it is shown for; kept as SNIs of their own.
    #[field(transient, required = false, elements(typedef = wildcard_host))]
    pub snis: Option<Vec<String>>,
}

fn text<'a>(entity: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    entity.get(field).and_then(Value::as_str)
}

/// Text that is no usable PEM is the fields' own business.
fn pair(entity: &Map<String, Value>, cert: &str, key: &str, message: &str) -> Result<(), CheckError> {
    let (Some(cert), Some(key)) = (text(entity, cert), text(entity, key)) else { return Ok(()) };
    if key_matches_certificate(cert, key) == Ok(false) { Err(message.into()) } else { Ok(()) }
}

fn matches(entity: &Map<String, Value>) -> Result<(), CheckError> {
    pair(entity, "cert", "key", "certificate does not match key")
}

fn alternative_matches(entity: &Map<String, Value>) -> Result<(), CheckError> {
    pair(entity, "cert_alt", "key_alt", "alternative certificate does not match key")
}

fn kinds_differ(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let kind = |field| text(entity, field).and_then(|pem| certificate_key_kind(pem).ok());
    match (kind("cert"), kind("cert_alt")) {
        (Some(one), Some(other)) if one == other => Err("certificate and alternative certificate need to have \
             different type (e.g. RSA and ECDSA), the provided certificates were both of the same type"
            .into()),
        _ => Ok(()),
    }
}
