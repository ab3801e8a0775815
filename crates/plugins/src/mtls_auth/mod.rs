//! # mtls-auth
//!
//! Lets in clients by the certificate that they show in the TLS handshake: one that an authority of `ca_certificates` has
//! signed and that was not revoked. Its consumer is found by the names in the certificate. Clients are asked for a certificate
//! where a route with their server name, or a route of any server name, has the plugin.

mod chain;
mod fetch;
mod ocsp;
mod revocation;

use crate::auth::{Refusal, is_done, refuse};
use crate::recent::{Digest, Recent};
use chain::{Authorities, Distrusted, Verified};
use entities::{Consumer, PluginSchema};
use fetch::{Fetcher, Proxy};
use pdk::{
    BuildError, Consumers, Context, Credential, Definition, Flow, Instance, Lookup, Phases, Plugin, Response, Step,
};
use revocation::{Asked, Revocation, digest_of};
use schema::{Check, Record, RecordSchema};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub const DEFINITION: Definition =
    Definition { name: "mtls-auth", priority: 1600, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const MISSING: Refusal = Refusal::unauthorized("No required TLS certificate was sent");
const FAILED: Refusal = Refusal::unauthorized("TLS certificate failed verification");

/// What tells the upstream of a client without a consumer.
const DN_HEADER: &str = "X-Client-Cert-Dn";
const SAN_HEADER: &str = "X-Client-Cert-San";
/// Of how many certificates each half of the memory keeps that they are good.
const KEPT: usize = 10_000;

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The consumer (id or username) that clients without a good certificate become.
    anonymous: Option<String>,
    /// By which of a consumer's fields it is found where no credential names it.
    #[field(required = false, default = ["username", "custom_id"], elements(one_of(["username", "custom_id"])))]
    consumer_by: Option<Vec<String>>,
    /// The authorities (ids of CA certificates) that may sign certificates of clients.
    #[field(required = true, elements(uuid(true)))]
    ca_certificates: Vec<Uuid>,
    /// How long a certificate that was found good is not verified again, in seconds.
    #[field(default = 60)]
    cache_ttl: f64,
    /// Whether any good certificate is enough: no consumer is looked for.
    #[field(default = false)]
    skip_consumer_lookup: bool,
    /// Whether a chain may end at an authority that is not self-signed.
    #[field(default = false)]
    allow_partial_chain: bool,
    /// Without a consumer: what becomes the client's group, the Common Name or the distinguished name.
    #[field(default = "CN", one_of(["CN", "DN"]))]
    authenticated_group_by: Option<String>,
    /// `SKIP`: revoked certificates are not looked for. `IGNORE_CA_ERROR`: they are refused where an authority says so.
    /// `STRICT`: only certificates are taken that their authority says are not revoked.
    #[field(default = "IGNORE_CA_ERROR", one_of(["SKIP", "IGNORE_CA_ERROR", "STRICT"]))]
    revocation_check_mode: Option<String>,
    /// How long an OCSP responder, or the host of a list of revoked certificates, may take, in milliseconds.
    #[field(default = 30_000)]
    http_timeout: Option<f64>,
    /// How long it is remembered whether a certificate was revoked, in milliseconds.
    #[field(default = 60_000)]
    cert_cache_ttl: Option<f64>,
    /// Whether clients are told in the handshake which authorities are trusted.
    #[field(default = false)]
    send_ca_dn: Option<bool>,
    /// The proxy to hosts that are asked over `http`.
    #[field(typedef = host, required = false)]
    http_proxy_host: Option<String>,
    /// Its port.
    #[field(typedef = port)]
    http_proxy_port: Option<i64>,
    /// The proxy to hosts that are asked over `https`.
    #[field(typedef = host, required = false)]
    https_proxy_host: Option<String>,
    /// Its port.
    #[field(typedef = port)]
    https_proxy_port: Option<i64>,
    /// The consumer (id or username) of good certificates that stand for no consumer.
    default_consumer: Option<String>,
}

