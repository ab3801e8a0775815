//! Bodies: nothing, bytes at hand, or a stream with back-pressure.

use crate::Headers;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

/// A piece of a body.
#[derive(Debug)]
pub enum Frame {
    Data(Bytes),
    /// The last frame, where the message has trailer fields.
    Trailers(Headers),
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body's framing is malformed")]
    Malformed,
    #[error("the peer sent nothing for too long")]
    Timeout,
    #[error("the peer closed the connection before the end of the body")]
    Closed,
}

/// A body that comes piece by piece. A reader that does not poll holds the sender back.
pub trait BodyStream {
    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>>;

    /// Bytes still to come, where that is known.
    fn remaining(&self) -> Option<u64>;
}

/// The body of a request or a response.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Bytes(Bytes),
    Stream(Pin<Box<dyn BodyStream>>),
}

impl Body {
    /// Its length, where it is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.remaining(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The next frame; `None` at the end.
    pub fn poll_next(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::Data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(task),
        }
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Frame, BodyError>> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// Reads the whole body, at most `limit` bytes, and leaves it in place so that it can be read again.
    pub async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Empty => return Ok(Bytes::new()),
            Self::Bytes(bytes) if bytes.len() <= limit => return Ok(bytes.clone()),
            Self::Bytes(_) => return Err(BodyError::TooLarge),
            Self::Stream(stream) if stream.remaining().is_some_and(|n| n > limit as u64) => {
                return Err(BodyError::TooLarge);
            }
            Self::Stream(_) => {}
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = self.next().await {
            if let Frame::Data(data) = frame? {
                if whole.len() + data.len() > limit {
                    return Err(BodyError::TooLarge);
                }
                whole.extend_from_slice(&data);
            }
        }
        let whole = whole.freeze();
        *self = if whole.is_empty() { Self::Empty } else { Self::Bytes(whole.clone()) };
        Ok(whole)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes.into()) }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(stream) => write!(f, "Stream({:?})", stream.remaining()),
        }
    }
}
