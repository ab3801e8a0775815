//! Certificates made for a test: authorities, those between, and ends.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key and with those that lead to its authority, which is not among them.
pub(crate) struct Identity {
    /// Its own first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pems: Vec<String>,
    key: KeyPair,
    params: CertificateParams,
    is_root: bool,
}

impl Identity {
    /// A certificate authority that nobody vouches for.
    pub(crate) fn authority(name: &str) -> Identity {
        let (params, key) = (parameters(&[], name, true), KeyPair::generate().unwrap());
        let made = params.self_signed(&key).unwrap();
        Identity { chain: vec![made.der().clone()], pems: vec![made.pem()], key, params, is_root: true }
    }

    /// An authority below this one.
    pub(crate) fn sub_authority(&self, name: &str) -> Identity {
        self.sign(parameters(&[], name, true))
    }

    /// A server's or a client's certificate, by this authority.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.sign(parameters(names, names[0], false))
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let (mut chain, mut pems) = (vec![made.der().clone()], vec![made.pem()]);
        if !self.is_root {
            chain.extend_from_slice(&self.chain);
            pems.extend_from_slice(&self.pems);
        }
        Identity { chain, pems, key, params, is_root: false }
    }

    pub(crate) fn pem(&self) -> String {
        self.pems.concat()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem().as_bytes()).unwrap()
    }
}

fn parameters(names: &[&str], name: &str, is_authority: bool) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}
