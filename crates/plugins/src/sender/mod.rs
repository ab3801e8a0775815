//! Sends log messages to other hosts in the background: one thread of the process, a task a destination.
//!
//! A message that finds its queue full, or cannot be sent, is dropped and counted; a request never waits.

mod tcp;

use crate::background;
use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender as Queue, channel};
use tokio::time::{Instant, timeout};

pub(crate) use tcp::Tls;

/// Messages that may wait for one destination.
const QUEUE: usize = 4096;
/// How long a resolved address is used.
const ADDRESS_TTL: Duration = Duration::from_secs(60);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many messages were dropped.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Where messages go.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Udp {
        host: String,
        port: u16,
        timeout: Duration,
    },
    Tcp {
        host: String,
        port: u16,
        timeout: Duration,
        keepalive: Duration,
        tls: Option<Tls>,
    },
    /// A datagram socket of this host.
    Unix(String),
}

/// The way to a destination; its task starts with the first message and ends with this.
pub(crate) struct Sender {
    destination: Destination,
    queue: OnceLock<Option<Queue<Vec<u8>>>>,
}

impl Sender {
    pub(crate) fn new(destination: Destination) -> Self {
        Self { destination, queue: OnceLock::new() }
    }

    pub(crate) fn send(&self, message: Vec<u8>) {
        let queue = self.queue.get_or_init(|| {
            let (queue, messages) = channel(QUEUE);
            runtime()?.spawn(run(self.destination.clone(), messages));
            Some(queue)
        });
        if queue.as_ref().is_none_or(|queue| queue.try_send(message).is_err()) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

/// The runtime of the sending thread; `None` where it could not be started.
pub(crate) fn runtime() -> Option<&'static Handle> {
    static RUNTIME: OnceLock<Option<Handle>> = OnceLock::new();
    RUNTIME.get_or_init(|| background::start("log-sender")).as_ref()
}

async fn run(destination: Destination, mut messages: Receiver<Vec<u8>>) {
    match destination {
        Destination::Udp { host, port, timeout } => {
            let connect = || async {
                let address = lookup_host((host.as_str(), port)).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local).await?;
                socket.connect(address).await?;
                Ok(socket)
            };
            datagrams(&mut messages, timeout, connect, async |socket, message| socket.send(message).await).await;
        }
        Destination::Unix(path) => {
            let connect = || async {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&path)?;
                Ok(socket)
            };
            let wait = Duration::from_secs(1);
            datagrams(&mut messages, wait, connect, async |socket, message| socket.send(message).await).await;
        }
        Destination::Tcp { host, port, timeout, keepalive, tls } => {
            let target = tcp::Target { host: &host, port, timeout, tls: tls.as_ref() };
            tcp::run(&mut messages, &target, keepalive).await;
        }
    }
}

/// Sends each message as a datagram. The socket is made anew now and then, for addresses change, and after a failure.
async fn datagrams<S, F: Future<Output = io::Result<S>>>(
    messages: &mut Receiver<Vec<u8>>,
    wait: Duration,
    connect: impl Fn() -> F,
    send: impl AsyncFn(&S, &[u8]) -> io::Result<usize>,
) {
    let mut socket: Option<(S, Instant)> = None;
    while let Some(message) = messages.recv().await {
        if socket.as_ref().is_none_or(|(_, since)| since.elapsed() > ADDRESS_TTL) {
            socket = timeout(wait, connect()).await.ok().and_then(Result::ok).map(|new| (new, Instant::now()));
        }
        let is_sent = match &socket {
            Some((socket, _)) => timeout(wait, send(socket, &message)).await.is_ok_and(|sent| sent.is_ok()),
            None => false,
        };
        if !is_sent {
            socket = None;
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
