//! The authorization endpoint: a code or a token for a user, told with the place that the user is to be sent back to.

use super::failure::Failure;
use super::issue::{Making, NewToken};
use super::parameters::{Parameter, Parameters};
use super::{Oauth2, answer};
use entities::Oauth2Credential;
use pdk::args::Args;
use pdk::{Context, Response, Write};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a code can be exchanged.
const CODE_LIVES: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Token,
}

/// How an authorization ended, once it is known where the user goes.
struct Ending {
    redirect: String,
    outcome: Result<(Kind, Map<String, Value>), Failure>,
}

impl Oauth2 {
    pub(super) async fn authorize(&self, cx: &mut Context<'_>) -> Response {
        let parameters = match Parameters::read(cx).await {
            Ok(parameters) => parameters,
            Err(response) => return *response,
        };
        let state = parameters.text("state");
        let with_state = |mut told: Map<String, Value>| {
            told.extend(state.map(|state| ("state".to_owned(), Value::from(state))));
            told
        };
        match self.decide(cx, &parameters).await {
            Err(failure) => answer(failure.status, with_state(failure.body())),
            Ok(Ending { redirect, outcome }) => {
                let (status, kind, told) = match outcome {
                    Ok((kind, told)) => (200, kind, told),
                    Err(failure) => (failure.status, Kind::Code, failure.body()),
                };
                let uri = redirect_uri(&redirect, kind, &with_state(told));
                answer(status, Map::from_iter([("redirect_uri".to_owned(), uri.into())]))
            }
        }
    }

    /// `Err`: nobody knows yet where to send the user, so the failure is told to who asks.
    async fn decide(&self, cx: &Context<'_>, parameters: &Parameters) -> Result<Ending, Failure> {
        if !self.is_https(cx) {
            return Err(Failure::https());
        }
        if !self.has_provision_key(parameters) {
            return Err(Failure::provision_key());
        }
        let user = parameters.text("authenticated_userid").filter(|user| !user.trim().is_empty());
        let user = user.ok_or_else(Failure::user)?;
        let id = parameters.text("client_id").unwrap_or_default();
        let consumers = cx.shared.consumers.clone();
        let application = consumers.oauth2_application(&id).wait().await.ok_or_else(Failure::client)?;
        let known = application.redirect_uris.as_deref().unwrap_or_default();
        let first = known.first().cloned().ok_or_else(Failure::client)?;
        // Exactly what is registered, or a link could send users and their codes anywhere.
        let redirect = match parameters.get("redirect_uri") {
            Parameter::Absent => first,
            Parameter::Text(uri) if known.contains(&uri) => uri,
            _ => return Ok(Ending { redirect: first, outcome: Err(Failure::redirect()) }),
        };
        let outcome = self.grant(cx, parameters, &application, user).await;
        Ok(Ending { redirect, outcome })
    }

    async fn grant(
        &self,
        cx: &Context<'_>,
        parameters: &Parameters,
        application: &Arc<Oauth2Credential>,
        user: String,
    ) -> Result<(Kind, Map<String, Value>), Failure> {
        // Of a wrong scope and a wrong response type, Kong tells the scope.
        let scope = self.scope(parameters)?;
        let asked = parameters.text("response_type");
        let kind = match asked.as_deref() {
            Some("code") if self.config.enable_authorization_code => Kind::Code,
            Some("token") if self.config.enable_implicit_grant => Kind::Token,
            _ => return Err(Failure::new("unsupported_response_type", "Invalid response_type")),
        };
        if kind == Kind::Token {
            let new = NewToken { application, user: Some(user), scope, is_renewable: false };
            let told = self.make(cx, new, Making::New).await?;
            return Ok((kind, told.unwrap_or_default()));
        }
        let challenge = self.code_challenge(parameters, application)?;
        let row = json!({
            "service": self.service(cx).map(|id| json!({ "id": id })),
            "credential": { "id": application.id },
            "authenticated_userid": user,
            "scope": scope,
            "challenge": challenge,
            "challenge_method": challenge.as_ref().map(|_| "S256"),
            "plugin": { "id": self.id },
        });
        let write = Write::Insert { entity: "oauth2_authorization_codes", row, ttl: Some(CODE_LIVES) };
        let rows = cx.shared.storage.write(vec![write]).await?.unwrap_or_default();
        let code = rows.first().and_then(|row| row.get("code")).cloned().unwrap_or_default();
        Ok((kind, Map::from_iter([("code".to_owned(), code)])))
    }

    /// PKCE's challenge (RFC 7636), where there is one.
    fn code_challenge(
        &self,
        parameters: &Parameters,
        application: &Oauth2Credential,
    ) -> Result<Option<String>, Failure> {
        let is_public = application.client_type == "public";
        let is_required = match self.config.pkce.as_deref() {
            Some("strict") => true,
            Some("none") => false,
            _ => is_public,
        };
        let method = parameters.get("code_challenge_method");
        match parameters.get("code_challenge") {
            Parameter::Text(challenge) if !challenge.is_empty() => {
                if method.text() != Some("S256") {
                    return Err(Failure::request("code_challenge_method is not supported, must be S256"));
                }
                Ok(Some(challenge))
            }
            Parameter::Other => Err(Failure::request("code_challenge must be a string")),
            _ if method != Parameter::Absent => {
                Err(Failure::request("code_challenge is required when code_method is present"))
            }
            _ if is_required => {
                Err(Failure::request(format!("code_challenge is required for {} clients", application.client_type)))
            }
            _ => Ok(None),
        }
    }
}

/// The registered URI with what is told: in the query, or (a token, which must not reach the server's log) in the fragment.
fn redirect_uri(registered: &str, kind: Kind, told: &Map<String, Value>) -> String {
    let (base, query) = match registered.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (registered, None),
    };
    let is_token = kind == Kind::Token && told.contains_key("access_token");
    let mut all = if is_token { Args::default() } else { Args::parse(query.unwrap_or_default().as_bytes()) };
    for (name, value) in told {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.set(name.as_bytes(), Some(text.as_bytes()));
    }
    let told = String::from_utf8_lossy(&all.encode()).into_owned();
    if is_token { format!("{registered}#{told}") } else { format!("{base}?{told}") }
}
