//! TLS towards clients: certificates by server name, from the current snapshot.

use super::sessions;
use crate::snapshot::{Asked, Hints, SnapshotHandle};
use pdk::TlsInfo;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    Acceptor, ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ProtocolVersion, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// The TLS settings of a server, made once and shared by its listeners and threads.
#[derive(Clone)]
pub struct Tls {
    with_http2: Arc<ServerConfig>,
    without: Arc<ServerConfig>,
    asking: Option<Arc<Asking>>,
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
    /// `clients`: which certificates of clients it takes; `None`: it asks for one where a plugin of the configuration wants it.
    ///
    /// # Errors
    /// Where no cipher suite goes with the versions, or an authority of clients cannot be used.
    pub fn new(shown: Shown, settings: &TlsSettings, clients: Option<Clients>) -> Result<Self, rustls::Error> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(suites) = &settings.suites {
            provider.cipher_suites.clone_from(suites);
        }
        let provider = Arc::new(provider);
        let snapshots = match &shown {
            Shown::Configured(snapshots) if clients.is_none() => Some(snapshots.clone()),
            _ => None,
        };
        let verifier = match clients {
            Some(clients) => clients.verifier(&provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let greeting = Greeting { provider, settings: settings.clone(), resolver: Arc::new(Resolver(shown)) };
        let own = greeting.sessions()?;
        let (with_http2, without) = (greeting.config(&verifier, &own, true)?, greeting.config(&verifier, &own, false)?);
        let asking = match snapshots {
            // A session that began without a certificate must not be taken up where one is asked for.
            Some(snapshots) => Some(Arc::new(Asking { snapshots, sessions: greeting.sessions()?, greeting })),
            None => None,
        };
        Ok(Self { with_http2, without, asking })
    }

    /// The handshake: the stream, what is known of it, and whether HTTP/2 was agreed on.
    pub(crate) async fn greet(
        &self,
        stream: TcpStream,
        http2: bool,
    ) -> io::Result<(TlsStream<TcpStream>, TlsInfo, bool)> {
        let config = if http2 { &self.with_http2 } else { &self.without };
        let stream = match self.asking.as_ref().and_then(|asking| Some((asking, asking.asked()?))) {
            None => TlsAcceptor::from(config.clone()).accept(stream).await?,
            Some((asking, asked)) => {
                let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
                let config = match asked.find(hello.client_hello().server_name()) {
                    None => config.clone(),
                    Some(hints) => asking.config(&hints, http2).map_err(io::Error::other)?,
                };
                hello.into_stream(config).await?
            }
        };
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

/// Where sessions are kept that clients take up again.
#[derive(Clone)]
enum Sessions {
    /// With the clients, sealed.
    Tickets(Arc<dyn ProducesTickets>),
    Memory(Arc<dyn StoresServerSessions>),
}

/// All that a server's configurations have in common.
struct Greeting {
    provider: Arc<CryptoProvider>,
    settings: TlsSettings,
    resolver: Arc<Resolver>,
}

impl Greeting {
    fn sessions(&self) -> Result<Sessions, rustls::Error> {
        Ok(if self.settings.session_tickets {
            Sessions::Tickets(sessions::tickets(self.settings.session_timeout)?)
        } else {
            Sessions::Memory(sessions::memory(self.settings.sessions, self.settings.session_timeout))
        })
    }

    fn config(
        &self,
        verifier: &Arc<dyn ClientCertVerifier>,
        sessions: &Sessions,
        http2: bool,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.settings.versions)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(self.resolver.clone());
        config.ignore_client_order = self.settings.prefers_own_order;
        match sessions {
            Sessions::Tickets(tickets) => config.ticketer = tickets.clone(),
            Sessions::Memory(memory) => config.session_storage = memory.clone(),
        }
        config.send_half_rtt_data = false;
        let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// How those clients are greeted that are asked for a certificate.
struct Asking {
    snapshots: Arc<SnapshotHandle>,
    greeting: Greeting,
    sessions: Sessions,
}

impl Asking {
    /// Which clients are asked now; `None`: nobody.
    fn asked(&self) -> Option<Arc<Asked>> {
        let asked = &self.snapshots.load().asked;
        (!asked.is_nobody()).then(|| asked.clone())
    }

    fn config(&self, hints: &Hints, http2: bool) -> Result<Arc<ServerConfig>, rustls::Error> {
        let hints = hints.0.iter().map(|name| DistinguishedName::from(name.clone())).collect();
        let verifier: Arc<dyn ClientCertVerifier> =
            Arc::new(AnyCertificate { hints, provider: self.greeting.provider.clone() });
        self.greeting.config(&verifier, &self.sessions, http2)
    }
}

/// Takes any certificate whose key signed the handshake, and no certificate: the plugin that wants one judges it.
#[derive(Debug)]
struct AnyCertificate {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
