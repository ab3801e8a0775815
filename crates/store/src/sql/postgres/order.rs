//! In which order rows were written, as far as this node can tell: commits run side by side, and what they changed is told to the
//! followers one after the other.
use super::Postgres;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A row: its entity and id.
pub(super) type Place = (String, Uuid);

/// When a transaction wrote its rows, by the store's counter. The number is taken while the database holds the row locked for the
/// transaction: of two transactions that wrote a row, the one with the lower number has committed first.
pub(super) type Turns = HashMap<Place, u64>;

/// What was told of last, and when. Bounded by what is told of during the longest transaction of this node.
#[derive(Default)]
pub(super) struct Order {
    told: HashMap<Place, u64>,
    /// The transactions of this node that are under way, by when they began.
    under_way: BTreeMap<u64, usize>,
}

/// Rows remembered before those are forgotten that no transaction can meet any more.
const REMEMBERED: usize = 4096;

impl Order {
    /// Rows that were told of after they were written: by whom, and with which of the two states, nobody knows here.
    pub(super) fn doubtful<'a>(&'a self, turns: &'a Turns) -> impl Iterator<Item = Place> + 'a {
        let is_doubtful = |(place, turn): &(&Place, &u64)| self.told.get(*place).is_some_and(|told| told > *turn);
        turns.iter().filter(is_doubtful).map(|(place, _)| place.clone())
    }

    /// Remembers rows that are told of, each with the turn when the database had what is told.
    pub(super) fn told(&mut self, places: impl Iterator<Item = (Place, u64)>) {
        // Whatever is written by a transaction yet to begin is written later.
        let Some(first) = self.under_way.keys().next().copied() else {
            self.told.clear();
            return;
        };
        if self.told.len() > REMEMBERED {
            self.told.retain(|_, told| *told >= first);
        }
        for (place, turn) in places {
            let told = self.told.entry(place).or_default();
            *told = turn.max(*told);
        }
    }
}

/// A transaction of this node that is under way, as long as the value lives.
pub(super) struct Began<'a> {
    store: &'a Postgres,
    turn: u64,
}

impl<'a> Began<'a> {
    pub(super) fn now(store: &'a Postgres) -> Began<'a> {
        let mut order = store.gate();
        let turn = store.next_turn();
        *order.under_way.entry(turn).or_default() += 1;
        Began { store, turn }
    }
}

impl Drop for Began<'_> {
    fn drop(&mut self) {
        let mut order = self.store.gate();
        if let Some(count) = order.under_way.get_mut(&self.turn) {
            *count -= 1;
            if *count == 0 {
                order.under_way.remove(&self.turn);
            }
        }
    }
}
