//! Authorization codes of the plugin oauth2.

use schema::{Foreign, Record, Uuid};
use serde::{Deserialize, Serialize};

/// A code that an application exchanges for a token.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "oauth2_authorization_codes", ttl, workspaceable, generate_admin_api = false)]
pub struct Oauth2AuthorizationCode {
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
    /// The code.
    #[field(auto, unique, required = false)]
    pub code: String,
    /// The user, as the application knows them.
    #[field(required = false)]
    pub authenticated_userid: Option<String>,
    /// What it allows.
    pub scope: Option<String>,
    /// PKCE's challenge.
    #[field(required = false)]
    pub challenge: Option<String>,
    /// How the challenge was made.
    #[field(required = false, one_of(["S256"]))]
    pub challenge_method: Option<String>,
    /// The plugin that gave it out.
    #[field(reference = "plugins", on_delete = "cascade", default = null)]
    pub plugin: Option<Foreign>,
}
