//! The certificates by server name: exact, `*.rest`, `first.*`, `*`, default (Kong's order).

use super::Environment;
use ahash::HashMap;
use entities::{Certificate, SharedMap, Sni};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use uuid::Uuid;

/// A certificate of an entity: its pair, and the other kind of key beside it.
struct Entry {
    pairs: Vec<Arc<CertifiedKey>>,
}

/// All certificates of a snapshot.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    by_name: SharedMap<Arc<str>, Arc<Entry>>,
    default: Option<Arc<CertifiedKey>>,
}

/// The certificates of the entities, read: what names are given from.
#[derive(Default)]
pub(super) struct Pairs(HashMap<Uuid, Arc<Entry>>);

impl Pairs {
    pub(super) fn set(&mut self, certificate: &Certificate, env: &Environment, problems: &mut Vec<String>) {
        let mut pairs = Vec::new();
        let own = (Some(&certificate.cert), Some(&certificate.key));
        let other = (certificate.cert_alt.as_ref(), certificate.key_alt.as_ref());
        for (cert, key) in [own, other] {
            let (Some(cert), Some(key)) = (cert, key) else { continue };
            match pair(&env.secret(cert), &env.secret(key)) {
                Ok(pair) => pairs.push(pair),
                Err(error) => problems.push(format!("certificate {} cannot be used: {error}", certificate.id)),
            }
        }
        self.0.insert(certificate.id, Arc::new(Entry { pairs }));
    }

    pub(super) fn remove(&mut self, certificate: Uuid) {
        self.0.remove(&certificate);
    }
}

/// A certificate chain and its key, from PEM.
pub fn pair(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| format!("key: {e}"))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|e| e.to_string())
}

impl Certificates {
    pub(super) fn new(env: &Environment) -> Self {
        Self { by_name: SharedMap::default(), default: env.default_certificate.clone() }
    }

    pub(super) fn forget(&mut self, sni: &Sni) {
        self.by_name.remove(sni.name.to_ascii_lowercase().as_str());
    }

    /// Gives a name the certificate that it belongs to.
    pub(super) fn set(&mut self, sni: &Sni, pairs: &Pairs) {
        let name = sni.name.to_ascii_lowercase();
        match pairs.0.get(&sni.certificate.id) {
            Some(entry) => self.by_name.insert(name.into(), entry.clone()),
            None => drop(self.by_name.remove(name.as_str())),
        }
    }

    /// The pair for a server name that a client with these signature schemes can use.
    pub(crate) fn find(&self, name: Option<&str>, schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(schemes).is_some();
        name.and_then(|name| self.entry(name))
            .and_then(|entry| entry.pairs.iter().find(fits).or(entry.pairs.first()))
            .or(self.default.as_ref())
            .cloned()
    }

    fn entry(&self, name: &str) -> Option<&Arc<Entry>> {
        if self.by_name.is_empty() {
            return None;
        }
        let name = name.to_ascii_lowercase();
        if let Some(entry) = self.by_name.get(name.as_str()) {
            return Some(entry);
        }
        let first = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let last = name.rsplit_once('.').map(|(rest, _)| format!("{rest}.*"));
        let by_name = |name: Option<String>| name.and_then(|name| self.by_name.get(name.as_str()));
        by_name(first).or_else(|| by_name(last)).or_else(|| self.by_name.get("*"))
    }
}
