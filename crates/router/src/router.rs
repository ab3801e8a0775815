//! The router of one configuration.

use std::sync::Arc;

use entities::Shards;
use uuid::Uuid;

use crate::compile::{candidates, plans};
use crate::context::{Context, DefaultPort};
use crate::definition::Definition;
use crate::index::{Rules, Table};
use crate::matched::{Captures, Match};
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

/// Immutable; a change makes a new one that shares what the change does not touch.
#[derive(Clone, Debug, Default)]
pub struct Router {
    flavor: Flavor,
    http: Table,
    stream: Table,
    routes: Shards<Uuid, Arc<Route>>,
}

impl Router {
    /// Takes up every route that is sound; the others are named in the errors. Leave out routes of disabled services.
    pub fn build(flavor: Flavor, routes: impl IntoIterator<Item = Arc<Route>>) -> (Self, Vec<BuildError>) {
        let empty = Router { flavor, ..Router::default() };
        empty.with_changes(&[], routes)
    }

    /// A router without the removed routes and with the added ones. An added route takes the place of one with its id. Costs in
    /// proportion to the change.
    #[must_use]
    pub fn with_changes(
        &self,
        removed: &[Uuid],
        added: impl IntoIterator<Item = Arc<Route>>,
    ) -> (Self, Vec<BuildError>) {
        let mut router = self.clone();
        let mut errors = Vec::new();
        for id in removed {
            router.remove(*id);
        }
        for route in added {
            router.remove(route.id);
            if let Err(message) = router.add(&route) {
                errors.push(BuildError { route: route.id, message });
            }
        }
        (router, errors)
    }

    /// The route of a request or connection. Does not lock, and does not allocate unless headers, query arguments or captures
    /// are asked for.
    #[must_use]
    pub fn find<'a>(&'a self, query: &Query<'a>) -> Option<Match<'a>> {
        let is_traditional = self.flavor == Flavor::Traditional;
        let rules =
            Rules { needs_utf8: !is_traditional, star: usize::from(is_traditional), defers_snis: is_traditional };
        let port = if is_traditional { DefaultPort::Scheme } else { DefaultPort::Destination };
        let table = if query.protocol.is_stream() { &self.stream } else { &self.http };
        let mut cx = Context::new(*query, port);
        let (candidate, found) = table.find(&mut cx, rules)?;
        let captures = found.pattern.and_then(|pattern| Captures::new(pattern, query.path));
        Some(Match { route: &candidate.route, prefix: found.prefix, captures })
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

    /// How many shards of its exact names this router has in common with another.
    #[cfg(test)]
    pub(crate) fn shared_names(&self, other: &Self) -> usize {
        self.http.shared_names(&other.http)
    }

    fn add(&mut self, route: &Arc<Route>) -> Result<(), String> {
        let definition = Definition::from(route.as_ref());
        let mut plans = plans(self.flavor, &definition)?;
        let candidates = candidates(self.flavor, &definition, &mut plans, route)?;
        let table = if definition.is_stream { &mut self.stream } else { &mut self.http };
        for (plan, candidate) in plans.iter().zip(&candidates) {
            table.insert(plan, candidate);
        }
        self.routes.insert(route.id, Arc::clone(route));
        Ok(())
    }

    fn remove(&mut self, id: Uuid) {
        let Some(route) = self.routes.remove(&id) else { return };
        let definition = Definition::from(route.as_ref());
        let table = if definition.is_stream { &mut self.stream } else { &mut self.http };
        // A route that is in the index had plans, and the same ones come out again.
        for plan in plans(self.flavor, &definition).into_iter().flatten() {
            table.remove(&plan, id);
        }
    }
}
