//! The listening sockets: bound once, kept over every reload and upgrade, one per thread where requests are proxied. A
//! socket of the file system is one for all threads.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::address::{self, Address};
use super::plan::{Listener, Plan};
use crate::conf::{KeepAlive, Listen};

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
    pub(super) address: Address,
    /// The thread that accepts from it.
    pub(super) thread: usize,
}

/// The sockets of a node; clones share them.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    bound: Vec<(Label, Arc<OwnedFd>)>,
}

/// Why an address cannot be listened on.
fn describe(listener: &Listener, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse if matches!(listener.address, Address::Unix(_)) => {
            "another process listens there; stop it or choose another path"
        }
        io::ErrorKind::PermissionDenied if matches!(listener.address, Address::Unix(_)) => {
            "not permitted; whoever starts the node must be allowed to write into the folder"
        }
        io::ErrorKind::AddrInUse => "the port is in use by another process; stop it or choose another port",
        io::ErrorKind::PermissionDenied => "not permitted; a port below 1024 needs root or CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine",
        _ => &error.to_string(),
    };
    format!("{}: could not listen on {}: {reason}", listener.kind.property(), listener.address)
}

impl Sockets {
    /// The sockets a plan asks for; those that exist already are taken over, never opened a second time.
    pub(super) fn open(plan: &Plan, existing: &Self) -> anyhow::Result<Self> {
        let sockets_of = |listener: &Listener| {
            existing
                .bound
                .iter()
                .filter(|(label, _)| label.serves(listener))
                .map(|(_, socket)| Arc::clone(socket))
                .collect::<Vec<_>>()
        };
        // Every new address is tried alone first: SO_REUSEPORT would let two nodes share a port unnoticed.
        let mut problems = Vec::new();
        for listener in plan.listeners.iter().filter(|listener| sockets_of(listener).is_empty()) {
            let free = match &listener.address {
                Address::Ip(address) => bind(&listener.listen, *address, false).map(drop),
                Address::Unix(path) => address::try_path(path),
            };
            if let Err(error) = free {
                problems.push(describe(listener, &error));
            }
        }
        if !problems.is_empty() {
            bail!(problems.join("\n"));
        }
        let mut bound = Vec::new();
        for listener in &plan.listeners {
            let number = listener.kind.sockets(plan.threads);
            let mut sockets = sockets_of(listener);
            for socket in &sockets {
                apply(SockRef::from(&**socket), &listener.listen).map_err(|error| {
                    anyhow::anyhow!("{}: could not change {}: {error}", listener.kind.property(), listener.address)
                })?;
            }
            // With fewer threads than before, a thread has several sockets: closing one would drop whoever waits in it.
            while sockets.len() < number {
                let socket = match &listener.address {
                    Address::Ip(address) => bind(&listener.listen, *address, true),
                    // SO_REUSEPORT knows ports only.
                    Address::Unix(path) => match sockets.first() {
                        Some(first) => first.try_clone().map(Socket::from),
                        None => bind_path(listener, path),
                    },
                };
                let socket = socket.map_err(|error| anyhow::Error::msg(describe(listener, &error)))?;
                sockets.push(Arc::new(OwnedFd::from(socket)));
            }
            for (index, socket) in sockets.into_iter().enumerate() {
                let Listener { kind, listen, address } = listener.clone();
                bound.push((Label { kind, listen, address, thread: index % number }, socket));
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

    /// Removes the files of sockets that `next` does not have.
    pub(super) fn remove_files_beyond(&self, next: &Self) {
        for (label, _) in &self.bound {
            if let Address::Unix(path) = &label.address
                && !next.bound.iter().any(|(other, _)| other.address == label.address)
            {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    pub(super) fn inherited(labels: Vec<Label>, files: impl Iterator<Item = OwnedFd>) -> Self {
        Self { bound: labels.into_iter().zip(files.map(Arc::new)).collect() }
    }
}

impl Label {
    fn serves(&self, listener: &Listener) -> bool {
        self.address == listener.address && self.listen.udp == listener.listen.udp
    }
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
    socket.set_nonblocking(true)?;
    apply(SockRef::from(&socket), listen)?;
    Ok(socket)
}

/// A listening socket in the file system.
fn bind_path(listener: &Listener, path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    address::remove_stale(path);
    socket.bind(&SockAddr::unix(path)?)?;
    address::permit(path, listener.kind != ListenerKind::Admin)?;
    socket.set_nonblocking(true)?;
    apply(SockRef::from(&socket), &listener.listen)?;
    Ok(socket)
}

/// The flags that a socket can take more than once: a reload changes them on the one that listens already.
fn apply(socket: SockRef<'_>, listen: &Listen) -> io::Result<()> {
    if listen.path.is_some() {
        return socket.listen(listen.backlog.unwrap_or(DEFAULT_BACKLOG));
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
        Some(KeepAlive::Off) | None => socket.set_keepalive(false)?,
    }
    socket.listen(listen.backlog.unwrap_or(DEFAULT_BACKLOG))
}

#[cfg(test)]
mod tests {
    use super::{apply, bind};
    use crate::conf::{HttpListens, Kind};
    use socket2::SockRef;

    #[test]
    fn a_socket_takes_other_flags_while_it_listens() {
        let listen = |text: &str| HttpListens::parse(text).unwrap()[0].clone();
        let socket = bind(&listen("127.0.0.1:1"), "127.0.0.1:0".parse().unwrap(), true).unwrap();
        assert!(!socket.keepalive().unwrap());
        for (flags, is_on) in [
            ("so_keepalive=30s::3 backlog=7", true),
            ("so_keepalive=off", false),
            ("so_keepalive=on", true),
            ("", false),
        ] {
            apply(SockRef::from(&socket), &listen(&format!("127.0.0.1:1 {flags}"))).unwrap();
            assert_eq!(socket.keepalive().unwrap(), is_on, "{flags}");
        }
        apply(SockRef::from(&socket), &listen("127.0.0.1:1 so_keepalive=30s::3")).unwrap();
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 30);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
