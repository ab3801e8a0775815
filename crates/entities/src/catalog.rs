//! All entities a gateway knows, with the plugins and vaults it has.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schema::{Entity, EntitySchema, Map, Schemas, Subschema, Value};

use crate::{
    Acl, AcmeStorage, BasicauthCredential, CaCertificate, Certificate, ClusteringDataPlane, Consumer, ConsumerGroup,
    ConsumerGroupConsumer, ConsumerGroupPlugin, FilterChain, HmacauthCredential, JwtSecret, Key, KeySet,
    KeyauthCredential, MtlsAuthCredential, Oauth2AuthorizationCode, Oauth2Credential, Oauth2Token, Parameter, Plugin,
    RatelimitingMetric, Service, Session, SessionMetadata, Sni, Tag, Target, Upstream, Vault, Workspace, route, vault,
};

/// What a plugin adds to the schema of plugins.
pub type PluginSchema = Subschema;

/// A plugin that the gateway has.
#[derive(Clone, Debug)]
pub struct AvailablePlugin {
    /// Kong's PRIORITY: higher runs earlier.
    pub priority: i32,
    pub version: Cow<'static, str>,
    pub schema: PluginSchema,
}

impl AvailablePlugin {
    pub fn name(&self) -> &str {
        &self.schema.name
    }
}

/// The property `router_flavor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterFlavor {
    Traditional,
    #[default]
    TraditionalCompatible,
    Expressions,
}

impl RouterFlavor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
        }
    }
}

impl fmt::Display for RouterFlavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A router flavor there is not.
#[derive(Debug, thiserror::Error)]
#[error("unknown router flavor '{0}' (expected one of: traditional, traditional_compatible, expressions)")]
pub struct UnknownFlavor(String);

impl FromStr for RouterFlavor {
    type Err = UnknownFlavor;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::Traditional, Self::TraditionalCompatible, Self::Expressions];
        all.into_iter().find(|flavor| flavor.name() == name).ok_or_else(|| UnknownFlavor(name.to_owned()))
    }
}

/// A child of an entity: the place of its schema, and its foreign field.
type Child = (usize, String);

/// See the module.
#[derive(Debug)]
pub struct Catalog {
    flavor: RouterFlavor,
    entities: Vec<Arc<EntitySchema>>,
    places: HashMap<String, usize>,
    children: HashMap<String, Vec<Child>>,
    plugins: Vec<AvailablePlugin>,
    plugin_places: HashMap<String, usize>,
    vaults: HashMap<String, Arc<Subschema>>,
}

