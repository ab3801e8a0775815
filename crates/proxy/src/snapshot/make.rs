//! Plugin instances made from their entities, and kept while those stay as they are.

use super::Environment;
use super::plan::Built;
use ahash::HashMap;
use entities::{Configuration, Plugin as PluginEntity};
use pdk::trace::{Instrumentations, Tracing};
use pdk::{Context, Instance, LimitedGroup, Phases, Plugin, Response, Step};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// An instance, and the place of its plugin in the execution order.
type Placed = (usize, Arc<Built>);

/// Makes instances, and knows those in use.
pub(super) struct Workshop {
    order: HashMap<&'static str, usize>,
    tracing: Tracing,
    in_use: HashMap<Uuid, Placed>,
    /// Those of the configuration before, while a new one is taken over.
    before: HashMap<Uuid, Placed>,
    /// What share of requests a plugin may report the steps of, of those that report any.
    traced: HashMap<Uuid, f64>,
    /// Those that want certificates of clients.
    asking: HashMap<Uuid, Arc<Built>>,
}

impl Workshop {
    pub(super) fn new(env: &Environment) -> Self {
        let order = env.plugins.iter().enumerate().map(|(at, definition)| (definition.name, at)).collect();
        Self {
            order,
            tracing: env.tracing,
            in_use: HashMap::default(),
            before: HashMap::default(),
            traced: HashMap::default(),
            asking: HashMap::default(),
        }
    }

    /// Begins a new configuration.
    pub(super) fn start_over(&mut self, keeps: bool) {
        let before = std::mem::take(&mut self.in_use);
        self.before = if keeps { before } else { HashMap::default() };
        self.traced.clear();
        self.asking.clear();
    }

    /// Ends taking over a configuration: what of the one before was not taken over ends.
    pub(super) fn forget_unused(&mut self) {
        self.before = HashMap::default();
    }

    /// Takes an instance out of use.
    pub(super) fn take(&mut self, id: Uuid) -> Option<Placed> {
        self.traced.remove(&id);
        self.asking.remove(&id);
        self.in_use.remove(&id)
    }

    /// The instance of an entity; `None` where it does not run.
    pub(super) fn make(
        &mut self,
        entity: &Arc<PluginEntity>,
        from: &Configuration,
        env: &Environment,
        problems: &mut Vec<String>,
    ) -> Option<Placed> {
        if !entity.enabled || !is_http(entity) {
            return None;
        }
        let Some(&at) = self.order.get(entity.name.as_str()) else {
            problems.push(format!("plugin '{}' is not there: its instance {} is left out", entity.name, entity.id));
            return None;
        };
        let authorities: Vec<_> = authorities(entity).filter_map(|id| from.ca_certificates.get(&id).cloned()).collect();
        let known = self.before.remove(&entity.id).map(|(_, built)| built);
        let groups = groups(entity, from);
        let known = known.filter(|built| {
            Arc::ptr_eq(&built.entity, entity)
                && are_same(&built.authorities, &authorities, Arc::ptr_eq)
                && are_same(&built.groups, &groups, is_same_group)
        });
        let built = known.unwrap_or_else(|| {
            let definition = &env.plugins[at];
            let mut config = entity.config.clone();
            resolve_secrets(&mut config, env);
            let instance = Instance { entity, config: &config, authorities: &authorities, groups: &groups };
            let (plugin, phases) = build(&instance, definition).unwrap_or_else(|problem| {
                problems.push(problem);
                broken(definition)
            });
            Arc::new(Built { plugin, phases, name: definition.name, entity: entity.clone(), authorities, groups })
        });
        if built.plugin.client_certificates().is_some() {
            self.asking.insert(entity.id, built.clone());
        }
        if self.tracing.instrumentations != Instrumentations::NONE
            && let Some(share) = built.plugin.share_of_traces(self.tracing)
        {
            self.traced.insert(entity.id, share);
        }
        self.in_use.insert(entity.id, (at, built.clone()));
        Some((at, built))
    }

    /// The instances that want certificates of clients.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arc<Built>> {
        self.asking.values()
    }

    /// The largest share of requests of which a plugin may report the steps; `None` where none are recorded or reported.
    pub(super) fn share_of_traces(&self) -> Option<f64> {
        self.traced.values().copied().reduce(f64::max)
    }
}

fn is_http(entity: &PluginEntity) -> bool {
    entity.protocols.iter().any(|p| matches!(p.as_str(), "http" | "https" | "grpc" | "grpcs"))
}

/// The ids of certificates of authorities that a plugin names.
pub(super) fn authorities(entity: &PluginEntity) -> impl Iterator<Item = Uuid> {
    let ids = entity.config.get("ca_certificates").and_then(Value::as_array).into_iter().flatten();
    ids.filter_map(|id| Uuid::parse_str(id.as_str()?).ok())
}

/// Whether an instance gives consumer groups limits of their own, of which one may have one of these names (or ids).
pub(super) fn limits_groups(entity: &PluginEntity, names: &[String]) -> bool {
    group_names(entity).any(|name| names.iter().any(|known| known == name))
}

/// The names (or ids) of the consumer groups that an instance gives limits of their own.
fn group_names(entity: &PluginEntity) -> impl Iterator<Item = &str> {
    let is_asked = entity.config.get("enforce_consumer_groups").and_then(Value::as_bool) == Some(true);
    let names = entity.config.get("consumer_groups").filter(|_| is_asked).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The consumer groups that an instance gives limits of their own, as far as they are there.
fn groups(entity: &PluginEntity, from: &Configuration) -> Vec<LimitedGroup> {
    let limited = group_names(entity).filter_map(|name| {
        let by_id = Uuid::parse_str(name).ok().and_then(|id| from.consumer_groups.get(&id));
        let group = by_id.or_else(|| from.consumer_groups.values().find(|group| group.name == name))?;
        let mut own = from.consumer_group_plugins.values();
        let limits = own.find(|own| own.consumer_group.id == group.id && own.name == entity.name);
        Some(LimitedGroup { group: group.clone(), limits: limits.cloned() })
    });
    limited.collect()
}

fn are_same<T>(old: &[T], new: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
}

fn is_same_group(old: &LimitedGroup, new: &LimitedGroup) -> bool {
    let limits = |group: &LimitedGroup| group.limits.as_ref().map(Arc::as_ptr);
    Arc::ptr_eq(&old.group, &new.group) && limits(old) == limits(new)
}

/// An instance and the phases it runs in.
type Made = (Arc<dyn Plugin>, Phases);

fn build(instance: &Instance<'_>, definition: &pdk::Definition) -> Result<Made, String> {
    let Instance { entity, .. } = instance;
    let plugin = (definition.build)(instance)
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
