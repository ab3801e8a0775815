//! Long work that gives way to traffic on the same core: it does a little at a time.
//!
//! The kernel lets a thread run for milliseconds before it looks whether another one is due, whatever their priorities.
//! All requests under way on that core wait so long, if the thread reads a configuration or builds a scrape.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::sync::LazyLock;
use std::thread::{available_parallelism, sleep, yield_now};
use std::time::{Duration, Instant};

/// How long a thread works at a time: a fraction of what a request takes on a core that is busy.
const TURN: Duration = Duration::from_micros(40);

/// How long it then pauses, if the process has other things to do. Timers are late by 50 us.
const PAUSE: Duration = Duration::from_micros(400);

/// How often it looks whether the process has.
const LOOK: Duration = Duration::from_millis(1);

/// The process is busy where its other threads need more than this part of the cores that it may use.
const BUSY: f64 = 0.25;

/// How many cores that are.
static CORES: LazyLock<f64> = LazyLock::new(|| available_parallelism().map_or(1.0, |cores| cores.get() as f64));

thread_local! {
    static TURNS: Cell<Option<Turns>> = const { Cell::new(None) };
}

/// What a thread knows of its turns.
#[derive(Clone, Copy)]
struct Turns {
    begun: Instant,
    looked: Times,
    /// Whether other threads of the process worked between the last two looks.
    is_busy: bool,
}

/// How long the process has worked until then, and how long this thread has.
#[derive(Clone, Copy)]
struct Times {
    at: Instant,
    process: Duration,
    thread: Duration,
}

impl Times {
    fn new(at: Instant) -> Self {
        let worked = |clock| clock_gettime(clock).try_into().unwrap_or_default();
        Self { at, process: worked(ClockId::ProcessCPUTime), thread: worked(ClockId::ThreadCPUTime) }
    }

    /// Whether other threads of the process have needed much of so many cores since then.
    fn are_busy_since(&self, then: &Self, cores: f64) -> bool {
        let own = self.thread.saturating_sub(then.thread);
        let others = self.process.saturating_sub(then.process).saturating_sub(own);
        others > self.at.saturating_duration_since(then.at).mul_f64(cores * BUSY)
    }
}

/// Ends a turn of this thread that has lasted for a while: the thread pauses where the process has traffic, and otherwise lets
/// others have the core who want it. For loops whose steps take microseconds: it costs a look at the clock.
pub fn breathe() {
    let now = Instant::now();
    let Some(mut turns) = TURNS.get() else {
        // Nothing is known yet: better a few pauses than a turn of milliseconds.
        TURNS.set(Some(Turns { begun: now, looked: Times::new(now), is_busy: true }));
        return;
    };
    if now.saturating_duration_since(turns.begun) < TURN {
        return;
    }
    if now.saturating_duration_since(turns.looked.at) >= LOOK {
        let times = Times::new(now);
        turns.is_busy = times.are_busy_since(&turns.looked, *CORES);
        turns.looked = times;
    }
    if turns.is_busy {
        sleep(PAUSE);
    } else {
        yield_now();
    }
    turns.begun = Instant::now();
    TURNS.set(Some(turns));
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
        let begun = || TURNS.get().map(|turns| turns.begun);
        breathe();
        let first = begun();
        assert!(first.is_some());
        // As if it had begun long ago.
        let earlier = |turns: Turns| Some(Turns { begun: turns.begun.checked_sub(TURN)?, ..turns });
        TURNS.set(TURNS.get().and_then(earlier));
        breathe();
        assert!(begun() > first);
    }

    #[test]
    fn a_process_is_busy_whose_other_threads_work() {
        let start = Instant::now();
        let times = |at, process, thread| {
            let [at, process, thread] = [at, process, thread].map(Duration::from_micros);
            Times { at: start + at, process, thread }
        };
        let then = times(5_000, 700, 200);
        for (now, one, four) in [
            // Only this thread; it and a little; it and a worker; a worker while it pauses; nobody; two workers.
            (times(6_000, 1_700, 1_200), false, false),
            (times(6_000, 1_940, 1_200), false, false),
            (times(6_000, 1_700, 400), true, false),
            (times(6_000, 1_700, 200), true, false),
            (times(6_000, 700, 200), false, false),
            (times(6_000, 2_600, 400), true, true),
        ] {
            assert_eq!([1.0, 4.0].map(|cores| now.are_busy_since(&then, cores)), [one, four]);
        }
    }

    #[test]
    fn every_item_comes_once_and_in_order() {
        assert_eq!(each(0..1000).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    }
}
