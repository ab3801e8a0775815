//! Bodies as they arrive on an HTTP/2 stream, and the sending of them.

use super::client::Busy;
use super::from_map;
use crate::http::h1::client::{ExchangeError, Pump};
use crate::http::idle::Idle;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use pdk::{Body, BodyError, BodyStream, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

/// A body on a stream: of a client's request, or of an upstream's response (then the request's body goes on meanwhile).
pub(crate) struct StreamBody {
    stream: RecvStream,
    left: Option<u64>,
    idle: Idle,
    pump: Option<Pump>,
    /// Its place among the streams of an upstream's connection.
    busy: Option<Busy>,
    is_done: bool,
}

impl StreamBody {
    /// A client's body.
    pub(crate) fn new(stream: RecvStream, length: Option<u64>, timeout: Duration) -> Self {
        Self { stream, left: length, idle: Idle::new(timeout), pump: None, busy: None, is_done: false }
    }

    /// An upstream's.
    pub(crate) fn of_answer(
        stream: RecvStream,
        length: Option<u64>,
        timeout: Duration,
        pump: Option<Pump>,
        busy: Busy,
    ) -> Self {
        Self { pump, busy: Some(busy), ..Self::new(stream, length, timeout) }
    }
}

impl BodyStream for StreamBody {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let this = &mut *self;
        if let Some(pump) = &mut this.pump
            && pump.as_mut().poll(task).is_ready()
        {
            this.pump = None;
        }
        if this.is_done {
            return Poll::Ready(None);
        }
        let polled = this.stream.poll_data(task);
        let data = match ready!(this.idle.poll(task, polled)) {
            Err(_) => return Poll::Ready(Some(Err(BodyError::Timeout))),
            Ok(data) => data,
        };
        match data {
            Some(Ok(data)) => {
                let _ = this.stream.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::Data(data))))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(BodyError::Closed))),
            None => {
                let trailers = ready!(this.stream.poll_trailers(task));
                this.is_done = true;
                if this.pump.is_none() {
                    this.busy = None;
                }
                Poll::Ready(match trailers {
                    Ok(Some(map)) => Some(Ok(Frame::Trailers(from_map(&map)))),
                    Ok(None) => None,
                    Err(_) => Some(Err(BodyError::Closed)),
                })
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        if self.is_done || self.stream.is_end_stream() { Some(0) } else { self.left }
    }
}

/// Sends data as the peer's windows allow; waits for room, as long as `idle` says.
pub(crate) async fn send_data(
    to: &mut SendStream<Bytes>,
    mut data: Bytes,
    is_last: bool,
    idle: &mut Idle,
) -> Result<(), ExchangeError> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = poll_fn(|task| {
            let polled = to.poll_capacity(task);
            idle.poll(task, polled)
        });
        let room = match room.await {
            Ok(Some(Ok(room))) => room,
            Ok(_) => return Err(ExchangeError::Closed),
            Err(_) => return Err(ExchangeError::Timeout),
        };
        let piece = data.split_to(room.min(data.len()));
        to.send_data(piece, is_last && data.is_empty()).map_err(|_| ExchangeError::Closed)?;
    }
    Ok(())
}

/// Sends a request's body, whatever its form. Each wait for room in the upstream's windows lasts at most `limit`.
pub(crate) async fn send_body(mut to: SendStream<Bytes>, mut body: Body, limit: Duration) -> Result<(), ExchangeError> {
    let mut idle = Idle::new(limit);
    while let Some(frame) = body.next().await {
        let sent = match frame {
            Ok(Frame::Data(data)) => send_data(&mut to, data, false, &mut idle).await,
            Ok(Frame::Trailers(trailers)) => {
                return to.send_trailers(super::to_map(&trailers)).map_err(|_| ExchangeError::Closed);
            }
            Err(error) => Err(ExchangeError::Body(error)),
        };
        if let Err(error) = sent {
            to.send_reset(h2::Reason::CANCEL);
            return Err(error);
        }
    }
    to.send_data(Bytes::new(), true).map_err(|_| ExchangeError::Closed)
}
