//! latency: the address with the lowest moving average of its response time per weight. The average of an address that
//! is not asked decays over time, so that a slow one is tried again.

use std::time::{Duration, Instant};

use crate::address::{AddressId, Ewma, Members};
use crate::algorithm::Algorithm;
use crate::tournament::Tournament;

/// Seconds in which an old value loses all but 1/e of its influence.
const DECAY: f64 = 10.0;

pub(crate) struct Latency {
    tournament: Tournament,
    epoch: Instant,
}

impl Latency {
    /// Addresses without a measurement start with the mean of the others, so that they are neither flooded nor starved.
    pub(crate) fn new(members: &Members, epoch: Instant, now: Instant) -> Self {
        let known: Vec<f64> =
            members.list.iter().filter_map(|member| member.state.with_ewma(|ewma| ewma.map(|e| e.seconds))).collect();
        let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        for member in &*members.list {
            member.state.with_ewma(|ewma| {
                ewma.get_or_insert(Ewma { seconds: mean, touched: now });
            });
        }
        Self { tournament: Tournament::new(members.len()), epoch }
    }

    /// All averages decay by the same factor from any moment on, so their order is fixed by the logarithm of the
    /// average plus the time it was touched at: no clock is needed to compare them.
    fn score(&self, members: &Members, index: usize) -> Option<f64> {
        let member = members.list.get(index).filter(|member| members.may_serve(member))?;
        let ewma = member.state.with_ewma(|ewma| *ewma)?;
        let touched = ewma.touched.saturating_duration_since(self.epoch).as_secs_f64();
        Some((ewma.seconds / member.share() as f64).ln() + touched / DECAY)
    }
}

impl Algorithm for Latency {
    fn refresh(&self, members: &Members) {
        self.tournament.rebuild(|index| self.score(members, index), members.len());
    }

    fn pick(&self, members: &Members, _hash: Option<u32>, tried: &[AddressId]) -> Option<usize> {
        let left = self.tournament.best(&|index| members.was_tried(index, tried));
        if left.is_some() || tried.is_empty() {
            return left;
        }
        // Kong ends a request that has tried every address, unless there is only one.
        let only = self.tournament.best(&|_| false)?;
        self.tournament.best(&|index| index == only).is_none().then_some(only)
    }

    fn picked(&self, _members: &Members, index: usize) {
        self.tournament.take_turn(index);
    }

    fn measured(&self, members: &Members, index: usize, rtt: Duration, now: Instant) {
        let Some(member) = members.list.get(index) else { return };
        member.state.with_ewma(|ewma| {
            let before = ewma.get_or_insert(Ewma { seconds: 0.0, touched: now });
            let kept = (-now.saturating_duration_since(before.touched).as_secs_f64() / DECAY).exp();
            before.seconds = before.seconds * kept + rtt.as_secs_f64() * (1.0 - kept);
            before.touched = before.touched.max(now);
        });
        self.tournament.set(index, self.score(members, index), false);
    }
}
