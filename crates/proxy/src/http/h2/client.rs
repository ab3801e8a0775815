//! The client side of HTTP/2: connections to upstreams, shared by the requests of a thread.

use super::body::{StreamBody, send_body};
use super::memory::Memory;
use super::{Rewound, from_map, to_map};
use crate::http::connection::{Connection, Stream};
use crate::http::h1::client::{Answer, ExchangeError, Pump, Waiting};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use pdk::{Body, Headers, Version};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A connection that carries many requests.
#[derive(Clone)]
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    counts: Rc<Counts>,
}

/// Of all clones of a channel.
struct Counts {
    /// Requests so far, and when the last one began.
    requests: Cell<u64>,
    used: Cell<Instant>,
    /// Requests under way.
    busy: Cell<usize>,
}

/// A request under way, counted until it is dropped.
pub(crate) struct Busy(Rc<Counts>);

impl Busy {
    fn new(counts: Rc<Counts>) -> Self {
        counts.busy.set(counts.busy.get() + 1);
        Self(counts)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// Room for one request on a channel.
pub(crate) struct Room {
    channel: Channel,
    busy: Busy,
}

/// What an upstream says.
enum Heard {
    Interim(http::Response<()>),
    Final(http::Response<RecvStream>),
}

impl Channel {
    /// Greets the upstream, and waits for its settings: how many requests it takes at once is known from then on. The
    /// connection is driven by a task of its own until it closes.
    pub(crate) async fn open(conn: Connection, limit: Duration) -> Result<Self, ExchangeError> {
        let (stream, first): (Stream, _) = conn.into_stream();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(256 * 1024).initial_connection_window_size(1024 * 1024).enable_push(false);
        builder.initial_max_send_streams(0);
        let greeting = async {
            let (send, mut driver) = builder.handshake(Rewound::new(stream, first)).await.ok()?;
            let is_open = poll_fn(|task| match Pin::new(&mut driver).poll(task) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending if driver.max_concurrent_send_streams() > 0 => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            });
            is_open.await.then_some((send, driver))
        };
        let greeted = timeout(limit, greeting).await.map_err(|_| ExchangeError::Timeout)?;
        let (send, driver) = greeted.ok_or(ExchangeError::Closed)?;
        tokio::task::spawn_local(async move {
            // What breaks the connection reaches each of its requests.
            let _ = driver.await;
        });
        let counts = Counts { requests: Cell::default(), used: Cell::new(Instant::now()), busy: Cell::default() };
        Ok(Self { send, counts: Rc::new(counts) })
    }

    /// Room for a request, as long as the upstream takes more of them at once.
    pub(crate) fn room(&self) -> Option<Room> {
        let is_full = self.counts.busy.get() >= self.send.current_max_send_streams();
        (!is_full).then(|| Room { channel: self.clone(), busy: Busy::new(self.counts.clone()) })
    }

    /// Whether it takes no more requests: the upstream has closed it or is about to (GOAWAY).
    pub(crate) fn is_closed(&self) -> bool {
        let mut task = Task::from_waker(Waker::noop());
        matches!(self.send.clone().poll_ready(&mut task), Poll::Ready(Err(_)))
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests.get()
    }

    /// Since when no request has begun.
    pub(crate) fn idle_since(&self) -> Instant {
        self.counts.used.get()
    }
}

/// A request as it stands on a stream.
pub(crate) fn request(method: &str, uri: http::Uri, headers: &Headers) -> Result<http::Request<()>, ExchangeError> {
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(method.as_bytes()).map_err(|_| ExchangeError::Malformed)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = to_map(headers);
    Ok(request)
}

/// What became of a request that failed on its stream.
fn failure(error: &h2::Error) -> ExchangeError {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // A stream hears of a GOAWAY where it is beyond the last one that the upstream has looked at.
    if error.is_remote() && (is_refused || error.is_go_away()) { ExchangeError::Refused } else { ExchangeError::Closed }
}

impl Room {
    /// Sends a request and waits for the response's head. Where the upstream did nothing with it, the body is in its place
    /// again; one that `is_repeatable` is to be had elsewhere.
    pub(crate) async fn exchange(
        self,
        request: http::Request<()>,
        body: &mut Body,
        is_repeatable: bool,
        mut waiting: Waiting<'_>,
    ) -> Result<Answer, ExchangeError> {
        let Self { channel, busy } = self;
        let patience = waiting.patience;
        channel.counts.requests.set(channel.requests() + 1);
        channel.counts.used.set(Instant::now());
        let is_end = matches!(body, Body::Empty);
        let (response, stream) = channel
            .send
            .clone()
            .send_request(request, is_end)
            .map_err(|_| if channel.is_closed() { ExchangeError::Refused } else { ExchangeError::Malformed })?;
        let memory = (body.is_stream() && !is_repeatable).then(|| Memory::of(std::mem::take(body)));
        let going = memory.as_ref().map_or_else(|| std::mem::take(body), Memory::body);
        let mut pump = (!is_end).then(|| Box::pin(send_body(stream, going, patience.write)) as Pump);
        let head = match head(response, &mut pump, &mut waiting).await {
            Err(ExchangeError::Refused) => {
                if let Some(memory) = memory {
                    *body = memory.again().ok_or(ExchangeError::Closed)?;
                }
                return Err(ExchangeError::Refused);
            }
            head => head?,
        };
        if let Some(memory) = memory {
            memory.forget();
        }
        let (parts, stream) = head.into_parts();
        let length = parts.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = if stream.is_end_stream() && pump.is_none() {
            Body::Empty
        } else {
            Body::Stream(Box::pin(StreamBody::of_answer(stream, length, patience.read, pump, busy)))
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            reason: Vec::new(),
            headers: from_map(&parts.headers),
            body,
            upgraded: None,
            version: Version::Http2,
        })
    }
}

/// The head of the final response, while the request's body goes out; interim ones are passed on meanwhile. The time-out
/// counts from the end of the body.
async fn head(
    mut response: ResponseFuture,
    pump: &mut Option<Pump>,
    waiting: &mut Waiting<'_>,
) -> Result<http::Response<RecvStream>, ExchangeError> {
    let limit = waiting.patience.read;
    let mut silence = pump.is_none().then(|| Box::pin(sleep(limit)));
    loop {
        let heard = poll_fn(|task| {
            if let Some(sending) = pump
                && let Poll::Ready(sent) = sending.as_mut().poll(task)
            {
                *pump = None;
                silence = Some(Box::pin(sleep(limit)));
                if let Err(error @ (ExchangeError::Body(_) | ExchangeError::Timeout)) = sent {
                    return Poll::Ready(Err(error));
                }
            }
            match response.poll_informational(task) {
                Poll::Ready(Some(Ok(interim))) => return Poll::Ready(Ok(Heard::Interim(interim))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(failure(&error))),
                Poll::Ready(None) | Poll::Pending => {}
            }
            if let Poll::Ready(head) = Pin::new(&mut response).poll(task) {
                return Poll::Ready(head.map(Heard::Final).map_err(|error| failure(&error)));
            }
            match &mut silence {
                Some(silence) => silence.as_mut().poll(task).map(|()| Err(ExchangeError::Timeout)),
                None => Poll::Pending,
            }
        });
        match heard.await? {
            Heard::Final(head) => return Ok(head),
            Heard::Interim(interim) => {
                waiting.interim(interim.status().as_u16(), &from_map(interim.headers())).await;
            }
        }
    }
}
