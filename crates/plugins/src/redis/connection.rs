//! A connection to Redis: made with what the config says, then commands one after another without waiting for each
//! reply.

use super::Failure;
use super::resp::{self, Progress, Reply};
use super::settings::{Access, Address, Login};
use crate::{trust, unverified};
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Bytes, and who waits for their reply.
pub(super) struct Call {
    pub(super) command: Vec<u8>,
    /// Replies that come before the one that is waited for, and say nothing.
    pub(super) ignored: u8,
    pub(super) answer: oneshot::Sender<Result<Reply, Failure>>,
    pub(super) until: Instant,
}

/// Commands whose replies are waited for at once; more of them wait to be sent.
const UNDER_WAY: usize = 4096;
/// The room for replies that a connection keeps while there are none.
const KEPT: usize = 64 * 1024;

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    progress: Progress,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Other(format!("{what}: {error}"))
}

/// A connection that breaks while it is used was closed at the other end.
fn broken(what: &str, error: &io::Error) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Failure::Closed,
        _ => failed(what, error),
    }
}

impl Connection {
    /// Connects, and says who it is and which database it wants.
    pub(super) async fn open(address: &Address, access: &Access, login: &Login) -> Result<Self, Failure> {
        let stream = TcpStream::connect((address.0.as_str(), address.1)).await;
        let stream = stream.map_err(|error| failed("connecting", error))?;
        stream.set_nodelay(true).map_err(|error| failed("connecting", error))?;
        let stream: Box<dyn Stream> =
            if access.is_tls { Box::new(encrypt(access, &address.0, stream).await?) } else { Box::new(stream) };
        let mut connection = Self { stream, received: Vec::new(), progress: Progress::new() };
        let mut hello = Vec::new();
        let mut count = 0;
        if let Some(password) = &login.password {
            match &login.username {
                Some(name) => resp::command(&mut hello, &[b"AUTH", name.as_bytes(), password.as_bytes()]),
                None => resp::command(&mut hello, &[b"AUTH", password.as_bytes()]),
            }
            count += 1;
        }
        if login.database != 0 {
            resp::command(&mut hello, &[b"SELECT", login.database.to_string().as_bytes()]);
            count += 1;
        }
        if count > 0 {
            connection.stream.write_all(&hello).await.map_err(|error| broken("writing", &error))?;
        }
        for _ in 0..count {
            let reply = connection.read().await?;
            if matches!(reply, Reply::Error(_)) {
                return Err(Failure::Other(reply.shortened()));
            }
        }
        Ok(connection)
    }

    /// Sends a command and waits for its reply, while nothing else is under way.
    pub(super) async fn ask(&mut self, command: &[u8]) -> Result<Reply, Failure> {
        let sent = async {
            self.stream.write_all(command).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| broken("writing", &error))?;
        self.read().await
    }

    async fn read(&mut self) -> Result<Reply, Failure> {
        let garbage = |_| Failure::new("the answer is none of Redis");
        loop {
            if self.progress.is_whole(&self.received).map_err(garbage)? {
                self.progress = Progress::new();
                if let Some((reply, length)) = resp::parse(&self.received).map_err(garbage)? {
                    self.received.drain(..length);
                    if self.received.is_empty() && self.received.capacity() > KEPT {
                        self.received = Vec::new();
                    }
                    return Ok(reply);
                }
            }
            if self.received.len() > resp::MAX_REPLY {
                return Err(Failure::new("the answer is too long"));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err(Failure::Closed),
                Ok(_) => {}
                Err(error) => return Err(broken("reading", &error)),
            }
        }
    }

    /// Sends what is asked for and hands out the replies, in order, until nobody asks any more or something fails: then
    /// all that wait learn of it.
    pub(super) async fn serve(mut self, calls: &mut Receiver<Call>) -> Result<(), Failure> {
        let mut waiting: VecDeque<Call> = VecDeque::new();
        let outcome = self.exchange(calls, &mut waiting).await;
        if let Err(failure) = &outcome {
            for call in waiting {
                let _ = call.answer.send(Err(failure.clone()));
            }
        }
        outcome
    }

    async fn exchange(&mut self, calls: &mut Receiver<Call>, waiting: &mut VecDeque<Call>) -> Result<(), Failure> {
        loop {
            let Some(first) = waiting.front().map(|call| call.until) else {
                let Some(call) = self.next_or_closed(calls).await? else { return Ok(()) };
                self.send(call, calls, waiting).await?;
                continue;
            };
            tokio::select! {
                biased;
                reply = timeout_at(first, self.read()) => {
                    let reply = reply.unwrap_or_else(|_| Err(Failure::new("timeout")))?;
                    if let Some(call) = waiting.front_mut().filter(|call| call.ignored > 0) {
                        call.ignored -= 1;
                        continue;
                    }
                    if let Some(call) = waiting.pop_front() {
                        let _ = call.answer.send(Ok(reply));
                    }
                }
                Some(call) = calls.recv(), if waiting.len() < UNDER_WAY => self.send(call, calls, waiting).await?,
            }
        }
    }

    /// The next call; an idle connection that Redis closes is a failure too.
    async fn next_or_closed(&mut self, calls: &mut Receiver<Call>) -> Result<Option<Call>, Failure> {
        tokio::select! {
            biased;
            call = calls.recv() => Ok(call),
            read = self.stream.read_buf(&mut self.received) => Err(match read {
                Ok(0) => Failure::Closed,
                Ok(_) => Failure::new("an answer that nobody asked for"),
                Err(error) => broken("reading", &error),
            }),
        }
    }

    /// Writes a call and those that have come meanwhile.
    async fn send(
        &mut self,
        call: Call,
        calls: &mut Receiver<Call>,
        waiting: &mut VecDeque<Call>,
    ) -> Result<(), Failure> {
        let until = call.until;
        let mut bytes = Vec::new();
        let mut next = Some(call);
        while let Some(mut call) = next {
            bytes.append(&mut call.command);
            waiting.push_back(call);
            next = if waiting.len() < UNDER_WAY { calls.try_recv().ok() } else { None };
        }
        let written = timeout_at(until, async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        });
        let written = written.await.map_err(|_| Failure::new("timeout"))?;
        written.map_err(|error| broken("writing", &error))
    }
}

async fn encrypt(
    access: &Access,
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let config = if access.is_verified { trust::client() } else { unverified::client() };
    let mut config = config.map_err(|error| failed("TLS", error))?;
    config.enable_sni = access.server_name.is_some();
    let name = access.server_name.clone().unwrap_or_else(|| host.to_owned());
    let name = ServerName::try_from(name).map_err(|error| failed("TLS", error))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed("TLS", error))
}
