//! The token endpoint: codes, refresh tokens, users and applications exchanged for tokens.

use super::failure::Failure;
use super::issue::{Making, NewToken};
use super::parameters::{Parameter, Parameters};
use super::{Oauth2, answer, same};
use crate::hashing;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use entities::oauth2_credential::verify_secret;
use entities::{Oauth2AuthorizationCode, Oauth2Credential, Oauth2Token};
use pdk::{Context, Response, Write};
use schema::Record;
use serde_json::{Map, Value};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    Code,
    Refresh,
    Application,
    User,
}

/// Who asks for a token, as they say.
struct Shown {
    id: Option<String>,
    secret: Option<String>,
    is_of_header: bool,
}

impl Oauth2 {
    pub(super) async fn issue(&self, cx: &mut Context<'_>) -> Response {
        let parameters = match Parameters::read(cx).await {
            Ok(parameters) => parameters,
            Err(response) => return *response,
        };
        let (status, mut body, challenge) = match self.exchange(cx, &parameters).await {
            Ok(told) => (200, told, None),
            Err(failure) => (failure.status, failure.body(), failure.challenge),
        };
        body.extend(parameters.text("state").map(|state| ("state".to_owned(), Value::from(state))));
        let mut response = answer(status, body);
        if let Some(challenge) = challenge {
            response.headers.append("WWW-Authenticate", challenge.as_bytes());
        }
        response
    }

    async fn exchange(&self, cx: &Context<'_>, parameters: &Parameters) -> Result<Map<String, Value>, Failure> {
        if !self.is_https(cx) {
            return Err(Failure::https());
        }
        let grant = self.grant_type(parameters);
        let application = self.application(cx, parameters).await?;
        let grant = grant?;
        let is_public = application.client_type == "public";
        if grant == Grant::Application && is_public {
            // Anybody can say that they are a public application (RFC 6749, 4.4).
            return Err(Failure::new("unauthorized_client", "client_credentials is disallowed for public clients"));
        }
        if grant != Grant::Application {
            let known = application.redirect_uris.as_deref().unwrap_or_default();
            match parameters.get("redirect_uri") {
                Parameter::Absent => {}
                Parameter::Text(uri) if known.contains(&uri) => {}
                _ => return Err(Failure::redirect()),
            }
        }
        match grant {
            Grant::Code => self.for_code(cx, parameters, &application).await,
            Grant::Refresh => self.for_refresh_token(cx, parameters, &application).await,
            Grant::Application => self.for_application(cx, parameters, &application).await,
            Grant::User => self.for_user(cx, parameters, &application).await,
        }
    }

    fn grant_type(&self, parameters: &Parameters) -> Result<Grant, Failure> {
        Ok(match parameters.text("grant_type").as_deref() {
            Some("authorization_code") => Grant::Code,
            Some("refresh_token") => Grant::Refresh,
            Some("client_credentials") if self.config.enable_client_credentials => Grant::Application,
            Some("password") if self.config.enable_password_grant => Grant::User,
            _ => return Err(Failure::new("unsupported_grant_type", "Invalid grant_type")),
        })
    }

    /// The application, where it proves to be the one.
    async fn application(&self, cx: &Context<'_>, parameters: &Parameters) -> Result<Arc<Oauth2Credential>, Failure> {
        let shown = self.shown_application(cx, parameters);
        let refused = || {
            let mut failure = Failure::client();
            if shown.is_of_header {
                failure.status = 401;
                failure.challenge = Some("Basic realm=\"OAuth2.0\"");
            }
            failure
        };
        let consumers = cx.shared.consumers.clone();
        let application = consumers.oauth2_application(shown.id.as_deref().unwrap_or_default()).wait().await;
        let secret = shown.secret.as_deref().unwrap_or_default();
        let Some(application) = application else { return Err(refused()) };
        if application.client_type == "public" {
            if !secret.trim().is_empty() {
                return Err(Failure::request("client_secret is disallowed for public clients"));
            }
            return Ok(application);
        }
        let is_right = match &application.client_secret {
            Some(known) if !secret.is_empty() => is_secret(secret, known).await?,
            _ => false,
        };
        if is_right { Ok(application) } else { Err(refused()) }
    }

    fn shown_application(&self, cx: &Context, parameters: &Parameters) -> Shown {
        let (id, secret) = (parameters.text("client_id"), parameters.text("client_secret"));
        if id.is_some() && secret.is_some() {
            return Shown { id, secret, is_of_header: false };
        }
        match cx.request.headers.get(&self.header).and_then(basic) {
            Some((id, secret)) => Shown { id: Some(id), secret: Some(secret), is_of_header: true },
            None => Shown { id, secret, is_of_header: false },
        }
    }

    async fn for_code(
        &self,
        cx: &Context<'_>,
        parameters: &Parameters,
        application: &Oauth2Credential,
    ) -> Result<Map<String, Value>, Failure> {
        let invalid = || Failure::request("Invalid code");
        let shown = parameters.text("code").filter(|code| !code.is_empty()).ok_or_else(invalid)?;
        let row = cx.shared.storage.find("oauth2_authorization_codes", "code", &shown).await?;
        let code = row.and_then(|row| Oauth2AuthorizationCode::from_value(&row).ok()).ok_or_else(invalid)?;
        let is_of_us = code.plugin.as_ref().is_none_or(|plugin| plugin.id == self.id)
            && code.service.as_ref().map(|service| service.id) == self.service(cx)
            && code.credential.id == application.id;
        if !is_of_us {
            return Err(invalid());
        }
        if let Some(challenge) = &code.challenge {
            verify_code(parameters, challenge)?;
        }
        let new = NewToken { application, user: code.authenticated_userid, scope: code.scope, is_renewable: true };
        // A code is good for one token, however many ask at once.
        let used = Write::Delete { entity: "oauth2_authorization_codes", id: code.id };
        self.make(cx, new, Making::For(used)).await?.ok_or_else(invalid)
    }

