//! The configuration of `oauth2`.

use schema::{Check, Record, RecordSchema, Value, is};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Config {
    /// The scopes that there are.
    pub(super) scopes: Option<Vec<String>>,
    /// Whether a token must have a scope.
    #[field(default = false)]
    pub(super) mandatory_scope: bool,
    /// Shows that the application that asks for users is the one that may vouch for them.
    #[field(auto, required = true, unique, encrypted)]
    pub(super) provision_key: Option<String>,
    /// How long tokens last, in seconds; 0: for ever.
    #[field(default = 7200)]
    pub(super) token_expiration: f64,
    /// Whether codes are given out for tokens (RFC 6749, 4.1).
    #[field(default = false)]
    pub(super) enable_authorization_code: bool,
    /// Whether tokens are given out without codes (RFC 6749, 4.2).
    #[field(default = false)]
    pub(super) enable_implicit_grant: bool,
    /// Whether applications get tokens for themselves (RFC 6749, 4.4).
    #[field(default = false)]
    pub(super) enable_client_credentials: bool,
    /// Whether applications get tokens for users they have authenticated (RFC 6749, 4.3).
    #[field(default = false)]
    pub(super) enable_password_grant: bool,
    /// Whether the token is taken out of the request before it goes upstream.
    #[field(default = false)]
    pub(super) hide_credentials: bool,
    /// Whether plain HTTP is taken where a trusted proxy says that the client used HTTPS.
    #[field(default = false)]
    pub(super) accept_http_if_already_terminated: bool,
    /// The consumer (id or username) that clients without a valid token become.
    pub(super) anonymous: Option<String>,
    /// Whether tokens count for all services whose plugin says so.
    #[field(default = false)]
    pub(super) global_credentials: bool,
    /// The header field that holds the token, or the application's credentials.
    #[field(default = "authorization")]
    pub(super) auth_header_name: Option<String>,
    /// How long a token can be renewed, in seconds; 0: for ever.
    #[field(default = 1_209_600, between(0, 100_000_000))]
    pub(super) refresh_token_ttl: f64,
    /// Whether a renewed token keeps its refresh token.
    #[field(default = false)]
    pub(super) reuse_refresh_token: bool,
    /// Who must prove that the code is theirs (RFC 7636): nobody, public applications, or all.
    #[field(required = false, default = "lax", one_of(["none", "lax", "strict"]))]
    pub(super) pkce: Option<String>,
    /// What `WWW-Authenticate` names as the realm.
    #[field(required = false)]
    pub(super) realm: Option<String>,
}

const GRANTS: [&str; 4] =
    ["enable_authorization_code", "enable_implicit_grant", "enable_client_credentials", "enable_password_grant"];

fn has_grant(config: &Value) -> Result<(), String> {
    if GRANTS.iter().any(|grant| config.get(grant) == Some(&Value::Bool(true))) {
        return Ok(());
    }
    Err(format!("at least one of these fields must be true: {}", GRANTS.join(", ")))
}

pub(super) fn record() -> Arc<RecordSchema> {
    let needs_scopes = Check::conditional("mandatory_scope", is().eq(true), "scopes", is().required(true));
    Arc::new((**Config::record()).clone().validator(has_grant).check(needs_scopes))
}
