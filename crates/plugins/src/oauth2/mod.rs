//! # oauth2
//!
//! Makes the gateway an authorization server (RFC 6749): `/oauth2/authorize` and `/oauth2/token` beneath the protected
//! paths give out tokens to applications (credentials of consumers), and requests pass with such a token. Who the user is,
//! the application that authenticated them says, with the `provision_key`.
//!
//! Tokens are kept in the gateway's database.

mod authorize;
mod config;
mod failure;
mod issue;
mod parameters;
mod token;

use crate::auth::{challenge, is_done, refuse};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use config::Config;
use entities::{Consumer, Oauth2Credential, Oauth2Token, PluginSchema};
use failure::Failure;
use parameters::{Parameter, Parameters};
use pdk::args::{Arg, Args, find};
use pdk::form::Form;
use pdk::{
    BuildError, Context, Credential, Definition, Flow, Instance, Method, Phases, Plugin, Response, Scheme, Step,
};
use schema::Record;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub const DEFINITION: Definition =
    Definition { name: "oauth2", priority: 1400, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const INVALID: &str = "The access token is invalid or has expired";
const GLOBAL: &str = "The access token is global, but the current plugin is configured without 'global_credentials'";
const HEADERS: [&str; 2] = ["X-Authenticated-Scope", "X-Authenticated-UserId"];

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, &config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(Oauth2 {
        id: instance.entity.id,
        header: config.auth_header_name.clone().unwrap_or_else(|| "authorization".to_owned()),
        challenge: challenge("Bearer", config.realm.as_deref()),
        config,
    }))
}

struct Oauth2 {
    id: Uuid,
    header: String,
    challenge: Box<[u8]>,
    config: Config,
}

/// Where the token stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Query,
    Body,
}

/// Why a request does not pass.
struct Refusal {
    error: &'static str,
    description: &'static str,
}

/// A token with whom it stands for.
type Known = (Oauth2Token, Arc<Oauth2Credential>, Arc<Consumer>);

impl Plugin for Oauth2 {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let path = cx.request.path();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        for (end, name) in [(&b"/oauth2/token"[..], "token"), (&b"/oauth2/authorize"[..], "authorization")] {
            if !path.ends_with(end) {
                continue;
            }
            if cx.request.method != Method::Post {
                return Step::exit(self.wrong_method(cx, name));
            }
            return Step::Wait(Box::pin(async move {
                let answer = if name == "token" { self.issue(cx).await } else { self.authorize(cx).await };
                Flow::Exit(Box::new(answer))
            }));
        }
        if is_done(cx, self.config.anonymous.as_deref()) {
            return Step::Continue;
        }
        Step::Wait(Box::pin(self.enter(cx)))
    }
}

fn same(given: &str, known: &str) -> bool {
    verify_slices_are_equal(given.as_bytes(), known.as_bytes()).is_ok()
}

/// An answer of the endpoints, which nobody may keep.
fn answer(status: u16, body: Map<String, Value>) -> Response {
    let mut response = Response::json(status, &Value::Object(body));
    response.headers.append("Cache-Control", b"no-store");
    response.headers.append("Pragma", b"no-cache");
    response
}

impl Oauth2 {
    fn wrong_method(&self, cx: &Context, endpoint: &str) -> Response {
        let description = format!("The HTTP method {} is invalid for the {endpoint} endpoint", cx.request.method);
        let body = json!({ "error": "invalid_method", "error_description": description });
        let mut response = Response::json(405, &body);
        response.headers.append("WWW-Authenticate", &self.challenge_with("invalid_method", &description));
        response
    }

    fn challenge_with(&self, error: &str, description: &str) -> Vec<u8> {
        let separator = if self.config.realm.is_some() { "," } else { "" };
        let told = format!("{separator} error=\"{error}\", error_description=\"{description}\"");
        [&self.challenge, told.as_bytes()].concat()
    }

    /// Whether the client speaks HTTPS, with us or with a proxy whose word counts.
    fn is_https(&self, cx: &Context) -> bool {
        matches!(cx.client.scheme, Scheme::Https | Scheme::Grpcs)
            || (self.config.accept_http_if_already_terminated && cx.forwarded_scheme() == "https")
    }

    /// The service that tokens of this request belong to.
    fn service(&self, cx: &Context) -> Option<Uuid> {
        cx.service.map(|service| service.id).filter(|_| !self.config.global_credentials)
    }

    /// The scope that is asked for, of those that there are.
    fn scope(&self, parameters: &Parameters) -> Result<Option<String>, Failure> {
        let invalid = |description: String| Err(Failure::new("invalid_scope", description));
        let asked = match (parameters.get("scope"), &self.config.scopes) {
            (Parameter::Absent, _) | (_, None) => Vec::new(),
            (Parameter::Other, Some(_)) => return invalid("scope must be a string".to_owned()),
            (Parameter::Text(text), Some(scopes)) => {
                let asked: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
                if let Some(unknown) = asked.iter().find(|scope| !scopes.contains(scope)) {
                    return invalid(format!("\"{unknown}\" is an invalid scope"));
                }
                asked
            }
        };
        match (asked.is_empty(), self.config.mandatory_scope) {
            (true, true) => invalid("You must specify a scope".to_owned()),
            (true, false) => Ok(None),
            (false, _) => Ok(Some(asked.join(" "))),
        }
    }

