//! Listeners of a thread: connections accepted, told apart (PROXY protocol, TLS, HTTP/2), served.

mod proxy_protocol;
mod tls;

pub use tls::{Shown, Tls, TlsSettings};

use crate::http::connection::{Connection, Stream};
use crate::http::{Limits, Service, h1, h2};
use crate::worker::{Thread, proxy_service};
use pdk::{Client, Scheme};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// A listening socket and how it is spoken to.
pub struct Listener {
    pub socket: std::net::TcpListener,
    /// `ssl`.
    pub tls: Option<Tls>,
    /// `http2`, on this listener or another one of its server.
    pub http2: bool,
    pub proxy_protocol: bool,
}

impl Thread {
    /// Accepts connections for the proxy until the handle is aborted.
    pub fn listen(self: &Rc<Self>, listener: Listener) -> io::Result<JoinHandle<()>> {
        self.listen_for(listener, proxy_service(self.clone()))
    }

    /// Accepts connections for a service of the caller's.
    pub fn listen_for(self: &Rc<Self>, listener: Listener, service: Rc<dyn Service>) -> io::Result<JoinHandle<()>> {
        listener.socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(listener.socket)?;
        let local = socket.local_addr()?;
        let end = Rc::new(End {
            thread: self.clone(),
            service,
            limits: Rc::new(self.proxy.settings.limits.clone()),
            tls: listener.tls,
            http2: listener.http2,
            proxy_protocol: listener.proxy_protocol,
            public_port: self.proxy.settings.public_port(local.port()),
        });
        Ok(tokio::task::spawn_local(accept(socket, end)))
    }
}

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

async fn accept(socket: TcpListener, end: Rc<End>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let counted = Counted::new(&end.thread);
                let end = end.clone();
                tokio::task::spawn_local(async move {
                    let _counted = counted;
                    connection(stream, peer, end).await;
                });
            }
            Err(error) => {
                // Mostly: no file descriptors left. Trying on at once would burn the CPU.
                log::error!(target: "crit", "accepting a connection failed: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
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

async fn connection(stream: TcpStream, peer: SocketAddr, end: Rc<End>) {
    let Ok(local) = stream.local_addr() else { return };
    let settings = &end.thread.proxy.settings;
    let mut client = Client {
        ip: peer.ip(),
        port: peer.port(),
        peer,
        is_trusted: settings.trusted_ips.contains(peer.ip()),
        local,
        public_port: end.public_port,
        scheme: if end.tls.is_some() { Scheme::Https } else { Scheme::Http },
        tls: None,
        connection: end.thread.proxy.next_connection(),
        connection_requests: 0,
    };
    let stream = if end.proxy_protocol {
        let told = timeout(end.limits.head_timeout, Box::pin(proxy_protocol::read(&stream))).await;
        match told {
            Ok(Ok(told)) => proxy_protocol::apply(settings, &mut client, told),
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
            match timeout(end.limits.head_timeout, stream.peek(&mut first)).await {
                Ok(Ok(1)) if first[0] == HANDSHAKE => {}
                Ok(Ok(1)) => {
                    let conn = Rc::new(Connection::new(Stream::Tcp(stream)));
                    return h1::server::refuse_plain(&conn, &client, &end.service, &end.limits).await;
                }
                _ => return,
            }
            let greeting = Box::pin(tls.greet(stream, end.http2));
            match timeout(end.limits.head_timeout, greeting).await {
                Ok(Ok((stream, info, is_h2))) => {
                    client.tls = Some(Rc::new(info));
                    (Connection::new(Stream::Server(Box::new(stream))), Some(is_h2))
                }
                Ok(Err(error)) => return log::info!("TLS with {peer} failed: {error}"),
                Err(_) => return,
            }
        }
    };
    let is_h2 = match is_h2 {
        Some(known) => known,
        None if end.http2 => match timeout(end.limits.head_timeout, speaks_http2(&conn)).await {
            Ok(Some(known)) => known,
            _ => return,
        },
        None => false,
    };
    if is_h2 {
        Box::pin(h2::server::serve(conn, client, end.service.clone(), end.limits.clone())).await;
    } else {
        h1::server::serve(Rc::new(conn), client, end.service.clone(), end.limits.clone()).await;
    }
}

/// Whether a cleartext connection begins with the preface of HTTP/2; `None` where nothing came.
async fn speaks_http2(conn: &Connection) -> Option<bool> {
    loop {
        match conn.fill(0).await {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
        if let Some(known) = h2::server::is_preface(&conn.input()) {
            return Some(known);
        }
    }
}
