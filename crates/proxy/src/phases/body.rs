//! A request's body on its way upstream: held first, where the route asks for that.

use bytes::{Bytes, BytesMut};
use pdk::{Body, BodyError, BodyStream, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

/// Reads the body into memory, up to `limit`; a longer one is streamed on behind what was read. Without `waits`, only
/// what has come already is taken: a small body that is whole goes out with its length.
pub(crate) async fn hold(body: &mut Body, limit: usize, waits: bool) -> Result<(), BodyError> {
    if !body.is_stream() || body.len().is_some_and(|length| length > limit as u64 || !waits) {
        return Ok(());
    }
    let mut first: Option<Bytes> = None;
    let mut held = BytesMut::new();
    loop {
        let frame = match poll_fn(|task| Poll::Ready(body.poll_next(task))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending if waits => body.next().await,
            Poll::Pending => {
                held.extend_from_slice(&first.take().unwrap_or_default());
                let rest = std::mem::take(body);
                *body = Body::Stream(Box::pin(Resumed { first: held.freeze(), rest }));
                return Ok(());
            }
        };
        let Some(frame) = frame else { break };
        let Frame::Data(data) = frame? else { break };
        if first.is_none() && held.is_empty() {
            first = Some(data);
            continue;
        }
        held.extend_from_slice(&first.take().unwrap_or_default());
        held.extend_from_slice(&data);
        if held.len() > limit {
            let rest = std::mem::take(body);
            *body = Body::Stream(Box::pin(Resumed { first: held.freeze(), rest }));
            return Ok(());
        }
    }
    *body = first.unwrap_or_else(|| held.freeze()).into();
    Ok(())
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
