//! The LDAP server: one connection a bind (RFC 4511), plain, with StartTLS or over TLS.

use crate::ber::{ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, element, integer, length};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const UNBIND_REQUEST: u8 = 0x42;
/// `[0]` of an authentication choice and of an extended request's name.
const FIRST: u8 = 0x80;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// The longest answer that is read.
const LONGEST: usize = 64 << 10;

/// How the connection is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    None,
    StartTls,
    Tls,
}

/// Why nobody knows whether the password is right.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot talk to the LDAP server: {0}")]
    Io(#[from] std::io::Error),
    #[error("the LDAP server took too long")]
    Timeout,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the LDAP server cannot answer now (result {0})")]
    Unavailable(u8),
    #[error("the LDAP server refuses StartTLS (result {0})")]
    NoTls(u8),
    #[error("'{0}' is no name of a server")]
    Name(String),
}

pub(super) struct Directory {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) timeout: Duration,
    tls: Option<TlsConnector>,
}

impl Directory {
    /// `verifies`: the server's certificate must be one for its name, by an authority that the system trusts.
    pub(super) fn new(
        host: String,
        port: u16,
        security: Security,
        verifies: bool,
        timeout: Duration,
    ) -> Result<Self, String> {
        let tls = match security {
            Security::None => None,
            _ if verifies => Some(crate::roots::client()?),
            _ => Some(crate::unverified::client().map_err(|error| error.to_string())?),
        };
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { host, port, security, timeout, tls })
    }

    /// Whether the server takes the password for this name.
    pub(super) async fn bind(&self, name: &str, password: &[u8]) -> Result<bool, Failure> {
        tokio::time::timeout(self.timeout, self.connect_and_bind(name, password)).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn connect_and_bind(&self, name: &str, password: &[u8]) -> Result<bool, Failure> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return bind(&mut stream, name, password).await };
        if self.security == Security::StartTls {
            start_tls(&mut stream).await?;
        }
        let host = ServerName::try_from(self.host.clone()).map_err(|_| Failure::Name(self.host.clone()))?;
        let mut stream = tls.connect(host, stream).await?;
        bind(&mut stream, name, password).await
    }
}

async fn start_tls(stream: &mut TcpStream) -> Result<(), Failure> {
    let request = element(EXTENDED_REQUEST, &element(FIRST, START_TLS));
    match ask(stream, 1, &request, EXTENDED_RESPONSE).await? {
        0 => Ok(()),
        other => Err(Failure::NoTls(other)),
    }
}

async fn bind(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    name: &str,
    password: &[u8],
) -> Result<bool, Failure> {
    let request = [integer(INTEGER, 3), element(OCTETS, name.as_bytes()), element(FIRST, password)].concat();
    let result = ask(stream, 2, &element(BIND_REQUEST, &request), BIND_RESPONSE).await?;
    let goodbye = element(SEQUENCE, &[integer(INTEGER, 3), element(UNBIND_REQUEST, &[])].concat());
    // The answer is here: whether the server hears the goodbye does not matter.
    let _ = stream.write_all(&goodbye).await;
    let _ = stream.shutdown().await;
    match result {
        0 => Ok(true),
        // operationsError, busy, unavailable, other: it says nothing of the password (RFC 4511, A.1).
        1 | 51 | 52 | 80 => Err(Failure::Unavailable(result)),
        _ => Ok(false),
    }
}

/// Sends a request; the result code of its answer.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    id: u8,
    request: &[u8],
    answer: u8,
) -> Result<u8, Failure> {
    let message = element(SEQUENCE, &[&integer(INTEGER, id), request].concat());
    stream.write_all(&message).await?;
    stream.flush().await?;
    let message = read(stream).await?;
    let mut message = Reader::new(Reader::new(&message).expect(SEQUENCE)?);
    if message.expect(INTEGER)? != [id] {
        return Err(Malformed.into());
    }
    match Reader::new(message.expect(answer)?).expect(ENUMERATED)? {
        [result] => Ok(*result),
        _ => Err(Malformed.into()),
    }
}

/// Reads one whole element, and nothing behind it.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::with_capacity(64);
    let (head, content) = loop {
        message.push(stream.read_u8().await?);
        if let Some(lengths) = length(&message, LONGEST)? {
            break lengths;
        }
    };
    message.resize(head + content, 0);
    stream.read_exact(message.get_mut(head..).unwrap_or_default()).await?;
    Ok(message)
}
