//! Which plugin instances run for a route, and for a consumer on it: Kong's precedence, decided ahead of requests.

use super::instances::{Instances, Scope};
use entities::{CaCertificate, Plugin as PluginEntity};
use pdk::{Consumers, LimitedGroup, Phases, Plugin};
use std::sync::Arc;
use uuid::Uuid;

/// A configured plugin, built.
pub(crate) struct Built {
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) phases: Phases,
    pub(crate) name: &'static str,
    pub(super) entity: Arc<PluginEntity>,
    /// The certificates of authorities that it was made with.
    pub(super) authorities: Vec<Arc<CaCertificate>>,
    /// The consumer groups that it was made with.
    pub(super) groups: Vec<LimitedGroup>,
}

impl Built {
    pub(crate) fn entity(&self) -> &PluginEntity {
        &self.entity
    }

    pub(crate) fn shared_entity(&self) -> Arc<PluginEntity> {
        self.entity.clone()
    }
}

/// How specific a scope is: lower wins (Kong's order, consumer groups as in Kong Enterprise).
fn rank(entity: &PluginEntity) -> u8 {
    let (route, service) = (entity.route.is_some(), entity.service.is_some());
    match (entity.consumer.is_some(), entity.consumer_group.is_some(), route, service) {
        (true, _, true, true) => 0,
        (false, true, true, true) => 1,
        (true, _, true, false) => 2,
        (true, _, false, true) => 3,
        (false, true, true, false) => 4,
        (false, true, false, true) => 5,
        (false, false, true, true) => 6,
        (true, _, false, false) => 7,
        (false, true, false, false) => 8,
        (false, false, true, false) => 9,
        (false, false, false, true) => 10,
        (false, false, false, false) => 11,
    }
}

/// A plugin on a route.
pub(crate) struct Slot {
    /// Which plugin, in execution order.
    pub(super) named: usize,
    /// What runs for everybody; `None` where only some consumers have it.
    pub(super) fixed: Option<Arc<Built>>,
    /// Where instances for consumers and groups are to be looked for.
    pub(super) scopes: Box<[Scope]>,
}

/// The plugins of a route in execution order.
pub(crate) enum Plan {
    /// The same for every consumer.
    Fixed(Arc<[Arc<Built>]>),
    ByConsumer(Box<[Slot]>),
}

impl Default for Plan {
    fn default() -> Self {
        Self::Fixed(Arc::new([]))
    }
}

/// The instances that run for a request, in execution order.
pub(crate) enum Chosen<'a> {
    Fixed(&'a [Arc<Built>]),
    Own(Vec<&'a Arc<Built>>),
}

impl Default for Chosen<'_> {
    fn default() -> Self {
        Self::Fixed(&[])
    }
}

impl<'a> Chosen<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a Arc<Built>> + '_ {
        let (fixed, own): (&'a [Arc<Built>], &[&'a Arc<Built>]) = match self {
            Self::Fixed(all) => (all, &[]),
            Self::Own(all) => (&[], all),
        };
        fixed.iter().chain(own.iter().copied())
    }

    /// Whether any of them has work in a phase.
    pub(crate) fn any(&self, phase: Phases) -> bool {
        self.iter().any(|b| b.phases.contains(phase))
    }
}

impl Plan {
    /// The plan of what is in a scope.
    pub(super) fn new(instances: &Instances, scope: Scope) -> Self {
        let slots = instances.slots(scope);
        if slots.iter().all(|slot| slot.scopes.is_empty()) {
            return Self::Fixed(slots.into_iter().filter_map(|slot| slot.fixed).collect());
        }
        Self::ByConsumer(slots.into())
    }

    /// The instances where they are the same for every consumer.
    pub(crate) fn fixed(&self) -> Option<&[Arc<Built>]> {
        match self {
            Self::Fixed(all) => Some(all),
            Self::ByConsumer(_) => None,
        }
    }

    /// All instances, for a consumer that is known (or known to be none).
    pub(crate) fn chosen<'a>(
        &'a self,
        consumer: Option<Uuid>,
        consumers: &Consumers,
        instances: &'a Instances,
    ) -> Chosen<'a> {
        match self {
            Self::Fixed(fixed) => Chosen::Fixed(fixed),
            Self::ByConsumer(slots) => {
                let all = 0..slots.len();
                Chosen::Own(all.filter_map(|at| self.choose(at, consumer, consumers, instances)).collect())
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fixed(all) => all.len(),
            Self::ByConsumer(slots) => slots.len(),
        }
    }

    /// The instance of the plugin at `at`, for the consumer as known by now.
    pub(crate) fn choose<'a>(
        &'a self,
        at: usize,
        consumer: Option<Uuid>,
        consumers: &Consumers,
        instances: &'a Instances,
    ) -> Option<&'a Arc<Built>> {
        let slot = match self {
            Self::Fixed(all) => return all.get(at),
            Self::ByConsumer(slots) => slots.get(at)?,
        };
        let mut best = slot.fixed.as_ref();
        let Some(consumer) = consumer.filter(|_| !slot.scopes.is_empty()) else { return best };
        let groups = consumers.groups(consumer).iter().map(|group| group.id);
        for client in std::iter::once(consumer).chain(groups) {
            for built in slot.scopes.iter().filter_map(|scope| instances.of_client(slot.named, *scope, client)) {
                if best.is_none_or(|b| rank(&built.entity) < rank(&b.entity)) {
                    best = Some(built);
                }
            }
        }
        best
    }
}
