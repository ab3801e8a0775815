//! When rows expire. The database deletes them late, and Kong's nodes tell nobody, so each node keeps its own appointments.
use super::rows::End;
use std::collections::{BTreeSet, HashMap};

/// An entity and a key.
type Place = (String, String);

/// Bounded by the rows with an end that the database has.
#[derive(Default)]
pub(super) struct Ends {
    by_place: HashMap<Place, u64>,
    by_time: BTreeSet<(u64, Place)>,
}

/// In microseconds; times before 1970 are over.
fn micros(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let micros = (seconds * 1e6) as u64;
    micros
}

impl Ends {
    pub(super) fn learn(&mut self, ends: Vec<End>) {
        for (entity, key, at) in ends {
            let place = (entity, key);
            self.forget(&place);
            if let Some(at) = at.map(micros) {
                self.by_place.insert(place.clone(), at);
                self.by_time.insert((at, place));
            }
        }
    }

    pub(super) fn forget(&mut self, place: &Place) {
        if let Some(at) = self.by_place.remove(place) {
            self.by_time.remove(&(at, place.clone()));
        }
    }

    /// Takes out some of those that are over.
    pub(super) fn over(&mut self, now: f64, limit: usize) -> Vec<Place> {
        let mut over = Vec::new();
        while over.len() < limit
            && let Some((at, _)) = self.by_time.first()
            && *at <= micros(now)
            && let Some((_, place)) = self.by_time.pop_first()
        {
            self.by_place.remove(&place);
            over.push(place);
        }
        over
    }
}