fn record() -> Arc<RecordSchema> {
    let mut record = (**Config::record()).clone();
    for scheme in ["http", "https"] {
        record =
            record.check(Check::mutually_required([format!("{scheme}_proxy_host"), format!("{scheme}_proxy_port")]));
    }
    Arc::new(record)
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, &record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    if let Some(missing) = config.ca_certificates.iter().find(|id| instance.authorities.iter().all(|ca| ca.id != **id))
    {
        return Err(BuildError(format!("CA Certificate '{missing}' does not exist")));
    }
    let authorities = Authorities::new(instance.authorities, config.allow_partial_chain).map_err(BuildError)?;
    let is_told = config.send_ca_dn == Some(true);
    let ms = |value: Option<f64>, default: u64| Duration::from_millis(value.map_or(default, |ms| ms.max(0.0) as u64));
    let revocation = match config.revocation_check_mode.as_deref() {
        Some("SKIP") => None,
        mode => {
            let http = proxy(config.http_proxy_host, config.http_proxy_port);
            let https = proxy(config.https_proxy_host, config.https_proxy_port);
            let fetcher = Fetcher::new(http, https, ms(config.http_timeout, 30_000)).map_err(BuildError)?;
            Some(Revocation::new(mode == Some("STRICT"), fetcher, ms(config.cert_cache_ttl, 60_000)))
        }
    };
    let by = |field: &str| config.consumer_by.iter().flatten().any(|name| name == field);
    Ok(Arc::new(MtlsAuth {
        hints: if is_told { authorities.names() } else { Vec::new() },
        authorities,
        known: Recent::new(KEPT),
        lasts: Duration::from_secs_f64(config.cache_ttl.clamp(0.0, 1e9)),
        revocation,
        by_username: by("username"),
        by_custom_id: by("custom_id"),
        skips_consumer: config.skip_consumer_lookup,
        groups_by_dn: config.authenticated_group_by.as_deref() == Some("DN"),
        anonymous: config.anonymous,
        default_consumer: config.default_consumer,
    }))
}

fn proxy(host: Option<String>, port: Option<i64>) -> Proxy {
    Some((host?, u16::try_from(port?).ok()?))
}

/// A certificate that was found good, and until when that counts (since the epoch).
type Known = (Arc<Verified>, Duration);

struct MtlsAuth {
    authorities: Authorities,
    hints: Vec<Vec<u8>>,
    known: Recent<Known>,
    lasts: Duration,
    /// `None`: nobody asks whether certificates were revoked.
    revocation: Option<Revocation>,
    by_username: bool,
    by_custom_id: bool,
    skips_consumer: bool,
    groups_by_dn: bool,
    anonymous: Option<String>,
    default_consumer: Option<String>,
}

impl Plugin for MtlsAuth {
    fn client_certificates(&self) -> Option<&[Vec<u8>]> {
        Some(&self.hints)
    }

    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if is_done(cx, self.anonymous.as_deref()) {
            return Step::Continue;
        }
        // What only this plugin may tell must not come from the client.
        cx.request.headers.remove(DN_HEADER);
        cx.request.headers.remove(SAN_HEADER);
        let Some(tls) = cx.client.tls.clone().filter(|tls| !tls.client_certificates.is_empty()) else {
            return self.refuse(cx, MISSING);
        };
        let shown = &tls.client_certificates;
        let now = cx.shared.clock.now();
        let digest = digest_of(shown);
        let verified = match self.verify(shown, &digest, now) {
            Ok(verified) => verified,
            Err(error) => {
                log::info!("mtls-auth: a client's certificate is refused: {error}");
                return self.refuse(cx, FAILED);
            }
        };
        let allowed = self.revocation.as_ref().map_or(Some(true), |revocation| revocation.known(&digest, now));
        match (allowed, &self.revocation) {
            (Some(false), _) => self.refuse(cx, FAILED),
            (None, Some(revocation)) => Step::Wait(Box::pin(async move {
                let (shown, places) = (tls.client_certificates.as_slice(), &verified.places);
                let asked = Asked { shown, digest, places, authorities: &self.authorities, now };
                if revocation.allows_after_asking(&asked).await {
                    self.enter(cx, &verified).await
                } else {
                    self.refuse(cx, FAILED).settle().await
                }
            })),
            _ => Step::Wait(Box::pin(async move { self.enter(cx, &verified).await })),
        }
    }
}

