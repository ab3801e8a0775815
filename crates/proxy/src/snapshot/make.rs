//! Plugin instances made from their entities, and kept while those stay as they are.

use super::Environment;
use super::plan::Built;
use ahash::HashMap;
use entities::{CaCertificate, Configuration, Plugin as PluginEntity};
use pdk::trace::{Instrumentations, Tracing};
use pdk::{Context, Instance, Phases, Plugin, Response, Step};
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
        let known = known.filter(|built| {
            let is_same = |(old, new): (&Arc<CaCertificate>, _)| Arc::ptr_eq(old, new);
            Arc::ptr_eq(&built.entity, entity)
                && built.authorities.len() == authorities.len()
                && built.authorities.iter().zip(&authorities).all(is_same)
        });
        let built = known.unwrap_or_else(|| {
            let (plugin, phases) = build(entity, &env.plugins[at], env, &authorities).unwrap_or_else(|problem| {
                problems.push(problem);
                broken(&env.plugins[at])
            });
            Arc::new(Built { plugin, phases, name: env.plugins[at].name, entity: entity.clone(), authorities })
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

/// An instance and the phases it runs in.
type Made = (Arc<dyn Plugin>, Phases);

fn build(
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