    async fn for_refresh_token(
        &self,
        cx: &Context<'_>,
        parameters: &Parameters,
        application: &Oauth2Credential,
    ) -> Result<Map<String, Value>, Failure> {
        let invalid = || Failure::request("Invalid refresh_token");
        let shown = parameters.text("refresh_token").filter(|token| !token.is_empty()).ok_or_else(invalid)?;
        let row = cx.shared.storage.find("oauth2_tokens", "refresh_token", &shown).await?;
        let token = row.and_then(|row| Oauth2Token::from_value(&row).ok()).ok_or_else(invalid)?;
        if token.service.as_ref().map(|service| service.id) != self.service(cx) {
            return Err(invalid());
        }
        if token.credential.id != application.id {
            return Err(Failure::client());
        }
        let known = self.config.scopes.as_deref().unwrap_or_default();
        let scopes = token.scope.as_deref().unwrap_or_default().split_ascii_whitespace();
        if scopes.into_iter().any(|scope| !known.iter().any(|known| known == scope)) {
            return Err(Failure::new("invalid_scope", "Scope mismatch"));
        }
        let new = NewToken {
            application,
            user: token.authenticated_userid.clone(),
            scope: token.scope.clone(),
            is_renewable: true,
        };
        let making = if self.config.reuse_refresh_token {
            Making::InPlaceOf(token)
        } else {
            Making::For(Write::Delete { entity: "oauth2_tokens", id: token.id })
        };
        self.make(cx, new, making).await?.ok_or_else(invalid)
    }

    async fn for_application(
        &self,
        cx: &Context<'_>,
        parameters: &Parameters,
        application: &Oauth2Credential,
    ) -> Result<Map<String, Value>, Failure> {
        let user = parameters.get("authenticated_userid");
        if user != Parameter::Absent && !self.has_provision_key(parameters) {
            return Err(Failure::provision_key());
        }
        let scope = self.scope(parameters)?;
        let user = user.text().map(str::to_owned);
        let new = NewToken { application, user, scope, is_renewable: false };
        Ok(self.make(cx, new, Making::New).await?.unwrap_or_default())
    }

    async fn for_user(
        &self,
        cx: &Context<'_>,
        parameters: &Parameters,
        application: &Oauth2Credential,
    ) -> Result<Map<String, Value>, Failure> {
        if !self.has_provision_key(parameters) {
            return Err(Failure::provision_key());
        }
        let user = parameters.text("authenticated_userid").filter(|user| !user.trim().is_empty());
        let user = Some(user.ok_or_else(Failure::user)?);
        let scope = self.scope(parameters)?;
        let new = NewToken { application, user, scope, is_renewable: true };
        Ok(self.make(cx, new, Making::New).await?.unwrap_or_default())
    }

    /// Where the configuration has no key, nobody has it.
    pub(super) fn has_provision_key(&self, parameters: &Parameters) -> bool {
        let given = parameters.text("provision_key");
        given.zip(self.config.provision_key.as_deref()).is_some_and(|(given, key)| same(&given, key))
    }
}

/// Whether a secret is the stored one; a hashed one takes milliseconds, which nobody else waits for.
async fn is_secret(given: &str, stored: &str) -> Result<bool, Failure> {
    if !stored.starts_with("$pbkdf2") {
        return Ok(verify_secret(given, stored));
    }
    let (given, stored) = (given.to_owned(), stored.to_owned());
    let busy =
        |_| Failure { status: 503, ..Failure::new("temporarily_unavailable", "Too many applications ask at once") };
    hashing::verify(move || verify_secret(&given, &stored)).await.map_err(busy)
}

/// Whether who shows the code is who asked for it (RFC 7636, 4.6).
fn verify_code(parameters: &Parameters, challenge: &str) -> Result<(), Failure> {
    let verifier = match parameters.get("code_verifier") {
        Parameter::Absent => {
            return Err(Failure::request("code_verifier is required for PKCE authorization requests"));
        }
        Parameter::Other => return Err(Failure::request("code_verifier is not a string")),
        Parameter::Text(verifier) => verifier,
    };
    if !(43..=128).contains(&verifier.len()) {
        return Err(Failure::request("code_verifier must be between 43 and 128 characters"));
    }
    let made = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    if same(&made, challenge) { Ok(()) } else { Err(Failure::new("invalid_grant", "Invalid code")) }
}

/// The application's id and secret of a field with `Basic`.
fn basic(field: &[u8]) -> Option<(String, String)> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let at = memchr::memmem::find_iter(field, b"asic").find(|at| *at > 0 && matches!(field[at - 1], b'B' | b'b'))?;
    let encoded = field[at + 4..].trim_ascii();
    let decoded = ENGINE.decode(encoded.split(|b| *b == b'=').next().unwrap_or_default()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':').filter(|(id, _)| !id.is_empty())?;
    Some((id.to_owned(), secret.to_owned()))
}
