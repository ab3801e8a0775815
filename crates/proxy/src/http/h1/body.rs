//! Bodies as they arrive on an HTTP/1 connection.

use crate::http::chunked::{Decoded, Decoder};
use crate::http::connection::Connection;
use crate::http::head::Framing;
use crate::http::idle::Idle;
use crate::upstream::pool::{Pool, PoolKey};
use pdk::{BodyError, BodyStream, Frame};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

enum Remaining {
    Length(u64),
    Chunked(Decoder),
    Close,
    Done,
    /// Its framing was wrong, or it broke off: where the next message begins nobody can tell.
    Broken,
}

/// The part of a message behind its head.
pub(crate) struct Payload {
    conn: Rc<Connection>,
    remaining: Remaining,
    idle: Idle,
    /// Whether anybody has asked for it (and so for `100 Continue`).
    pub(crate) was_read: bool,
    is_of_upstream: bool,
}

impl Payload {
    pub(crate) fn new(conn: Rc<Connection>, framing: Framing, timeout: Duration) -> Self {
        let remaining = match framing {
            Framing::None => Remaining::Done,
            Framing::Length(length) => Remaining::Length(length),
            Framing::Chunked => Remaining::Chunked(Decoder::default()),
            Framing::Close => Remaining::Close,
        };
        Self { conn, remaining, idle: Idle::new(timeout), was_read: false, is_of_upstream: false }
    }

    /// The part of an upstream's answer behind its head.
    pub(crate) fn of_upstream(conn: Rc<Connection>, framing: Framing, timeout: Duration) -> Self {
        Self { is_of_upstream: true, ..Self::new(conn, framing, timeout) }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.remaining, Remaining::Done)
    }

    /// Whether the next message cannot be found any more, or only by reading away more than `limit`. A client that still
    /// waits for `100 Continue` may send its body or not: nobody can tell.
    pub(crate) fn is_beyond(&self, expects_continue: bool, limit: u64) -> bool {
        match self.remaining {
            Remaining::Broken => true,
            Remaining::Done => false,
            _ if self.was_read => false,
            _ if expects_continue => true,
            Remaining::Length(left) => left > limit,
            Remaining::Chunked(_) | Remaining::Close => false,
        }
    }

    fn left(&self) -> Option<u64> {
        match self.remaining {
            Remaining::Length(left) => Some(left),
            Remaining::Done => Some(0),
            Remaining::Chunked(_) | Remaining::Close | Remaining::Broken => None,
        }
    }

    /// What of the input belongs to this body.
    fn decode(&mut self) -> Result<Decoded, BodyError> {
        match &mut self.remaining {
            Remaining::Done => Ok(Decoded::End(None)),
            Remaining::Broken => Err(BodyError::Malformed),
            Remaining::Length(left) => {
                let data = self.conn.take(*left);
                if data.is_empty() {
                    return Ok(Decoded::More);
                }
                *left -= data.len() as u64;
                if *left == 0 {
                    self.remaining = Remaining::Done;
                }
                Ok(Decoded::Data(data))
            }
            Remaining::Chunked(decoder) => {
                let mut input = self.conn.input();
                let decoded =
                    if self.is_of_upstream { decoder.decode_leniently(&mut input) } else { decoder.decode(&mut input) };
                match &decoded {
                    Ok(Decoded::End(_)) => self.remaining = Remaining::Done,
                    Ok(_) => {}
                    Err(_) => self.remaining = Remaining::Broken,
                }
                decoded
            }
            Remaining::Close => {
                let data = self.conn.take(u64::MAX);
                Ok(if data.is_empty() { Decoded::More } else { Decoded::Data(data) })
            }
        }
    }

    fn expected(&self) -> u64 {
        match &self.remaining {
            Remaining::Length(left) => *left,
            Remaining::Chunked(decoder) => decoder.expected(),
            Remaining::Close => u64::MAX,
            Remaining::Done | Remaining::Broken => 0,
        }
    }

    pub(crate) fn poll(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            match self.decode() {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Decoded::End(trailers)) => return Poll::Ready(trailers.map(|t| Ok(Frame::Trailers(t)))),
                Ok(Decoded::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let filled = self.conn.poll_fill(task, self.expected());
            match ready!(self.idle.poll(task, filled)) {
                Err(_) => {
                    self.remaining = Remaining::Broken;
                    return Poll::Ready(Some(Err(BodyError::Timeout)));
                }
                Ok(Ok(count)) if count > 0 => {}
                Ok(Ok(_)) if matches!(self.remaining, Remaining::Close) => {
                    self.remaining = Remaining::Done;
                    return Poll::Ready(None);
                }
                Ok(_) => {
                    self.remaining = Remaining::Broken;
                    return Poll::Ready(Some(Err(BodyError::Closed)));
                }
            }
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of a client's request. The server's loop shares the payload: what nobody reads it reads away.
pub(crate) struct RequestBody {
    payload: Rc<RefCell<Payload>>,
    /// How much of the interim answer that the client waits for is still to be sent.
    interim: &'static [u8],
}

impl RequestBody {
    pub(crate) fn new(payload: Rc<RefCell<Payload>>, expects_continue: bool) -> Self {
        Self { payload, interim: if expects_continue { CONTINUE } else { &[] } }
    }
}

impl BodyStream for RequestBody {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let this = &mut *self;
        let mut payload = this.payload.borrow_mut();
        while !this.interim.is_empty() {
            match ready!(payload.conn.poll_send(task, this.interim)) {
                Ok(count) => this.interim = &this.interim[count..],
                Err(_) => return Poll::Ready(Some(Err(BodyError::Closed))),
            }
        }
        payload.was_read = true;
        payload.poll(task)
    }

    fn remaining(&self) -> Option<u64> {
        self.payload.borrow().left()
    }
}

/// Where the upstream's connection goes when its answer has been read to the end.
pub(crate) struct OnEnd {
    pub(crate) pool: Rc<Pool>,
    pub(crate) key: PoolKey,
    /// Requests it has carried by then.
    pub(crate) requests: u64,
}

impl OnEnd {
    pub(crate) fn give_back(self, conn: Rc<Connection>) {
        self.pool.put(self.key, conn, self.requests);
    }
}

/// The body of an upstream's response. The rest of the request's body, if the answer came early, is sent on meanwhile.
pub(crate) struct ResponseBody {
    payload: Payload,
    on_end: Option<OnEnd>,
    pump: Option<super::client::Pump>,
}

impl ResponseBody {
    pub(crate) fn new(payload: Payload, on_end: Option<OnEnd>, pump: Option<super::client::Pump>) -> Self {
        Self { payload, on_end, pump }
    }
}

impl BodyStream for ResponseBody {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(pump) = &mut self.pump
            && let Poll::Ready(sent) = pump.as_mut().poll(task)
        {
            self.pump = None;
            if sent.is_err() {
                self.on_end = None;
            }
        }
        let polled = self.payload.poll(task);
        if self.payload.is_done()
            && self.pump.is_none()
            && let Some(on_end) = self.on_end.take()
        {
            on_end.give_back(self.payload.conn.clone());
        }
        polled
    }

    fn remaining(&self) -> Option<u64> {
        self.payload.left()
    }
}
