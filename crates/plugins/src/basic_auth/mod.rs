//! # basic-auth
//!
//! Lets in clients that show a known username and its password (RFC 7617), in `Proxy-Authorization` or `Authorization`.
//! `anonymous` names the consumer that others become; without it they get 401.
//!
//! Passwords are stored as Kong stores them (SHA-1 with the consumer's id), or, where a credential was given an argon2id
//! hash as its password, as that.

mod argon2id;

use crate::auth::{Refusal, accept, challenge, is_done, refuse, unauthorized, with_consumer};
use crate::hashing::Busy;
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use entities::basicauth_credential::is_argon2id;
use entities::{BasicauthCredential, Consumer, PluginSchema};
use pdk::{BuildError, Consumers, Context, Definition, Flow, Instance, Lookup, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "basic-auth", priority: 1100, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const UNAUTHORIZED: Refusal = Refusal::unauthorized("Unauthorized");
/// Tried in this order.
const HEADERS: [&str; 2] = ["proxy-authorization", "authorization"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The consumer (id or username) that clients without valid credentials become.
    anonymous: Option<String>,
    /// Whether the credentials are taken out of the request before it goes upstream.
    #[field(default = false)]
    hide_credentials: bool,
    /// What `WWW-Authenticate` names as the realm.
    #[field(default = "service")]
    realm: String,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(BasicAuth {
        anonymous: config.anonymous,
        is_hidden: config.hide_credentials,
        challenge: challenge("Basic", Some(&config.realm)),
    }))
}

struct BasicAuth {
    anonymous: Option<String>,
    is_hidden: bool,
    challenge: Box<[u8]>,
}

type Known = (Arc<BasicauthCredential>, Arc<Consumer>);

/// A username and a password as a header field shows them.
struct Shown {
    username: String,
    password: Vec<u8>,
}

impl Plugin for BasicAuth {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if is_done(cx, self.anonymous.as_deref()) {
            return Step::Continue;
        }
        let mut wrong = None;
        for (at, name) in HEADERS.into_iter().enumerate() {
            let Some(shown) = self.take(cx, name) else { continue };
            let ready = look_up(&cx.shared.consumers, &shown.username).ready();
            match ready {
                Some(None) => wrong = Some(shown.password),
                Some(Some(known)) => return self.conclude(cx, shown, known),
                None => return Step::Wait(Box::pin(self.access_later(cx, shown, at + 1))),
            }
        }
        match wrong {
            // Who does not exist costs what a wrong password costs.
            Some(password) => {
                is_sha1_of("", &password, uuid::Uuid::nil());
                self.refuse_slowly(cx, password)
            }
            None => self.refuse(cx),
        }
    }
}

impl BasicAuth {
    /// As `access`, where a look-up must be waited for: goes on with `shown`, then with the header fields from `next`.
    async fn access_later(&self, cx: &mut Context<'_>, shown: Shown, next: usize) -> Flow {
        let consumers = cx.shared.consumers.clone();
        if let Some(known) = look_up(&consumers, &shown.username).wait().await {
            return self.conclude(cx, shown, known).settle().await;
        }
        let mut wrong = shown.password;
        for name in HEADERS.into_iter().skip(next) {
            let Some(shown) = self.take(cx, name) else { continue };
            if let Some(known) = look_up(&consumers, &shown.username).wait().await {
                return self.conclude(cx, shown, known).settle().await;
            }
            wrong = shown.password;
        }
        self.refuse_slowly(cx, wrong).settle().await
    }

    /// What a header field shows; the field is taken out of the request where credentials are hidden.
    fn take(&self, cx: &mut Context, name: &str) -> Option<Shown> {
        let shown = parse(cx.request.headers.get(name)?);
        if self.is_hidden {
            cx.request.headers.remove(name);
        }
        shown
    }

    fn conclude<'a>(&'a self, cx: &'a mut Context, shown: Shown, known: Known) -> Step<'a> {
        if is_argon2id(&known.0.password) {
            return Step::Wait(Box::pin(self.conclude_later(cx, shown, known)));
        }
        if is_sha1_of(&known.0.password, &shown.password, known.0.consumer.id) {
            self.end(cx, known, true)
        } else {
            self.refuse_slowly(cx, shown.password)
        }
    }

    async fn conclude_later(&self, cx: &mut Context<'_>, shown: Shown, known: Known) -> Flow {
        match argon2id::verify(&known.0.password, &shown.password).await {
            Ok(is_right) => self.end(cx, known, is_right).settle().await,
            Err(Busy) => Flow::Exit(Box::new(Response::error(cx, 503, pdk::default_message(503)))),
        }
    }

    fn end<'a>(&'a self, cx: &'a mut Context, (credential, consumer): Known, is_right: bool) -> Step<'a> {
        if !is_right {
            return self.refuse(cx);
        }
        accept(cx, consumer, credential.id, Some(&credential.username));
        Step::Continue
    }

    /// Refuses a password that is wrong for whatever reason. Where some passwords are hashed slowly, each refusal costs such a
    /// hash: else the time would tell which names exist.
    fn refuse_slowly<'a>(&'a self, cx: &'a mut Context, password: Vec<u8>) -> Step<'a> {
        if cx.shared.consumers.slow_basic_auth().is_none() {
            return self.refuse(cx);
        }
        Step::Wait(Box::pin(async move {
            let consumers = cx.shared.consumers.clone();
            match argon2id::spend(consumers.slow_basic_auth().unwrap_or_default(), password).await {
                Ok(()) => self.refuse(cx).settle().await,
                Err(Busy) => Flow::Exit(Box::new(Response::error(cx, 503, pdk::default_message(503)))),
            }
        }))
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        refuse(cx, self.anonymous.as_deref(), |cx| unauthorized(cx, UNAUTHORIZED, &self.challenge))
    }
}

/// Whether this is how Kong stores the password; takes the same time whatever the difference.
fn is_sha1_of(stored: &str, password: &[u8], consumer: uuid::Uuid) -> bool {
    let salted = [password, consumer.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes()].concat();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted);
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hash.as_ref()) {
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    constant_time::verify_slices_are_equal(&hex, stored.as_bytes()).is_ok()
}

fn look_up<'a>(consumers: &'a Consumers, username: &'a str) -> Lookup<'a, Known> {
    with_consumer(consumers, consumers.basic_auth(username), |c| c.consumer.id)
}

/// Takes a header field's value apart. As Kong does, it looks for `Basic` (or `basic`) anywhere, needs no space after it,
/// ignores what follows the padding, and ends a password at a line break.
fn parse(value: &[u8]) -> Option<Shown> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    // Where it is as it should be, nothing has to be searched for.
    let encoded = value.strip_prefix(b"Basic").or_else(|| {
        let mut all = memchr::memmem::find_iter(value, b"asic");
        let at = all.find(|at| *at > 0 && matches!(value[at - 1], b'B' | b'b'))?;
        Some(&value[at + 4..])
    })?;
    let encoded = encoded.trim_ascii_start();
    let encoded = memchr::memchr(b'=', encoded).map_or(encoded, |end| &encoded[..end]);
    let decoded = ENGINE.decode(encoded).ok()?;
    let start = decoded.iter().position(|b| *b != b':')?;
    let colon = start + decoded[start..].iter().position(|b| *b == b':')?;
    let password = decoded[colon + 1..].split(|b| *b == b'\n').next().unwrap_or_default().to_vec();
    Some(Shown { username: String::from_utf8(decoded[start..colon].to_vec()).ok()?, password })
}

#[cfg(test)]
mod tests;
