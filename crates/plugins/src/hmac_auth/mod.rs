//! # hmac-auth
//!
//! Lets in clients that sign their requests with a shared secret (an HMAC over chosen header fields). A `Date` or
//! `X-Date` close to now is required; with `validate_request_body` the body must have the SHA-256 that `Digest` tells.

mod signature;

use crate::auth::{Refusal, accept, challenge, is_done, refuse, unauthorized, with_consumer};
use crate::http_date;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use entities::{Consumer, HmacauthCredential, PluginSchema};
use pdk::{BodyError, BuildError, Consumers, Context, Definition, Flow, Instance, Lookup, Phases, Plugin, Step};
use schema::Record;
use serde::Deserialize;
use signature::Signature;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "hmac-auth", priority: 1030, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const ALGORITHMS: [&str; 4] = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];
const MISSING: Refusal = Refusal::unauthorized("Unauthorized");
const STALE: Refusal = Refusal::unauthorized(
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication",
);
const UNVERIFIABLE: Refusal = Refusal::unauthorized("HMAC signature cannot be verified");
const WRONG: Refusal = Refusal::unauthorized("HMAC signature does not match");
/// How much of a body is read to check its digest.
const BODY_MAX: usize = 32 << 20;

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Whether the signature is taken out of the request before it goes upstream.
    #[field(default = false)]
    hide_credentials: bool,
    /// How far the request's date may be from now, in seconds.
    #[field(default = 300, gt = 0)]
    clock_skew: Option<f64>,
    /// The consumer (id or username) that clients without a valid signature become.
    anonymous: Option<String>,
    /// Whether the body must have the digest that `Digest` tells.
    #[field(default = false)]
    validate_request_body: bool,
    /// Header fields that must be signed.
    #[field(default = [""; 0])]
    enforce_headers: Option<Vec<String>>,
    /// The algorithms that are taken.
    #[field(default = ALGORITHMS, elements(one_of(ALGORITHMS)))]
    algorithms: Option<Vec<String>>,
    /// What `WWW-Authenticate` names as the realm.
    #[field(required = false)]
    realm: Option<String>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(HmacAuth { challenge: challenge("hmac", config.realm.as_deref()), config }))
}

struct HmacAuth {
    config: Config,
    challenge: Box<[u8]>,
}

type Known = (Arc<HmacauthCredential>, Arc<Consumer>);

impl Plugin for HmacAuth {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if is_done(cx, self.config.anonymous.as_deref()) {
            return Step::Continue;
        }
        let signature = match self.signature(cx) {
            Ok(signature) => signature,
            Err(refusal) => return self.refuse(cx, refusal),
        };
        let ready = look_up(&cx.shared.consumers, &signature.username).ready();
        match ready {
            Some(known) if !self.config.validate_request_body => self.conclude(cx, &signature, known),
            _ => Step::Wait(Box::pin(self.access_later(cx, signature))),
        }
    }
}

impl HmacAuth {
    /// As `access`, where the credential or the body must be waited for.
    async fn access_later(&self, cx: &mut Context<'_>, signature: Signature) -> Flow {
        let consumers = cx.shared.consumers.clone();
        let known = look_up(&consumers, &signature.username).wait().await;
        let is_signed = known.as_ref().is_some_and(|(credential, _)| signature.is_of(cx, credential));
        if is_signed && self.config.validate_request_body {
            match has_right_body(cx).await {
                Ok(true) => {}
                Ok(false) => return self.refuse(cx, WRONG).settle().await,
                Err(error) => return Flow::Exit(Box::new(cx.body_error(error))),
            }
        }
        self.conclude(cx, &signature, known).settle().await
    }

    /// The signature that the request shows, found to be fresh and of an allowed kind.
    fn signature(&self, cx: &mut Context) -> Result<Signature, Refusal> {
        let headers = &cx.request.headers;
        if !headers.contains("authorization") && !headers.contains("proxy-authorization") {
            return Err(MISSING);
        }
        let now = cx.shared.clock.now().as_secs_f64();
        let skew = self.config.clock_skew.unwrap_or(300.0);
        let is_fresh = |name: &str| {
            let told = headers.get_str(name).and_then(http_date::parse);
            told.is_some_and(|told| (told as f64 - now).abs() <= skew)
        };
        if !is_fresh("x-date") && !is_fresh("date") {
            return Err(STALE);
        }
        let parse = |name: &str| headers.get_str(name).and_then(Signature::parse);
        let (name, signature) = match parse("proxy-authorization") {
            Some(signature) => ("proxy-authorization", Some(signature)),
            None => ("authorization", parse("authorization")),
        };
        if self.config.hide_credentials {
            // What is signed may name the field itself, which nobody can sign.
            cx.request.headers.remove(name);
        }
        let signature = signature.ok_or(UNVERIFIABLE)?;
        let enforced = self.config.enforce_headers.as_deref().unwrap_or_default();
        let allows = |algorithm: &str| match &self.config.algorithms {
            Some(algorithms) => algorithms.iter().any(|a| a == algorithm),
            None => true,
        };
        if !enforced.iter().all(|name| signature.covers(name)) || !allows(&signature.algorithm) {
            return Err(UNVERIFIABLE);
        }
        Ok(signature)
    }

    fn conclude<'a>(&'a self, cx: &'a mut Context, signature: &Signature, known: Option<Known>) -> Step<'a> {
        let Some((credential, consumer)) = known else {
            // Who does not exist costs what a wrong signature costs.
            signature.is_right(cx, "-");
            return self.refuse(cx, UNVERIFIABLE);
        };
        if !signature.is_of(cx, &credential) {
            return self.refuse(cx, WRONG);
        }
        accept(cx, consumer, credential.id, Some(&credential.username));
        Step::Continue
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context, refusal: Refusal) -> Step<'a> {
        refuse(cx, self.config.anonymous.as_deref(), |cx| unauthorized(cx, refusal, &self.challenge))
    }
}

fn look_up<'a>(consumers: &'a Consumers, username: &'a str) -> Lookup<'a, Known> {
    with_consumer(consumers, consumers.hmac_auth(username), |c| c.consumer.id)
}

/// Whether the body has the digest that the request tells; without one, whether there is no body.
async fn has_right_body(cx: &mut Context<'_>) -> Result<bool, BodyError> {
    let body = cx.request.body.collect(BODY_MAX).await?;
    Ok(match cx.request.headers.get("digest") {
        None => body.is_empty(),
        Some(told) => format!("SHA-256={}", BASE64_STANDARD.encode(digest(&SHA256, &body))).as_bytes() == told,
    })
}

#[cfg(test)]
mod tests;
