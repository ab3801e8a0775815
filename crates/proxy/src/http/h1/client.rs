//! The client side: a request out on an upstream's connection, its response back.

use super::body::{OnEnd, Payload, ResponseBody};
use super::server::standard_reason;
use crate::http::chunked;
use crate::http::connection::Connection;
use crate::http::downstream::Downstream;
use crate::http::head::{self, Framing, ResponseHead};
use bytes::{Buf, Bytes};
use pdk::{Body, BodyError, Frame, Headers, Version};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How large an upstream's response head may be.
const HEAD: usize = 64 * 1024;
/// A body up to this size that has come along with its head is taken at once, and the connection is free again.
const SMALL: u64 = 4096;

/// Sends the rest of a request's body.
pub(crate) type Pump = Pin<Box<dyn Future<Output = Result<(), ExchangeError>>>>;

/// Time-outs towards the upstream (a service's `write_timeout`, `read_timeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub write: Duration,
    pub read: Duration,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// The upstream closed or reset the connection.
    Closed,
    Timeout,
    /// The upstream did nothing with the request, which can be sent again (RFC 9113, 8.7).
    Refused,
    /// What it answered is not HTTP.
    Malformed,
    /// The client's body broke off.
    Body(BodyError),
}

/// A response of an upstream.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: Vec<u8>,
    pub(crate) headers: Headers,
    pub(crate) body: Body,
    /// After a 101: the connection, for a tunnel.
    pub(crate) upgraded: Option<Rc<Connection>>,
    pub(crate) version: Version,
}

/// How much of an upstream's interim answers is passed on, in bytes of their fields and a few more each: an HTTP/2 client may
/// leave them lying in our memory.
const INTERIMS: u64 = HEAD as u64;
/// About what the first line and the end of one take.
const STATUS_LINE: u64 = 32;

/// How an answer is waited for.
pub(crate) struct Waiting<'a> {
    pub(crate) patience: Patience,
    /// The answer to HEAD has no body, whatever its head says.
    pub(crate) is_head: bool,
    /// Whether the request asks for another protocol: only then may the answer be a 101.
    pub(crate) may_upgrade: bool,
    /// Where interim answers go.
    pub(crate) to: &'a mut Downstream,
    /// What they have come to so far.
    pub(crate) interims: u64,
}

impl Waiting<'_> {
    /// Passes an interim answer on, or no more of them once there were too many. 100 is for us alone: the client was told by
    /// ourselves (RFC 9110, 15.2).
    pub(crate) async fn interim(&mut self, status: u16, headers: &Headers) {
        self.interims += STATUS_LINE + headers.wire_size() as u64;
        if status > 101 && self.interims <= INTERIMS {
            self.to.interim(status, headers).await;
        }
    }
}

/// How the body goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Plain,
    Chunked,
}

/// Sends a request and reads the response's head. `on_end` gets the connection back when it can be used again.
pub(crate) async fn exchange(
    conn: Rc<Connection>,
    request_head: &[u8],
    body: Body,
    outgoing: Outgoing,
    waiting: &mut Waiting<'_>,
    on_end: OnEnd,
) -> Result<Answer, ExchangeError> {
    let patience = waiting.patience;
    let at_hand = match &body {
        Body::Bytes(bytes) => bytes.clone(),
        _ => Bytes::new(),
    };
    // An upstream may answer and close before it has read everything: what it said counts.
    let sent = write(&conn, patience.write, request_head, &at_hand).await;
    let mut pump: Option<Pump> = None;
    if sent.is_ok() && body.is_stream() {
        pump = Some(Box::pin(send_body(conn.clone(), body, outgoing, patience.write)));
    }
    let head = match sent {
        Err(ExchangeError::Timeout) => return Err(ExchangeError::Timeout),
        Err(_) => {
            conn.rest();
            read_head(&conn, waiting).await.map_err(|_| ExchangeError::Closed)?
        }
        Ok(()) => wait_for_head(&conn, &mut pump, waiting).await?,
    };
    Ok(answer(conn, head, pump, patience, sent.is_ok(), on_end))
}

