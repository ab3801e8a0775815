//! # jwt
//!
//! Lets in clients that show a JSON Web Token signed with a known credential, in a header field, a query argument or a
//! cookie. The claim `key_claim_name` (or the header's member of that name) says which credential.
//!
//! Beyond Kong, and off until configured: `leeway`, `issuers`, `audiences` and `claims_to_headers`; and tokens without a
//! credential, signed with keys that their issuer publishes (`jwks_uris`, `discovery`).

mod claims;
mod jwks;
mod keys;
mod proven;
mod shown;
mod token;

use crate::auth::{accept, challenge, is_done, refuse};
use claims::Claims;
use entities::{Consumer, JwtSecret, PluginSchema};
use jwks::{KeySets, Source};
use pdk::{
    BuildError, Context, Credential, Definition, Flow, Instance, Lookup, Method, Phases, Plugin, Response, Step,
};
use schema::{Check, Record, Value, is};
use serde::Deserialize;
use shown::{Shown, Sources};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use token::{Malformed, Parts, Token};

pub const DEFINITION: Definition =
    Definition { name: "jwt", priority: 1450, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Query arguments that may hold the token.
    #[field(set, default = ["jwt"])]
    uri_param_names: Option<Vec<String>>,
    /// Cookies that may hold the token.
    #[field(set, default = [""; 0])]
    cookie_names: Option<Vec<String>>,
    /// The claim that names the credential by its `key`.
    #[field(default = "iss")]
    key_claim_name: Option<String>,
    /// Whether credentials hold their secrets in Base64 (of URLs).
    #[field(default = false)]
    secret_is_base64: bool,
    /// Claims that must be there and hold now: `exp`, `nbf`.
    #[field(set, elements(one_of(["exp", "nbf"])))]
    claims_to_verify: Option<Vec<String>>,
    /// The consumer (id or username) that clients without a valid token become.
    anonymous: Option<String>,
    /// Whether OPTIONS requests need a token too.
    #[field(default = true)]
    run_on_preflight: bool,
    /// How far in the future `exp` may be, in seconds; 0: as far as it likes.
    #[field(default = 0, between(0, 31_536_000))]
    maximum_expiration: Option<f64>,
    /// Header fields that may hold the token, behind `Bearer`.
    #[field(set, default = ["authorization"])]
    header_names: Option<Vec<String>>,
    /// What `WWW-Authenticate` names as the realm.
    #[field(required = false)]
    realm: Option<String>,
    /// How far clocks may be apart when `exp` and `nbf` are verified, in seconds.
    #[field(hidden, between(0, 86_400))]
    leeway: Option<f64>,
    /// The issuers (`iss`) whose tokens are taken.
    #[field(hidden, set)]
    issuers: Option<Vec<String>>,
    /// Of these, a token's audience (`aud`) must have one.
    #[field(hidden, set)]
    audiences: Option<Vec<String>>,
    /// Claims that the upstream is told, each with the header field to tell it in.
    #[field(hidden, values(typedef = header_name))]
    claims_to_headers: Option<BTreeMap<String, String>>,
    /// Where keys are published that verify tokens without a credential (a JWK Set, RFC 7517).
    #[field(hidden, elements(typedef = url))]
    jwks_uris: Option<Vec<String>>,
    /// Issuers that say where their keys are published (OpenID Connect Discovery).
    #[field(hidden, elements(typedef = url))]
    discovery: Option<Vec<String>>,
    /// How often published keys are fetched, in seconds.
    #[field(hidden, between(30, 604_800))]
    jwks_refresh: Option<f64>,
    /// The claim that names the consumer (username, custom id or id) of a token without a credential; without it such a
    /// client has no consumer.
    #[field(hidden)]
    consumer_claim: Option<String>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http().check(Check::conditional(
        "config.maximum_expiration",
        is().gt(0),
        "config.claims_to_verify",
        is().contains("exp"),
    ))
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let bare = challenge("Bearer", config.realm.as_deref());
    let separator = if config.realm.is_some() { "," } else { "" };
    let refused = [&bare, separator.as_bytes(), b" error=\"invalid_token\""].concat();
    Ok(Arc::new(Jwt {
        published: published(&config)?,
        consumer_claim: config.consumer_claim.clone(),
        claims: Claims::of(&config),
        sources: Sources {
            arguments: config.uri_param_names.unwrap_or_default(),
            cookies: config.cookie_names.unwrap_or_default(),
            headers: config.header_names.unwrap_or_default(),
        },
        key_claim: config.key_claim_name.unwrap_or_else(|| "iss".to_owned()),
        is_base64: config.secret_is_base64,
        anonymous: config.anonymous,
        runs_on_preflight: config.run_on_preflight,
        to_headers: config.claims_to_headers.unwrap_or_default().into_iter().collect(),
        bare,
        refused: refused.into(),
    }))
}

