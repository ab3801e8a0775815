//! TLS towards clients: certificates by server name, from the current snapshot.

use super::sessions;
use crate::snapshot::SnapshotHandle;
use pdk::TlsInfo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The TLS settings of a server, made once and shared by its listeners and threads.
#[derive(Clone)]
pub struct Tls {
    with_http2: Arc<ServerConfig>,
    without: Arc<ServerConfig>,
}

/// How a server greets by TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// TLS 1.2, 1.3 or both.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// `None` for all good ones.
    pub suites: Option<Vec<SupportedCipherSuite>>,
    /// Whether the order of `suites` wins over the client's.
    pub prefers_own_order: bool,
    pub session_tickets: bool,
    /// For how long a session can be resumed.
    pub session_timeout: Duration,
    /// How many sessions are remembered where there are no tickets.
    pub sessions: usize,
}

/// Which certificate a listener shows.
pub enum Shown {
    /// By server name, of the current snapshot.
    Configured(Arc<SnapshotHandle>),
    /// Always this one.
    Fixed(Arc<CertifiedKey>),
}

/// Which client certificates a listener takes.
pub struct Clients {
    /// The authorities that sign them.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whether a client without one is refused.
    pub must_show: bool,
}

impl Clients {
    fn verifier(self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for authority in self.authorities {
            roots.add(authority)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if self.must_show { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl Tls {
    /// `clients`: which certificates of clients it takes; `None` asks for none.
    ///
    /// # Errors
    /// Where no cipher suite goes with the versions, or an authority of clients cannot be used.
    pub fn new(shown: Shown, settings: &TlsSettings, clients: Option<Clients>) -> Result<Self, rustls::Error> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(suites) = &settings.suites {
            provider.cipher_suites.clone_from(suites);
        }
        let provider = Arc::new(provider);
        let verifier = match clients {
            Some(clients) => clients.verifier(&provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver(shown)));
        config.ignore_client_order = settings.prefers_own_order;
        if settings.session_tickets {
            config.ticketer = sessions::tickets(settings.session_timeout)?;
        } else {
            config.session_storage = sessions::memory(settings.sessions, settings.session_timeout);
        }
        config.send_half_rtt_data = false;
        let mut with_http2 = config.clone();
        with_http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { with_http2: Arc::new(with_http2), without: Arc::new(config) })
    }

    /// The handshake: the stream, what is known of it, and whether HTTP/2 was agreed on.
    pub(crate) async fn greet(
        &self,
        stream: TcpStream,
        http2: bool,
    ) -> io::Result<(TlsStream<TcpStream>, TlsInfo, bool)> {
        let config = if http2 { &self.with_http2 } else { &self.without };
        let stream = TlsAcceptor::from(config.clone()).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let info = TlsInfo {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: session.negotiated_cipher_suite().map(openssl_name).unwrap_or_default(),
            sni: session.server_name().map(str::to_owned),
            client_certificates: session.peer_certificates().into_iter().flatten().map(|c| c.to_vec()).collect(),
        };
        let is_h2 = session.alpn_protocol() == Some(b"h2");
        Ok((stream, info, is_h2))
    }
}

/// A cipher suite's name as OpenSSL writes it, which is what nginx's `$ssl_cipher` and so Kong's logs show.
fn openssl_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.trim_start_matches("TLS_").replace("_WITH_", "-").replace("AES_", "AES").replace('_', "-"),
    }
}

/// Finds certificates in whatever snapshot is current at the handshake.
struct Resolver(Shown);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.0 {
            Shown::Configured(snapshots) => {
                snapshots.load().certificates.find(hello.server_name(), hello.signature_schemes())
            }
            Shown::Fixed(pair) => Some(pair.clone()),
        }
    }
}
