//! Which plugin instances run for a route, and for a consumer on it: Kong's precedence, decided ahead of requests.

use super::Environment;
use ahash::{HashMap, HashSet};
use entities::{CaCertificate, Configuration, Plugin as PluginEntity, Route};
use pdk::trace::{Instrumentations, Tracing};
use pdk::{Consumers, Context, Instance, Phases, Plugin, Response, Step};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// A configured plugin, built.
pub(crate) struct Built {
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) phases: Phases,
    pub(crate) name: &'static str,
    entity: Arc<PluginEntity>,
    authorities: Vec<Arc<CaCertificate>>,
}

impl Built {
    pub(crate) fn entity(&self) -> &PluginEntity {
        &self.entity
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

/// The instances of one plugin that need a consumer or a group.
#[derive(Default)]
pub(crate) struct Scoped {
    by_consumer: HashMap<Uuid, Vec<Arc<Built>>>,
    by_group: HashMap<Uuid, Vec<Arc<Built>>>,
}

/// A plugin on a route.
struct Slot {
    /// What runs for everybody; `None` where only some consumers have it.
    fixed: Option<Arc<Built>>,
    scoped: Option<Arc<Scoped>>,
}

/// The plugins of a route in execution order.
#[derive(Default)]
pub(crate) struct Plan {
    slots: Vec<Slot>,
    route: Option<Uuid>,
    service: Option<Uuid>,
    /// Where no slot depends on the consumer: the instances, once for all.
    fixed: Option<Arc<[Arc<Built>]>>,
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
    fn new(slots: Vec<Slot>, route: Option<Uuid>, service: Option<Uuid>) -> Self {
        let fixed = slots.iter().all(|s| s.scoped.is_none());
        let fixed = fixed.then(|| slots.iter().filter_map(|s| s.fixed.clone()).collect());
        Self { slots, route, service, fixed }
    }

    /// The instances where they are the same for every consumer.
    pub(crate) fn fixed(&self) -> Option<&Arc<[Arc<Built>]>> {
        self.fixed.as_ref()
    }

    /// All instances, for a consumer that is known (or known to be none).
    pub(crate) fn chosen(&self, consumer: Option<Uuid>, consumers: &Consumers) -> Chosen<'_> {
        match &self.fixed {
            Some(fixed) => Chosen::Fixed(fixed),
            None => Chosen::Own((0..self.slots.len()).filter_map(|at| self.choose(at, consumer, consumers)).collect()),
        }
    }

    /// All instances that may run, whoever the consumer is.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Built>> {
        self.slots.iter().flat_map(|slot| {
            let scoped = slot.scoped.iter().flat_map(|s| s.by_consumer.values().chain(s.by_group.values()).flatten());
            slot.fixed.iter().chain(scoped)
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The instance of the plugin at `at`, for the consumer as known by now.
    pub(crate) fn choose(&self, at: usize, consumer: Option<Uuid>, consumers: &Consumers) -> Option<&Arc<Built>> {
        let slot = &self.slots[at];
        let (Some(scoped), Some(consumer)) = (&slot.scoped, consumer) else { return slot.fixed.as_ref() };
        let here = |built: &&Arc<Built>| {
            built.entity.route.as_ref().is_none_or(|r| Some(r.id) == self.route)
                && built.entity.service.as_ref().is_none_or(|s| Some(s.id) == self.service)
        };
        let mut best = slot.fixed.as_ref();
        let own = scoped.by_consumer.get(&consumer).into_iter().flatten();
        let groups = consumers.groups(consumer).iter().filter_map(|g| scoped.by_group.get(&g.id)).flatten();
        for built in own.chain(groups).filter(here) {
            if best.is_none_or(|b| rank(&built.entity) < rank(&b.entity)) {
                best = Some(built);
            }
        }
        best
    }
}

/// The instances of one plugin, by scope.
#[derive(Default)]
struct Named {
    global: Option<Arc<Built>>,
    by_route: HashMap<Uuid, Vec<Arc<Built>>>,
    by_service: HashMap<Uuid, Arc<Built>>,
    scoped: Option<Arc<Scoped>>,
}

/// All instances of a configuration.
#[derive(Default)]
pub(crate) struct Instances {
    /// In execution order.
    named: Vec<Named>,
    built: HashMap<Uuid, Arc<Built>>,
    /// Routes and services that have plugins of their own: the others share the global plan.
    scopes: HashSet<Uuid>,
}

impl Instances {
    pub(crate) fn build(
        from: &Configuration,
        previous: Option<&Self>,
        env: &Environment,
        problems: &mut Vec<String>,
    ) -> Self {
        let order: HashMap<&str, usize> = env.plugins.iter().enumerate().map(|(i, d)| (d.name, i)).collect();
        let mut new = Self { named: env.plugins.iter().map(|_| Named::default()).collect(), ..Self::default() };
        let mut scoped: HashMap<usize, Scoped> = HashMap::default();
        let is_http =
            |p: &PluginEntity| p.protocols.iter().any(|p| matches!(p.as_str(), "http" | "https" | "grpc" | "grpcs"));
        for entity in from.plugins.values().filter(|p| p.enabled && is_http(p)) {
            let Some(&at) = order.get(entity.name.as_str()) else {
                problems.push(format!("plugin '{}' is not there: its instance {} is left out", entity.name, entity.id));
                continue;
            };
            let authorities = authorities(entity, from);
            let known = previous.and_then(|p| p.built.get(&entity.id)).filter(|built| {
                let is_same = |(old, new): (&Arc<CaCertificate>, _)| Arc::ptr_eq(old, new);
                Arc::ptr_eq(&built.entity, entity)
                    && built.authorities.len() == authorities.len()
                    && built.authorities.iter().zip(&authorities).all(is_same)
            });
            let built = known.cloned().unwrap_or_else(|| {
                let made = make(entity, &env.plugins[at], env, &authorities).unwrap_or_else(|problem| {
                    problems.push(problem);
                    broken(&env.plugins[at])
                });
                let (phases, name) = (made.1, env.plugins[at].name);
                Arc::new(Built { plugin: made.0, phases, name, entity: entity.clone(), authorities })
            });
            new.built.insert(entity.id, built.clone());
            new.scopes.extend(entity.route.iter().chain(&entity.service).map(|f| f.id));
            let named = &mut new.named[at];
            match (&entity.consumer, &entity.consumer_group, &entity.route, &entity.service) {
                (Some(consumer), ..) => {
                    scoped.entry(at).or_default().by_consumer.entry(consumer.id).or_default().push(built)
                }
                (_, Some(group), ..) => scoped.entry(at).or_default().by_group.entry(group.id).or_default().push(built),
                (_, _, Some(route), _) => named.by_route.entry(route.id).or_default().push(built),
                (_, _, None, Some(service)) => {
                    named.by_service.insert(service.id, built);
                }
                _ => named.global = Some(built),
            }
        }
        for (at, scoped) in scoped {
            new.named[at].scoped = Some(Arc::new(scoped));
        }
        new
    }

    /// The largest share of requests of which a plugin may report the steps; `None` where none are recorded or reported.
    pub(crate) fn share_of_traces(&self, tracing: Tracing) -> Option<f64> {
        if tracing.instrumentations == Instrumentations::NONE {
            return None;
        }
        self.built.values().filter_map(|built| built.plugin.share_of_traces(tracing)).reduce(f64::max)
    }

    /// What runs where there is no route.
    pub(crate) fn global(&self) -> Arc<Plan> {
        Arc::new(self.plan_for(None, None))
    }

    pub(crate) fn plan(&self, route: &Route, global: &Arc<Plan>) -> Arc<Plan> {
        let service = route.service.as_ref().map(|s| s.id);
        let has_own = self.scopes.contains(&route.id) || service.is_some_and(|s| self.scopes.contains(&s));
        if !has_own {
            return global.clone();
        }
        Arc::new(self.plan_for(Some(route.id), service))
    }

    fn plan_for(&self, route: Option<Uuid>, service: Option<Uuid>) -> Plan {
        let slots = self.named.iter().filter_map(|named| {
            let of_route = route.and_then(|r| named.by_route.get(&r)).into_iter().flatten();
            let of_route = of_route.filter(|b| b.entity.service.as_ref().is_none_or(|s| Some(s.id) == service));
            let fixed = of_route
                .min_by_key(|b| rank(&b.entity))
                .or_else(|| service.and_then(|s| named.by_service.get(&s)))
                .or(named.global.as_ref());
            let slot = Slot { fixed: fixed.cloned(), scoped: named.scoped.clone() };
            (slot.fixed.is_some() || slot.scoped.is_some()).then_some(slot)
        });
        Plan::new(slots.collect(), route, service)
    }
}

/// The certificates of authorities that a plugin names.
fn authorities(entity: &PluginEntity, from: &Configuration) -> Vec<Arc<CaCertificate>> {
    let ids = entity.config.get("ca_certificates").and_then(Value::as_array).into_iter().flatten();
    let ids = ids.filter_map(|id| Uuid::parse_str(id.as_str()?).ok());
    ids.filter_map(|id| from.ca_certificates.get(&id).cloned()).collect()
}

/// An instance and the phases it runs in.
type Made = (Arc<dyn Plugin>, Phases);

fn make(
    entity: &PluginEntity,
    definition: &pdk::Definition,
    env: &Environment,
    authorities: &[Arc<CaCertificate>],
) -> Result<Made, String> {
    let mut config = entity.config.clone();
    resolve_secrets(&mut config, env);
    let instance = Instance { entity, config: &config, authorities };
    let plugin = (definition.build)(&instance)
        .map_err(|error| format!("plugin '{}' ({}) cannot run: {error}", entity.name, entity.id))?;
    Ok((plugin, definition.phases))
}

/// Stands where an instance could not be built: what it should have checked must not pass unchecked.
struct Broken;

impl Plugin for Broken {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        Step::exit(Response::error(cx, 500, pdk::default_message(500)))
    }
}

fn broken(definition: &pdk::Definition) -> Made {
    let guards = definition.phases.contains(Phases::ACCESS);
    let phases = if guards { Phases::ACCESS } else { Phases::NONE };
    (Arc::new(Broken), phases)
}

/// Puts what `{vault://...}` stands for into its place; what cannot be found becomes empty, as in Kong.
fn resolve_secrets(value: &mut Value, env: &Environment) {
    match value {
        Value::String(text) if text.starts_with("{vault://") => {
            let secret = (env.secrets)(text).unwrap_or_else(|| {
                log::warn!("the secret {text} cannot be found; its field is empty");
                String::new()
            });
            *text = secret;
        }
        Value::Array(items) => items.iter_mut().for_each(|v| resolve_secrets(v, env)),
        Value::Object(fields) => fields.values_mut().for_each(|v| resolve_secrets(v, env)),
        _ => {}
    }
}