/// The keys that verify tokens without a credential, where the config names any.
fn published(config: &Config) -> Result<Option<Arc<KeySets>>, BuildError> {
    let mut sources = Vec::new();
    for uri in config.jwks_uris.iter().flatten() {
        let parsed = uri.parse().map_err(|_| BuildError(format!("jwks_uris: '{uri}' is no valid URL")))?;
        sources.push(Source::Keys(parsed));
    }
    sources.extend(config.discovery.iter().flatten().cloned().map(Source::Issuer));
    if sources.is_empty() {
        return Ok(None);
    }
    let refresh = Duration::from_secs(config.jwks_refresh.map_or(3600, |seconds| seconds as u64));
    KeySets::start(sources, refresh).map(Some).map_err(BuildError)
}

struct Jwt {
    /// Verifies tokens without a credential.
    published: Option<Arc<KeySets>>,
    consumer_claim: Option<String>,
    sources: Sources,
    key_claim: String,
    is_base64: bool,
    claims: Claims,
    anonymous: Option<String>,
    runs_on_preflight: bool,
    /// Claims and the header fields they go into.
    to_headers: Vec<(String, String)>,
    /// The challenge to who shows no token.
    bare: Box<[u8]>,
    /// The challenge to who shows a bad one.
    refused: Box<[u8]>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq)]
enum Refusal {
    /// It shows no token.
    Missing,
    Message(Cow<'static, str>),
    /// Claims and what is wrong with each.
    Claims(Value),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Message(malformed.to_string().into())
    }
}

impl From<&'static str> for Refusal {
    fn from(message: &'static str) -> Self {
        Self::Message(message.into())
    }
}

/// A token that is as it should be, but for the question whether its consumer is there.
struct Verified {
    secret: Arc<JwtSecret>,
    /// Header fields for the upstream, with what they say.
    told: Vec<(String, String)>,
}

/// Who shows a token without a credential, and what the upstream is told.
type Stranger = (Option<Arc<Consumer>>, Credential, Vec<(String, String)>);

/// Tells the upstream claims. What the client itself says there is never the upstream's to believe.
fn tell(cx: &mut Context, told: Vec<(String, String)>) {
    for (field, value) in told {
        cx.request.headers.remove(&field);
        if !value.is_empty() {
            cx.request.headers.append(&field, value.as_bytes());
        }
    }
}

