//! Certificates made for a test: authorities, those between, and ends; and TLS connections that show them.

use crate::client::connect;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

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

/// Takes any certificate of a server, which often is a self-signed one of the node's own.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client's certificates, its own first, and its key.
pub(crate) type Shown = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

/// Settings of a client that takes any certificate of the server.
pub(crate) fn trusting(shown: Shown) -> Arc<ClientConfig> {
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    Arc::new(match shown {
        Some((certificates, key)) => config.with_client_auth_cert(certificates, key).unwrap(),
        None => config.with_no_client_auth(),
    })
}

pub(crate) fn open_with(
    at: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), connect(at).unwrap())
}

/// A TLS connection for a server name.
pub(crate) fn open(at: SocketAddr, name: &str, shown: Shown) -> StreamOwned<ClientConnection, TcpStream> {
    open_with(at, name, trusting(shown))
}
