//! Tests of how a request's body is held before it goes upstream.

use super::{Held, HoldError, hold};
use bytes::Bytes;
use pdk::{Body, BodyError, BodyStream, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

/// Pieces that come one by one, each after a time of nothing.
struct Pieces {
    left: VecDeque<Result<&'static str, BodyError>>,
    length: Option<u64>,
    is_there: bool,
}

impl BodyStream for Pieces {
    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.is_there = !self.is_there;
        if self.is_there {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(
            self.left.pop_front().map(|piece| piece.map(|text| Frame::Data(Bytes::from_static(text.as_bytes())))),
        )
    }

    fn remaining(&self) -> Option<u64> {
        self.length
    }
}

fn pieces(all: &[Result<&'static str, BodyError>], length: Option<u64>) -> Body {
    Body::Stream(Box::pin(Pieces { left: all.iter().copied().collect(), length, is_there: false }))
}

fn text(body: &mut Body) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    String::from_utf8(runtime.block_on(body.collect(1 << 20)).unwrap().to_vec()).unwrap()
}

fn held(body: Body, limit: usize, waits: bool, folder: &std::path::Path) -> Result<Held, HoldError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(hold(body, limit, waits, folder))
}

#[test]
fn a_buffered_body_is_whole_before_it_goes_out_and_can_go_out_again() {
    let folder = std::env::temp_dir().join(format!("silverback-spool-{}", fastrand::u64(..)));
    for (what, limit, length, in_memory) in [
        ("short, length unknown", 100, None, true),
        ("short, length known", 100, Some(9), true),
        ("as long as memory allows", 9, Some(9), true),
        ("longer than memory allows", 8, Some(9), false),
        ("longer than memory allows, length unknown", 4, None, false),
        ("first piece longer than memory allows", 2, None, false),
    ] {
        let body = pieces(&[Ok("abc"), Ok("def"), Ok("ghi")], length);
        let Ok(mut held) = held(body, limit, true, &folder) else { panic!("{what}: not held") };
        assert_eq!(matches!(held, Held::Bytes(_)), in_memory, "{what}");
        assert_eq!(held.len(), Some(9), "{what}");
        for _ in 0..2 {
            let (mut body, is_repeatable) = (held.for_try(), held.is_repeatable());
            assert!(is_repeatable && body.len() == Some(9), "{what}");
            assert_eq!(text(&mut body), "abcdefghi", "{what}");
        }
    }
    // Their names are gone already.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn an_unbuffered_body_streams() {
    let folder = std::path::Path::new("/nonexistent");
    for length in [None, Some(6)] {
        let Ok(mut held) = held(pieces(&[Ok("abc"), Ok("def")], length), 2, false, folder) else { panic!("not held") };
        assert!(matches!(held, Held::Once(_)), "{length:?}");
        assert_eq!(text(&mut held.for_try()), "abcdef", "{length:?}");
    }
}

#[test]
fn what_breaks_off_is_not_sent() {
    let folder = std::env::temp_dir();
    for limit in [2, 100] {
        let body = pieces(&[Ok("abc"), Err(BodyError::Closed)], None);
        assert!(matches!(held(body, limit, true, &folder), Err(HoldError::Body(BodyError::Closed))), "{limit}");
    }
    let body = pieces(&[Ok("abc")], None);
    assert!(matches!(held(body, 2, true, std::path::Path::new("/proc/nowhere")), Err(HoldError::File(_))));
}
