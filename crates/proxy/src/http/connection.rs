//! A byte stream to a client or to an upstream, and the bytes of it that were received but not yet used.
//!
//! Reading and writing go through `&self`, so that a body can be read while the other direction is written. A connection
//! that waits for its peer's first byte holds no buffer: buffers come from a pool of the thread.
//!
//! A connection waits with one timer for all of its time-outs.

use super::idle::{Alarm, Elapsed};
use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use std::cell::{Cell, RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

/// What a buffer holds at first: enough for nearly every head.
const BUFFER: usize = 8 * 1024;
/// How much is read at once of a long body.
const BODY_BUFFER: usize = 64 * 1024;
/// How many free buffers a thread keeps.
const POOLED: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> BytesMut {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(BUFFER))
}

fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    if (BUFFER / 2..=BUFFER).contains(&buffer.capacity()) {
        FREE.with_borrow_mut(|free| {
            if free.len() < POOLED {
                free.push(buffer);
            }
        });
    }
}

/// The transport below HTTP.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Server(stream) => stream.get_ref().0,
            Self::Client(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(task, buf),
            Self::Server(s) => Pin::new(s).poll_read(task, buf),
            Self::Client(s) => Pin::new(s).poll_read(task, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(task, buf),
            Self::Server(s) => Pin::new(s).poll_write(task, buf),
            Self::Client(s) => Pin::new(s).poll_write(task, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, task: &mut Task<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(task, bufs),
            Self::Server(s) => Pin::new(s).poll_write_vectored(task, bufs),
            Self::Client(s) => Pin::new(s).poll_write_vectored(task, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Server(s) => Pin::new(s).poll_flush(task),
            Self::Client(s) => Pin::new(s).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(task),
            Self::Server(s) => Pin::new(s).poll_shutdown(task),
            Self::Client(s) => Pin::new(s).poll_shutdown(task),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// A stream with its input buffer.
pub(crate) struct Connection {
    stream: RefCell<Stream>,
    input: RefCell<BytesMut>,
    /// Bytes sent since the start.
    sent: Cell<u64>,
    alarm: RefCell<Alarm>,
    /// Reading it has failed, which the socket says once.
    is_broken: Cell<bool>,
    /// How often it was found waiting for its next request; `None` while one is under way.
    found_waiting: Cell<Option<u8>>,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            input: RefCell::default(),
            sent: Cell::new(0),
            alarm: RefCell::default(),
            is_broken: Cell::new(false),
            found_waiting: Cell::new(None),
        }
    }

    /// What was received and not yet used.
    pub(crate) fn input(&self) -> RefMut<'_, BytesMut> {
        self.input.borrow_mut()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Reads more into the input: the count, 0 at the end of the stream. `expected`: how much is known to come.
    pub(crate) fn poll_fill(&self, task: &mut Task<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && input.capacity() < BUFFER / 2 {
            *input = if expected > BUFFER as u64 {
                BytesMut::with_capacity(expected.min(BODY_BUFFER as u64) as usize)
            } else {
                take_buffer()
            };
        } else if input.spare_capacity_mut().len() < 1024 {
            input.reserve(if expected > BUFFER as u64 { BODY_BUFFER } else { BUFFER });
        }
        let polled = poll_read_buf(Pin::new(&mut *self.stream.borrow_mut()), task, &mut *input);
        match polled {
            Poll::Pending if input.is_empty() => give_back(std::mem::take(&mut input)),
            // A TLS connection's end without its alert may be that of the peer's sending side alone.
            Poll::Ready(Err(ref error)) => self.is_broken.set(error.kind() != io::ErrorKind::UnexpectedEof),
            _ => {}
        }
        polled
    }

    pub(crate) async fn fill(&self, expected: u64) -> io::Result<usize> {
        poll_fn(|task| self.poll_fill(task, expected)).await
    }

    /// Takes up to `limit` bytes of the input. Small pieces are copied, so that the buffer stays whole.
    pub(crate) fn take(&self, limit: u64) -> Bytes {
        let mut input = self.input.borrow_mut();
        let count = input.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        if count <= 2048 {
            let bytes = Bytes::copy_from_slice(&input[..count]);
            input.advance(count);
            return bytes;
        }
        input.split_to(count).freeze()
    }

    fn poll_write(&self, task: &mut Task<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let stream = Pin::new(&mut *stream);
        let written = if second.is_empty() {
            ready!(stream.poll_write(task, first))?
        } else if first.is_empty() {
            ready!(stream.poll_write(task, second))?
        } else {
            ready!(stream.poll_write_vectored(task, &[IoSlice::new(first), IoSlice::new(second)]))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent.set(self.sent.get() + written as u64);
        Poll::Ready(Ok(written))
    }

    /// Writes and flushes a little out of turn (an interim answer).
    pub(crate) fn poll_send(&self, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_write(task, bytes, &[]))?;
        // What a TLS stream holds back goes out with the next write at the latest.
        let _ = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(task);
        Poll::Ready(Ok(written))
    }

    /// Writes both slices, one behind the other, in as few calls as the kernel allows.
    pub(crate) async fn write_all(&self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !first.is_empty() || !second.is_empty() {
            let written = poll_fn(|task| self.poll_write(task, first, second)).await?;
            let of_first = written.min(first.len());
            first = &first[of_first..];
            second = &second[written - of_first..];
        }
        self.flush().await
    }

    async fn flush(&self) -> io::Result<()> {
        poll_fn(|task| Pin::new(&mut *self.stream.borrow_mut()).poll_flush(task)).await
    }

    /// Ends our side: the peer sees the end of the stream.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|task| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(task)).await
    }

    /// Whether an idle connection is still of use: open, and nothing unasked-for has come. Costs no system call while
    /// the reactor has seen nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut task = Task::from_waker(Waker::noop());
        self.input.borrow().is_empty() && self.poll_fill(&mut task, 0).is_pending()
    }

    /// Watches a peer that waits for its answer: ready with `true` once it has reset the connection, with `false` where that
    /// cannot be told any more, as it has sent its next request or closed its sending side (it may still read).
    pub(crate) fn poll_reset(&self, task: &mut Task<'_>) -> Poll<bool> {
        if self.is_broken.get() {
            return Poll::Ready(true);
        }
        let stream = self.stream.borrow();
        let socket = stream.socket();
        let is_broken = ready!(socket.poll_read_ready(task)).is_err();
        Poll::Ready(is_broken || !matches!(socket.take_error(), Ok(None)))
    }

    /// Waits for something of this connection, at most `limit`. What is ready at once costs neither timer nor clock.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut due = None;
        poll_fn(|task| {
            if let Poll::Ready(output) = future.as_mut().poll(task) {
                return Poll::Ready(Ok(output));
            }
            let due = *due.get_or_insert_with(|| Instant::now() + limit);
            self.alarm.borrow_mut().poll(task, due).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Drops the input buffer of a connection that goes idle.
    pub(crate) fn rest(&self) {
        let mut input = self.input.borrow_mut();
        if input.is_empty() {
            give_back(std::mem::take(&mut input));
        }
    }

    /// Says whether it waits for the peer's next request.
    pub(crate) fn set_waiting(&self, is_waiting: bool) {
        self.found_waiting.set(is_waiting.then_some(0));
    }

    /// Ends it where it has waited for a request since the last call: reading finds the end, once what has come is read.
    pub(crate) fn end_if_quiet(&self) {
        match self.found_waiting.get() {
            None => {}
            Some(0) => self.found_waiting.set(Some(1)),
            Some(_) => {
                let _ = SockRef::from(self.stream.borrow().socket()).shutdown(Shutdown::Read);
            }
        }
    }

    /// Whether HTTP/2 was agreed on with an upstream (ALPN).
    pub(crate) fn speaks_http2(&self) -> bool {
        match &*self.stream.borrow() {
            Stream::Client(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Stream::Tcp(_) | Stream::Server(_) => false,
        }
    }

    pub(crate) fn into_stream(self) -> (Stream, BytesMut) {
        (self.stream.into_inner(), self.input.into_inner())
    }
}
