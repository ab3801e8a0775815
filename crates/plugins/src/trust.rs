//! TLS to hosts whose certificates are verified by the authorities that the node trusts (`lua_ssl_trusted_certificate`).

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, Error, RootCertStore};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

static TRUSTED: LazyLock<RwLock<Arc<RootCertStore>>> = LazyLock::new(|| RwLock::new(Arc::new(RootCertStore::empty())));

/// Certificates of authorities that sign the certificates of hosts that plugins call. To be told before instances are
/// built; without it such hosts cannot be called over verified TLS.
pub fn trust_authorities<'a>(certificates: impl IntoIterator<Item = CertificateDer<'a>>) {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    *TRUSTED.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roots);
}

/// A client that verifies certificates.
pub(crate) fn client() -> Result<ClientConfig, Error> {
    let roots = TRUSTED.read().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
