//! A timing wheel: what is to be looked at when, in turns.

use std::time::Duration;
use tokio::time::Instant;

/// Addresses whose time comes within a turn are looked at together, so that many of them do not wake the thread one by one.
const TURN: Duration = Duration::from_millis(20);
const SLOTS: u64 = 512;

/// So many turns after the start of the wheel.
pub(super) type Turn = u64;

pub(super) struct Wheel<T> {
    start: Instant,
    /// The turn up to which all has been given out.
    done: Turn,
    /// What comes at a turn is in the slot with its number modulo `SLOTS`, beside what comes some rounds later.
    slots: Box<[Vec<(Turn, T)>]>,
    len: usize,
}

impl<T> Wheel<T> {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), done: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect(), len: 0 }
    }

    /// How many turns a time takes.
    pub(super) fn turns(time: Duration) -> Turn {
        time.as_nanos().div_ceil(TURN.as_nanos()).try_into().unwrap_or(Turn::MAX)
    }

    /// The turn of this moment.
    pub(super) fn now(&self) -> Turn {
        (self.start.elapsed().as_nanos() / TURN.as_nanos()) as Turn
    }

    /// Gives the turn that it comes at: the next one where that which was meant is over.
    pub(super) fn insert(&mut self, turn: Turn, value: T) -> Turn {
        let turn = turn.max(self.done + 1);
        if let Some(slot) = self.slots.get_mut((turn % SLOTS) as usize) {
            slot.push((turn, value));
            self.len += 1;
        }
        turn
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn retain(&mut self, is_wanted: impl Fn(&T) -> bool) {
        for slot in &mut self.slots {
            slot.retain(|(_, value)| is_wanted(value));
        }
        self.len = self.slots.iter().map(Vec::len).sum();
    }

    /// When the next turn begins that may have something; `None` = there is nothing.
    pub(super) fn next(&self) -> Option<Instant> {
        let is_used = |turn: &Turn| self.slots.get((turn % SLOTS) as usize).is_some_and(|slot| !slot.is_empty());
        let turn = (self.done + 1..=self.done + SLOTS).find(is_used)?;
        Some(self.start + TURN * u32::try_from(turn).unwrap_or(u32::MAX))
    }

    /// What has come by now, each with its turn.
    pub(super) fn due(&mut self) -> Vec<(Turn, T)> {
        let now = self.now();
        let mut due = Vec::new();
        for turn in (self.done + 1..=now).take(SLOTS as usize) {
            let Some(slot) = self.slots.get_mut((turn % SLOTS) as usize) else { continue };
            due.extend(slot.extract_if(.., |(turn, _)| *turn <= now));
        }
        self.len -= due.len();
        self.done = self.done.max(now);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep_until};

    #[tokio::test(start_paused = true)]
    async fn each_comes_at_its_turn_however_far_off() {
        let mut wheel = Wheel::new();
        for turn in [3, 3, 700, 515, 2, 5000] {
            wheel.insert(turn, turn);
        }
        let mut met = Vec::new();
        while let Some(next) = wheel.next() {
            sleep_until(next).await;
            for (turn, value) in wheel.due() {
                assert_eq!((turn, value), (wheel.now(), turn));
                met.push(turn);
            }
        }
        assert_eq!(met, [2, 3, 3, 515, 700, 5000]);
        assert_eq!(wheel.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_slept_through_comes_at_once_and_what_is_over_with_the_next_turn() {
        let mut wheel = Wheel::new();
        for turn in [1, 400, 900, 2000] {
            wheel.insert(turn, ());
        }
        advance(TURN * 1000).await;
        let mut turns: Vec<Turn> = wheel.due().into_iter().map(|(turn, ())| turn).collect();
        turns.sort_unstable();
        assert_eq!(turns, [1, 400, 900]);
        assert_eq!(wheel.insert(5, ()), 1001);
        wheel.retain(|()| false);
        assert_eq!((wheel.len(), wheel.next()), (0, None));
    }

    #[test]
    fn a_part_of_a_turn_counts_as_one() {
        for (milliseconds, turns) in [(0, 0), (1, 1), (20, 1), (21, 2), (100, 5), (2500, 125)] {
            assert_eq!(Wheel::<()>::turns(Duration::from_millis(milliseconds)), turns);
        }
    }
}
