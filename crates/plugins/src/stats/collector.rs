//! The server that metrics are sent to, a line each.

use crate::queue::{Entries, Failure, Sender, Sending};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long a resolved address, or an idle connection, is used.
const KEPT: Duration = Duration::from_secs(60);
/// How long connecting, or sending a batch, may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// Lines are put together into datagrams of up to this many bytes; with 0 each has its own.
    Udp { packet_size: usize },
    /// Each line ends in a line break.
    Tcp,
}

/// Sends entries of one or more lines each.
pub(crate) struct Collector {
    host: String,
    port: u16,
    transport: Transport,
    socket: Mutex<Option<(Socket, Instant)>>,
}

enum Socket {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
}

impl Collector {
    pub(crate) fn new(host: &str, port: u16, transport: Transport) -> Self {
        Self { host: host.to_owned(), port, transport, socket: Mutex::new(None) }
    }

    async fn connect(&self) -> io::Result<Socket> {
        let target = (self.host.as_str(), self.port);
        let Transport::Udp { .. } = self.transport else { return TcpStream::connect(target).await.map(Socket::Tcp) };
        let to = lookup_host(target).await?.next().ok_or(io::ErrorKind::NotFound)?;
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Not connected: a server that is away for a moment must not make later datagrams fail.
        Ok(Socket::Udp(UdpSocket::bind(SocketAddr::new(any, 0)).await?, to))
    }

    async fn write(&self, socket: &mut Socket, batch: &Entries) -> io::Result<()> {
        match socket {
            Socket::Tcp(stream) => {
                let mut lines = batch.joined(b"", b"\n", b"");
                lines.push(b'\n');
                stream.write_all(&lines).await
            }
            Socket::Udp(socket, to) => {
                let Transport::Udp { packet_size } = self.transport else { return Ok(()) };
                for packet in packets(batch, packet_size) {
                    if let Err(error) = socket.send_to(&packet, *to).await {
                        // The datagrams before it are gone, and must not go twice.
                        log::warn!("{} bytes of metrics to {}: {error}", packet.len(), self.host);
                    }
                }
                Ok(())
            }
        }
    }

    async fn deliver(&self, batch: &Entries) -> io::Result<()> {
        let mut kept = self.socket.lock().await;
        let known = kept.take().filter(|(socket, since)| since.elapsed() < KEPT && is_open(socket));
        let (mut socket, since) = match known {
            Some(known) => known,
            None => (self.connect().await?, Instant::now()),
        };
        self.write(&mut socket, batch).await?;
        let since = if matches!(socket, Socket::Tcp(_)) { Instant::now() } else { since };
        *kept = Some((socket, since));
        Ok(())
    }
}

impl Sender for Collector {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let outcome = timeout(PATIENCE, self.deliver(batch)).await.unwrap_or_else(|late| Err(late.into()));
            outcome.map_err(|error| Failure::new(format!("{}:{}: {error}", self.host, self.port)))
        })
    }
}

/// Whether the server has not closed the connection; it has nothing to say on it.
fn is_open(socket: &Socket) -> bool {
    match socket {
        Socket::Udp(..) => true,
        Socket::Tcp(stream) => {
            stream.try_read(&mut [0; 64]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        }
    }
}

/// The lines of a batch in datagrams.
pub(super) fn packets(batch: &Entries, size: usize) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for line in batch.iter().flat_map(|entry| entry.split(|byte| *byte == b'\n')) {
        match out.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= size => {
                last.push(b'\n');
                last.extend_from_slice(line);
            }
            _ => out.push(line.to_vec()),
        }
    }
    out
}
