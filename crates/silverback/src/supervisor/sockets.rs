//! The listening sockets: bound once, kept over every reload and upgrade, one per thread where requests are proxied.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::conf::{Conf, KeepAlive, Listen};

/// nginx's.
const DEFAULT_BACKLOG: i32 = 511;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListenerKind {
    Proxy,
    Admin,
    Status,
}

impl ListenerKind {
    /// The property that lists the addresses.
    #[must_use]
    pub fn property(self) -> &'static str {
        match self {
            Self::Proxy => "proxy_listen",
            Self::Admin => "admin_listen",
            Self::Status => "status_listen",
        }
    }

    /// Sockets per address: traffic has one a thread, so that no thread waits for another.
    fn sockets(self, threads: usize) -> usize {
        if self == Self::Proxy { threads.max(1) } else { 1 }
    }
}

/// What is known about a socket beside the socket itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) kind: ListenerKind,
    pub(super) listen: Listen,
    pub(super) address: SocketAddr,
    /// The thread that accepts from it.
    pub(super) thread: usize,
}

/// The sockets of a node; clones share them.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    bound: Vec<(Label, Arc<OwnedFd>)>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub(super) struct BindError {
    property: &'static str,
    address: String,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { property, address, error } = self;
        write!(formatter, "{property}: could not listen on {address}: ")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                write!(formatter, "the port is in use by another process; stop it or choose another port")
            }
            io::ErrorKind::PermissionDenied => {
                write!(formatter, "not permitted; a port below 1024 needs root or CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => write!(formatter, "the address is not one of this machine"),
            _ => write!(formatter, "{error}"),
        }
    }
}

impl Sockets {
    /// The sockets a configuration asks for; those that exist already are taken over, never opened a second time.
    pub(super) fn open(conf: &Conf, threads: usize, existing: &Self) -> Result<Self, Vec<BindError>> {
        let (wanted, mut errors) = wanted(conf);
        // Every new address is tried alone first: SO_REUSEPORT would let two nodes share a port unnoticed.
        for (kind, listen, address) in &wanted {
            if !existing.bound.iter().any(|(label, _)| label.serves(listen, *address))
                && let Err(error) = bind(listen, *address, false)
            {
                errors.push(BindError { property: kind.property(), address: address.to_string(), error });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut bound = Vec::new();
        for (kind, listen, address) in wanted {
            let mut sockets: Vec<_> = existing
                .bound
                .iter()
                .filter(|(label, _)| label.serves(&listen, address))
                .map(|(_, socket)| Arc::clone(socket))
                .collect();
            // With fewer threads than before, a thread has several sockets: closing one would drop whoever waits in it.
            while sockets.len() < kind.sockets(threads) {
                match bind(&listen, address, true) {
                    Ok(socket) => sockets.push(Arc::new(OwnedFd::from(socket))),
                    Err(error) => {
                        let address = address.to_string();
                        return Err(vec![BindError { property: kind.property(), address, error }]);
                    }
                }
            }
            for (index, socket) in sockets.into_iter().enumerate() {
                let thread = index % kind.sockets(threads);
                bound.push((Label { kind, listen: listen.clone(), address, thread }, socket));
            }
        }
        Ok(Self { bound })
    }

    pub(super) fn labels(&self) -> Vec<Label> {
        self.bound.iter().map(|(label, _)| label.clone()).collect()
    }

    pub(super) fn files(&self) -> Vec<BorrowedFd<'_>> {
        self.bound.iter().map(|(_, socket)| socket.as_fd()).collect()
    }

    pub(super) fn inherited(labels: Vec<Label>, files: impl Iterator<Item = OwnedFd>) -> Self {
        Self { bound: labels.into_iter().zip(files.map(Arc::new)).collect() }
    }
}

impl Label {
    fn serves(&self, listen: &Listen, address: SocketAddr) -> bool {
        self.address == address && self.listen.udp == listen.udp
    }
}

/// The addresses of all listeners. An address in two places is a mistake.
fn wanted(conf: &Conf) -> (Vec<(ListenerKind, Listen, SocketAddr)>, Vec<BindError>) {
    let listens = [
        (ListenerKind::Proxy, &conf.proxy_listen),
        (ListenerKind::Admin, &conf.admin_listen),
        (ListenerKind::Status, &conf.status_listen),
    ];
    let (mut wanted, mut errors) = (Vec::<(ListenerKind, Listen, SocketAddr)>::new(), Vec::new());
    for (kind, listens) in listens {
        for listen in listens.iter() {
            let mut addresses = match listen.addresses() {
                Ok(addresses) => addresses,
                Err(error) => {
                    errors.push(BindError { property: kind.property(), address: listen.address(), error });
                    continue;
                }
            };
            addresses.sort_unstable();
            addresses.dedup();
            for address in addresses {
                if let Some((other, ..)) = wanted.iter().find(|(_, _, known)| *known == address) {
                    let error = io::Error::other(format!("the address is in {} already", other.property()));
                    errors.push(BindError { property: kind.property(), address: address.to_string(), error });
                } else {
                    wanted.push((kind, listen.clone(), address));
                }
            }
        }
    }
    (wanted, errors)
}

/// A listening socket, or with `shared` off the trial whether the address is free.
fn bind(listen: &Listen, address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(listen.ipv6only.unwrap_or(true))?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    if !shared {
        return Ok(socket);
    }
    // Accepted sockets inherit both, which saves two system calls a connection.
    socket.set_tcp_nodelay(true)?;
    match &listen.so_keepalive {
        Some(KeepAlive::On { idle, interval, count }) => {
            let mut keepalive = TcpKeepalive::new();
            if let Some(idle) = idle {
                keepalive = keepalive.with_time(*idle);
            }
            if let Some(interval) = interval {
                keepalive = keepalive.with_interval(*interval);
            }
            if let Some(count) = count {
                keepalive = keepalive.with_retries(*count);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        Some(KeepAlive::Off) => socket.set_keepalive(false)?,
        None => {}
    }
    socket.set_nonblocking(true)?;
    socket.listen(listen.backlog.unwrap_or(DEFAULT_BACKLOG))?;
    Ok(socket)
}