impl MtlsAuth {
    /// What the certificates say, where an authority vouches for them.
    fn verify(&self, shown: &[Vec<u8>], digest: &Digest, now: Duration) -> Result<Arc<Verified>, Distrusted> {
        if let Some((verified, _)) = self.known.get(digest).filter(|(_, until)| *until > now) {
            return Ok(verified);
        }
        let verified = Arc::new(self.authorities.verify(shown, now)?);
        self.known.keep(*digest, (verified.clone(), verified.not_after.min(now + self.lasts)));
        Ok(verified)
    }

    /// Lets in a client whose certificate is good, where it stands for somebody.
    async fn enter(&self, cx: &mut Context<'_>, verified: &Verified) -> Flow {
        cx.is_certificate_verified = true;
        if self.skips_consumer {
            let (cn, dn) = (&verified.common_name, &verified.distinguished_name);
            let group = if self.groups_by_dn { Some(dn) } else { cn.as_ref() };
            let credential =
                Credential { id: group.unwrap_or(dn).as_str().into(), consumer_id: None, identifier: None };
            cx.authenticate(None, Some(credential), false);
            cx.authenticated_groups = Some(group.into_iter().cloned().collect());
            cx.request.headers.set(DN_HEADER, dn.as_bytes());
            if !verified.alternative_names.is_empty() {
                cx.request.headers.set(SAN_HEADER, verified.alternative_names.as_bytes());
            }
            return Flow::Continue;
        }
        let consumers = cx.shared.consumers.clone();
        if let Some((consumer, credential)) = self.find(&consumers, verified).await {
            cx.authenticate(Some(consumer), Some(credential), false);
            return Flow::Continue;
        }
        let Some(name) = &self.default_consumer else { return self.refuse(cx, FAILED).settle().await };
        let Some(consumer) = consumers.consumer_by_id_or_username(name).wait().await else {
            let message = format!("default consumer {name} is configured but doesn't exist");
            return Flow::Exit(Box::new(Response::error(cx, 500, &message)));
        };
        let credential = credential(&consumer, consumer.id, name);
        cx.authenticate(Some(consumer), Some(credential), false);
        Flow::Continue
    }

    /// The consumer of a certificate: by a credential, in the order of names; else by a name of the consumer itself.
    async fn find(&self, consumers: &Consumers, verified: &Verified) -> Option<(Arc<Consumer>, Credential)> {
        for with_authority in [true, false] {
            for name in &verified.names {
                let authorities: &[Uuid] = if with_authority { &verified.authorities } else { &[] };
                let Some(found) = consumers.mtls_auth(name, authorities).wait().await else { continue };
                if found.ca_certificate.is_some() == with_authority
                    && let Some(consumer) = consumers.consumer(found.consumer.id).wait().await
                {
                    let credential = credential(&consumer, found.id, &found.id.to_string());
                    return Some((consumer, credential));
                }
            }
        }
        for name in &verified.names {
            let by_username = if self.by_username { consumers.consumer_by_username(name) } else { Lookup::Ready(None) };
            let mut consumer = by_username.wait().await;
            if consumer.is_none() && self.by_custom_id {
                consumer = consumers.consumer_by_custom_id(name).wait().await;
            }
            if let Some(consumer) = consumer {
                let credential = credential(&consumer, consumer.id, name);
                return Some((consumer, credential));
            }
        }
        None
    }

    fn refuse<'a>(&'a self, cx: &'a mut Context, refusal: Refusal) -> Step<'a> {
        refuse(cx, self.anonymous.as_deref(), |cx| Response::error(cx, refusal.status, refusal.message))
    }
}

fn credential(consumer: &Consumer, id: Uuid, identifier: &str) -> Credential {
    Credential { id: id.to_string().into(), consumer_id: Some(consumer.id), identifier: Some(identifier.into()) }
}

#[cfg(test)]
mod tests;
