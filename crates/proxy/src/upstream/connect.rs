//! A new connection to an upstream.

use super::tls::TlsTarget;
use crate::http::connection::{Connection, Stream};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connecting took too long")]
    Timeout,
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    #[error("'{0}' is no server name for TLS")]
    Name(String),
}

/// Connects, and greets by TLS where asked; all within `limit`.
pub(crate) async fn connect(
    address: SocketAddr,
    tls: Option<(&TlsTarget, &str)>,
    limit: Duration,
) -> Result<Connection, ConnectError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some((target, name)) = tls else { return Ok(Connection::new(Stream::Tcp(stream))) };
        let server = name.trim_matches(['[', ']']).to_owned();
        let server = rustls_pki_types::ServerName::try_from(server).map_err(|_| ConnectError::Name(name.to_owned()))?;
        let stream = TlsConnector::from(target.config.clone()).connect(server, stream).await?;
        Ok(Connection::new(Stream::Client(Box::new(stream))))
    };
    timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Timeout))
}
