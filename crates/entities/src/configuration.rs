//! The configuration as typed maps: what the data plane is built from.

use std::collections::HashMap;
use std::sync::Arc;

use schema::{ConversionError, Record, Uuid, Value};

use crate::{
    Acl, AcmeStorage, BasicauthCredential, CaCertificate, Certificate, Consumer, ConsumerGroup, ConsumerGroupConsumer,
    ConsumerGroupPlugin, FilterChain, HmacauthCredential, JwtSecret, Key, KeySet, KeyauthCredential,
    MtlsAuthCredential, Oauth2AuthorizationCode, Oauth2Credential, Oauth2Token, Plugin, Route, Service, Session,
    SessionMetadata, Sni, Target, Upstream, Vault,
};

/// Entities by their id.
pub type Map<T> = HashMap<Uuid, Arc<T>, ahash::RandomState>;

/// The hash of a configuration without entities.
pub const EMPTY_HASH: &str = "00000000000000000000000000000000";

/// A row that cannot be part of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("no entity is called '{0}'")]
    UnknownEntity(String),
    #[error("a row of '{entity}' does not have the entity's shape")]
    Shape { entity: String, source: ConversionError },
}

/// Entities that are of no use to the data plane.
const NOT_KEPT: [&str; 4] = ["workspaces", "parameters", "tags", "clustering_data_planes"];

/// Entities that nothing of the data plane is built from.
const UNUSED: [&str; 4] = ["key_sets", "keys", "filter_chains", "acme_storage"];

/// A row that was set or removed: what it was, and what it is now, of all that the data plane is built from.
#[derive(Clone, Debug)]
pub enum Touched {
    Consumers(Option<Arc<Consumer>>, Option<Arc<Consumer>>),
    ConsumerGroups(Option<Arc<ConsumerGroup>>, Option<Arc<ConsumerGroup>>),
    ConsumerGroupConsumers(Option<Arc<ConsumerGroupConsumer>>, Option<Arc<ConsumerGroupConsumer>>),
    ConsumerGroupPlugins(Option<Arc<ConsumerGroupPlugin>>, Option<Arc<ConsumerGroupPlugin>>),
    Acls(Option<Arc<Acl>>, Option<Arc<Acl>>),
    KeyauthCredentials(Option<Arc<KeyauthCredential>>, Option<Arc<KeyauthCredential>>),
    BasicauthCredentials(Option<Arc<BasicauthCredential>>, Option<Arc<BasicauthCredential>>),
    HmacauthCredentials(Option<Arc<HmacauthCredential>>, Option<Arc<HmacauthCredential>>),
    JwtSecrets(Option<Arc<JwtSecret>>, Option<Arc<JwtSecret>>),
    MtlsAuthCredentials(Option<Arc<MtlsAuthCredential>>, Option<Arc<MtlsAuthCredential>>),
    Oauth2Credentials(Option<Arc<Oauth2Credential>>, Option<Arc<Oauth2Credential>>),
    Routes(Option<Arc<Route>>, Option<Arc<Route>>),
    Services(Option<Arc<Service>>, Option<Arc<Service>>),
    Plugins(Option<Arc<Plugin>>, Option<Arc<Plugin>>),
    Upstreams(Option<Arc<Upstream>>, Option<Arc<Upstream>>),
    Targets(Option<Arc<Target>>, Option<Arc<Target>>),
    Certificates(Option<Arc<Certificate>>, Option<Arc<Certificate>>),
    CaCertificates(Option<Arc<CaCertificate>>, Option<Arc<CaCertificate>>),
    Snis(Option<Arc<Sni>>, Option<Arc<Sni>>),
    /// Of nothing that the data plane is built from.
    Unused,
    /// Not told in detail: everything may have changed.
    Other,
}