impl Catalog {
    pub fn new(flavor: RouterFlavor, mut plugins: Vec<AvailablePlugin>) -> Self {
        plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.priority));
        let vaults: Vec<Arc<Subschema>> = vault::subschemas().into_iter().map(Arc::new).collect();
        let entities = schemas(flavor, &plugins, &vaults);
        let mut children: HashMap<String, Vec<Child>> = HashMap::new();
        for (place, schema) in entities.iter().enumerate() {
            for (field, parent) in schema.foreign_fields() {
                children.entry(parent.to_owned()).or_default().push((place, field.to_owned()));
            }
        }
        Self {
            flavor,
            places: entities.iter().enumerate().map(|(place, schema)| (schema.name.clone(), place)).collect(),
            entities,
            children,
            plugin_places: plugins.iter().enumerate().map(|(place, p)| (p.name().to_owned(), place)).collect(),
            plugins,
            vaults: vaults.into_iter().map(|vault| (vault.name.clone(), vault)).collect(),
        }
    }

    pub fn flavor(&self) -> RouterFlavor {
        self.flavor
    }

    /// All entities, each behind those it refers to.
    pub fn entities(&self) -> impl Iterator<Item = &Arc<EntitySchema>> {
        self.entities.iter()
    }

    pub fn entity(&self, name: &str) -> Option<&Arc<EntitySchema>> {
        self.places.get(name).and_then(|place| self.entities.get(*place))
    }

    /// An entity's schema for who only reads schemas: also that of counts, which are no part of a configuration.
    pub fn described(&self, name: &str) -> Option<&Arc<EntitySchema>> {
        let counts = RatelimitingMetric::schema();
        self.entity(name).or_else(|| (counts.name == name).then_some(counts))
    }

    /// The entities that refer to this one, each with the field that does.
    pub fn children(&self, parent: &str) -> impl Iterator<Item = (&Arc<EntitySchema>, &str)> {
        let children = self.children.get(parent).into_iter().flatten();
        children.filter_map(|(place, field)| Some((self.entities.get(*place)?, field.as_str())))
    }

    /// The plugins in the order in which they run.
    pub fn plugins(&self) -> impl Iterator<Item = &AvailablePlugin> {
        self.plugins.iter()
    }

    pub fn plugin(&self, name: &str) -> Option<&AvailablePlugin> {
        self.plugin_places.get(name).and_then(|place| self.plugins.get(*place))
    }

    pub fn vault(&self, name: &str) -> Option<&Arc<Subschema>> {
        self.vaults.get(name)
    }

    /// Why a plugin's protocols do not go with those of its route, or of its service's routes; the error tree.
    pub fn protocols_mismatch(
        &self,
        plugin: &Value,
        route: Option<&Value>,
        routes_of_service: &mut dyn Iterator<Item = &Value>,
    ) -> Option<Value> {
        let protocols = |entity: &Value| entity.get("protocols").and_then(Value::as_array).cloned().unwrap_or_default();
        let own = protocols(plugin);
        let shares = |route: &Value| protocols(route).iter().any(|protocol| own.contains(protocol));
        let text = match route {
            Some(route) if shares(route) => return None,
            Some(_) => "must match the associated route's protocols",
            None => {
                let mut routes = routes_of_service.peekable();
                if routes.peek().is_none() || routes.any(shares) {
                    return None;
                }
                "must match the protocols of at least one route pointing to this Plugin's service"
            }
        };
        Some(Value::Object(Map::from_iter([("protocols".into(), text.into())])))
    }
}

impl Schemas for Catalog {
    fn entity(&self, name: &str) -> Option<&EntitySchema> {
        Catalog::entity(self, name).map(|schema| &**schema)
    }
}

/// Kong's core entities in its order (with the consumer groups of its Enterprise edition), then those of its plugins.
fn schemas(flavor: RouterFlavor, plugins: &[AvailablePlugin], vaults: &[Arc<Subschema>]) -> Vec<Arc<EntitySchema>> {
    let plugins = plugins.iter().map(|plugin| Arc::new(plugin.schema.clone()));
    vec![
        Workspace::schema().clone(),
        Consumer::schema().clone(),
        ConsumerGroup::schema().clone(),
        ConsumerGroupConsumer::schema().clone(),
        ConsumerGroupPlugin::schema().clone(),
        Certificate::schema().clone(),
        Service::schema().clone(),
        Arc::new(route::schema(flavor)),
        Sni::schema().clone(),
        Upstream::schema().clone(),
        Target::schema().clone(),
        Arc::new((**Plugin::schema()).clone().with_subschemas(plugins)),
        Tag::schema().clone(),
        CaCertificate::schema().clone(),
        ClusteringDataPlane::schema().clone(),
        Parameter::schema().clone(),
        Arc::new((**Vault::schema()).clone().with_subschemas(vaults.iter().cloned())),
        KeySet::schema().clone(),
        Key::schema().clone(),
        FilterChain::schema().clone(),
        Acl::schema().clone(),
        AcmeStorage::schema().clone(),
        BasicauthCredential::schema().clone(),
        HmacauthCredential::schema().clone(),
        JwtSecret::schema().clone(),
        KeyauthCredential::schema().clone(),
        MtlsAuthCredential::schema().clone(),
        Oauth2Credential::schema().clone(),
        Oauth2AuthorizationCode::schema().clone(),
        Oauth2Token::schema().clone(),
        Session::schema().clone(),
        SessionMetadata::schema().clone(),
    ]
}
