//! consistent-hashing: Kong's ring, point for point, so that a key goes to the same target as on a Kong node. Where
//! Kong's ring has too few slots for its targets (it then serves nothing at all), ours takes a much larger one.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use twox_hash::XxHash32;

use crate::address::{AddressId, Members, ResolvedTarget};
use crate::algorithm::Algorithm;

/// Points of an address when all weights are equal.
const POINTS: f64 = 160.0;
const LEAST_SLOTS: u32 = 1000;
/// What a ring grows to, in few steps: with each, all keys move once.
const GROWN: [u32; 2] = [1 << 20, MOST_SLOTS];
/// With so many, addresses that find no free slot share one rather than having none.
const MOST_SLOTS: u32 = 1 << 24;
const NOBODY: u32 = u32::MAX;

pub(crate) struct ConsistentHashing {
    /// For each slot the address of the nearest point at or below it.
    ring: Box<[u32]>,
}

impl ConsistentHashing {
    pub(crate) fn new(members: &Members, targets: &[Arc<ResolvedTarget>], slots: u32) -> Self {
        let points = points(members, targets);
        let wanted: u64 = points.iter().map(|&(_, count)| u64::from(count)).sum();
        let grown = GROWN.into_iter().filter(|slots| u64::from(*slots) >= 2 * wanted);
        for slots in [slots.max(LEAST_SLOTS)].into_iter().filter(|slots| u64::from(*slots) >= wanted).chain(grown) {
            if let Some(mut ring) = place(members, &points, slots) {
                fill(&mut ring);
                return Self { ring };
            }
        }
        let mut ring = place(members, &points, MOST_SLOTS).unwrap_or_default();
        fill(&mut ring);
        Self { ring }
    }
}

impl Algorithm for ConsistentHashing {
    fn refresh(&self, _members: &Members) {}

    fn pick(&self, members: &Members, hash: Option<u32>, tried: &[AddressId]) -> Option<usize> {
        let hash = hash.unwrap_or_else(|| hash_of(b""));
        let start = hash as usize % self.ring.len().max(1);
        let walk = || self.ring.get(..=start).into_iter().flatten().rev().chain(self.ring.iter().rev());
        let mut fallback = None;
        let mut last = NOBODY;
        for &owner in walk().take(self.ring.len()) {
            if owner == last {
                continue;
            }
            last = owner;
            let index = owner as usize;
            if owner == NOBODY || !members.is_available(index) {
                continue;
            }
            if !members.was_tried(index, tried) {
                return Some(index);
            }
            fallback = fallback.or(Some(index));
        }
        fallback
    }
}

pub(crate) fn hash_of(value: &[u8]) -> u32 {
    XxHash32::oneshot(0, value)
}

/// The addresses in the order in which they take their slots, each with the number of its points. That number depends
/// on how many targets there are, drained and unresolved ones included.
fn points(members: &Members, targets: &[Arc<ResolvedTarget>]) -> Vec<(usize, u32)> {
    let total: f64 = members.list.iter().map(|member| f64::from(member.address.weight)).sum();
    let by_id: HashMap<_, _> = targets.iter().map(|target| (target.id, target)).collect();
    let mut order = Vec::with_capacity(members.len());
    for (index, member) in members.list.iter().enumerate().filter(|(_, member)| member.address.weight > 0) {
        let Some(target) = by_id.get(&member.address.target) else { continue };
        let share = f64::from(member.address.weight) / total;
        let count = ((share * targets.len() as f64 * POINTS).floor() as u32).max(1);
        let place = format!("{}:{}", member.address.text, member.address.port);
        order.push(((Arc::clone(&target.host), target.port, place), (index, count)));
    }
    order.sort();
    order.into_iter().map(|(_, point)| point).collect()
}

/// `None` when an address has used up all its tries, as Kong counts them.
fn place(members: &Members, points: &[(usize, u32)], slots: u32) -> Option<Box<[u32]>> {
    let mut ring = vec![NOBODY; slots as usize].into_boxed_slice();
    let mut text = String::new();
    for &(index, count) in points {
        let Some(member) = members.list.get(index) else { continue };
        text.clear();
        // Two colons: Kong's own spelling.
        write!(text, "{}::{} ", member.address.text, member.address.port).ok()?;
        let stem = text.len();
        let (mut number, mut left) = (1, count);
        while left > 0 {
            text.truncate(stem);
            write!(text, "{number}").ok()?;
            let slot = ring.get_mut((hash_of(text.as_bytes()) % slots) as usize)?;
            if *slot == NOBODY || slots >= MOST_SLOTS {
                *slot = index as u32;
                left -= 1;
            }
            number += 1;
            if number > slots {
                return None;
            }
        }
    }
    Some(ring)
}

/// Gives every empty slot to the point below it, the lowest ones to the highest point.
fn fill(ring: &mut [u32]) {
    let mut owner = ring.iter().rev().copied().find(|&owner| owner != NOBODY).unwrap_or(NOBODY);
    for slot in ring {
        if *slot == NOBODY {
            *slot = owner;
        }
        owner = *slot;
    }
}
