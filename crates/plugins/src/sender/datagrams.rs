//! Datagrams: over UDP, and to a socket of this host.

use crate::queue::{Entries, Failure, Sender, Sending};
use rustix::io::Errno;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long a resolved address is used.
const ADDRESS_TTL: Duration = Duration::from_secs(60);
/// How long a process of this host may take to make room for a datagram.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends each entry as a datagram.
pub(crate) struct Datagrams {
    to: Receiver,
    /// How long a datagram may take.
    timeout: Duration,
    socket: Mutex<Option<(Socket, Instant)>>,
}

enum Receiver {
    Udp { host: String, port: u16 },
    Unix(PathBuf),
}

enum Socket {
    Udp(UdpSocket, SocketAddr),
    Unix(UnixDatagram),
}

impl Datagrams {
    pub(crate) fn udp(host: &str, port: u16, timeout: Duration) -> Self {
        Self { to: Receiver::Udp { host: host.to_owned(), port }, timeout, socket: Mutex::new(None) }
    }

    pub(crate) fn unix(path: impl Into<PathBuf>) -> Self {
        Self { to: Receiver::Unix(path.into()), timeout: PATIENCE, socket: Mutex::new(None) }
    }

    async fn connect(&self) -> io::Result<Socket> {
        match &self.to {
            Receiver::Udp { host, port } => {
                let to = lookup_host((host.as_str(), *port)).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                // Not connected: that the last datagram found nobody must not make the next one fail.
                Ok(Socket::Udp(UdpSocket::bind(SocketAddr::new(any, 0)).await?, to))
            }
            Receiver::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }

    async fn deliver(&self, datagram: &[u8]) -> io::Result<()> {
        let mut kept = self.socket.lock().await;
        // The socket is made anew now and then, for addresses change, and after a failure.
        let (socket, since) = match kept.take().filter(|(_, since)| since.elapsed() < ADDRESS_TTL) {
            Some(known) => known,
            None => (self.connect().await?, Instant::now()),
        };
        let outcome = match &socket {
            Socket::Udp(socket, to) => socket.send_to(datagram, *to).await,
            Socket::Unix(socket) => socket.send(datagram).await,
        };
        if outcome.as_ref().err().is_none_or(is_too_long) {
            *kept = Some((socket, since));
        }
        outcome.map(drop)
    }
}

impl Sender for Datagrams {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let (mut refused, mut reason) = (0, String::new());
            for (at, datagram) in batch.iter().enumerate() {
                let outcome = timeout(self.timeout, self.deliver(datagram)).await;
                match outcome.unwrap_or_else(|late| Err(late.into())) {
                    Ok(()) => {}
                    Err(error) if is_too_long(&error) => {
                        refused += 1;
                        reason = error.to_string();
                    }
                    Err(error) => {
                        let left = batch.iter().skip(at).collect();
                        return Err(Failure::partial(error.to_string(), left, refused));
                    }
                }
            }
            if refused > 0 { Err(Failure::partial(reason, Entries::default(), refused)) } else { Ok(()) }
        })
    }
}

/// Whether a datagram is longer than there can be, which it will be the next time, too.
fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MSGSIZE)
}
