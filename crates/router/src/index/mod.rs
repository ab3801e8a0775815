//! The index: names (hash and wildcards) lead to tries of path prefixes, tries to candidates; the best-ranked one that passes
//! its remaining checks wins.
//!
//! Every candidate is kept under conditions it cannot match without, so the index never decides alone: it only leaves out.

mod names;
mod trie;

use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

pub(crate) use names::NameKey;

use crate::Protocol;
use crate::compile::{Candidate, Plan};
use crate::context::{Context, Found};
use crate::rank::Rank;
use names::Names;
use trie::Lists;

/// A candidate where the index keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    rank: Rank,
    /// The port that goes with the name it is kept under.
    port: Option<u16>,
    /// Which of its route's paths it stands for: the first of equals wins.
    order: u16,
    candidate: Arc<Candidate>,
}

impl Entry {
    /// Whether this one is tried before the other.
    fn precedes(&self, other: &Entry) -> bool {
        let by_rank = self.rank.cmp(&other.rank);
        let by_order = || other.order.cmp(&self.order);
        let by_id = || self.candidate.route.id.cmp(&other.candidate.route.id);
        by_rank.then_with(by_order).then_with(by_id) == Ordering::Greater
    }
}

/// The routes of one subsystem (http or stream).
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    names: Names,
    /// Candidates that look at the path, and at server names.
    with_path: usize,
    with_sni: usize,
}

/// How a flavor looks up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether a path that is not UTF-8 matches nothing once any route asks for paths (Kong's expression engine refuses it).
    pub(crate) needs_utf8: bool,
    /// How many bytes a `*` must stand for at least.
    pub(crate) star: usize,
    /// Whether plain http leaves routes with server names for the end.
    pub(crate) defers_snis: bool,
}

impl Table {
    pub(crate) fn insert(&mut self, plan: &Plan, candidate: &Arc<Candidate>) {
        self.count(plan, usize::wrapping_add);
        for (name, port) in &plan.names {
            let trie = self.names.trie(name);
            for key in &plan.keys {
                let entry = Entry { rank: plan.rank, port: *port, order: plan.order, candidate: Arc::clone(candidate) };
                trie.insert(key, entry);
            }
        }
    }

    pub(crate) fn remove(&mut self, plan: &Plan, route: Uuid) {
        self.count(plan, usize::wrapping_sub);
        for (name, _) in &plan.names {
            for key in &plan.keys {
                self.names.reduce(name, |trie| trie.remove(key, route));
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn shared_names(&self, other: &Self) -> usize {
        self.names.shared_exact(&other.names)
    }

    fn count(&mut self, plan: &Plan, change: fn(usize, usize) -> usize) {
        self.with_path = change(self.with_path, usize::from(plan.uses_path));
        self.with_sni = change(self.with_sni, usize::from(plan.uses_sni));
    }

    pub(crate) fn find<'a>(&'a self, cx: &mut Context<'a>, rules: Rules) -> Option<(&'a Candidate, Found<'a>)> {
        let query = cx.query;
        if rules.needs_utf8 && self.with_path > 0 && std::str::from_utf8(query.path).is_err() {
            return None;
        }
        let mut lists = Lists::new();
        if query.protocol.is_stream() {
            // The tries of streams are over destination ports, in two bytes.
            let port = query.destination.map(|address| address.port().to_be_bytes());
            let key = port.as_ref().map_or(&[][..], |port| &port[..]);
            self.names.visit(query.sni.map(str::as_bytes), rules.star, &mut |trie| trie.collect(key, &mut lists));
            if query.protocol != Protocol::Tls {
                self.names.plaintext().collect(key, &mut lists);
            }
        } else {
            self.names.visit(cx.host, rules.star, &mut |trie| trie.collect(query.path, &mut lists));
        }
        if rules.defers_snis && self.with_sni > 0 && query.protocol == Protocol::Http {
            let first = best(lists.clone(), cx, |candidate| !candidate.has_sni);
            return first.or_else(|| best(lists, cx, |candidate| candidate.has_sni));
        }
        best(lists, cx, |_| true)
    }
}

/// Tries the candidates of all lists, best rank first: the first that matches is the answer.
fn best<'a>(
    mut lists: Lists<'a>,
    cx: &mut Context<'a>,
    is_wanted: impl Fn(&Candidate) -> bool,
) -> Option<(&'a Candidate, Found<'a>)> {
    loop {
        let mut best: Option<(usize, &'a Entry)> = None;
        for (at, list) in lists.iter().enumerate() {
            if let Some(head) = list.first()
                && best.is_none_or(|(_, other)| head.precedes(other))
            {
                best = Some((at, head));
            }
        }
        let (at, entry) = best?;
        match lists[at] {
            [_, rest @ ..] if !rest.is_empty() => lists[at] = rest,
            _ => {
                lists.swap_remove(at);
            }
        }
        if (entry.port.is_none() || entry.port == cx.host_port)
            && is_wanted(&entry.candidate)
            && let Some(found) = entry.candidate.matches(cx)
        {
            return Some((&entry.candidate, found));
        }
    }
}
