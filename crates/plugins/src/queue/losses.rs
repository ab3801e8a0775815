//! When to say that messages are lost: at once, then now and then, for whoever loses one may lose thousands a second.

use std::time::Duration;
use tokio::time::Instant;

/// How long is waited between two lines of the error log.
const QUIET: Duration = Duration::from_secs(10);

/// What was lost and not yet told.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    untold: usize,
    told: Option<Instant>,
}

impl Losses {
    /// Adds what is lost; says of how many is to be told now.
    pub(crate) fn add(&mut self, count: usize) -> Option<usize> {
        self.untold += count;
        let is_quiet = self.told.is_some_and(|told| told.elapsed() < QUIET);
        if is_quiet || self.untold == 0 {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_at_once_and_then_together() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut losses = Losses::default();
            // After seconds, what is lost, and what is told.
            for (after, lost, want) in [
                (0, 0, None),
                (0, 1, Some(1)),
                (0, 2, None),
                (9, 3, None),
                (1, 0, Some(5)),
                (10, 0, None),
                (0, 4, Some(4)),
            ] {
                tokio::time::advance(Duration::from_secs(after)).await;
                assert_eq!(losses.add(lost), want, "after {after} s, {lost} lost");
            }
        });
    }
}
