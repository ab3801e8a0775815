//! A time-out on silence: armed while something is awaited, disarmed when it comes.

use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Nothing came for too long.
#[derive(Debug)]
pub(crate) struct Elapsed;

pub(crate) struct Idle {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, sleep: None, armed: false }
    }

    /// Passes on what is ready; counts the time while nothing is.
    pub(crate) fn poll<T>(&mut self, task: &mut Task<'_>, polled: Poll<T>) -> Poll<Result<T, Elapsed>> {
        if let Poll::Ready(value) = polled {
            self.armed = false;
            return Poll::Ready(Ok(value));
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.after)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        sleep.as_mut().poll(task).map(|()| Err(Elapsed))
    }
}
