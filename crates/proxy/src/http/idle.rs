//! A time-out on silence: armed while something is awaited, disarmed when it comes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Nothing came for too long.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// One timer for many waits. A wait that is over leaves it as it stands: the next one, which mostly ends later, moves it
/// only when it goes off too early. Arming a timer anew for every wait would cost more than the wait itself.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `due` has come.
    pub(crate) fn poll(&mut self, task: &mut Task<'_>, due: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(task).is_ready() {
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

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

#[cfg(test)]
mod tests {
    use super::Alarm;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_when_the_last_wait_says() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        // A wait that ends early leaves the timer behind; the next one ends later, the third one earlier.
        let early = timeout(Duration::from_secs(1), poll_fn(|task| alarm.poll(task, at(10)))).await;
        assert!(early.is_err());
        for (due, ends) in [(30, 30), (32, 32), (33, 33)] {
            poll_fn(|task| alarm.poll(task, at(due))).await;
            assert_eq!(start.elapsed().as_secs(), ends);
        }
        assert!(timeout(Duration::from_secs(1), poll_fn(|task| alarm.poll(task, at(90)))).await.is_err());
        poll_fn(|task| alarm.poll(task, at(40))).await;
        assert_eq!(start.elapsed().as_secs(), 40);
    }
}
