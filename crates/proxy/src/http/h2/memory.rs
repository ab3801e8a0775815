//! What has been sent of a body that comes but once, as long as it is little: an upstream that did nothing with the request
//! leaves it to be sent again.

use bytes::Bytes;
use pdk::{Body, BodyError, BodyStream, Frame, Headers};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};

/// How much is remembered: enough for nearly every call of gRPC with one message.
const LIMIT: usize = 64 * 1024;

struct Remembered {
    rest: Body,
    data: Vec<Bytes>,
    trailers: Option<Headers>,
    bytes: usize,
    /// How many of `data` have been sent in this go.
    sent: usize,
    /// All of `rest` has come, and all of the body has been sent in this go.
    has_come: bool,
    is_sent: bool,
    /// Nothing of it was forgotten.
    is_whole: bool,
}

/// The memory of a body.
pub(super) struct Memory(Rc<RefCell<Remembered>>);

impl Memory {
    pub(super) fn of(rest: Body) -> Self {
        let remembered = Remembered {
            rest,
            data: Vec::new(),
            trailers: None,
            bytes: 0,
            sent: 0,
            has_come: false,
            is_sent: false,
            is_whole: true,
        };
        Self(Rc::new(RefCell::new(remembered)))
    }

    /// The body, to be sent.
    pub(super) fn body(&self) -> Body {
        Body::Stream(Box::pin(Sent(self.0.clone())))
    }

    /// The body from its start; `None` where too much was sent.
    pub(super) fn again(self) -> Option<Body> {
        let mut body = self.0.borrow_mut();
        (body.sent, body.is_sent) = (0, false);
        body.is_whole.then(|| self.body())
    }

    /// The upstream has answered: there will not be another go.
    pub(super) fn forget(self) {
        self.0.borrow_mut().forget();
    }
}

impl Remembered {
    fn forget(&mut self) {
        self.is_whole = false;
        self.data.drain(..self.sent);
        self.sent = 0;
    }

    fn remember(&mut self, frame: &Frame) {
        match frame {
            Frame::Data(data) if self.bytes + data.len() <= LIMIT => {
                self.bytes += data.len();
                self.data.push(data.clone());
                self.sent += 1;
            }
            Frame::Data(_) => self.forget(),
            Frame::Trailers(trailers) => self.trailers = Some(trailers.clone()),
        }
    }

    fn poll(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(data) = self.data.get(self.sent) {
            let data = data.clone();
            self.sent += 1;
            if !self.is_whole {
                self.forget();
            }
            return Poll::Ready(Some(Ok(Frame::Data(data))));
        }
        if self.has_come {
            let was_sent = std::mem::replace(&mut self.is_sent, true);
            let trailers = self.trailers.as_ref().filter(|_| !was_sent);
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::Trailers(trailers.clone()))));
        }
        let frame = ready!(self.rest.poll_next(task));
        match &frame {
            Some(Ok(frame)) => {
                self.has_come = matches!(frame, Frame::Trailers(_));
                self.is_sent = self.has_come;
                if self.is_whole {
                    self.remember(frame);
                }
            }
            Some(Err(_)) => self.is_whole = false,
            None => (self.has_come, self.is_sent) = (true, true),
        }
        Poll::Ready(frame)
    }

    fn remaining(&self) -> Option<u64> {
        let held: usize = self.data.iter().skip(self.sent).map(Bytes::len).sum();
        self.rest.len().map(|rest| rest + held as u64)
    }
}

struct Sent(Rc<RefCell<Remembered>>);

impl BodyStream for Sent {
    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.0.borrow_mut().poll(task)
    }

    fn remaining(&self) -> Option<u64> {
        self.0.borrow().remaining()
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, Memory};
    use bytes::Bytes;
    use pdk::{Body, BodyError, BodyStream, Frame, Headers};
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context as Task, Poll};

    /// Pieces of these sizes, then trailers.
    struct Pieces(VecDeque<usize>, bool);

    impl BodyStream for Pieces {
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
            if let Some(size) = self.0.pop_front() {
                return Poll::Ready(Some(Ok(Frame::Data(vec![b'x'; size].into()))));
            }
            let mut trailers = Headers::new();
            trailers.append("x-checksum", b"7");
            let is_first = std::mem::replace(&mut self.1, false);
            Poll::Ready(is_first.then_some(Ok(Frame::Trailers(trailers))))
        }

        fn remaining(&self) -> Option<u64> {
            Some(self.0.iter().sum::<usize>() as u64)
        }
    }

    /// The sizes of up to `most` pieces, and whether trailers came.
    async fn read(body: &mut Body, most: usize) -> (Vec<usize>, bool) {
        let mut sizes = Vec::new();
        while sizes.len() < most {
            match body.next().await {
                Some(Ok(Frame::Data(data))) => sizes.push(data.len()),
                Some(Ok(Frame::Trailers(trailers))) => return (sizes, trailers.get("x-checksum") == Some(&b"7"[..])),
                _ => break,
            }
        }
        (sizes, false)
    }

    #[tokio::test]
    async fn a_short_body_can_be_sent_again_and_again_with_its_trailers() {
        for read_before in [0, 1, 2, 3, usize::MAX] {
            let mut body = Body::Stream(Box::pin(Pieces(VecDeque::from([3, LIMIT - 7, 4]), true)));
            for _ in 0..3 {
                let memory = Memory::of(body);
                assert_eq!(memory.body().len(), Some(LIMIT as u64), "{read_before}");
                read(&mut memory.body(), read_before).await;
                body = memory.again().unwrap();
            }
            assert_eq!(read(&mut body, 9).await, (vec![3, LIMIT - 7, 4], true), "{read_before}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_or_answered_is_sent_once() {
        let pieces = || Body::Stream(Box::pin(Pieces(VecDeque::from([3, LIMIT - 3, 1, 5]), true)));
        let memory = Memory::of(pieces());
        assert_eq!(read(&mut memory.body(), 9).await, (vec![3, LIMIT - 3, 1, 5], true));
        assert!(memory.again().is_none());
        let memory = Memory::of(pieces());
        read(&mut memory.body(), 1).await;
        let again = Memory::of(memory.again().unwrap());
        let mut body = again.body();
        assert_eq!(read(&mut body, 1).await, (vec![3], false));
        // What was forgotten after the first piece is the start of it alone.
        again.forget();
        assert_eq!(read(&mut body, 9).await, (vec![LIMIT - 3, 1, 5], true));
        assert_eq!(Bytes::new(), body.collect(1).await.unwrap());
    }
}
