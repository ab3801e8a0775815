//! TLS towards upstreams: verification, trust, client certificates.

use super::UpstreamTarget;
use crate::snapshot::Environment;
use ahash::HashMap;
use entities::{Configuration, Service};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;
use uuid::Uuid;

/// How a service's upstreams are greeted.
pub(crate) struct TlsTarget {
    pub(crate) config: Arc<ClientConfig>,
    /// Equal for equal settings.
    pub(crate) id: Arc<str>,
}

/// Makes the client configurations of a snapshot; equal ones are made once.
pub(crate) struct ClientTls<'a> {
    from: &'a Configuration,
    env: &'a Environment,
    provider: Arc<CryptoProvider>,
    made: HashMap<String, Arc<TlsTarget>>,
}

impl<'a> ClientTls<'a> {
    pub(crate) fn new(from: &'a Configuration, env: &'a Environment) -> Self {
        Self { from, env, provider: Arc::new(aws_lc_rs::default_provider()), made: HashMap::default() }
    }

    pub(crate) fn target(
        &mut self,
        service: &Service,
        upstream: Option<&UpstreamTarget>,
    ) -> Result<Arc<TlsTarget>, String> {
        let of_upstream = upstream.and_then(|u| u.entity.client_certificate.as_ref());
        let client = service.client_certificate.as_ref().or(of_upstream).map(|f| f.id);
        let verify = service.tls_verify.unwrap_or(self.env.verify_upstreams);
        let depth = service.tls_verify_depth.and_then(|d| usize::try_from(d).ok());
        let authorities = service.ca_certificates.clone().unwrap_or_default();
        let is_h2 = service.protocol == "grpcs";
        let id = format!("{verify}|{depth:?}|{authorities:?}|{client:?}|{is_h2}");
        if let Some(made) = self.made.get(&id) {
            return Ok(made.clone());
        }
        let mut config = self.config(verify, depth, &authorities, client)?;
        if is_h2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let made = Arc::new(TlsTarget { config: Arc::new(config), id: id.as_str().into() });
        self.made.insert(id, made.clone());
        Ok(made)
    }

    /// For health checks: trust and certificate are the upstream's, not a service's.
    pub(crate) fn probe(&mut self, verify: bool, client: Option<Uuid>) -> Result<Arc<ClientConfig>, String> {
        let id = format!("{verify}|{client:?}");
        if let Some(made) = self.made.get(&id) {
            return Ok(made.config.clone());
        }
        let config = Arc::new(self.config(verify, None, &[], client)?);
        self.made.insert(id.clone(), Arc::new(TlsTarget { config: config.clone(), id: id.into() }));
        Ok(config)
    }

    fn config(
        &self,
        verify: bool,
        depth: Option<usize>,
        cas: &[Uuid],
        client: Option<Uuid>,
    ) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier(verify, depth, cas)?);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(id) => {
                let entity = self.from.certificates.get(&id).ok_or("its client certificate is not there")?;
                let chain = CertificateDer::pem_slice_iter(entity.cert.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| format!("client certificate: {e}"))?;
                let key =
                    PrivateKeyDer::from_pem_slice(entity.key.as_bytes()).map_err(|e| format!("client key: {e}"))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| format!("client certificate: {e}"))?
            }
        };
        config.resumption = Resumption::in_memory_sessions(256);
        Ok(config)
    }

    fn verifier(
        &self,
        verify: bool,
        depth: Option<usize>,
        cas: &[Uuid],
    ) -> Result<Arc<dyn ServerCertVerifier>, String> {
        if !verify {
            return Ok(Arc::new(Unverified(self.provider.clone())));
        }
        let mut roots = RootCertStore::empty();
        for id in cas {
            let ca =
                self.from.ca_certificates.get(id).ok_or_else(|| format!("its CA certificate {id} is not there"))?;
            for der in CertificateDer::pem_slice_iter(ca.cert.as_bytes()) {
                let der = der.map_err(|e| format!("CA certificate {id}: {e}"))?;
                roots.add(der).map_err(|e| format!("CA certificate {id}: {e}"))?;
            }
        }
        if cas.is_empty() {
            roots.add_parsable_certificates(self.env.trusted_certificates.iter().cloned());
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|e| format!("no certificate authority to verify by: {e}"))?;
        Ok(Arc::new(Verified { inner, depth }))
    }
}

/// Checks the chain and the name, and that the chain is not longer than `tls_verify_depth` says.
#[derive(Debug)]
struct Verified {
    inner: Arc<WebPkiServerVerifier>,
    depth: Option<usize>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.depth.is_some_and(|depth| intermediates.len() > depth) {
            return Err(rustls::Error::General("the certificate chain is longer than tls_verify_depth".into()));
        }
        self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)
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
struct Unverified(Arc<CryptoProvider>);

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
