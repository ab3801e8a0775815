//! The certificates by server name: exact, `*.rest`, `first.*`, `*`, default (Kong's order).

use super::Environment;
use ahash::HashMap;
use entities::Configuration;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// A certificate of an entity: its pair, and the other kind of key beside it.
struct Entry {
    pairs: Vec<Arc<CertifiedKey>>,
}

/// All certificates of a snapshot.
#[derive(Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Arc<Entry>>,
    default: Option<Arc<CertifiedKey>>,
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
    pub(crate) fn build(from: &Configuration, env: &Environment, problems: &mut Vec<String>) -> Self {
        let mut entries = HashMap::default();
        for certificate in from.certificates.values() {
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
            entries.insert(certificate.id, Arc::new(Entry { pairs }));
        }
        let mut by_name = HashMap::default();
        for sni in from.snis.values() {
            if let Some(entry) = entries.get(&sni.certificate.id) {
                by_name.insert(sni.name.to_ascii_lowercase(), entry.clone());
            }
        }
        Self { by_name, default: env.default_certificate.clone() }
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
        if let Some(entry) = self.by_name.get(&name) {
            return Some(entry);
        }
        let first = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let last = name.rsplit_once('.').map(|(rest, _)| format!("{rest}.*"));
        let wildcard = first.and_then(|n| self.by_name.get(&n)).or_else(|| last.and_then(|n| self.by_name.get(&n)));
        wildcard.or_else(|| self.by_name.get("*"))
    }
}