impl Plugin for Jwt {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if (!self.runs_on_preflight && cx.request.method == Method::Options) || is_done(cx, self.anonymous.as_deref()) {
            return Step::Continue;
        }
        let shown = match self.sources.look(&cx.request) {
            Shown::One(token) => token,
            Shown::None => return self.refuse(cx, Refusal::Missing),
            Shown::Many => return self.refuse(cx, "Multiple tokens provided".into()),
            Shown::Bare => return self.refuse(cx, "Unrecognizable token".into()),
        };
        if self.published.is_some() {
            let shown = shown.into_owned();
            return Step::Wait(Box::pin(self.access_published(cx, shown)));
        }
        let verified = match self.judge(cx, &shown) {
            Ok(Some(verified)) => verified,
            Ok(None) => {
                let shown = shown.into_owned();
                return Step::Wait(Box::pin(self.access_later(cx, shown)));
            }
            Err(refusal) => return self.refuse(cx, refusal),
        };
        let ready = cx.shared.consumers.consumer(verified.secret.consumer.id).ready();
        match ready {
            Some(consumer) => self.conclude(cx, verified, consumer),
            None => Step::Wait(Box::pin(async move {
                let consumers = cx.shared.consumers.clone();
                let consumer = consumers.consumer(verified.secret.consumer.id).wait().await;
                self.conclude(cx, verified, consumer).settle().await
            })),
        }
    }
}

impl Jwt {
    /// Judges a token; `None` where its credential must be waited for.
    fn judge(&self, cx: &Context, shown: &[u8]) -> Result<Option<Verified>, Refusal> {
        let parts = Parts::of(shown)?;
        let token = parts.parse()?;
        match cx.shared.consumers.jwt_secret(&self.key(&token)?) {
            Lookup::Ready(secret) => self.verify(cx, &token, secret).map(Some),
            Lookup::Later(_) => Ok(None),
        }
    }

    /// As `judge`, where the credential must be waited for.
    async fn judge_later(&self, cx: &Context<'_>, shown: &[u8]) -> Result<Verified, Refusal> {
        let parts = Parts::of(shown)?;
        let token = parts.parse()?;
        let secret = cx.shared.consumers.jwt_secret(&self.key(&token)?).wait().await;
        self.verify(cx, &token, secret)
    }

    /// As `access`, where the credential must be waited for.
    async fn access_later(&self, cx: &mut Context<'_>, shown: Vec<u8>) -> Flow {
        let consumers = cx.shared.consumers.clone();
        match self.judge_later(cx, &shown).await {
            Ok(verified) => {
                let consumer = consumers.consumer(verified.secret.consumer.id).wait().await;
                self.conclude(cx, verified, consumer).settle().await
            }
            Err(refusal) => self.refuse(cx, refusal).settle().await,
        }
    }

    /// As `access`, where a token without a credential may be signed with a published key.
    async fn access_published(&self, cx: &mut Context<'_>, shown: Vec<u8>) -> Flow {
        if self.has_credential(cx, &shown).await {
            return self.access_later(cx, shown).await;
        }
        match self.verify_published(cx, &shown).await {
            Ok((consumer, identity, told)) => {
                tell(cx, told);
                cx.authenticate(consumer, Some(identity), false);
                Flow::Continue
            }
            Err(refusal) => self.refuse(cx, refusal).settle().await,
        }
    }

    /// Whether a token names a credential that there is.
    async fn has_credential(&self, cx: &Context<'_>, shown: &[u8]) -> bool {
        let Ok(parts) = Parts::of(shown) else { return false };
        let Ok(token) = parts.parse() else { return false };
        let Ok(key) = self.key(&token) else { return false };
        cx.shared.consumers.jwt_secret(&key).wait().await.is_some()
    }

    async fn verify_published(&self, cx: &Context<'_>, shown: &[u8]) -> Result<Stranger, Refusal> {
        let parts = Parts::of(shown)?;
        let token = parts.parse()?;
        let unknown = || Refusal::Message(format!("No credentials found for given '{}'", self.key_claim).into());
        let keys = self.published.as_ref().ok_or_else(unknown)?;
        match keys.verify(&token).await {
            None => return Err(unknown()),
            Some(false) => return Err("Invalid signature".into()),
            Some(true) => {}
        }
        self.claims.verify(&token, cx.shared.clock.now().as_secs_f64().floor())?;
        let claim = |name: &str| token.claims.text(name).map(Cow::into_owned);
        let consumer = match &self.consumer_claim {
            None => None,
            Some(name) => {
                let value =
                    claim(name).ok_or_else(|| Refusal::Message(format!("No mandatory '{name}' in claims").into()))?;
                let consumers = cx.shared.consumers.clone();
                let mut found = consumers.consumer_by_id_or_username(&value).wait().await;
                if found.is_none() {
                    found = consumers.consumer_by_custom_id(&value).wait().await;
                }
                let missing = || Refusal::Message(format!("Could not find consumer for '{name}={value}'").into());
                Some(found.ok_or_else(missing)?)
            }
        };
        let id: Rc<str> = claim("sub").or_else(|| claim("iss")).unwrap_or_default().into();
        let consumer_id = consumer.as_ref().map(|consumer| consumer.id);
        let identity = Credential { id: id.clone(), consumer_id, identifier: Some(id) };
        Ok((consumer, identity, self.told(&token)))
    }

