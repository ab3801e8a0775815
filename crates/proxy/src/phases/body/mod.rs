//! A request's body on its way upstream: held first, where the route asks for that.

mod spool;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use pdk::{Body, BodyError, BodyStream, Frame};
use spool::Spool;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

/// A request's body on its way: for one try, or for as many as need be.
pub(crate) enum Held {
    Once(Body),
    Bytes(Bytes),
    File(Spool),
}

/// Why a body cannot be held.
pub(crate) enum HoldError {
    Body(BodyError),
    /// There is no temporary file to be had, or no room on its disk.
    File(io::Error),
}

impl From<BodyError> for HoldError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<io::Error> for HoldError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<Body> for Held {
    fn from(body: Body) -> Self {
        match body {
            Body::Empty => Self::Bytes(Bytes::new()),
            Body::Bytes(bytes) => Self::Bytes(bytes),
            stream @ Body::Stream(_) => Self::Once(stream),
        }
    }
}

impl Held {
    /// Whether it can be sent as often as need be. A stream can be sent once only.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Once(_))
    }

    /// The body for a try.
    pub(crate) fn for_try(&mut self) -> Body {
        match self {
            Self::Once(body) => std::mem::take(body),
            Self::Bytes(bytes) => bytes.clone().into(),
            Self::File(spool) => Body::Stream(Box::pin(spool.reader())),
        }
    }

    /// Takes back what a try was given and its upstream did nothing with.
    pub(crate) fn give_back(&mut self, body: Body) {
        if let Self::Once(own) = self {
            *own = body;
        }
    }

    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Once(body) => body.len(),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(spool) => Some(spool.len()),
        }
    }
}

/// Reads the body whole: into memory up to `limit`, beyond it into a file of `folder`. Without `waits`, only what has come
/// already is taken: a small body that is whole goes out with its length, any other is streamed.
pub(crate) async fn hold(mut body: Body, limit: usize, waits: bool, folder: &Path) -> Result<Held, HoldError> {
    if !body.is_stream() || (!waits && body.len().is_some()) {
        return Ok(body.into());
    }
    let mut first: Option<Bytes> = None;
    let mut held = BytesMut::new();
    let mut spool: Option<Spool> = None;
    if body.len().is_some_and(|length| length > limit as u64) {
        spool = Some(Spool::create(folder)?);
    }
    loop {
        let frame = match poll_fn(|task| Poll::Ready(body.poll_next(task))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending if waits => body.next().await,
            Poll::Pending => return Ok(Held::Once(resumed(first, held, body))),
        };
        let Some(frame) = frame else { break };
        let Frame::Data(data) = frame? else { break };
        if let Some(spool) = &mut spool {
            spool.push(&data)?;
            continue;
        }
        if first.is_none() && held.is_empty() && data.len() <= limit {
            first = Some(data);
            continue;
        }
        held.extend_from_slice(&first.take().unwrap_or_default());
        held.extend_from_slice(&data);
        if held.len() > limit {
            if !waits {
                return Ok(Held::Once(resumed(None, held, body)));
            }
            spool.insert(Spool::create(folder)?).push(&held)?;
            held = BytesMut::new();
        }
    }
    Ok(match spool {
        Some(spool) => Held::File(spool),
        None => Held::Bytes(first.unwrap_or_else(|| held.freeze())),
    })
}

fn resumed(first: Option<Bytes>, mut held: BytesMut, rest: Body) -> Body {
    held.extend_from_slice(&first.unwrap_or_default());
    Body::Stream(Box::pin(Resumed { first: held.freeze(), rest }))
}

/// A stream whose beginning was read already.
struct Resumed {
    first: Bytes,
    rest: Body,
}

impl BodyStream for Resumed {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::Data(std::mem::take(&mut self.first)))));
        }
        self.rest.poll_next(task)
    }

    fn remaining(&self) -> Option<u64> {
        self.rest.len().map(|rest| rest + self.first.len() as u64)
    }
}

/// A stream that ends with an error where it is longer than allowed (`client_max_body_size` without a Content-Length).
pub(crate) struct Limited {
    body: Body,
    left: u64,
}

impl Limited {
    pub(crate) fn wrap(body: Body, limit: u64) -> Body {
        match body {
            Body::Stream(_) => Body::Stream(Box::pin(Self { body, left: limit })),
            whole => whole,
        }
    }
}

impl BodyStream for Limited {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let polled = self.body.poll_next(task);
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &polled {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
            }
        }
        polled
    }

    fn remaining(&self) -> Option<u64> {
        self.body.len()
    }
}
