//! What ends a request before it is answered: its time as a whole is over (`request_timeout`), or nobody waits for the answer
//! any more.

use crate::http::Downstream;
use crate::http::downstream::Watch;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};

pub(crate) struct Deadline {
    /// `None`: it has any time.
    end: Option<Pin<Box<Sleep>>>,
    client: Watch,
}

/// Why something was not waited for to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    TooLate,
    ClientGone,
}

impl Deadline {
    pub(crate) fn of(start: Instant, limit: Option<Duration>, client: Watch) -> Self {
        Self { end: limit.map(|limit| Box::pin(sleep_until((start + limit).into()))), client }
    }

    /// Waits for something as long as there is time, and somebody to wait.
    pub(crate) async fn within<F: Future>(&mut self, mut future: Pin<&mut F>) -> Result<F::Output, Cut> {
        poll_fn(|task| {
            if let Poll::Ready(output) = future.as_mut().poll(task) {
                return Poll::Ready(Ok(output));
            }
            if self.client.poll(task).is_ready() {
                return Poll::Ready(Err(Cut::ClientGone));
            }
            match &mut self.end {
                Some(end) => end.as_mut().poll(task).map(|()| Err(Cut::TooLate)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the client is known to have gone.
    pub(crate) fn is_client_gone(&mut self) -> bool {
        self.client.poll(&mut Task::from_waker(Waker::noop())).is_ready()
    }

    /// Whether there is time left after so long a wait.
    pub(crate) fn allows(&self, wait: Duration) -> bool {
        self.end.as_ref().is_none_or(|end| Instant::now() + wait < end.deadline().into_std())
    }
}

/// Waits for something as long as the client does, who is watched once it is not there at once: what nobody waits for costs
/// nothing.
pub(crate) async fn while_client_waits<F: Future>(to: &Downstream, mut future: Pin<&mut F>) -> Result<F::Output, Cut> {
    let mut client = None;
    poll_fn(|task| {
        if let Poll::Ready(output) = future.as_mut().poll(task) {
            return Poll::Ready(Ok(output));
        }
        client.get_or_insert_with(|| to.watch()).poll(task).map(|()| Err(Cut::ClientGone))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::{Cut, Deadline};
    use crate::http::downstream::Watch;
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
            let mut deadline = Deadline::of(start, limit, Watch::Blind);
            assert_eq!(deadline.within(pin!(ready(7))).await, Ok(7), "{limit:?}");
            assert_eq!((deadline.allows(Duration::ZERO), deadline.allows(hour)), (any, much), "{limit:?}");
        }
        let mut over = Deadline::of(long_ago, Some(Duration::from_millis(1)), Watch::Blind);
        assert_eq!(over.within(pin!(pending::<u8>())).await, Err(Cut::TooLate));
    }
}
