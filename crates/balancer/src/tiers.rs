//! Who comes first: targets where the node is, then those elsewhere, then those for failover. Nearly every upstream has a
//! single tier with all of its addresses.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::address::{AddressId, Members, ResolvedTarget};
use crate::algorithm::{self, Algorithm};
use crate::settings::Settings;
use crate::states::UpstreamState;

/// Addresses that an algorithm of their own chooses from.
pub(crate) struct Tier {
    pub(crate) members: Members,
    pub(crate) algorithm: Box<dyn Algorithm>,
}

pub(crate) struct Tiers {
    pub(crate) list: Box<[Tier]>,
    /// Where the tier for failover is; the number of tiers where there is none.
    failover: usize,
    /// `Plan` as one word.
    plan: AtomicU64,
    /// Counts the requests that the first two tiers share.
    turn: AtomicU64,
}

/// What the health of all addresses amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    is_healthy: bool,
    /// The first tier in use.
    first: u8,
    /// The percentage of requests that the first tier takes beside the second.
    share: u8,
}

/// Local targets take all the traffic as long as so many percent of their weight are available: beyond it they would get more than
/// their fair part of it (Envoy's overprovisioning factor of 1.4).
const OVERPROVISIONED: u64 = 140;

impl Tiers {
    pub(crate) fn new(
        settings: &Settings,
        all: &Members,
        targets: &[Arc<ResolvedTarget>],
        upstream: &Arc<UpstreamState>,
        now: Instant,
    ) -> Self {
        let home = settings.beyond.locality.as_deref();
        let rank_of = |target: &ResolvedTarget| match target {
            target if target.is_failover => 2,
            target if home.is_some() && target.locality.as_deref() == home => 0,
            _ => 1,
        };
        let mut list = Vec::with_capacity(1);
        let mut failover = None;
        for rank in 0..3 {
            let of_tier: Vec<_> = targets.iter().filter(|target| rank_of(target) == rank).cloned().collect();
            // There is always a tier of ordinary targets, be it empty.
            if of_tier.is_empty() && !(rank == 1 && list.is_empty()) {
                continue;
            }
            let members = if of_tier.len() == targets.len() {
                all.clone()
            } else {
                let ids: HashSet<_> = of_tier.iter().map(|target| target.id).collect();
                let list = all.list.iter().filter(|member| ids.contains(&member.address.target)).cloned().collect();
                Members { list, checked: all.checked }
            };
            if rank == 2 {
                failover = Some(list.len());
            }
            list.push(Tier { algorithm: algorithm::new(settings, &members, upstream, now), members });
        }
        let failover = failover.unwrap_or(list.len());
        Self { list: list.into(), failover, plan: AtomicU64::new(0), turn: AtomicU64::new(0) }
    }

    pub(crate) fn refresh(&self, threshold: f64) {
        self.plan.store(self.plan_of(threshold).to_word(), Ordering::Release);
        for tier in &self.list {
            tier.algorithm.refresh(&tier.members);
        }
    }

    /// Whether there is somewhere to send requests to, by the health of this moment.
    pub(crate) fn is_healthy(&self, threshold: f64) -> bool {
        self.plan_of(threshold).is_healthy
    }

    fn plan_of(&self, threshold: f64) -> Plan {
        let weights: Vec<(u64, u64)> = self.list.iter().map(|tier| tier.members.weights()).collect();
        let (ordinary, failover) = weights.split_at(self.failover.min(weights.len()));
        let (total, available) = ordinary.iter().fold((0, 0), |sum, weight| (sum.0 + weight.0, sum.1 + weight.1));
        if total > 0 && available as f64 / total as f64 * 100.0 > threshold {
            let share = match ordinary {
                [local, elsewhere] if elsewhere.1 > 0 => {
                    (OVERPROVISIONED * local.1).checked_div(local.0).unwrap_or(0).min(100) as u8
                }
                _ => 100,
            };
            return Plan { is_healthy: true, first: 0, share };
        }
        let is_healthy = failover.iter().any(|(_, available)| *available > 0);
        Plan { is_healthy, first: self.failover as u8, share: 100 }
    }

    /// The tier and the place in it of the next address; `None` = the upstream is not healthy, `Some(None)` = there is no
    /// address. A tier is left for the next when it has none that was not tried.
    pub(crate) fn pick(&self, hash: Option<u32>, tried: &[AddressId]) -> Option<Option<(usize, usize)>> {
        let plan = Plan::from_word(self.plan.load(Ordering::Acquire));
        if !plan.is_healthy {
            return None;
        }
        let first = usize::from(plan.first);
        // Steps that have no divisor in common with 100 spread the shares evenly.
        let is_spilt = plan.share < 100 && self.turn.fetch_add(61, Ordering::Relaxed) % 100 >= u64::from(plan.share);
        let start = if is_spilt { first + 1 } else { first };
        let mut fallback = None;
        for at in std::iter::once(start).chain((first..self.list.len()).filter(|at| *at != start)) {
            let Some(tier) = self.list.get(at) else { continue };
            let Some(index) = tier.algorithm.pick(&tier.members, hash, tried) else { continue };
            if !tier.members.was_tried(index, tried) {
                return Some(Some((at, index)));
            }
            fallback = fallback.or(Some((at, index)));
        }
        Some(fallback)
    }
}

impl Plan {
    fn to_word(self) -> u64 {
        u64::from(self.is_healthy) | u64::from(self.first) << 8 | u64::from(self.share) << 16
    }

    fn from_word(word: u64) -> Self {
        let [is_healthy, first, share, ..] = word.to_le_bytes();
        Self { is_healthy: is_healthy == 1, first, share }
    }
}
