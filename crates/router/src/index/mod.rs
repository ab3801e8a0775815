//! The index: names (hash and wildcards) lead to tries of path prefixes, tries to candidates; the best-ranked one that passes
//! its remaining checks wins.
//!
//! Every candidate is kept under conditions it cannot match without, so the index never decides alone: it only leaves out.

mod block;
mod names;
mod trie;

use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

pub(crate) use names::NameKey;

use crate::HasRoute;
use crate::Protocol;
use crate::compile::{Candidate, Plan};
use crate::context::{Context, Found};
use crate::rank::halves;
use names::Names;
use trie::{List, Lists};

/// A candidate where the index keeps it. Most match once the index leads to them; a request meets nothing else of these, so
/// that among very many routes it waits for little memory.
#[derive(Clone, Debug)]
pub(crate) struct Entry<R> {
    major: u64,
    /// What breaks ties, where it is not the route's id.
    tie: Option<Box<[u64; 2]>>,
    /// What is left to be checked.
    candidate: Option<Arc<Candidate>>,
    route: R,
    /// The port that goes with the name it is kept under.
    port: Option<u16>,
    /// Which of its route's paths it stands for: the first of equals wins.
    order: u16,
    /// Whether it stands for a path prefix, which is the key it is kept under.
    is_prefix: bool,
}

impl<R: HasRoute> Entry<R> {
    fn new(plan: &Plan, port: Option<u16>, candidate: Option<&Arc<Candidate>>, route: R) -> Self {
        let tie = plan.rank.tie();
        Self {
            major: plan.rank.major(),
            tie: (tie != halves(route.route().id)).then(|| Box::new(tie)),
            candidate: candidate.cloned(),
            route,
            port,
            order: plan.order,
            is_prefix: plan.is_prefix,
        }
    }

    fn id(&self) -> Uuid {
        self.route.route().id
    }

    /// Whether this one is tried before the other.
    fn precedes(&self, other: &Self) -> bool {
        let by_tie = || self.tie().cmp(&other.tie());
        let by_order = || other.order.cmp(&self.order);
        let by_id = || self.id().cmp(&other.id());
        self.major.cmp(&other.major).then_with(by_tie).then_with(by_order).then_with(by_id) == Ordering::Greater
    }

    fn tie(&self) -> [u64; 2] {
        self.tie.as_deref().copied().unwrap_or_else(|| halves(self.id()))
    }

    fn has_sni(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.has_sni)
    }

    /// `length`: of the key that it is kept under.
    fn matches<'a>(&'a self, cx: &mut Context<'a>, length: usize) -> Option<Found<'a>> {
        let mut found = Found::default();
        if self.is_prefix {
            // The index has compared it already.
            found.prefix = cx.query.path.get(..length);
        }
        match &self.candidate {
            Some(candidate) => candidate.matches(cx, found),
            None => Some(found),
        }
    }
}

/// The routes of one subsystem (http or stream).
#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    names: Names<R>,
    /// Candidates that look at the path, and at server names.
    with_path: usize,
    with_sni: usize,
    /// Where regexes have changed since [`Table::make_screens`].
    changed: Vec<(NameKey, Vec<u8>)>,
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

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { names: Names::default(), with_path: 0, with_sni: 0, changed: Vec::new() }
    }
}

impl<R: HasRoute> Table<R> {
    pub(crate) fn insert(&mut self, plan: &Plan, candidate: Option<&Arc<Candidate>>, route: &R) {
        self.count(plan, usize::wrapping_add);
        for (name, port) in &plan.names {
            let trie = self.names.trie(name);
            for key in &plan.keys {
                trie.insert(key, Entry::new(plan, *port, candidate, route.clone()));
                self.changed.extend(plan.has_regex().then(|| (name.clone(), key.clone())));
            }
        }
    }

    /// Puts something else in the place of a route whose definition has not changed.
    pub(crate) fn replace(&mut self, plan: &Plan, route: &R) {
        for (name, _) in &plan.names {
            let trie = self.names.trie(name);
            for key in &plan.keys {
                trie.replace(key, route);
            }
        }
    }

    pub(crate) fn remove(&mut self, plan: &Plan, route: Uuid) {
        self.count(plan, usize::wrapping_sub);
        for (name, _) in &plan.names {
            for key in &plan.keys {
                self.names.reduce(name, |trie| trie.remove(key, route));
                self.changed.extend(plan.has_regex().then(|| (name.clone(), key.clone())));
            }
        }
    }

    /// To be called when all is changed: makes what takes many regexes at once.
    pub(crate) fn make_screens(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for (name, key) in changed {
            self.names.get(&name).iter().for_each(|trie| trie.make_screens(&key));
        }
    }

    #[cfg(test)]
    pub(crate) fn copied_names(&self, other: &Self) -> usize {
        self.names.copied_exact(&other.names)
    }

    fn count(&mut self, plan: &Plan, change: fn(usize, usize) -> usize) {
        self.with_path = change(self.with_path, usize::from(plan.uses_path));
        self.with_sni = change(self.with_sni, usize::from(plan.uses_sni));
    }

    pub(crate) fn find<'r: 'q, 'q>(&'r self, cx: &mut Context<'q>, rules: Rules) -> Option<(&'r R, Found<'q>)> {
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
            let first = best(lists.clone(), cx, |entry| !entry.has_sni());
            return first.or_else(|| best(lists, cx, |entry| entry.has_sni()));
        }
        best(lists, cx, |_| true)
    }
}

/// Tries the candidates of all lists, best rank first: the first that matches is the answer. Entries of others are not looked
/// at, unless ranks are equal but for ties.
fn best<'r: 'q, 'q, R: HasRoute>(
    mut lists: Lists<'r, R>,
    cx: &mut Context<'q>,
    is_wanted: impl Fn(&Entry<R>) -> bool,
) -> Option<(&'r R, Found<'q>)> {
    loop {
        let mut all = lists.iter().enumerate();
        let mut best = all.next()?;
        for other in all {
            if other.1.precedes(best.1) {
                best = other;
            }
        }
        let (at, list) = (best.0, *best.1);
        let (entry, may_match) = list.first()?;
        match if may_match { list.rest() } else { list.screened(cx.query.path) } {
            Some(left) => lists[at] = left,
            None => drop(lists.swap_remove(at)),
        }
        if may_match
            && (entry.port.is_none() || entry.port == cx.host_port)
            && is_wanted(entry)
            && let Some(found) = entry.matches(cx, list.length)
        {
            return Some((&entry.route, found));
        }
    }
}

impl<R: HasRoute> List<'_, R> {
    /// Whether its first entry is tried before the other's.
    fn precedes(&self, other: &Self) -> bool {
        let by_entries = || self.first().zip(other.first()).is_some_and(|(own, other)| own.0.precedes(other.0));
        self.major > other.major || (self.major == other.major && by_entries())
    }
}
