//! # standard-webhooks
//!
//! Lets in only requests that carry a signature of the Standard Webhooks specification, made with the shared secret:
//! `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,<base64 of the HMAC-SHA256 of id.timestamp.body>`. As in
//! Kong the secret is used as it is written, and one signature is looked at.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Flow, Instance, Phases, Plugin, Response, Step};
use schema::{Record, lua};
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "standard-webhooks",
    priority: 760,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

/// How much of a body is read to check its signature.
const BODY_MAX: usize = 8 << 20;

#[derive(Record, Deserialize, Clone)]
struct Config {
    /// The secret that signatures are made with.
    #[field(referenceable, encrypted)]
    secret_v1: String,
    /// How old a request's timestamp may be, in seconds.
    #[field(default = 300, gt = -1)]
    tolerance_second: i64,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, config.secret_v1.as_bytes());
    Ok(Arc::new(StandardWebhooks { key, tolerance: config.tolerance_second as f64 }))
}

struct StandardWebhooks {
    key: hmac::Key,
    /// In seconds.
    tolerance: f64,
}

impl Plugin for StandardWebhooks {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        match self.claim(cx) {
            Some(claim) => Step::Wait(Box::pin(self.check(cx, claim))),
            None => Step::Exit(refused(cx)),
        }
    }
}

fn refused(cx: &Context) -> Box<Response> {
    Box::new(Response::error(cx, 400, pdk::default_message(400)))
}

/// What a request says of itself.
struct Claim {
    /// The start of what was signed: `id.timestamp.`
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl StandardWebhooks {
    /// Reads the header fields; `None` where one is missing, or the timestamp is too old.
    fn claim(&self, cx: &Context) -> Option<Claim> {
        let headers = &cx.request.headers;
        let id = headers.get("webhook-id")?;
        let signature = headers.get("webhook-signature")?.to_vec();
        let time: f64 = headers.get_str("webhook-timestamp")?.trim().parse().ok()?;
        // Not a number is no time, and nothing is older than that.
        let is_fresh = cx.shared.clock.now().as_secs_f64() - time <= self.tolerance;
        is_fresh.then(|| Claim { signed: [id, b".", lua::number(time).as_bytes(), b"."].concat(), signature })
    }

    async fn check(&self, cx: &mut Context<'_>, mut claim: Claim) -> Flow {
        let body = match cx.request.body.collect(BODY_MAX).await {
            Ok(body) => body,
            Err(error) => return Flow::Exit(Box::new(cx.body_error(error))),
        };
        claim.signed.extend_from_slice(&body);
        let tag = hmac::sign(&self.key, &claim.signed);
        let expected = format!("v1,{}", BASE64_STANDARD.encode(tag));
        if body.is_empty() || verify_slices_are_equal(expected.as_bytes(), &claim.signature).is_err() {
            return Flow::Exit(refused(cx));
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests;