fn answer(
    conn: Rc<Connection>,
    head: ResponseHead,
    pump: Option<Pump>,
    patience: Patience,
    was_sent: bool,
    on_end: OnEnd,
) -> Answer {
    let ResponseHead { status, reason, headers, framing, keep_alive } = head;
    let reason = headers.bytes(reason);
    // The usual phrase needs no copy: it is known by the status.
    let reason = if reason == standard_reason(status).as_bytes() { Vec::new() } else { reason.to_vec() };
    if status == 101 {
        return Answer { status, reason, headers, body: Body::Empty, upgraded: Some(conn), version: Version::Http11 };
    }
    let on_end = (keep_alive && was_sent).then_some(on_end);
    let body = match framing {
        Framing::None if pump.is_none() => {
            if let Some(on_end) = on_end {
                on_end.give_back(conn);
            }
            Body::Empty
        }
        Framing::Length(length) if length <= SMALL && pump.is_none() && conn.input().len() as u64 >= length => {
            let bytes = conn.take(length);
            if let Some(on_end) = on_end {
                on_end.give_back(conn);
            }
            Body::Bytes(bytes)
        }
        _ => {
            Body::Stream(Box::pin(ResponseBody::new(Payload::of_upstream(conn, framing, patience.read), on_end, pump)))
        }
    };
    Answer { status, reason, headers, body, upgraded: None, version: Version::Http11 }
}

async fn write(conn: &Connection, limit: Duration, first: &[u8], second: &[u8]) -> Result<(), ExchangeError> {
    match conn.within(limit, conn.write_all(first, second)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ExchangeError::Closed),
        Err(_) => Err(ExchangeError::Timeout),
    }
}

async fn send_body(
    conn: Rc<Connection>,
    mut body: Body,
    outgoing: Outgoing,
    limit: Duration,
) -> Result<(), ExchangeError> {
    let mut out = Vec::new();
    while let Some(frame) = body.next().await {
        match frame.map_err(ExchangeError::Body)? {
            Frame::Data(data) if outgoing == Outgoing::Chunked => {
                chunked::write_size(&mut out, data.len());
                write(&conn, limit, &out, &data).await?;
                out.clear();
                out.extend_from_slice(b"\r\n");
            }
            Frame::Data(data) => write(&conn, limit, &data, &[]).await?,
            Frame::Trailers(trailers) if outgoing == Outgoing::Chunked => {
                chunked::write_end(&mut out, Some(&trailers));
                return write(&conn, limit, &out, &[]).await;
            }
            Frame::Trailers(_) => {}
        }
    }
    if outgoing == Outgoing::Chunked {
        chunked::write_end(&mut out, None);
        write(&conn, limit, &out, &[]).await?;
    }
    Ok(())
}

/// Waits for the response's head while the request's body is sent. The time-out counts from the end of the body.
async fn wait_for_head(
    conn: &Connection,
    pump: &mut Option<Pump>,
    waiting: &mut Waiting<'_>,
) -> Result<ResponseHead, ExchangeError> {
    if let Some(sending) = pump {
        let limit = waiting.patience.read;
        let mut early = Box::pin(next_head(conn, waiting));
        let sent = poll_fn(|task| {
            if let Poll::Ready(head) = early.as_mut().poll(task) {
                return Poll::Ready(Err(head));
            }
            sending.as_mut().poll(task).map(Ok)
        });
        match sent.await {
            Err(head) => return head,
            Ok(Err(ExchangeError::Body(error))) => return Err(ExchangeError::Body(error)),
            Ok(Err(ExchangeError::Timeout)) => return Err(ExchangeError::Timeout),
            // The upstream has closed its reading side; it may have answered before.
            Ok(_) => *pump = None,
        }
        return match conn.within(limit, early).await {
            Ok(head) => head,
            Err(_) => Err(ExchangeError::Timeout),
        };
    }
    read_head(conn, waiting).await
}

async fn read_head(conn: &Connection, waiting: &mut Waiting<'_>) -> Result<ResponseHead, ExchangeError> {
    conn.within(waiting.patience.read, next_head(conn, waiting)).await.unwrap_or(Err(ExchangeError::Timeout))
}

/// The head of the final response; interim ones are passed on meanwhile.
async fn next_head(conn: &Connection, waiting: &mut Waiting<'_>) -> Result<ResponseHead, ExchangeError> {
    loop {
        let head = {
            let mut input = conn.input();
            match head::find_response_end(&input, HEAD).map_err(|_| ExchangeError::Malformed)? {
                None => None,
                Some(end) => {
                    let head =
                        head::parse_response(&input[..end], waiting.is_head).map_err(|_| ExchangeError::Malformed)?;
                    input.advance(end);
                    Some(head)
                }
            }
        };
        match head {
            Some(head) if head.status >= 200 => return Ok(head),
            Some(head) if head.status == 101 => {
                return if waiting.may_upgrade { Ok(head) } else { Err(ExchangeError::Malformed) };
            }
            // Rare and boxed: the future of every other request stays small.
            Some(interim) => {
                Box::pin(waiting.interim(interim.status, &interim.headers)).await;
                continue;
            }
            None => {}
        }
        match conn.fill(0).await {
            Ok(count) if count > 0 => {}
            _ => return Err(ExchangeError::Closed),
        }
    }
}
