//! The lowest of many scores, kept up to date by concurrent writers without a lock: a tournament tree whose inner nodes
//! name the better of their two children. Reading the winner costs one load, changing a score at most one path to the root.

use std::sync::atomic::{AtomicU64, Ordering};

/// The key of a leaf that takes no part.
const OUT: u64 = u64::MAX;
/// The low bits of a key are the turn at which its leaf was last picked: among equal scores the longest unpicked wins.
const TURN_BITS: u32 = 16;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;

pub(crate) struct Tournament {
    /// Number of leaves, rounded up to a power of two.
    width: usize,
    keys: Box<[AtomicU64]>,
    /// Heap order, root at 1: the version in the high half, the winning leaf in the low half.
    nodes: Box<[AtomicU64]>,
    turn: AtomicU64,
}

impl Tournament {
    pub(crate) fn new(leaves: usize) -> Self {
        let width = leaves.max(1).next_power_of_two();
        let tournament = Self {
            width,
            keys: (0..width).map(|_| AtomicU64::new(OUT)).collect(),
            nodes: (0..width).map(|_| AtomicU64::new(0)).collect(),
            turn: AtomicU64::new(0),
        };
        tournament.rebuild(|_| None, 0);
        tournament
    }

    /// Sets every leaf's score and plays all matches again.
    pub(crate) fn rebuild(&self, score: impl Fn(usize) -> Option<f64>, leaves: usize) {
        for (leaf, key) in self.keys.iter().enumerate().take(leaves) {
            key.store(ordered(score(leaf), key.load(Ordering::SeqCst) & TURN_MASK), Ordering::SeqCst);
        }
        for node in (1..self.width).rev() {
            self.play(node);
        }
    }

    /// Changes one leaf's score; `None` takes it out. A leaf that `takes_turn` goes behind its equals.
    pub(crate) fn set(&self, leaf: usize, score: Option<f64>, takes_turn: bool) {
        let Some(key) = self.keys.get(leaf) else { return };
        let turn = if takes_turn { self.turn.fetch_add(1, Ordering::Relaxed) } else { key.load(Ordering::SeqCst) };
        key.store(ordered(score, turn & TURN_MASK), Ordering::SeqCst);
        self.replay(leaf);
    }

    /// Puts a leaf behind its equals, its score unchanged.
    pub(crate) fn take_turn(&self, leaf: usize) {
        let Some(key) = self.keys.get(leaf) else { return };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) & TURN_MASK;
        let in_play = |before: u64| (before != OUT).then_some((before & !TURN_MASK) | turn);
        if key.fetch_update(Ordering::SeqCst, Ordering::SeqCst, in_play).is_ok() {
            self.replay(leaf);
        }
    }

    fn replay(&self, leaf: usize) {
        let mut node = (self.width + leaf) / 2;
        while node >= 1 {
            let (winner, changed) = self.play(node);
            // Nothing above can depend on this leaf when it neither wins nor has just lost here.
            if !changed && winner != leaf {
                return;
            }
            node /= 2;
        }
    }

    /// The leaf with the lowest score, leaving out those that `excluded` names.
    pub(crate) fn best(&self, excluded: &impl Fn(usize) -> bool) -> Option<usize> {
        self.best_below(1, excluded).or_else(|| self.best_of_all(excluded))
    }

    /// Looks at every leaf. Nodes may still name one that another thread has just taken out.
    #[cold]
    fn best_of_all(&self, excluded: &impl Fn(usize) -> bool) -> Option<usize> {
        let in_play = (0..self.width).filter(|leaf| self.key(*leaf) != OUT && !excluded(*leaf));
        in_play.reduce(|best, leaf| self.better(best, leaf))
    }

    fn best_below(&self, node: usize, excluded: &impl Fn(usize) -> bool) -> Option<usize> {
        let winner = self.winner(node);
        if self.key(winner) == OUT {
            return None;
        }
        if !excluded(winner) {
            return Some(winner);
        }
        if node >= self.width {
            return None;
        }
        match (self.best_below(2 * node, excluded), self.best_below(2 * node + 1, excluded)) {
            (Some(left), Some(right)) => Some(self.better(left, right)),
            (left, right) => left.or(right),
        }
    }

    /// Plays the match of one node again; gives the winner and whether it is another than before.
    fn play(&self, node: usize) -> (usize, bool) {
        loop {
            let Some(slot) = self.nodes.get(node) else { return (0, false) };
            let before = slot.load(Ordering::SeqCst);
            let winner = self.better(self.winner(2 * node), self.winner(2 * node + 1));
            if winner == leaf_of(before) {
                return (winner, false);
            }
            let after = ((before >> 32).wrapping_add(1) << 32) | winner as u64;
            // The version makes a result that was worked out from older children fail here.
            if slot.compare_exchange(before, after, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return (winner, true);
            }
        }
    }

    fn winner(&self, node: usize) -> usize {
        match node.checked_sub(self.width) {
            Some(leaf) => leaf,
            None => self.nodes.get(node).map_or(0, |slot| leaf_of(slot.load(Ordering::SeqCst))),
        }
    }

    fn key(&self, leaf: usize) -> u64 {
        self.keys.get(leaf).map_or(OUT, |key| key.load(Ordering::SeqCst))
    }

    fn better(&self, left: usize, right: usize) -> usize {
        let (a, b) = (self.key(left), self.key(right));
        let left_wins = match (a >> TURN_BITS).cmp(&(b >> TURN_BITS)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            // Turns wrap round; the nearer past counts as later.
            std::cmp::Ordering::Equal => (a as u16).wrapping_sub(b as u16).cast_signed() <= 0,
        };
        if left_wins { left } else { right }
    }
}

fn leaf_of(node: u64) -> usize {
    (node & u64::from(u32::MAX)) as usize
}

/// A key that sorts as an integer like the score as a number.
fn ordered(score: Option<f64>, turn: u64) -> u64 {
    let Some(score) = score else { return OUT };
    let bits = score.to_bits();
    let sortable = if score.is_sign_negative() { !bits } else { bits | (1 << 63) };
    (sortable & !TURN_MASK) | turn
}

#[cfg(test)]
mod tests {
    use super::{OUT, Tournament};
    use std::sync::atomic::Ordering;

    #[test]
    fn one_that_is_being_taken_out_hides_no_other() {
        let tournament = Tournament::new(4);
        (0..3).for_each(|leaf| tournament.set(leaf, Some(leaf as f64), false));
        assert_eq!(tournament.best(&|_| false), Some(0));
        // Between the two steps of `set` in another thread.
        tournament.keys[0].store(OUT, Ordering::SeqCst);
        assert_eq!(tournament.best(&|_| false), Some(1));
        assert_eq!(tournament.best(&|leaf| leaf == 1), Some(2));
        assert_eq!(tournament.best(&|leaf| leaf == 1 || leaf == 2), None);
    }
}
