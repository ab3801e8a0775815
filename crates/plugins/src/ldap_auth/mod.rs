//! # ldap-auth
//!
//! Lets in clients whose name and password an LDAP server takes (a simple bind, RFC 4513), shown in `Proxy-Authorization`
//! or `Authorization` as `ldap` and the Base64 of `name:password`. No consumer is known of them.

mod cache;
mod directory;

use crate::auth::{Refusal, is_done, refuse, unauthorized};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cache::Cache;
use directory::{Directory, Failure, Security};
use entities::PluginSchema;
use pdk::{BuildError, Context, Credential, Definition, Flow, Instance, Phases, Plugin, Response, Step};
use schema::{Check, Record, RecordSchema, is};
use serde::Deserialize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub const DEFINITION: Definition =
    Definition { name: "ldap-auth", priority: 1200, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const UNAUTHORIZED: Refusal = Refusal::unauthorized("Unauthorized");
/// Tried in this order.
const HEADERS: [&str; 2] = ["proxy-authorization", "authorization"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The LDAP server's host.
    #[field(typedef = host)]
    ldap_host: String,
    /// Its port.
    #[field(default = 389, between(0, 65535))]
    ldap_port: i64,
    /// Whether the connection is TLS from the start.
    #[field(default = false)]
    ldaps: bool,
    /// Whether the connection becomes TLS (StartTLS).
    #[field(default = false)]
    start_tls: bool,
    /// Whether the server's certificate is verified.
    #[field(default = false)]
    verify_ldap_host: bool,
    /// Where in the directory the users are.
    base_dn: String,
    /// The attribute that holds a user's name.
    attribute: String,
    /// How long an answer of the server is believed, in seconds.
    #[field(default = 60)]
    cache_ttl: f64,
    /// Whether the credentials are taken out of the request before it goes upstream.
    #[field(default = false)]
    hide_credentials: bool,
    /// How long the server may take, in milliseconds.
    #[field(default = 10_000)]
    timeout: Option<f64>,
    /// How long a connection may be kept, in milliseconds.
    #[expect(dead_code, reason = "Kong's field: connections are not kept, see docs/differences.md")]
    #[field(default = 60_000)]
    keepalive: Option<f64>,
    /// The consumer (id or username) that clients without valid credentials become.
    anonymous: Option<String>,
    /// The word before the credentials.
    #[field(default = "ldap")]
    header_type: Option<String>,
    /// What `WWW-Authenticate` names as the realm.
    #[field(required = false)]
    realm: Option<String>,
}

fn record() -> Arc<RecordSchema> {
    let one_tls = Check::conditional("ldaps", is().eq(true), "start_tls", is().eq(false))
        .then_err("'ldaps' and 'start_tls' cannot be enabled simultaneously");
    Arc::new((**Config::record()).clone().check(one_tls))
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, &record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let security = match (config.ldaps, config.start_tls) {
        (true, _) => Security::Tls,
        (_, true) => Security::StartTls,
        _ => Security::None,
    };
    let timeout = Duration::from_millis(config.timeout.map_or(10_000, |ms| ms.max(1.0) as u64));
    let port = u16::try_from(config.ldap_port).unwrap_or(389);
    let directory = Directory::new(config.ldap_host, port, security, config.verify_ldap_host, timeout);
    let scheme = config.header_type.unwrap_or_else(|| "ldap".to_owned());
    let shown = if scheme == "ldap" { "LDAP" } else { scheme.as_str() };
    Ok(Arc::new(LdapAuth {
        challenge: crate::auth::challenge(shown, config.realm.as_deref()),
        directory: directory.map_err(BuildError)?,
        cache: Cache::new(Duration::from_secs_f64(config.cache_ttl.clamp(0.0, 1e9)))
            .ok_or_else(|| BuildError("the system has no randomness".to_owned()))?,
        base: config.base_dn,
        attribute: config.attribute,
        scheme,
        is_hidden: config.hide_credentials,
        anonymous: config.anonymous,
    }))
}

struct LdapAuth {
    directory: Directory,
    cache: Cache,
    base: String,
    attribute: String,
    scheme: String,
    challenge: Box<[u8]>,
    is_hidden: bool,
    anonymous: Option<String>,
}

/// A name and a password as a header field shows them.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    name: String,
    password: Vec<u8>,
}

impl Plugin for LdapAuth {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if is_done(cx, self.anonymous.as_deref()) {
            return Step::Continue;
        }
        let shown: Vec<Shown> =
            HEADERS.iter().filter_map(|name| parse(cx.request.headers.get(name)?, &self.scheme)).collect();
        if shown.is_empty() {
            return self.refuse(cx);
        }
        Step::Wait(Box::pin(self.enter(cx, shown)))
    }
}

impl LdapAuth {
    async fn enter(&self, cx: &mut Context<'_>, shown: Vec<Shown>) -> Flow {
        for Shown { name, password } in shown {
            match self.is_right(cx, &name, &password).await {
                Ok(true) => {
                    if self.is_hidden {
                        HEADERS.iter().for_each(|field| {
                            cx.request.headers.remove(field);
                        });
                    }
                    let name = Rc::<str>::from(name);
                    let identity = Credential { id: name.clone(), consumer_id: None, identifier: Some(name) };
                    cx.authenticate(None, Some(identity), false);
                    return Flow::Continue;
                }
                Ok(false) => {}
                Err(failure) => {
                    log::error!("ldap-auth: {failure} ({}:{})", self.directory.host, self.directory.port);
                    return Flow::Exit(Box::new(Response::error(cx, 500, pdk::default_message(500))));
                }
            }
        }
        self.refuse(cx).settle().await
    }

    async fn is_right(&self, cx: &Context<'_>, name: &str, password: &[u8]) -> Result<bool, Failure> {
        let now = cx.shared.clock.now();
        if let Some(known) = self.cache.get(name, password, now) {
            return Ok(known);
        }
        let is_right = self.directory.bind(&self.distinguished(name), password).await?;
        self.cache.keep(name, password, is_right, now);
        Ok(is_right)
    }

    /// The user's place in the directory.
    fn distinguished(&self, name: &str) -> String {
        format!("{}={},{}", self.attribute, escape(name), self.base)
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        refuse(cx, self.anonymous.as_deref(), |cx| unauthorized(cx, UNAUTHORIZED, &self.challenge))
    }
}

/// A value within a distinguished name (RFC 4514, 2.4): nothing of it can end the value.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        match letter {
            '\0' => out.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', letter]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            _ => out.push(letter),
        }
    }
    out
}

/// Takes a header field's value apart. A password cannot be empty: such a bind succeeds and proves nothing (RFC 4513, 5.1.2).
fn parse(field: &[u8], scheme: &str) -> Option<Shown> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let (word, rest) = field.trim_ascii_start().split_at_checked(scheme.len())?;
    let encoded = rest.trim_ascii_start();
    if !word.eq_ignore_ascii_case(scheme.as_bytes()) || encoded.len() == rest.len() {
        return None;
    }
    let decoded = ENGINE.decode(encoded.split(|b| *b == b'=').next().unwrap_or_default()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    let (name, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    let name = String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty())?;
    (!password.is_empty()).then(|| Shown { name, password: password.to_vec() })
}

#[cfg(test)]
mod tests;
