//! The router of one configuration.

use std::sync::Arc;

use entities::SharedMap;
use uuid::Uuid;

use crate::compile::{candidates, plans};
use crate::context::{Context, DefaultPort};
use crate::definition::Definition;
use crate::index::{Rules, Table};
use crate::matched::Match;
use crate::{Flavor, Query, Route};

/// Why a route could not be taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    pub route: Uuid,
    /// What is wrong, without the id.
    pub message: String,
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "route {}: {}", self.route, self.message)
    }
}

impl std::error::Error for BuildError {}

/// What a router leads to: a route, or what holds one. The index keeps a clone wherever a path of the route leads to it, so
/// that a look-up ends with what it was for: it should be small.
pub trait HasRoute: Clone {
    fn route(&self) -> &Arc<Route>;
}

impl HasRoute for Arc<Route> {
    fn route(&self) -> &Arc<Route> {
        self
    }
}

/// Immutable; a change makes a new one that shares what the change does not touch.
#[derive(Clone, Debug)]
pub struct Router<R = Arc<Route>> {
    flavor: Flavor,
    http: Table<R>,
    stream: Table<R>,
    routes: SharedMap<Uuid, Arc<Route>>,
}

impl<R: HasRoute> Router<R> {
    /// Takes up every route that is sound; the others are named in the errors. Leave out routes of disabled services.
    pub fn build(flavor: Flavor, routes: impl IntoIterator<Item = R>) -> (Self, Vec<BuildError>) {
        let empty = Router { flavor, http: Table::default(), stream: Table::default(), routes: SharedMap::default() };
        empty.with_changes(&[], routes)
    }

    /// A router without the removed routes and with the added ones. An added route takes the place of one with its id. Costs in
    /// proportion to the change, and little where an added one has the very route of the one before.
    #[must_use]
    pub fn with_changes(&self, removed: &[Uuid], added: impl IntoIterator<Item = R>) -> (Self, Vec<BuildError>) {
        let mut router = self.clone();
        let mut errors = Vec::new();
        for id in removed {
            router.remove(*id);
        }
        for added in pace::each(added) {
            let route = added.route();
            if router.routes.get(&route.id).is_some_and(|old| Arc::ptr_eq(old, route)) {
                router.replace(&added);
                continue;
            }
            router.remove(route.id);
            if let Err(message) = router.add(&added) {
                errors.push(BuildError { route: route.id, message });
            }
        }
        router.http.make_screens();
        router.stream.make_screens();
        (router, errors)
    }

    /// The route of a request or connection. Does not lock, and does not allocate unless headers, query arguments or captures
    /// are asked for.
    #[must_use]
    pub fn find<'r: 'q, 'q>(&'r self, query: &Query<'q>) -> Option<Match<'r, 'q, R>> {
        let is_traditional = self.flavor == Flavor::Traditional;
        let rules =
            Rules { needs_utf8: !is_traditional, star: usize::from(is_traditional), defers_snis: is_traditional };
        let port = if is_traditional { DefaultPort::Scheme } else { DefaultPort::Destination };
        let table = if query.protocol.is_stream() { &self.stream } else { &self.http };
        let mut cx = Context::new(*query, port);
        let (route, found) = table.find(&mut cx, rules)?;
        Some(Match { route, prefix: found.prefix, captures: found.captures })
    }

    /// The routes that are taken up, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().map(|(_, route)| route)
    }

    /// How many routes are taken up.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// How many routes of its list lie elsewhere than in another router's: a change copies those around it, too.
    #[must_use]
    pub fn copied_routes(&self, other: &Self) -> usize {
        self.routes.not_shared_with(&other.routes)
    }

    /// The same of its exact names.
    #[cfg(test)]
    pub(crate) fn copied_names(&self, other: &Self) -> usize {
        self.http.copied_names(&other.http)
    }

    fn add(&mut self, added: &R) -> Result<(), String> {
        let definition = Definition::from(&**added.route());
        let mut plans = plans(self.flavor, &definition)?;
        let candidates = candidates(self.flavor, &definition, &mut plans)?;
        let table = if definition.is_stream { &mut self.stream } else { &mut self.http };
        for (plan, candidate) in plans.iter().zip(&candidates) {
            table.insert(plan, candidate.as_ref(), added);
        }
        self.routes.insert(added.route().id, Arc::clone(added.route()));
        Ok(())
    }

    fn replace(&mut self, other: &R) {
        let definition = Definition::from(&**other.route());
        let table = if definition.is_stream { &mut self.stream } else { &mut self.http };
        for plan in plans(self.flavor, &definition).into_iter().flatten() {
            table.replace(&plan, other);
        }
    }

    fn remove(&mut self, id: Uuid) {
        let Some(route) = self.routes.remove(&id) else { return };
        let definition = Definition::from(&*route);
        let table = if definition.is_stream { &mut self.stream } else { &mut self.http };
        // A route that is in the index had plans, and the same ones come out again.
        for plan in plans(self.flavor, &definition).into_iter().flatten() {
            table.remove(&plan, id);
        }
    }
}
