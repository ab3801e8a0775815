//! What a gateway is configured with: every entity as a typed struct with its schema, the catalog of them all, the
//! configuration that the data plane is built from, and declarative files.
//!
//! Pure: no IO, no clock; time and randomness come with a [`schema::Context`].

mod acl;
mod acme_storage;
pub mod basicauth_credential;
mod ca_certificate;
mod catalog;
mod certificate;
mod clustering_data_plane;
mod configuration;
mod consumer;
mod consumer_group;
mod consumer_group_consumer;
mod consumer_group_plugin;
pub mod declarative;
mod filter_chain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hash;
mod hmacauth_credential;
mod jwt_secret;
mod key;
mod key_set;
mod keyauth_credential;
mod mtls_auth_credential;
mod oauth2_authorization_code;
pub mod oauth2_credential;
mod oauth2_token;
mod parameter;
mod persistent;
mod plugin;
mod protocols;
mod ratelimiting_metric;
mod retry_policy;
pub mod route;
mod service;
mod session;
mod session_metadata;
mod sni;
mod tag;
pub mod target;
pub mod upstream;
pub mod vault;
pub mod workspace;

#[cfg(test)]
mod tests;

pub use acl::Acl;
pub use acme_storage::AcmeStorage;
pub use basicauth_credential::BasicauthCredential;
pub use ca_certificate::CaCertificate;
pub use catalog::{AvailablePlugin, Catalog, PluginSchema, RouterFlavor, UnknownFlavor};
pub use certificate::Certificate;
pub use clustering_data_plane::{CertDetails, ClusteringDataPlane};
pub use configuration::{Configuration, ConfigurationError, EMPTY_HASH, Map, Touched};
pub use consumer::Consumer;
pub use consumer_group::ConsumerGroup;
pub use consumer_group_consumer::ConsumerGroupConsumer;
pub use consumer_group_plugin::{ConsumerGroupPlugin, GroupLimits};
pub use filter_chain::{Filter, FilterChain};
pub use hmacauth_credential::HmacauthCredential;
pub use jwt_secret::JwtSecret;
pub use key::{Key, Pem};
pub use key_set::KeySet;
pub use keyauth_credential::KeyauthCredential;
pub use mtls_auth_credential::MtlsAuthCredential;
pub use oauth2_authorization_code::Oauth2AuthorizationCode;
pub use oauth2_credential::Oauth2Credential;
pub use oauth2_token::Oauth2Token;
pub use parameter::Parameter;
pub use persistent::{SharedArray, SharedMap};
pub use plugin::Plugin;
pub use protocols::Protocols;
pub use ratelimiting_metric::RatelimitingMetric;
pub use retry_policy::{RetriedFailure, RetryPolicy};
pub use route::{Net, PathForwarding, Route};
pub use service::{HttpVersion, Service};
pub use session::Session;
pub use session_metadata::SessionMetadata;
pub use sni::Sni;
pub use tag::Tag;
pub use target::{Target, normalize as normalize_target};
pub use upstream::Upstream;
pub use vault::Vault;
pub use workspace::Workspace;
