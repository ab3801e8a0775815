//! Long work that gives way to traffic on the same core: it does a little at a time.
//!
//! The kernel lets a thread run for milliseconds before it looks whether another one is due, whatever their priorities.
//! All requests under way on that core wait so long, if the thread reads a configuration or builds a scrape.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{available_parallelism, sleep, yield_now};
use std::time::{Duration, Instant};

/// How long a thread works at a time: a fraction of what a request takes on a core that is busy.
const TURN: Duration = Duration::from_micros(40);

/// How long it then pauses, if the process has other things to do. Timers are late by 50 us.
const PAUSE: Duration = Duration::from_micros(500);

/// How often it looks whether the process has.
const LOOK: Duration = Duration::from_millis(5);

/// Who has not looked for so long has mostly done nothing meanwhile.
const AWAY: Duration = Duration::from_millis(50);

/// How long letting go of the core takes where somebody else was waiting for it, another process perhaps.
const WAITED: Duration = Duration::from_millis(1);

/// For how long the core then counts as wanted.
const WANTED: Duration = Duration::from_millis(100);

/// The process is busy where threads with other work need more than this part of the cores that it may use.
const BUSY: f64 = 0.25;

/// How many cores that are.
static CORES: LazyLock<f64> = LazyLock::new(|| available_parallelism().map_or(1.0, |cores| cores.get() as f64));

/// How many nanoseconds threads have worked that take such turns, as far as they have looked.
static LONG_WORK: AtomicU64 = AtomicU64::new(0);

/// What was found at the last look, whichever thread's: new threads begin with it.
static WAS_BUSY: AtomicBool = AtomicBool::new(false);

thread_local! {
    static TURNS: Cell<Option<Turns>> = const { Cell::new(None) };
}

/// What a thread knows of its turns.
#[derive(Clone, Copy)]
struct Turns {
    begun: Instant,
    looked: Times,
    /// Whether the process had other work between the last two looks.
    is_busy: bool,
    /// When somebody else was waiting for the core.
    waited: Option<Instant>,
}

impl Turns {
    /// Lets go of the core, and tells when the thread had it again.
    fn let_go(&mut self, now: Instant) -> Instant {
        let is_wanted = self.waited.is_some_and(|waited| now.saturating_duration_since(waited) < WANTED);
        if self.is_busy || is_wanted {
            sleep(PAUSE);
            return Instant::now();
        }
        yield_now();
        let again = Instant::now();
        if again.saturating_duration_since(now) >= WAITED {
            self.waited = Some(again);
        }
        again
    }
}

/// How long everything has worked until then.
#[derive(Clone, Copy)]
struct Times {
    at: Instant,
    process: Duration,
    /// All threads with long work: several may share one, as those that read a large file.
    long_work: Duration,
    thread: Duration,
}

impl Times {
    fn new(at: Instant, before: Option<&Self>) -> Self {
        let worked = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        let thread = worked(ClockId::ThreadCPUTime);
        let own = before.map_or(Duration::ZERO, |before| thread.saturating_sub(before.thread)).as_nanos() as u64;
        let long_work = Duration::from_nanos(LONG_WORK.fetch_add(own, Ordering::Relaxed) + own);
        Self { at, process: worked(ClockId::ProcessCPUTime), long_work, thread }
    }

    /// Whether threads with other work have needed much of so many cores since then.
    fn are_busy_since(&self, then: &Self, cores: f64) -> bool {
        let long_work = self.long_work.saturating_sub(then.long_work);
        let others = self.process.saturating_sub(then.process).saturating_sub(long_work);
        others > self.at.saturating_duration_since(then.at).mul_f64(cores * BUSY)
    }
}

/// Ends a turn of this thread that has lasted for a while: the thread pauses where the process has traffic, or others want the
/// core. For loops whose steps take microseconds: it costs a look at the clock. Not where a request waits for a lock.
pub fn breathe() {
    let now = Instant::now();
    let Some(mut turns) = TURNS.get() else {
        let is_busy = WAS_BUSY.load(Ordering::Relaxed);
        TURNS.set(Some(Turns { begun: now, looked: Times::new(now, None), is_busy, waited: None }));
        return;
    };
    if now.saturating_duration_since(turns.begun) < TURN {
        return;
    }
    let unseen = now.saturating_duration_since(turns.looked.at);
    if unseen >= LOOK {
        let times = Times::new(now, Some(&turns.looked).filter(|_| unseen < AWAY));
        turns.is_busy = times.are_busy_since(&turns.looked, *CORES);
        turns.looked = times;
        WAS_BUSY.store(turns.is_busy, Ordering::Relaxed);
    }
    turns.begun = if unseen < AWAY { turns.let_go(now) } else { now };
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
        let times = |at, process, long_work| {
            let [at, process, long_work] = [at, process, long_work].map(Duration::from_micros);
            Times { at: start + at, process, long_work, thread: long_work }
        };
        let then = times(5_000, 700, 200);
        for (now, one, four) in [
            // Only long work; it and a little; it and a worker; a worker while it pauses; nobody; two workers; two threads
            // with long work.
            (times(6_000, 1_700, 1_200), false, false),
            (times(6_000, 1_940, 1_200), false, false),
            (times(6_000, 1_700, 400), true, false),
            (times(6_000, 1_700, 200), true, false),
            (times(6_000, 700, 200), false, false),
            (times(6_000, 2_600, 400), true, true),
            (times(6_000, 2_600, 2_100), false, false),
        ] {
            assert_eq!([1.0, 4.0].map(|cores| now.are_busy_since(&then, cores)), [one, four]);
        }
    }

    #[test]
    fn every_item_comes_once_and_in_order() {
        assert_eq!(each(0..1000).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    }
}
