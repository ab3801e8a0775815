//! What is asked of an upstream's certificate: everything, or nothing but that its key signed the handshake.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// Checks the chain and the name, and that there is a chain not longer than `tls_verify_depth` says.
#[derive(Debug)]
pub(super) struct Verified {
    inner: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    /// Certificates between the upstream's own and the trusted one, as OpenSSL counts them.
    depth: usize,
}

impl Verified {
    pub(super) fn new(roots: RootCertStore, provider: Arc<CryptoProvider>, depth: usize) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let inner = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| format!("no certificate authority to verify by: {e}"))?;
        Ok(Self { inner, roots, provider, depth })
    }

    /// Whether a chain to a trusted certificate is short enough. What the upstream sends beside it does not count.
    fn has_short_chain(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Ok(leaf) = EndEntityCert::try_from(leaf) else { return false };
        let is_short = |path: &webpki::VerifiedPath<'_>| match path.intermediate_certificates().count() {
            between if between <= self.depth => Ok(()),
            _ => Err(webpki::Error::MaximumPathDepthExceeded),
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(algorithms, &self.roots.roots, others, now, usage, None, Some(&is_short)).is_ok()
    }
}

/// The message that tells a chain too long from all else that can be wrong with one.
#[derive(Debug, thiserror::Error)]
#[error("the certificate chain is longer than tls_verify_depth ({0}) allows")]
struct TooLong(usize);

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        if !self.has_short_chain(leaf, intermediates, now) {
            let error = rustls::OtherError(Arc::new(TooLong(self.depth)));
            return Err(rustls::Error::InvalidCertificate(CertificateError::Other(error)));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate whose key signed the handshake (`tls_verify` off, as in Kong).
#[derive(Debug)]
pub(super) struct Unverified(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
