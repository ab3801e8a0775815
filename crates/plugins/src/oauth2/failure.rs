//! What goes wrong at the endpoints: OAuth's errors (RFC 6749, 4.1.2.1 and 5.2), and the store's.

use pdk::StorageError;
use serde_json::{Map, Value, json};

/// An error as clients are told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) error: &'static str,
    pub(super) description: String,
    /// `WWW-Authenticate`.
    pub(super) challenge: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: 400, error, description: description.into(), challenge: None }
    }

    pub(super) fn request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn client() -> Self {
        Self::new("invalid_client", "Invalid client authentication")
    }

    pub(super) fn redirect() -> Self {
        Self::request("Invalid redirect_uri that does not match with any redirect_uri created with the application")
    }

    pub(super) fn provision_key() -> Self {
        Self::new("invalid_provision_key", "Invalid provision_key")
    }

    pub(super) fn user() -> Self {
        Self::new("invalid_authenticated_userid", "Missing authenticated_userid parameter")
    }

    pub(super) fn https() -> Self {
        Self::new("access_denied", "You must use HTTPS")
    }

    pub(super) fn body(&self) -> Map<String, Value> {
        let body = json!({ "error": self.error, "error_description": self.description });
        if let Value::Object(body) = body { body } else { Map::new() }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        log::error!("oauth2: {error}");
        let (status, error, description) = match error {
            StorageError::ReadOnly => (500, "server_error", "Tokens cannot be issued without a database"),
            StorageError::Busy | StorageError::Unreachable(_) => {
                (503, "temporarily_unavailable", "The database cannot be reached")
            }
            StorageError::Refused(_) => (500, "server_error", "The token cannot be stored"),
        };
        Self { status, error, description: description.to_owned(), challenge: None }
    }
}
