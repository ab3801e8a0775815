//! # key-auth
//!
//! Lets in clients that show a known key, in a header field, a query argument or a field of the body. `anonymous` names
//! the consumer that others become; without it they get 401.
//!
//! Keys are found by a keyed hash of the whole key, so the time of a look-up says nothing of how much of a key is right.

use crate::auth::{Refusal, accept, challenge, is_done, refuse, unauthorized, with_consumer};
use entities::{Consumer, KeyauthCredential, PluginSchema};
use pdk::args::{Arg, Args, find};
use pdk::form::Form;
use pdk::{BuildError, Consumers, Context, Definition, Flow, Instance, Lookup, Method, Phases, Plugin, Step};
use schema::Record;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "key-auth", priority: 1250, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const MISSING: Refusal = Refusal::unauthorized("No API key found in request");
const DUPLICATE: Refusal = Refusal::unauthorized("Duplicate API key found");
const UNKNOWN: Refusal = Refusal::unauthorized("Unauthorized");

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Names of the header fields, query arguments and body fields that may hold the key, tried in this order.
    #[field(default = ["apikey"], elements(typedef = header_name))]
    key_names: Vec<String>,
    /// Whether the key is taken out of the request before it goes upstream.
    #[field(default = false)]
    hide_credentials: bool,
    /// The consumer (id or username) that clients without a valid key become.
    anonymous: Option<String>,
    /// Whether keys are looked for in header fields.
    #[field(default = true)]
    key_in_header: bool,
    /// Whether keys are looked for in query arguments.
    #[field(default = true)]
    key_in_query: bool,
    /// Whether keys are looked for in the body: a URL-encoded form, JSON or multipart.
    #[field(default = false)]
    key_in_body: bool,
    /// Whether OPTIONS requests need a key too.
    #[field(default = true)]
    run_on_preflight: bool,
    /// What `WWW-Authenticate` names as the realm.
    #[field(required = false)]
    realm: Option<String>,
    /// A field of Kong Enterprise: whose keys are looked for. Only `cp` is there, which are this gateway's own; realms of Konnect
    /// are refused.
    #[field(hidden)]
    #[expect(dead_code, reason = "there is one realm, whatever is said of it")]
    identity_realms: Option<Vec<IdentityRealm>>,
}

/// An entry of `identity_realms`.
#[derive(Record, Deserialize, Clone, Debug)]
#[expect(dead_code, reason = "there is one realm, whatever is said of it")]
struct IdentityRealm {
    /// `cp`, the control plane's consumers.
    #[field(one_of(["cp"]), err("only 'cp' is supported: realms of Konnect are not there"))]
    scope: String,
    id: Option<String>,
    region: Option<String>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(KeyAuth { challenge: challenge("Key", config.realm.as_deref()), config }))
}

struct KeyAuth {
    config: Config,
    challenge: Box<[u8]>,
}

type Known = (Arc<KeyauthCredential>, Arc<Consumer>);

/// A key as the request shows it, and the place of its name in `key_names`.
struct Shown<'a> {
    key: Cow<'a, [u8]>,
    name: usize,
}

impl Plugin for KeyAuth {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if (!self.config.run_on_preflight && cx.request.method == Method::Options)
            || is_done(cx, self.config.anonymous.as_deref())
        {
            return Step::Continue;
        }
        if self.config.key_in_body {
            return Step::Wait(Box::pin(self.access_with_body(cx)));
        }
        let shown = match self.shown(cx, None) {
            Ok(shown) => shown,
            Err(refusal) => return self.refuse(cx, refusal),
        };
        let name = shown.name;
        let ready = look_up(&cx.shared.consumers, &shown.key).ready();
        match ready {
            Some(found) => {
                self.hide(cx, name, None);
                self.conclude(cx, found)
            }
            None => {
                let key = shown.key.into_owned();
                Step::Wait(Box::pin(async move {
                    let consumers = cx.shared.consumers.clone();
                    let found = look_up(&consumers, &key).wait().await;
                    self.hide(cx, name, None);
                    self.conclude(cx, found).settle().await
                }))
            }
        }
    }
}

impl KeyAuth {
    /// As `access`, where the body may hold the key.
    async fn access_with_body(&self, cx: &mut Context<'_>) -> Flow {
        let form = match cx.read_form().await {
            Ok(form) => form,
            Err(response) => return Flow::Exit(response),
        };
        let (key, name) = match self.shown(cx, form.as_ref()) {
            Ok(shown) => (shown.key.into_owned(), shown.name),
            Err(refusal) => return self.refuse(cx, refusal).settle().await,
        };
        let consumers = cx.shared.consumers.clone();
        let found = look_up(&consumers, &key).wait().await;
        self.hide(cx, name, form);
        self.conclude(cx, found).settle().await
    }

    /// The first key in the order of names. A name that is there without a text (a bare argument) does not count; one
    /// that is there twice is refused.
    fn shown<'a>(&self, cx: &'a Context, form: Option<&'a Form>) -> Result<Shown<'a>, Refusal> {
        for (index, name) in self.config.key_names.iter().enumerate() {
            let mut arg = Arg::Absent;
            if self.config.key_in_header {
                let headers = &cx.request.headers;
                arg = match headers.get(name) {
                    None => Arg::Absent,
                    Some(_) if headers.get_all(name).nth(1).is_some() => Arg::Many,
                    Some(value) => Arg::One(Cow::Borrowed(value)),
                };
            }
            if arg == Arg::Absent && self.config.key_in_query {
                arg = find(cx.request.query().unwrap_or_default(), name.as_bytes());
            }
            if let (Arg::Absent, Some(form)) = (&arg, form) {
                arg = form.find(name);
            }
            match arg {
                Arg::One(key) if key.is_empty() => return Err(MISSING),
                Arg::One(key) => return Ok(Shown { key, name: index }),
                Arg::Many => return Err(DUPLICATE),
                Arg::Absent | Arg::Bare => {}
            }
        }
        Err(MISSING)
    }

    /// Takes the key out of what goes upstream.
    fn hide(&self, cx: &mut Context, name: usize, form: Option<Form>) {
        let Some(name) = self.config.key_names.get(name).filter(|_| self.config.hide_credentials) else { return };
        cx.request.headers.remove(name);
        if let Some(query) = cx.upstream_query().filter(|query| !query.is_empty()) {
            let mut args = Args::parse(query);
            args.remove(name.as_bytes());
            cx.set_upstream_query(args.encode());
        }
        if let Some(mut form) = form {
            form.remove(name);
            cx.set_request_body(form.encode());
        }
    }

    fn conclude<'a>(&'a self, cx: &'a mut Context, found: Option<Known>) -> Step<'a> {
        match found {
            Some((credential, consumer)) => {
                accept(cx, consumer, credential.id, None);
                Step::Continue
            }
            None => self.refuse(cx, UNKNOWN),
        }
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context, refusal: Refusal) -> Step<'a> {
        refuse(cx, self.config.anonymous.as_deref(), |cx| unauthorized(cx, refusal, &self.challenge))
    }
}

fn look_up<'a>(consumers: &'a Consumers, key: &'a [u8]) -> Lookup<'a, Known> {
    match std::str::from_utf8(key) {
        Ok(key) => with_consumer(consumers, consumers.key(key), |c| c.consumer.id),
        Err(_) => Lookup::Ready(None),
    }
}

#[cfg(test)]
mod tests;
