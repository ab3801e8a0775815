//! Listeners of a thread: connections accepted, told apart (PROXY protocol, TLS, HTTP/2), served.

pub(crate) mod proxy_protocol;
mod sessions;
mod tls;

pub use tls::{Clients, Shown, Tls, TlsSettings};

use crate::http::connection::{Connection, Stream};
use crate::http::{Limits, Service, h1, h2};
use crate::worker::{Thread, proxy_service};
use pdk::{Client, Scheme};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// A listening socket.
#[derive(Debug)]
pub enum ListeningSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket and how it is spoken to.
pub struct Listener {
    pub socket: ListeningSocket,
    /// `ssl`.
    pub tls: Option<Tls>,
    /// `http2`, on this listener or another one of its server.
    pub http2: bool,
    pub proxy_protocol: bool,
}

impl Thread {
    /// Accepts connections for the proxy until the listener is closed.
    pub fn listen(self: &Rc<Self>, listener: Listener) -> io::Result<Listening> {
        self.listen_for(listener, proxy_service(self.clone()))
    }

    /// Accepts connections for a service of the caller's.
    pub fn listen_for(self: &Rc<Self>, listener: Listener, service: Rc<dyn Service>) -> io::Result<Listening> {
        let socket = match listener.socket {
            ListeningSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Acceptor::Tcp(TcpListener::from_std(socket)?)
            }
            ListeningSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Acceptor::Unix(UnixListener::from_std(socket)?, unix_end(listener.tls.is_some()))
            }
        };
        let local = socket.local()?;
        let end = Rc::new(End {
            thread: self.clone(),
            service,
            limits: Rc::new(self.proxy.settings.limits.clone()),
            tls: listener.tls,
            http2: listener.http2,
            proxy_protocol: listener.proxy_protocol,
            public_port: self.proxy.settings.public_port(local.port()),
        });
        let closed = Rc::new(Notify::new());
        tokio::task::spawn_local(accept(socket, end, closed.clone()));
        Ok(Listening { closed })
    }
}

/// A listener at work.
pub struct Listening {
    closed: Rc<Notify>,
}

impl Listening {
    /// Takes who has connected already, and then nobody any more.
    pub fn close(&self) {
        self.closed.notify_one();
    }
}

/// For how long after its closing a listener takes who connected before: what waits in a socket that closes is reset.
pub const LAST_ACCEPTS: Duration = Duration::from_millis(10);

/// What the connections of a listener share.
struct End {
    thread: Rc<Thread>,
    service: Rc<dyn Service>,
    limits: Rc<Limits>,
    tls: Option<Tls>,
    http2: bool,
    proxy_protocol: bool,
    public_port: u16,
}

/// What connections come from.
enum Acceptor {
    Tcp(TcpListener),
    /// With the address that stands for the socket, which has none.
    Unix(UnixListener, SocketAddr),
}

/// Who comes by a socket of the file system is on this machine.
const UNIX_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket of the file system in terms of ports: the scheme's own.
fn unix_end(is_tls: bool) -> SocketAddr {
    SocketAddr::new(UNIX_PEER.ip(), if is_tls { 443 } else { 80 })
}

impl Acceptor {
    fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Unix(_, end) => Ok(*end),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Accepted { local: stream.local_addr()?, stream, peer, is_unix: false })
            }
            Self::Unix(socket, end) => {
                let (stream, _) = socket.accept().await?;
                // From here on both are a stream of bytes behind a file descriptor, and nobody asks for addresses again.
                let stream = TcpStream::from_std(OwnedFd::from(stream.into_std()?).into())?;
                Ok(Accepted { local: *end, stream, peer: UNIX_PEER, is_unix: true })
            }
        }
    }
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    is_unix: bool,
}

impl End {
    /// What a client sends before its first request; `None` where it does not come in time, or before the thread ends.
    async fn early<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            came = timeout(self.limits.head_timeout, future) => came.ok(),
            () = self.thread.gone.notified() => None,
        }
    }
}