macro_rules! touched {
    (consumers, $old:expr, $new:expr) => {
        Touched::Consumers($old, $new)
    };
    (consumer_groups, $old:expr, $new:expr) => {
        Touched::ConsumerGroups($old, $new)
    };
    (consumer_group_consumers, $old:expr, $new:expr) => {
        Touched::ConsumerGroupConsumers($old, $new)
    };
    (consumer_group_plugins, $old:expr, $new:expr) => {
        Touched::ConsumerGroupPlugins($old, $new)
    };
    (acls, $old:expr, $new:expr) => {
        Touched::Acls($old, $new)
    };
    (keyauth_credentials, $old:expr, $new:expr) => {
        Touched::KeyauthCredentials($old, $new)
    };
    (basicauth_credentials, $old:expr, $new:expr) => {
        Touched::BasicauthCredentials($old, $new)
    };
    (hmacauth_credentials, $old:expr, $new:expr) => {
        Touched::HmacauthCredentials($old, $new)
    };
    (jwt_secrets, $old:expr, $new:expr) => {
        Touched::JwtSecrets($old, $new)
    };
    (mtls_auth_credentials, $old:expr, $new:expr) => {
        Touched::MtlsAuthCredentials($old, $new)
    };
    (oauth2_credentials, $old:expr, $new:expr) => {
        Touched::Oauth2Credentials($old, $new)
    };
    (routes, $old:expr, $new:expr) => {
        Touched::Routes($old, $new)
    };
    (services, $old:expr, $new:expr) => {
        Touched::Services($old, $new)
    };
    (plugins, $old:expr, $new:expr) => {
        Touched::Plugins($old, $new)
    };
    (upstreams, $old:expr, $new:expr) => {
        Touched::Upstreams($old, $new)
    };
    (targets, $old:expr, $new:expr) => {
        Touched::Targets($old, $new)
    };
    (certificates, $old:expr, $new:expr) => {
        Touched::Certificates($old, $new)
    };
    (ca_certificates, $old:expr, $new:expr) => {
        Touched::CaCertificates($old, $new)
    };
    (snis, $old:expr, $new:expr) => {
        Touched::Snis($old, $new)
    };
    ($other:ident, $old:expr, $new:expr) => {{
        drop($old);
        if UNUSED.contains(&stringify!($other)) { Touched::Unused } else { Touched::Other }
    }};
}

macro_rules! configuration {
    ($($name:ident: $type:ty,)+) => {
        /// All entities; see the module.
        #[derive(Clone, Debug)]
        pub struct Configuration {
            $(pub $name: Map<$type>,)+
            /// Names the configuration: 32 hexadecimal digits.
            pub hash: String,
        }

        impl Default for Configuration {
            fn default() -> Self {
                Self { $($name: Map::default(),)+ hash: EMPTY_HASH.to_owned() }
            }
        }

        impl Configuration {
            /// Drops it bit by bit.
            pub fn free(self) {
                $(pace::each(self.$name).for_each(drop);)+
            }

            /// Adds an entity, or replaces the one with its id.
            ///
            /// # Errors
            /// When there is no such entity, or the row is not one.
            pub fn set(&mut self, entity: &str, row: &Value) -> Result<Touched, ConfigurationError> {
                match entity {
                    $(stringify!($name) => {
                        let value = <$type>::from_value(row)
                            .map_err(|source| ConfigurationError::Shape { entity: entity.to_owned(), source })?;
                        let value = Arc::new(value);
                        let old = self.$name.insert(value.id, value.clone());
                        Ok(touched!($name, old, Some(value)))
                    })+
                    other if NOT_KEPT.contains(&other) => Ok(Touched::Unused),
                    other => Err(ConfigurationError::UnknownEntity(other.to_owned())),
                }
            }

            /// Removes an entity; there need not be one.
            pub fn remove(&mut self, entity: &str, id: Uuid) -> Touched {
                match entity {
                    $(stringify!($name) => {
                        let old = self.$name.remove(&id);
                        touched!($name, old, None)
                    })+
                    _ => Touched::Unused,
                }
            }

            /// The number of entities.
            pub fn len(&self) -> usize {
                [$(self.$name.len(),)+].iter().sum()
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

configuration! {
    consumers: Consumer,
    consumer_groups: ConsumerGroup,
    consumer_group_consumers: ConsumerGroupConsumer,
    consumer_group_plugins: ConsumerGroupPlugin,
    certificates: Certificate,
    services: Service,
    routes: Route,
    snis: Sni,
    upstreams: Upstream,
    targets: Target,
    plugins: Plugin,
    ca_certificates: CaCertificate,
    vaults: Vault,
    key_sets: KeySet,
    keys: Key,
    filter_chains: FilterChain,
    acls: Acl,
    acme_storage: AcmeStorage,
    basicauth_credentials: BasicauthCredential,
    hmacauth_credentials: HmacauthCredential,
    jwt_secrets: JwtSecret,
    keyauth_credentials: KeyauthCredential,
    mtls_auth_credentials: MtlsAuthCredential,
    oauth2_credentials: Oauth2Credential,
    oauth2_authorization_codes: Oauth2AuthorizationCode,
    oauth2_tokens: Oauth2Token,
    sessions: Session,
    session_metadatas: SessionMetadata,
}
