//! The client side of HTTP/2: connections to upstreams, shared by the requests of a thread.

use super::body::{StreamBody, send_body};
use super::{Rewound, from_map, to_map};
use crate::http::connection::{Connection, Stream};
use crate::http::h1::client::{Answer, ExchangeError, Pump, Waiting};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
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
    /// Requests so far, and when the last one began: of all clones.
    requests: Rc<Cell<u64>>,
    used: Rc<Cell<Instant>>,
}

/// What an upstream says.
enum Heard {
    Interim(http::Response<()>),
    Final(http::Response<RecvStream>),
}

impl Channel {
    /// Greets the upstream; the connection is driven by a task of its own until it closes.
    pub(crate) async fn open(conn: Connection, limit: Duration) -> Result<Self, ExchangeError> {
        let (stream, first): (Stream, _) = conn.into_stream();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(256 * 1024).initial_connection_window_size(1024 * 1024).enable_push(false);
        match timeout(limit, builder.handshake(Rewound::new(stream, first))).await {
            Ok(Ok((send, driver))) => {
                tokio::task::spawn_local(async move {
                    // What breaks the connection reaches each of its requests.
                    let _ = driver.await;
                });
                let used = Rc::new(Cell::new(Instant::now()));
                Ok(Self { send, requests: Rc::default(), used })
            }
            Ok(Err(_)) => Err(ExchangeError::Closed),
            Err(_) => Err(ExchangeError::Timeout),
        }
    }

    /// Whether a new request can be sent on it now or soon; an error means that it is closed.
    pub(crate) async fn is_open(&self, limit: Duration) -> bool {
        matches!(timeout(limit, self.send.clone().ready()).await, Ok(Ok(_)))
    }

    /// Whether the upstream has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        let mut task = Task::from_waker(Waker::noop());
        matches!(self.send.clone().poll_ready(&mut task), Poll::Ready(Err(_)))
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Since when no request has begun.
    pub(crate) fn idle_since(&self) -> Instant {
        self.used.get()
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn exchange(
        &self,
        method: &str,
        uri: http::Uri,
        headers: &Headers,
        body: Body,
        mut waiting: Waiting<'_>,
    ) -> Result<Answer, ExchangeError> {
        let patience = waiting.patience;
        self.requests.set(self.requests.get() + 1);
        self.used.set(Instant::now());
        let mut send = match timeout(patience.write, self.send.clone().ready()).await {
            Ok(Ok(send)) => send,
            Ok(Err(_)) => return Err(ExchangeError::Closed),
            Err(_) => return Err(ExchangeError::Timeout),
        };
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::from_bytes(method.as_bytes()).map_err(|_| ExchangeError::Malformed)?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = to_map(headers);
        let is_end = matches!(body, Body::Empty);
        let (response, stream) = send.send_request(request, is_end).map_err(|_| ExchangeError::Closed)?;
        let mut pump = (!is_end).then(|| Box::pin(send_body(stream, body)) as Pump);
        let head = self.head(response, &mut pump, &mut waiting).await?;
        let (parts, stream) = head.into_parts();
        let length = parts.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = if stream.is_end_stream() && pump.is_none() {
            Body::Empty
        } else {
            Body::Stream(Box::pin(StreamBody::new(stream, length, patience.read, pump)))
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

    /// The head of the final response, while the request's body goes out; interim ones are passed on meanwhile.
    async fn head(
        &self,
        mut response: ResponseFuture,
        pump: &mut Option<Pump>,
        waiting: &mut Waiting<'_>,
    ) -> Result<http::Response<RecvStream>, ExchangeError> {
        let mut silence = Box::pin(sleep(waiting.patience.read));
        loop {
            let heard = poll_fn(|task| {
                if let Some(sending) = pump
                    && let Poll::Ready(sent) = sending.as_mut().poll(task)
                {
                    *pump = None;
                    if let Err(ExchangeError::Body(error)) = sent {
                        return Poll::Ready(Err(ExchangeError::Body(error)));
                    }
                }
                match response.poll_informational(task) {
                    Poll::Ready(Some(Ok(interim))) => return Poll::Ready(Ok(Heard::Interim(interim))),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(ExchangeError::Closed)),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                if let Poll::Ready(head) = Pin::new(&mut response).poll(task) {
                    return Poll::Ready(head.map(Heard::Final).map_err(|_| ExchangeError::Closed));
                }
                silence.as_mut().poll(task).map(|()| Err(ExchangeError::Timeout))
            });
            match heard.await? {
                Heard::Final(head) => return Ok(head),
                Heard::Interim(interim) => {
                    waiting.interim(interim.status().as_u16(), &from_map(interim.headers())).await;
                }
            }
        }
    }
}
