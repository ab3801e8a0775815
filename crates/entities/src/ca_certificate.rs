//! CA certificates: whom the gateway trusts.

use aws_lc_rs::digest;
use schema::{CheckError, Context, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};
use x509_parser::pem::Pem;

/// The certificate of an authority.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "ca_certificates")]
#[check(custom_with(["cert"], is_authority))]
#[record(transformation(["cert"], [""; 0], add_digest))]
pub struct CaCertificate {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The certificate in PEM, one.
    #[field(typedef = certificate)]
    pub cert: String,
    /// The SHA-256 of the certificate, in hexadecimal.
    #[field(unique)]
    pub cert_digest: Option<String>,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Vec<String>>,
}

fn certificates(entity: &Map<String, Value>) -> impl Iterator<Item = Pem> {
    let text = entity.get("cert").and_then(Value::as_str).unwrap_or_default();
    Pem::iter_from_buffer(text.as_bytes()).map_while(Result::ok).filter(|pem| pem.label.ends_with("CERTIFICATE"))
}

fn is_authority(entity: &Map<String, Value>, cx: &Context<'_>) -> Result<(), CheckError> {
    let mut all = certificates(entity);
    let Some(pem) = all.next() else { return Ok(()) };
    if all.next().is_some() {
        return Err("please submit only one certificate at a time".into());
    }
    let Ok(certificate) = pem.parse_x509() else { return Ok(()) };
    let now = i64::try_from(cx.now.as_secs()).unwrap_or(i64::MAX);
    if certificate.validity().not_after.timestamp() < now {
        return Err("certificate expired, \"Not After\" time is in the past".into());
    }
    if certificate.is_ca() {
        Ok(())
    } else {
        Err("certificate does not appear to be a CA because it is missing the \"CA\" basic constraint".into())
    }
}

fn add_digest(entity: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(pem) = certificates(entity).next() else {
        return Err("cannot create digest value of certificate".into());
    };
    let digest = digest::digest(&digest::SHA256, &pem.contents);
    Ok(Map::from_iter([("cert_digest".into(), crate::hash::hex(digest.as_ref()).into())]))
}
