//! Lines over TCP, with TLS where it is asked for.

use super::DROPPED;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio_rustls::TlsConnector;

/// TLS to a collector. Its certificate is not verified, as in Kong.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The name to ask for; without one none is asked for.
    pub(crate) server_name: Option<String>,
}

pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) timeout: Duration,
    pub(super) tls: Option<&'a Tls>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Writes each message, over a connection that is kept for `keepalive` without messages. A connection that has broken
/// while it was kept costs no message: it is made anew once.
pub(super) async fn run(messages: &mut Receiver<Vec<u8>>, target: &Target<'_>, keepalive: Duration) {
    let mut stream: Option<Box<dyn Stream>> = None;
    loop {
        let next = if stream.is_some() {
            match tokio::time::timeout(keepalive, messages.recv()).await {
                Ok(message) => message,
                Err(_) => {
                    stream = None;
                    continue;
                }
            }
        } else {
            messages.recv().await
        };
        let Some(message) = next else { return };
        let was_kept = stream.is_some();
        let mut sent = write(&mut stream, target, &message).await;
        if sent.is_err() && was_kept {
            stream = None;
            sent = write(&mut stream, target, &message).await;
        }
        if sent.is_err() {
            stream = None;
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

async fn write(stream: &mut Option<Box<dyn Stream>>, target: &Target<'_>, message: &[u8]) -> io::Result<()> {
    let work = async {
        let connected = match stream.take() {
            Some(connected) => stream.insert(connected),
            None => stream.insert(connect(target).await?),
        };
        connected.write_all(message).await?;
        connected.flush().await
    };
    tokio::time::timeout(target.timeout, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn connect(target: &Target<'_>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((target.host, target.port)).await?;
    let Some(tls) = target.tls else { return Ok(Box::new(stream)) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    config.enable_sni = tls.server_name.is_some();
    let name = tls.server_name.clone().unwrap_or_else(|| target.host.to_owned());
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// Takes any certificate, but only of a peer that has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
