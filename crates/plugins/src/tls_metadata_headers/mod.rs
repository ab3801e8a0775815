//! # tls-metadata-headers
//!
//! Tells the upstream of the certificate that the client showed in the TLS handshake. It does not judge the certificate: see
//! `mtls-auth` for that. What a client itself says in these header fields never reaches the upstream.

use crate::certificate::{distinguished_name, hex, parse, pem};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Step};
use schema::Record;
use serde::Deserialize;
use std::fmt::Write;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "tls-metadata-headers",
    priority: 996,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Whether the upstream is told of the client's certificate; clients are then asked for one.
    #[field(default = false)]
    inject_client_cert_details: bool,
    /// The header field for the certificate: PEM, percent-encoded.
    #[field(typedef = header_name, default = "X-Client-Cert", required = true)]
    client_cert_header_name: String,
    /// The header field for its serial number, in hexadecimal.
    #[field(typedef = header_name, default = "X-Client-Cert-Serial", required = true)]
    client_serial_header_name: String,
    /// The header field for its issuer's distinguished name (RFC 4514).
    #[field(typedef = header_name, default = "X-Client-Cert-Issuer-DN", required = true)]
    client_cert_issuer_dn_header_name: String,
    /// The header field for its subject's distinguished name (RFC 4514).
    #[field(typedef = header_name, default = "X-Client-Cert-Subject-DN", required = true)]
    client_cert_subject_dn_header_name: String,
    /// The header field for its SHA-1 fingerprint, in hexadecimal.
    #[field(typedef = header_name, default = "X-Client-Cert-Fingerprint", required = true)]
    client_cert_fingerprint_header_name: String,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    Ok(Arc::new(TlsMetadataHeaders(instance.config()?)))
}

struct TlsMetadataHeaders(Config);

impl Plugin for TlsMetadataHeaders {
    fn client_certificates(&self) -> Option<&[Vec<u8>]> {
        self.0.inject_client_cert_details.then_some(&[])
    }

    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if !self.0.inject_client_cert_details {
            return Step::Continue;
        }
        let names = [
            &self.0.client_cert_header_name,
            &self.0.client_serial_header_name,
            &self.0.client_cert_issuer_dn_header_name,
            &self.0.client_cert_subject_dn_header_name,
            &self.0.client_cert_fingerprint_header_name,
        ];
        let tls = cx.client.tls.clone();
        let told = tls.as_ref().and_then(|tls| tls.client_certificates.first()).and_then(|der| tell(der));
        for (at, name) in names.into_iter().enumerate() {
            cx.request.headers.remove(name);
            if let Some(told) = &told {
                cx.request.headers.append(name, told[at].as_bytes());
            }
        }
        Step::Continue
    }
}

/// What is told of a certificate, in the order of the header fields.
fn tell(der: &[u8]) -> Option<[String; 5]> {
    let certificate = parse(der)?;
    // As OpenSSL prints a serial number: the sign's byte is no part of it.
    let serial = certificate.raw_serial();
    let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    Some([
        percent_encoded(&pem(der)),
        hex(serial).to_ascii_uppercase(),
        distinguished_name(certificate.issuer()),
        distinguished_name(certificate.subject()),
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
    ])
}

/// All but the unreserved characters (RFC 3986, 2.3) escaped.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
