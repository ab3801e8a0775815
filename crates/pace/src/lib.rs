//! Long work that gives way to traffic on the same core: it lets go of the core many times, each time after a short while.
//!
//! The kernel lets a thread run for milliseconds before it looks whether another one is due, whatever their priorities.
//! All requests under way on that core wait so long, if the thread reads a configuration or builds a scrape.

use std::cell::Cell;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// How long a thread works before it lets go: a fraction of what a request takes on a core that is busy.
const TURN: Duration = Duration::from_micros(160);

/// Who has not asked for so long has mostly done nothing meanwhile: a turn begins.
const AWAY: Duration = Duration::from_millis(20);

thread_local! {
    /// When this thread's turn began.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lets go of the core if this thread has had it for a while. For loops whose steps take microseconds: it costs a look at the
/// clock. Where nobody else wants the core, the thread goes on at once.
pub fn breathe() {
    let now = Instant::now();
    let turn = BEGUN.get().map_or(AWAY, |begun| now.saturating_duration_since(begun));
    if turn < TURN {
        return;
    }
    if turn < AWAY {
        yield_now();
    }
    BEGUN.set(Some(Instant::now()));
}

/// The items of a loop of that kind, with a breath before each.
pub fn each<I: IntoIterator>(items: I) -> impl Iterator<Item = I::Item> {
    items.into_iter().inspect(|_| breathe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_a_while_and_another_begins() {
        breathe();
        let first = BEGUN.get();
        assert!(first.is_some());
        // As if it had begun long ago.
        BEGUN.set(first.and_then(|begun| begun.checked_sub(TURN)));
        breathe();
        assert!(BEGUN.get() > first.and_then(|begun| begun.checked_sub(TURN)));
    }

    #[test]
    fn every_item_comes_once_and_in_order() {
        assert_eq!(each(0..1000).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    }
}