    /// Lets the request in by its token.
    async fn enter(&self, cx: &mut Context<'_>) -> Flow {
        for name in HEADERS {
            cx.request.headers.remove(name);
        }
        let (shown, place, form) = match self.shown(cx).await {
            Ok(Some(shown)) => shown,
            Ok(None) => return self.refuse(cx, None).settle().await,
            Err(response) => return Flow::Exit(response),
        };
        if self.config.hide_credentials {
            self.hide(cx, place, form);
        }
        let known = match self.known(cx, &shown).await {
            Ok(known) => known,
            Err(error) => {
                log::error!("oauth2: a token cannot be looked up: {error}");
                return Flow::Exit(Box::new(Response::error(cx, 503, pdk::default_message(503))));
            }
        };
        match known {
            Ok((token, credential, consumer)) => {
                let identity = Credential {
                    id: credential.id.to_string().into(),
                    consumer_id: Some(consumer.id),
                    identifier: Some(credential.client_id.as_str().into()),
                };
                cx.authenticate(Some(consumer), Some(identity), false);
                for (name, value) in HEADERS.into_iter().zip([token.scope, token.authenticated_userid]) {
                    if let Some(value) = value {
                        cx.request.headers.append(name, value.as_bytes());
                    }
                }
                Flow::Continue
            }
            Err(refusal) => self.refuse(cx, Some(refusal)).settle().await,
        }
    }

    /// The token that the request shows, and where.
    async fn shown(&self, cx: &mut Context<'_>) -> Result<Option<(String, Place, Option<Form>)>, Box<Response>> {
        if let Some(field) = cx.request.headers.get(&self.header) {
            let field = String::from_utf8_lossy(field).into_owned();
            let mut words = field.split_ascii_whitespace();
            let token = match (words.next(), words.next(), words.next()) {
                (Some(scheme), Some(token), None)
                    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") =>
                {
                    token.to_owned()
                }
                _ => field,
            };
            return Ok(Some((token, Place::Header, None)).filter(|(token, ..)| !token.is_empty()));
        }
        let parameters = Parameters::read(cx).await?;
        let Some(token) = parameters.text("access_token").filter(|token| !token.is_empty()) else { return Ok(None) };
        let of_query = find(cx.request.query().unwrap_or_default(), b"access_token");
        let place =
            if matches!(&of_query, Arg::One(text) if **text == *token.as_bytes()) { Place::Query } else { Place::Body };
        Ok(Some((token, place, parameters.into_form())))
    }

    /// Takes the token out of what goes upstream.
    fn hide(&self, cx: &mut Context, place: Place, form: Option<Form>) {
        const NAME: &str = "access_token";
        if place == Place::Header {
            cx.request.headers.remove(&self.header);
            return;
        }
        if let Some(query) = cx.upstream_query().filter(|query| !query.is_empty()) {
            let mut args = Args::parse(query);
            if args.remove(NAME.as_bytes()) {
                cx.set_upstream_query(args.encode());
            }
        }
        if let Some(mut form) = form
            && form.find(NAME) != Arg::Absent
        {
            form.remove(NAME);
            cx.set_request_body(form.encode());
        }
    }

    /// Whom a token stands for, or why it does not count here.
    async fn known(&self, cx: &Context<'_>, shown: &str) -> Result<Result<Known, Refusal>, pdk::StorageError> {
        let invalid = Refusal { error: "invalid_token", description: INVALID };
        let row = cx.shared.storage.find("oauth2_tokens", "access_token", shown).await?;
        let Some(token) = row.and_then(|row| Oauth2Token::from_value(&row).ok()) else { return Ok(Err(invalid)) };
        let service = cx.service.map(|service| service.id);
        match &token.service {
            Some(of) if Some(of.id) != service => return Ok(Err(invalid)),
            None if !self.config.global_credentials => {
                return Ok(Err(Refusal { error: "invalid_token", description: GLOBAL }));
            }
            _ => {}
        }
        let age = cx.shared.clock.now().as_secs() as i64 - token.created_at;
        if token.expires_in > 0 && age > token.expires_in {
            return Ok(Err(invalid));
        }
        let consumers = cx.shared.consumers.clone();
        let Some(credential) = consumers.oauth2_credential(token.credential.id).wait().await else {
            return Ok(Err(invalid));
        };
        let consumer = consumers.consumer(credential.consumer.id).wait().await;
        Ok(consumer.map(|consumer| (token, credential, consumer)).ok_or(invalid))
    }

    /// `None`: the request shows no token.
    fn refuse<'a>(&'a self, cx: &'a mut Context, refusal: Option<Refusal>) -> Step<'a> {
        refuse(cx, self.config.anonymous.as_deref(), |_| {
            let (body, challenge) = match &refusal {
                None => {
                    let body =
                        json!({ "error": "invalid_request", "error_description": "The access token is missing" });
                    (body, self.challenge.to_vec())
                }
                Some(Refusal { error, description }) => {
                    let body = json!({ "error": error, "error_description": description });
                    (body, self.challenge_with(error, description))
                }
            };
            let mut response = Response::json(401, &body);
            response.headers.append("WWW-Authenticate", &challenge);
            response
        })
    }
}

#[cfg(test)]
mod tests;
