//! Whether the certificates and keys of a configuration can be used: seen before anything is started with them.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

use super::pem::{Pem, PemKey};

/// What is wrong, and with which of the two.
pub(super) enum Unusable {
    Certificate(String),
    Key(String),
    Pair(String),
}

/// Checks that a certificate and a key are there and belong together.
pub(super) fn pair(cert: &Pem, key: &PemKey) -> Result<(), Unusable> {
    certificate(cert).map_err(Unusable::Certificate)?;
    let unreadable = |error: super::ConfError| Unusable::Key(error.to_string());
    let key_text = key.read().map_err(unreadable)?;
    if PrivateKeyDer::from_pem_slice(&key_text).is_err() {
        let place = place(key.file());
        return Err(Unusable::Key(format!("{place} holds no private key (expected PEM: -----BEGIN PRIVATE KEY-----)")));
    }
    let cert_text = cert.read().map_err(unreadable)?;
    proxy::certificate_pair(&String::from_utf8_lossy(&cert_text), &String::from_utf8_lossy(&key_text))
        .map(|_| ())
        .map_err(Unusable::Pair)
}

/// Checks that there is a certificate at all.
pub(super) fn certificate(cert: &Pem) -> Result<(), String> {
    let text = cert.read().map_err(|error| error.to_string())?;
    match CertificateDer::pem_slice_iter(&text).next() {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!("{} holds no certificate (expected PEM: -----BEGIN CERTIFICATE-----)", place(cert.file()))),
    }
}

fn place(file: Option<&Path>) -> String {
    file.map_or_else(|| "the given text".to_owned(), |path| path.display().to_string())
}
