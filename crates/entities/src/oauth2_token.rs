//! Access tokens of the plugin oauth2.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A token that requests show.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "oauth2_tokens", endpoint_key = "access_token", cache_key(["access_token"]), ttl, workspaceable)]
pub struct Oauth2Token {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    /// The only service it is good for.
    #[field(reference = "services", on_delete = "cascade", default = null)]
    pub service: Option<Foreign>,
    /// The application it was given to.
    #[field(reference = "oauth2_credentials", on_delete = "cascade")]
    pub credential: Foreign,
    /// The kind of token.
    #[field(default = "bearer", one_of(["bearer"]))]
    pub token_type: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// The token.
    #[field(auto, unique, required = false)]
    pub access_token: String,
    /// What a new token is asked for with.
    #[field(required = false, unique)]
    pub refresh_token: Option<String>,
    /// The user, as the application knows them.
    #[field(required = false)]
    pub authenticated_userid: Option<String>,
    /// What it allows.
    pub scope: Option<String>,
}