    /// The key of a token's credential.
    fn key<'t>(&self, token: &'t Token<'_>) -> Result<Cow<'t, str>, Refusal> {
        let name = &self.key_claim;
        let is_there = |raw: &&str| !matches!(*raw, "null" | "false");
        let raw = token.claims.raw(name).filter(is_there).or_else(|| token.header.raw(name).filter(is_there));
        let raw = raw.ok_or_else(|| Refusal::Message(format!("No mandatory '{name}' in claims").into()))?;
        // A number names a credential by its digits; no credential has an object or a list for its key.
        let key = token::text(raw).unwrap_or(Cow::Borrowed(raw));
        if key.is_empty() {
            return Err(Refusal::Message(format!("Invalid '{name}' in claims").into()));
        }
        Ok(key)
    }

    fn verify(&self, cx: &Context, token: &Token<'_>, secret: Option<Arc<JwtSecret>>) -> Result<Verified, Refusal> {
        let unknown = || Refusal::Message(format!("No credentials found for given '{}'", self.key_claim).into());
        let secret = secret.ok_or_else(unknown)?;
        // The credential says how its tokens are signed. What the token says of it is only compared.
        if token.algorithm != keys::algorithm(&secret) {
            return Err("Invalid algorithm".into());
        }
        let verifier = keys::verifier(&secret, self.is_base64).ok_or(Refusal::from("Invalid key/secret"))?;
        if !proven::verify(&verifier, token) {
            return Err("Invalid signature".into());
        }
        self.claims.verify(token, cx.shared.clock.now().as_secs_f64().floor())?;
        Ok(Verified { secret, told: self.told(token) })
    }

    fn told(&self, token: &Token<'_>) -> Vec<(String, String)> {
        let told = self.to_headers.iter().map(|(claim, field)| {
            let raw = token.claims.raw(claim).filter(|raw| *raw != "null").unwrap_or_default();
            (field.clone(), token::text(raw).unwrap_or(Cow::Borrowed(raw)).into_owned())
        });
        told.collect()
    }

    fn conclude<'a>(&'a self, cx: &'a mut Context, verified: Verified, consumer: Option<Arc<Consumer>>) -> Step<'a> {
        let Verified { secret, told } = verified;
        let Some(consumer) = consumer else {
            let message = format!("Could not find consumer for '{}={}'", self.key_claim, secret.key);
            return self.refuse(cx, Refusal::Message(message.into()));
        };
        tell(cx, told);
        accept(cx, consumer, secret.id, Some(&secret.key));
        Step::Continue
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context, refusal: Refusal) -> Step<'a> {
        for (_, field) in &self.to_headers {
            cx.request.headers.remove(field);
        }
        refuse(cx, self.anonymous.as_deref(), |_| {
            let mut response = match &refusal {
                Refusal::Missing => Response::message(401, "Unauthorized"),
                Refusal::Message(message) => Response::message(401, message),
                Refusal::Claims(errors) => Response::json(401, errors),
            };
            let challenge = if refusal == Refusal::Missing { &self.bare } else { &self.refused };
            response.headers.append("WWW-Authenticate", challenge);
            response
        })
    }
}

#[cfg(test)]
mod tests;
