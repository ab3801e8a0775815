//! The way back to the client: a head, pieces of a body, the end.

use super::connection::Connection;
use super::h1::server::H1Responder;
use super::h2::server::H2Responder;
use bytes::Bytes;
use h2::server::SendResponse;
use pdk::{Headers, Version};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

/// The client has closed, or reads nothing for too long.
#[derive(Debug)]
pub struct ClientGone;

/// What is known of a response's body when its head is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body follows (HEAD, 204, 304); a Content-Length of the headers stands for what would.
    None,
    Known(u64),
    Unknown,
}

/// Shows whether the client has gone away, while its answer is awaited.
pub(crate) enum Watch {
    H1(Rc<Connection>),
    H2(Rc<RefCell<SendResponse<Bytes>>>),
    /// It cannot be told any more.
    Blind,
}

impl Watch {
    /// Ready once the client has gone.
    pub(crate) fn poll(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let is_gone = match self {
            Self::H1(conn) => std::task::ready!(conn.poll_reset(task)),
            Self::H2(respond) => return respond.borrow_mut().poll_reset(task).map(|_| ()),
            Self::Blind => false,
        };
        if is_gone {
            return Poll::Ready(());
        }
        *self = Self::Blind;
        Poll::Pending
    }
}

/// Where a response goes.
pub enum Downstream {
    #[doc(hidden)]
    H1(H1Responder),
    #[doc(hidden)]
    H2(H2Responder),
}

impl Downstream {
    /// Takes the head; it goes out with the first piece of the body, or with `flush`.
    pub fn head(
        &mut self,
        status: u16,
        reason: &[u8],
        headers: &Headers,
        length: BodyLength,
    ) -> Result<(), ClientGone> {
        match self {
            Self::H1(to) => {
                to.head(status, reason, headers, length);
                Ok(())
            }
            Self::H2(to) => to.head(status, headers, length),
        }
    }

    /// Passes on an interim answer of an upstream (RFC 9110, 15.2), such as 103. HTTP/1.0 has none. A client that is gone is
    /// noticed with the answer itself.
    pub(crate) async fn interim(&mut self, status: u16, headers: &Headers) {
        match self {
            Self::H1(to) if to.version() == Version::Http11 => to.interim(status, headers).await,
            Self::H1(_) => {}
            Self::H2(to) => to.interim(status, headers),
        }
    }

    pub async fn flush(&mut self) -> Result<(), ClientGone> {
        match self {
            Self::H1(to) => to.flush().await,
            Self::H2(_) => Ok(()),
        }
    }

    pub async fn data(&mut self, data: Bytes) -> Result<(), ClientGone> {
        match self {
            Self::H1(to) => to.data(&data).await,
            Self::H2(to) => Box::pin(to.data(data)).await,
        }
    }

    /// The whole body at once, and the end.
    pub async fn finish(&mut self, last: Bytes, trailers: Option<&Headers>) -> Result<(), ClientGone> {
        match self {
            Self::H1(to) => to.finish(&last, trailers).await,
            Self::H2(to) => Box::pin(to.finish(last, trailers)).await,
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        match self {
            Self::H1(to) => Watch::H1(to.connection()),
            Self::H2(to) => Watch::H2(to.shared()),
        }
    }

    /// Ready when the client has gone while there is nothing to send in the middle of an answer. `watch` is its own.
    pub(crate) fn poll_gone(&mut self, watch: &mut Watch, task: &mut Task<'_>) -> Poll<()> {
        match self {
            Self::H1(_) => watch.poll(task),
            // What it was watched by has become the stream that the answer goes out on.
            Self::H2(to) => to.poll_gone(task),
        }
    }

    /// Makes the answer the last one on its connection, cut off so that it does not look complete.
    pub fn abort(&mut self) {
        match self {
            Self::H1(to) => to.abort(),
            Self::H2(to) => to.abort(),
        }
    }

    /// After a 101: the connection itself.
    pub(crate) fn upgrade(&mut self) -> Option<Rc<Connection>> {
        match self {
            Self::H1(to) => Some(to.upgrade()),
            Self::H2(_) => None,
        }
    }

    pub fn version(&self) -> Version {
        match self {
            Self::H1(to) => to.version(),
            Self::H2(_) => Version::Http2,
        }
    }

    /// Bytes of the body sent so far.
    pub fn body_sent(&self) -> u64 {
        match self {
            Self::H1(to) => to.sent().saturating_sub(to.head_size()),
            Self::H2(to) => to.sent().saturating_sub(to.head_size()),
        }
    }

    /// Bytes sent for this answer so far.
    pub fn sent(&self) -> u64 {
        match self {
            Self::H1(to) => to.sent(),
            Self::H2(to) => to.sent(),
        }
    }
}