async fn accept(socket: Acceptor, end: Rc<End>, closed: Rc<Notify>) {
    let serve = |accepted| {
        let (counted, end) = (Counted::new(&end.thread), end.clone());
        tokio::task::spawn_local(async move {
            let _counted = counted;
            connection(accepted, end).await;
        });
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = closed.notified() => break,
        };
        match accepted {
            Ok(accepted) => serve(accepted),
            Err(error) => {
                // Mostly: no file descriptors left. Trying on at once would burn the CPU.
                log::error!(target: "crit", "accepting a connection failed: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let until = Instant::now() + LAST_ACCEPTS;
    while let Ok(Ok(accepted)) = timeout_at(until, socket.accept()).await {
        serve(accepted);
    }
}

/// Counts a connection while it is open.
struct Counted(Rc<Thread>);

impl Counted {
    fn new(thread: &Rc<Thread>) -> Self {
        thread.stats.accepted.add(1);
        thread.stats.active.add(1);
        Self(thread.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.stats.active.subtract(1);
    }
}

async fn connection(Accepted { stream, peer, local, is_unix }: Accepted, end: Rc<End>) {
    let settings = &end.thread.proxy.settings;
    let mut client = Client {
        ip: peer.ip(),
        port: peer.port(),
        peer,
        is_trusted: if is_unix { settings.trusted_ips.has_unix() } else { settings.trusted_ips.contains(peer.ip()) },
        local,
        public_port: end.public_port,
        scheme: if end.tls.is_some() { Scheme::Https } else { Scheme::Http },
        tls: None,
        connection: end.thread.proxy.next_connection(),
        connection_requests: 0,
    };
    let stream = if end.proxy_protocol {
        let told = end.early(Box::pin(proxy_protocol::read(&stream))).await;
        match told {
            Some(Ok(told)) => proxy_protocol::apply(settings, &mut client, told),
            _ => return log::warn!("{peer} does not speak the PROXY protocol that its listener asks for"),
        }
        stream
    } else {
        stream
    };
    let (conn, is_h2) = match &end.tls {
        None => (Connection::new(Stream::Tcp(stream)), None),
        Some(tls) => {
            let mut first = [0];
            match end.early(stream.peek(&mut first)).await {
                Some(Ok(1)) if first[0] == HANDSHAKE => {}
                Some(Ok(1)) => {
                    let conn = Rc::new(Connection::new(Stream::Tcp(stream)));
                    return h1::server::refuse_plain(&conn, &client, &end.service, &end.limits).await;
                }
                _ => return,
            }
            let greeting = Box::pin(tls.greet(stream, end.http2));
            match end.early(greeting).await {
                Some(Ok((stream, info, is_h2))) => {
                    client.tls = Some(Rc::new(info));
                    (Connection::new(Stream::Server(Box::new(stream))), Some(is_h2))
                }
                Some(Err(error)) => return log::info!("TLS with {peer} failed: {error}"),
                None => return,
            }
        }
    };
    let is_h2 = match is_h2 {
        Some(known) => known,
        None if end.http2 => match end.early(speaks_http2(&conn)).await {
            Some(Some(known)) => known,
            _ => return,
        },
        None => false,
    };
    if is_h2 {
        Box::pin(h2::server::serve(conn, client, end.service.clone(), end.limits.clone())).await;
    } else {
        let conn = Rc::new(conn);
        let _listed = end.thread.list(client.connection, &conn);
        h1::server::serve(conn, client, end.service.clone(), end.limits.clone()).await;
    }
}

/// Whether a cleartext connection begins with the preface of HTTP/2; `None` where nothing came, or a line that is neither
/// the preface nor HTTP/1: such a peer is not answered in a protocol that it may not speak (RFC 9113, 3.4).
async fn speaks_http2(conn: &Connection) -> Option<bool> {
    loop {
        match conn.fill(0).await {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
        let input = conn.input();
        if let Some(known) = h2::server::is_preface(&input) {
            let line = memchr::memchr(b'\n', &input).map(|end| &input[..end]);
            let is_neither = !known && line.is_some_and(is_no_request_line);
            return (!is_neither).then_some(known);
        }
    }
}

/// Three words of which the second is no target and the third no version. Other lines are malformed HTTP/1.
fn is_no_request_line(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(_), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_target = target.starts_with(b"/") || target == b"*" || target.contains(&b':') || target.contains(&b'.');
    !is_target && !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP"))
}
