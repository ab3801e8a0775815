//! least-connections: the address with the lowest (requests under way + 1) / weight; among equals the one that has
//! waited longest.

use crate::address::{AddressId, Members};
use crate::algorithm::Algorithm;
use crate::tournament::Tournament;

pub(crate) struct LeastConnections {
    tournament: Tournament,
}

impl LeastConnections {
    pub(crate) fn new(members: &Members) -> Self {
        Self { tournament: Tournament::new(members.len()) }
    }

    fn count(&self, members: &Members, index: usize, takes_turn: bool) {
        let Some(member) = members.list.get(index) else { return };
        let mut takes_turn = takes_turn;
        loop {
            let connections = member.state.connections();
            self.tournament.set(index, score(members, index), takes_turn);
            // Another thread may have counted meanwhile and written its score before ours.
            if member.state.connections() == connections {
                return;
            }
            takes_turn = false;
        }
    }
}

impl Algorithm for LeastConnections {
    fn refresh(&self, members: &Members) {
        self.tournament.rebuild(|index| score(members, index), members.len());
    }

    fn pick(&self, members: &Members, _hash: Option<u32>, tried: &[AddressId]) -> Option<usize> {
        self.tournament.best(&|index| members.was_tried(index, tried)).or_else(|| self.tournament.best(&|_| false))
    }

    fn picked(&self, members: &Members, index: usize) {
        members.list.get(index).inspect(|member| member.state.connect());
        self.count(members, index, true);
    }

    fn released(&self, members: &Members, index: usize) {
        members.list.get(index).inspect(|member| member.state.release());
        self.count(members, index, false);
    }
}

fn score(members: &Members, index: usize) -> Option<f64> {
    let member = members.list.get(index).filter(|member| members.may_serve(member))?;
    Some((f64::from(member.state.connections()) + 1.0) / member.share() as f64)
}
