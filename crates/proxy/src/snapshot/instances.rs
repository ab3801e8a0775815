//! The plugin instances of a configuration by where they work, in maps that snapshots share.

use super::plan::{Built, Slot};
use entities::{Plugin, SharedMap};
use std::sync::Arc;
use uuid::Uuid;

/// Where a plugin works: on a route, on a service, on a route while it leads to a service, or everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(super) route: Option<Uuid>,
    pub(super) service: Option<Uuid>,
}

impl Scope {
    pub(super) fn of(entity: &Plugin) -> Self {
        Self { route: entity.route.as_ref().map(|r| r.id), service: entity.service.as_ref().map(|s| s.id) }
    }

    /// The scopes that hold for what is in this one, itself included, the closest first.
    fn all(self) -> impl Iterator<Item = Self> {
        let Self { route, service } = self;
        let both = (route.is_some() && service.is_some()).then_some(self);
        let by_route = route.map(|_| Self { route, service: None });
        let by_service = service.map(|_| Self { route: None, service });
        both.into_iter().chain(by_route).chain(by_service).chain([Self::default()])
    }
}

/// The instances of one plugin.
#[derive(Clone, Default)]
struct Named {
    /// What runs for everybody.
    fixed: SharedMap<Scope, Arc<Built>>,
    /// What runs for a consumer, or for the members of a group.
    clients: SharedMap<(Scope, Uuid), Arc<Built>>,
    /// How many of them a scope has.
    reach: SharedMap<Scope, usize>,
}

/// All instances.
#[derive(Clone, Default)]
pub(crate) struct Instances {
    /// In execution order.
    named: Vec<Arc<Named>>,
}

/// The consumer or the group that a plugin is for.
fn client(entity: &Plugin) -> Option<Uuid> {
    entity.consumer.as_ref().or(entity.consumer_group.as_ref()).map(|foreign| foreign.id)
}

impl Instances {
    pub(super) fn new(plugins: usize) -> Self {
        Self { named: (0..plugins).map(|_| Arc::default()).collect() }
    }

    /// Adds an instance of the plugin at `at`; whether the plans of its scope are others now.
    pub(super) fn add(&mut self, at: usize, built: &Arc<Built>) -> bool {
        let scope = Scope::of(built.entity());
        let named = Arc::make_mut(&mut self.named[at]);
        let Some(client) = client(built.entity()) else {
            named.fixed.insert(scope, built.clone());
            return true;
        };
        if named.clients.get(&(scope, client)).is_some() {
            named.clients.insert((scope, client), built.clone());
            return false;
        }
        named.clients.insert((scope, client), built.clone());
        let reach = named.reach.entry(scope, || 0);
        *reach += 1;
        *reach == 1
    }

    /// Takes an instance out again; one that has taken its place stays. Whether the plans of its scope are others now.
    pub(super) fn remove(&mut self, at: usize, built: &Arc<Built>) -> bool {
        let scope = Scope::of(built.entity());
        let named = Arc::make_mut(&mut self.named[at]);
        let is_it = |found: Option<&Arc<Built>>| found.is_some_and(|found| Arc::ptr_eq(found, built));
        let Some(client) = client(built.entity()) else {
            return is_it(named.fixed.get(&scope)) && named.fixed.remove(&scope).is_some();
        };
        if !is_it(named.clients.get(&(scope, client))) {
            return false;
        }
        named.clients.remove(&(scope, client));
        named.reach.reduce(&scope, |count| {
            *count -= 1;
            *count == 0
        });
        named.reach.get(&scope).is_none()
    }

    /// The plugins of what is in a scope.
    pub(super) fn slots(&self, scope: Scope) -> Vec<Slot> {
        let slots = self.named.iter().enumerate().filter_map(|(named, instances)| {
            let fixed = scope.all().find_map(|scope| instances.fixed.get(&scope)).cloned();
            let scopes: Box<[Scope]> = scope.all().filter(|scope| instances.reach.get(scope).is_some()).collect();
            (fixed.is_some() || !scopes.is_empty()).then_some(Slot { named, fixed, scopes })
        });
        slots.collect()
    }

    /// The instance of the plugin at `named` for a consumer or a group.
    pub(super) fn of_client(&self, named: usize, scope: Scope, client: Uuid) -> Option<&Arc<Built>> {
        self.named.get(named)?.clients.get(&(scope, client))
    }
}
