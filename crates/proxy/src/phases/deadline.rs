//! The end of the time that a request has as a whole (`request_timeout`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};

/// `None`: it has any time.
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    pub(crate) fn of(start: Instant, limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| Box::pin(sleep_until((start + limit).into()))))
    }

    /// Waits for something as long as there is time; `None` where there is none left.
    pub(crate) async fn within<F: Future>(&mut self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|task| match (future.as_mut().poll(task), &mut self.0) {
            (Poll::Ready(output), _) => Poll::Ready(Some(output)),
            (Poll::Pending, Some(end)) => end.as_mut().poll(task).map(|()| None),
            (Poll::Pending, None) => Poll::Pending,
        })
        .await
    }

    /// Whether there is time left after so long a wait.
    pub(crate) fn allows(&self, wait: Duration) -> bool {
        self.0.as_ref().is_none_or(|end| Instant::now() + wait < end.deadline().into_std())
    }
}

#[cfg(test)]
mod tests {
    use super::Deadline;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn what_is_ready_is_had_and_what_is_not_is_given_up() {
        let now = Instant::now();
        let long_ago = now - Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        // When it began, its limit, and whether there is any time left and time for an hour's wait.
        let cases = [
            (now, None, true, true),
            (now, Some(hour * 2), true, true),
            (now, Some(hour), true, false),
            (long_ago, Some(Duration::from_millis(1)), false, false),
        ];
        for (start, limit, any, much) in cases {
            let mut deadline = Deadline::of(start, limit);
            assert_eq!(deadline.within(pin!(ready(7))).await, Some(7), "{limit:?}");
            assert_eq!((deadline.allows(Duration::ZERO), deadline.allows(hour)), (any, much), "{limit:?}");
        }
        let mut over = Deadline::of(long_ago, Some(Duration::from_millis(1)));
        assert_eq!(over.within(pin!(pending::<u8>())).await, None);
    }
}
