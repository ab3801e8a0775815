//! A time-out on silence: armed while something is awaited, disarmed when it comes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Waits at most `limit`. What is ready at once costs no timer.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_fn(|task| Poll::Ready(future.as_mut().poll(task))).await {
        return Ok(output);
    }
    timeout(limit, future).await.map_err(|_| Elapsed)
}

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
