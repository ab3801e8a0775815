//! A body that is copied while it passes.

use super::outcome::Outcome;
use bytes::Bytes;
use pdk::{Body, BodyError, BodyStream, Frame};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context as Task, Poll};

/// What all copies of the process may hold of bodies together.
const MOST: usize = 128 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// A share of what may be held; it is given back when it goes.
#[derive(Debug, Default)]
pub(super) struct Share(usize);

impl Share {
    /// Takes more; false where there is no more.
    pub(super) fn grow(&mut self, by: usize) -> bool {
        let more = |held: usize| held.checked_add(by).filter(|held| *held <= MOST);
        let is_had = HELD.fetch_update(Relaxed, Relaxed, more).is_ok();
        self.0 += if is_had { by } else { 0 };
        is_had
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Relaxed);
    }
}

/// A whole body.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Share,
}

impl Held {
    /// A body that is at hand.
    pub(super) fn of(bytes: Bytes) -> Result<Self, Outcome> {
        let mut share = Share::default();
        if share.grow(bytes.len()) { Ok(Self { bytes, _share: share }) } else { Err(Outcome::Dropped) }
    }
}

type Then = Box<dyn FnOnce(Result<Held, Outcome>)>;

/// Passes a body on as it is, and keeps a copy up to a limit: at its end the copy goes on, or says why there is none.
pub(super) struct Tee {
    body: Body,
    limit: usize,
    /// A copy of its own: a piece of the body may be a small part of a buffer, all of which would be held.
    kept: Vec<u8>,
    share: Share,
    /// `None` once it is settled what becomes of the copy.
    then: Option<Then>,
}

impl Tee {
    pub(super) fn new(body: Body, limit: usize, then: impl FnOnce(Result<Held, Outcome>) + 'static) -> Self {
        Self { body, limit, kept: Vec::new(), share: Share::default(), then: Some(Box::new(then)) }
    }

    fn keep(&mut self, data: &[u8]) {
        if self.then.is_none() {
            return;
        }
        if self.kept.len() + data.len() > self.limit {
            return self.end(Some(Outcome::TooLarge));
        }
        if !self.share.grow(data.len()) {
            return self.end(Some(Outcome::Dropped));
        }
        self.kept.extend_from_slice(data);
        // Whoever knows the length does not ask for what is behind it.
        if self.body.len() == Some(0) {
            self.end(None);
        }
    }

    fn end(&mut self, why_none: Option<Outcome>) {
        let Some(then) = self.then.take() else { return };
        let held = Held { bytes: std::mem::take(&mut self.kept).into(), _share: std::mem::take(&mut self.share) };
        then(why_none.map_or(Ok(held), Err));
    }
}

impl BodyStream for Tee {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let polled = self.body.poll_next(task);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(Frame::Data(data)))) => self.keep(data),
            Poll::Ready(None | Some(Ok(Frame::Trailers(_)))) => self.end(None),
            Poll::Ready(Some(Err(_))) => self.end(Some(Outcome::Incomplete)),
        }
        polled
    }

    fn remaining(&self) -> Option<u64> {
        self.body.len()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.end(Some(Outcome::Incomplete));
    }
}
