//! TLS towards upstreams: verification, trust, client certificates, and which HTTP is agreed on.

mod verify;

use super::UpstreamTarget;
use crate::snapshot::{Environment, certificate_pair};
use ahash::HashMap;
use entities::{Certificate, Configuration, HttpVersion, Service};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::Arc;
use uuid::Uuid;
use verify::{Unverified, Verified};

/// A service with this tag is spoken to by HTTP/2 where its upstream agrees to that (docs/decisions/0013).
const HTTP2_TAG: &str = "silverback:http2";

/// How a service's upstreams are greeted.
pub(crate) struct TlsTarget {
    pub(crate) config: Arc<ClientConfig>,
    /// Equal for equal settings.
    pub(crate) id: Arc<str>,
    /// The same without HTTP/2 on offer, for what HTTP/2 cannot carry (an upgrade); `None` where it is not on offer.
    pub(crate) without_http2: Option<Arc<TlsTarget>>,
}

/// Which HTTP the upstream may choose by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1, without a word.
    Http1,
    /// HTTP/2 alone: gRPC.
    Http2,
    Either,
}

/// Makes client configurations; equal ones are made once.
pub(crate) struct ClientTls<'a> {
    from: &'a Configuration,
    env: &'a Environment,
    provider: Arc<CryptoProvider>,
    made: &'a mut Made,
}

/// Client configurations that were made, by the ids of their targets.
#[derive(Default)]
pub(crate) struct Made(HashMap<String, MadeFrom>);

struct MadeFrom {
    target: Arc<TlsTarget>,
    authorities: Box<[Uuid]>,
    client: Option<Uuid>,
}

impl Made {
    /// A certificate that is shown to upstreams is another now.
    pub(crate) fn forget_client(&mut self, certificate: Uuid) {
        self.0.retain(|_, made| made.client != Some(certificate));
    }

    /// A certificate of an authority is another now.
    pub(crate) fn forget_authority(&mut self, authority: Uuid) {
        self.0.retain(|_, made| !made.authorities.contains(&authority));
    }

    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|_, made| Arc::strong_count(&made.target) > 1);
    }
}

/// What decides over a client configuration.
#[derive(Clone, Copy)]
struct Terms<'a> {
    verify: bool,
    depth: usize,
    authorities: &'a [Uuid],
    client: Option<Uuid>,
}

impl<'a> ClientTls<'a> {
    pub(crate) fn new(from: &'a Configuration, env: &'a Environment, made: &'a mut Made) -> Self {
        Self { from, env, provider: Arc::new(aws_lc_rs::default_provider()), made }
    }

    pub(crate) fn target(
        &mut self,
        service: &Service,
        upstream: Option<&UpstreamTarget>,
    ) -> Result<Arc<TlsTarget>, String> {
        let of_upstream = upstream.and_then(|u| u.entity.client_certificate.as_ref());
        let depth = service.tls_verify_depth.and_then(|d| usize::try_from(d).ok());
        let authorities = service.ca_certificates.clone().unwrap_or_default();
        let terms = Terms {
            verify: service.tls_verify.unwrap_or(self.env.verify_upstreams),
            depth: depth.unwrap_or(self.env.verify_depth),
            authorities: &authorities,
            client: service.client_certificate.as_ref().or(of_upstream).map(|f| f.id),
        };
        let is_tagged = || service.tags.iter().flatten().any(|tag| tag == HTTP2_TAG);
        let is_asked = match service.http_version {
            Some(version) => version == HttpVersion::Http2,
            None => is_tagged() || self.env.upstream_http2,
        };
        match service.protocol.as_str() {
            "grpcs" => self.make(terms, Offer::Http2),
            "https" if is_asked => self.make(terms, Offer::Either),
            _ => self.make(terms, Offer::Http1),
        }
    }

    fn make(&mut self, terms: Terms<'_>, offer: Offer) -> Result<Arc<TlsTarget>, String> {
        let Terms { verify, depth, authorities, client } = terms;
        let id = format!("{verify}|{depth}|{authorities:?}|{client:?}|{offer:?}");
        if let Some(made) = self.made.0.get(&id) {
            return Ok(made.target.clone());
        }
        let mut config = self.config(terms)?;
        config.alpn_protocols = match offer {
            Offer::Http1 => Vec::new(),
            Offer::Http2 => vec![b"h2".to_vec()],
            Offer::Either => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let without_http2 = (offer == Offer::Either).then(|| self.make(terms, Offer::Http1)).transpose()?;
        let made = Arc::new(TlsTarget { config: Arc::new(config), id: id.as_str().into(), without_http2 });
        let from = MadeFrom { target: made.clone(), authorities: authorities.into(), client };
        self.made.0.insert(id, from);
        Ok(made)
    }

    /// For health checks: trust and certificate are the upstream's, not a service's.
    pub(crate) fn probe(
        &mut self,
        verify: bool,
        client: Option<Uuid>,
        offer: Offer,
    ) -> Result<Arc<ClientConfig>, String> {
        let terms = Terms { verify, depth: self.env.verify_depth, authorities: &[], client };
        self.make(terms, offer).map(|made| made.config.clone())
    }

    fn config(&self, terms: Terms<'_>) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier(terms)?);
        let own = match terms.client {
            Some(id) => Some(self.pair(self.from.certificates.get(&id).ok_or("its client certificate is not there")?)?),
            None => self.env.client_certificate.clone(),
        };
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        };
        config.resumption = Resumption::in_memory_sessions(256);
        Ok(config)
    }

    fn pair(&self, entity: &Certificate) -> Result<Arc<CertifiedKey>, String> {
        let (cert, key) = (self.env.secret(&entity.cert), self.env.secret(&entity.key));
        certificate_pair(&cert, &key).map_err(|e| format!("client certificate {}: {e}", entity.id))
    }

    fn verifier(&self, terms: Terms<'_>) -> Result<Arc<dyn ServerCertVerifier>, String> {
        if !terms.verify {
            return Ok(Arc::new(Unverified(self.provider.clone())));
        }
        let mut roots = RootCertStore::empty();
        for id in terms.authorities {
            let ca =
                self.from.ca_certificates.get(id).ok_or_else(|| format!("its CA certificate {id} is not there"))?;
            for der in CertificateDer::pem_slice_iter(ca.cert.as_bytes()) {
                let der = der.map_err(|e| format!("CA certificate {id}: {e}"))?;
                roots.add(der).map_err(|e| format!("CA certificate {id}: {e}"))?;
            }
        }
        if terms.authorities.is_empty() {
            roots.add_parsable_certificates(self.env.trusted_certificates.iter().cloned());
        }
        Ok(Arc::new(Verified::new(roots, self.provider.clone(), terms.depth)?))
    }
}
