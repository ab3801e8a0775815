//! The configuration as typed maps: what the data plane is built from.

use std::collections::HashMap;
use std::sync::Arc;

use schema::{ConversionError, Record, Uuid, Value};

use crate::{
    Acl, AcmeStorage, BasicauthCredential, CaCertificate, Certificate, Consumer, ConsumerGroup, ConsumerGroupConsumer,
    FilterChain, HmacauthCredential, JwtSecret, Key, KeySet, KeyauthCredential, Oauth2AuthorizationCode,
    Oauth2Credential, Oauth2Token, Plugin, Route, Service, Session, SessionMetadata, Sni, Target, Upstream, Vault,
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
            /// Adds an entity, or replaces the one with its id.
            ///
            /// # Errors
            /// When there is no such entity, or the row is not one.
            pub fn set(&mut self, entity: &str, row: &Value) -> Result<(), ConfigurationError> {
                match entity {
                    $(stringify!($name) => {
                        let value = <$type>::from_value(row)
                            .map_err(|source| ConfigurationError::Shape { entity: entity.to_owned(), source })?;
                        self.$name.insert(value.id, Arc::new(value));
                    })+
                    other if NOT_KEPT.contains(&other) => {}
                    other => return Err(ConfigurationError::UnknownEntity(other.to_owned())),
                }
                Ok(())
            }

            /// Removes an entity; there need not be one.
            pub fn remove(&mut self, entity: &str, id: Uuid) {
                match entity {
                    $(stringify!($name) => {
                        self.$name.remove(&id);
                    })+
                    _ => {}
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
    oauth2_credentials: Oauth2Credential,
    oauth2_authorization_codes: Oauth2AuthorizationCode,
    oauth2_tokens: Oauth2Token,
    sessions: Session,
    session_metadatas: SessionMetadata,
}
