//! # rate-limiting-advanced
//!
//! Limits how many requests a client may send in windows of any length, several at once, with the fields that Kong's
//! plugin of this name has. Windows are fixed or sliding; beyond Kong a window can be a token bucket (bursts up to the
//! limit) or a leaky bucket (requests are spaced evenly, and wait for at most `max_delay` seconds).
//!
//! Counters belong to a `namespace`: plugins with the same one share them. With `strategy` `local` they are in this node's
//! memory, exact across its threads. With `redis` they are those of all nodes: at `sync_rate` 0 each request asks Redis and
//! counts are exact; above, each node counts for itself and syncs every `sync_rate` seconds, so that all nodes together let
//! through at most the limit and what all but one of them let through in the time of two syncs; below 0 nodes never sync.
//! While Redis is out of reach each node counts for itself. With `cluster` they are those of all nodes of a database, with which
//! each node syncs twice a second, whatever `sync_rate` from 0 on says, with the same bound: no request waits for the database.
//!
//! Limits of consumer groups are instances of the plugin with a `consumer_group`. Or, with `enforce_consumer_groups`, a client
//! of one of the `consumer_groups` has the limits that its group has of its own, as Kong Enterprise has them
//! (`PUT /consumer_groups/{group}/overrides/plugins/rate-limiting-advanced`, or `consumer_group_plugins` in a kong.yml); the
//! first of the groups that the client is in counts, and where it has none, the limits of the plugin hold.

mod counters;
mod limits;
mod redis;
mod window;

use self::redis::Names;
use crate::rate_limiting::by::By;
use crate::rate_limiting::{needs_redis, redis_of};
use crate::redis::Redis;
use crate::tallies::Synced;
use counters::counters;
use entities::{GroupLimits, PluginSchema};
use limits::{Limit, Limits, seconds};
use pdk::{BuildError, Context, Definition, Flow, Instance, LimitedGroup, Phases, Plugin, Response, Step};
use schema::{Check, CheckError, Map, Record, Value, is, lua};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use window::Outcome;

pub const DEFINITION: Definition = Definition {
    name: "rate-limiting-advanced",
    priority: 910,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

const IDENTIFIERS: [&str; 7] = ["ip", "credential", "consumer", "service", "header", "path", GROUP];
const GROUP: &str = "consumer-group";
const TYPES: [&str; 4] = ["fixed", "sliding", "token-bucket", "leaky-bucket"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Whose requests are counted together. Where a request has no such thing, its client address.
    #[field(default = "consumer", one_of(IDENTIFIERS))]
    identifier: String,
    /// Of what requests must have all in common to be counted together, in place of `identifier`: as many of the same words.
    #[field(elements(one_of(IDENTIFIERS)))]
    compound_identifier: Option<Vec<String>>,
    /// The lengths of the windows, in seconds.
    #[field(elements(gt = 0))]
    window_size: Vec<f64>,
    /// How the windows count.
    #[field(default = "sliding", one_of(TYPES))]
    window_type: Option<String>,
    /// How many requests are let through in each window.
    #[field(elements(gt = 0))]
    limit: Vec<f64>,
    /// What counters belong to: instances with the same namespace share them.
    #[field(auto)]
    namespace: Option<String>,
    /// Where counters are kept.
    #[field(default = "local", one_of(["local", "redis", "cluster"]))]
    strategy: String,
    /// How often counters are synchronised with Redis, in seconds; 0: with each request; below: never. With the database it is twice
    /// a second from 0 on.
    #[field(between(-1, 86400))]
    sync_rate: Option<f64>,
    /// The Redis of strategy `redis`.
    #[field(typedef = redis)]
    redis: Value,
    /// The name of Kong's shared memory; it has no effect.
    #[field(default = "kong_rate_limiting_counters")]
    #[serde(rename = "dictionary_name")]
    _dictionary_name: Option<String>,
    /// The name of Kong's shared memory for locks; it has no effect.
    #[field(default = "kong_locks")]
    #[serde(rename = "lock_dictionary_name")]
    _lock_dictionary_name: Option<String>,
    /// The consumer groups, by name or id, that may have limits of their own. Of several that a client is in, the first counts.
    #[field(set)]
    #[serde(rename = "consumer_groups")]
    _consumer_groups: Option<Vec<String>>,
    /// Whether the groups in `consumer_groups` have the limits that they have of their own.
    #[field(default = false)]
    #[serde(rename = "enforce_consumer_groups")]
    _enforce_consumer_groups: Option<bool>,
    /// Whether the client is told nothing of its limits.
    #[field(default = false)]
    hide_client_headers: Option<bool>,
    /// How many seconds `Retry-After` is put off at most, at random, so that clients do not come back all at once.
    #[field(default = 0)]
    retry_after_jitter_max: f64,
    /// The header field that `identifier` = `header` goes by.
    #[field(typedef = header_name)]
    header_name: Option<String>,
    /// The path that `identifier` = `path` counts.
    #[field(typedef = path)]
    path: Option<String>,
    /// Whether refused requests do not count against sliding windows.
    #[field(default = false)]
    disable_penalty: Option<bool>,
    /// How long a request may wait in a leaky bucket, in seconds.
    #[field(default = 1, between(0, 60))]
    max_delay: Option<f64>,
    /// The status of refused requests.
    #[field(default = 429, gt = 0)]
    error_code: Option<f64>,
    /// The message of refused requests.
    #[field(default = "API rate limit exceeded")]
    error_message: Option<String>,
}

fn schema() -> PluginSchema {
    let needs = |value: &str, needed: &str| {
        Check::conditional("config.identifier", is().eq(value), needed, is().required(true))
    };
    let schema = PluginSchema::plugin(DEFINITION.name, Config::record())
        .protocols_http()
        .check(Check::custom(["config"], have_limits))
        .check(Check::custom(["config"], has_sync_rate))
        .check(Check::custom(["config"], has_groups));
    needs_redis("config.strategy", "redis")
        .into_iter()
        .fold(schema, PluginSchema::check)
        .check(needs("header", "config.header_name"))
        .check(needs("path", "config.path"))
        .check(Check::custom(["config"], has_fields_of_compound))
}

/// What the parts of a compound identifier need.
fn has_fields_of_compound(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let field = |name: &str| entity.get("config").and_then(|config| config.get(name)).filter(|value| !value.is_null());
    let parts = field("compound_identifier").and_then(Value::as_array);
    let is_part = |name: &str| parts.is_some_and(|parts| parts.iter().any(|part| part == name));
    for (part, needed) in [("header", "header_name"), ("path", "path")] {
        if is_part(part) && field(needed).is_none() {
            return Err(format!("a compound_identifier with '{part}' needs {needed}").into());
        }
    }
    Ok(())
}

/// Each window has a limit, and more time means no fewer requests.
fn have_limits(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let numbers = |name: &str| -> Vec<f64> {
        let list = entity.get("config").and_then(|config| config.get(name)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let (sizes, limits) = (numbers("window_size"), numbers("limit"));
    if sizes.len() != limits.len() || sizes.is_empty() {
        return Err("You must provide the same number of windows and limits".into());
    }
    let mut pairs: Vec<(f64, f64)> = sizes.into_iter().zip(limits).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wrong = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0 || pair[0].1 > pair[1].1);
    match wrong {
        Some(pair) => {
            let [less, more] =
                [pair[0], pair[1]].map(|(size, limit)| format!("{} in {} s", lua::number(limit), lua::number(size)));
            Err(format!("the limit {more} contradicts the limit {less}").into())
        }
        None => Ok(()),
    }
}

/// What all nodes share needs to be told how often it is asked. Times of buckets do not add up, as counts do: these are never
/// synced later.
fn has_sync_rate(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let field = |name: &str| entity.get("config").and_then(|config| config.get(name));
    let strategy = field("strategy").and_then(Value::as_str);
    if !matches!(strategy, Some("redis" | "cluster")) {
        return Ok(());
    }
    let is_bucket = field("window_type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("bucket"));
    match field("sync_rate").and_then(Value::as_f64) {
        None => Err("sync_rate is required if not using a local strategy".into()),
        Some(rate) if rate > 0.0 && rate < 0.02 => {
            Err("Config option 'sync_rate' must not be a decimal less than 0.02".into())
        }
        Some(rate) if rate >= 0.0 && is_bucket && strategy == Some("cluster") => {
            Err("token-bucket and leaky-bucket need a sync_rate of -1 with strategy cluster".into())
        }
        Some(rate) if rate > 0.0 && is_bucket => {
            Err("token-bucket and leaky-bucket need a sync_rate of 0 or -1".into())
        }
        Some(_) => Ok(()),
    }
}

/// Limits of groups count for groups that are named.
fn has_groups(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let field = |name: &str| entity.get("config").and_then(|config| config.get(name));
    let is_asked = field("enforce_consumer_groups").and_then(Value::as_bool) == Some(true);
    let is_named = field("consumer_groups").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
    if is_asked && !is_named { Err("No consumer groups provided".into()) } else { Ok(()) }
}

fn store(config: &Config) -> Result<Store, BuildError> {
    let rate = config.sync_rate.unwrap_or(0.0);
    if config.strategy == "local" || rate < 0.0 {
        return Ok(Store::Local);
    }
    if config.strategy == "cluster" {
        let missing = || BuildError("rate-limiting-advanced: strategy 'cluster' needs a database".to_owned());
        return Synced::with_database().map(Store::Synced).ok_or_else(missing);
    }
    let redis = redis_of(DEFINITION.name, &config.redis)?;
    Ok(match Duration::try_from_secs_f64(rate) {
        Ok(rate) if !rate.is_zero() => Store::Synced(Synced::with_redis(redis, rate)),
        _ => Store::Redis(redis),
    })
}

/// Where requests are counted.
enum Store {
    Local,
    Synced(Arc<Synced>),
    Redis(Arc<Redis>),
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let store = store(&config)?;
    let own = Limits::new(
        &config,
        &GroupLimits {
            window_size: config.window_size.clone(),
            window_type: config.window_type.clone(),
            limit: config.limit.clone(),
            retry_after_jitter_max: Some(config.retry_after_jitter_max),
        },
    );
    let of_group = |LimitedGroup { group, limits }: &LimitedGroup| {
        if limits.is_none() {
            log::warn!("rate-limiting-advanced: the consumer group '{}' has no limits of its own", group.name);
        }
        (group.id, limits.as_ref().map(|limits| Limits::new(&config, &limits.config)))
    };
    Ok(Arc::new(RateLimitingAdvanced {
        groups: instance.groups.iter().map(of_group).collect(),
        own,
        by: by(instance, &config),
        store,
        namespace: config.namespace.unwrap_or_else(|| instance.entity.id.to_string()),
        is_told: config.hide_client_headers != Some(true),
        error_code: config.error_code.map_or(429, |code| code as u16),
        error_message: config.error_message.unwrap_or_else(|| "API rate limit exceeded".to_owned()),
    }))
}

fn by(instance: &Instance<'_>, config: &Config) -> By {
    let one = |identifier: &str| match identifier {
        GROUP => By::Group(
            instance.entity.consumer_group.as_ref().map(|group| group.id),
            instance.groups.iter().map(|limited| limited.group.id).collect(),
        ),
        identifier => By::new(identifier, config.header_name.clone(), config.path.clone()),
    };
    match config.compound_identifier.as_deref().unwrap_or_default() {
        [] => one(&config.identifier),
        [identifier] => one(identifier),
        several => By::Compound(several.iter().map(|identifier| one(identifier)).collect()),
    }
}

struct RateLimitingAdvanced {
    own: Limits,
    /// The consumer groups that come before, in their order; one without limits of its own has those of the plugin.
    groups: Box<[(Uuid, Option<Limits>)]>,
    by: By,
    store: Store,
    namespace: String,
    is_told: bool,
    error_code: u16,
    error_message: String,
}

impl Plugin for RateLimitingAdvanced {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if let Store::Redis(redis) = &self.store {
            return Step::Wait(Box::pin(self.ask(redis, cx)));
        }
        let limits = self.limits(cx);
        let outcomes = self.take(limits, cx);
        match self.answer(limits, cx, &outcomes) {
            Some(refusal) => Step::exit(refusal),
            None => match delay(&outcomes) {
                Duration::ZERO => Step::Continue,
                delay => Step::Wait(Box::pin(async move {
                    tokio::time::sleep(delay).await;
                    Flow::Continue
                })),
            },
        }
    }
}

/// How long a request has to wait that is let through.
fn delay(outcomes: &[Outcome]) -> Duration {
    Duration::from_nanos(outcomes.iter().map(|outcome| outcome.delay).max().unwrap_or(0))
}

impl RateLimitingAdvanced {
    /// The limits of the first group that the client is in, else those for everybody.
    fn limits(&self, cx: &Context) -> &Limits {
        let Some(consumer) = cx.consumer.as_ref().filter(|_| !self.groups.is_empty()) else { return &self.own };
        let joined = cx.shared.consumers.groups(consumer.id);
        let first = self.groups.iter().find(|(id, _)| joined.iter().any(|group| group.id == *id));
        first.and_then(|(_, limits)| limits.as_ref()).unwrap_or(&self.own)
    }

    /// Counts the request in Redis; while that is out of reach, here.
    async fn ask(&self, redis: &Arc<Redis>, cx: &mut Context<'_>) -> Flow {
        let limits = self.limits(cx);
        let call = self.by.with_told(cx, |identifier| {
            self::redis::call(&limits.all, &Names { namespace: &self.namespace, identifier })
        });
        let outcomes = match self::redis::take(redis, &call, &limits.all).await {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                // Redis itself says once that it is out of reach; a line a request would be a flood.
                log::debug!(request_id = cx.request_id(); "rate-limiting-advanced: counted on this node alone: {failure}");
                self.take(limits, cx)
            }
        };
        if let Some(refusal) = self.answer(limits, cx, &outcomes) {
            return Flow::Exit(Box::new(refusal));
        }
        let delay = delay(&outcomes);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Flow::Continue
    }

    /// Counts a request in all windows of this node, or in none where one has no room; a penalty stays.
    fn take(&self, limits: &Limits, cx: &Context) -> Vec<Outcome> {
        let now = u64::try_from(cx.shared.clock.now().as_nanos()).unwrap_or(u64::MAX);
        match &self.store {
            Store::Synced(synced) => self.by.with_told(cx, |identifier| {
                let store = synced.center().id();
                let outcomes = self.take_here(limits, store, identifier, now);
                let is_allowed = outcomes.iter().all(|outcome| outcome.is_allowed);
                for (Limit { window, .. }, outcome) in limits.all.iter().zip(&outcomes) {
                    if is_allowed || (!outcome.is_allowed && window.counts_refused()) {
                        counters().note(synced, window.key(store, &self.namespace, identifier, now));
                    }
                }
                outcomes
            }),
            Store::Local | Store::Redis(_) => self.by.with(cx, |identifier| self.take_here(limits, 0, identifier, now)),
        }
    }

    fn take_here(&self, limits: &Limits, store: u64, identifier: &str, now: u64) -> Vec<Outcome> {
        let take = |Limit { window, .. }: &Limit| {
            window.take(counters(), window.key(store, &self.namespace, identifier, now), now)
        };
        let mut outcomes: Vec<Outcome> = limits.all.iter().map(take).collect();
        if !outcomes.iter().all(|outcome| outcome.is_allowed) {
            outcomes.iter_mut().for_each(Outcome::undo);
        }
        outcomes
    }

    /// Tells the client how it fared; the answer to a request that is refused.
    fn answer(&self, limits: &Limits, cx: &mut Context, outcomes: &[Outcome]) -> Option<Response> {
        if outcomes.iter().all(|outcome| outcome.is_allowed) {
            if self.is_told {
                limits.tell(outcomes, &mut cx.early_headers);
            }
            return None;
        }
        let mut response = Response::error(cx, self.error_code, &self.error_message);
        if self.is_told {
            limits.tell(outcomes, &mut response.headers);
            let refused = outcomes.iter().filter(|outcome| !outcome.is_allowed);
            let reset = refused.map(|outcome| seconds(outcome.reset)).max().unwrap_or(1);
            let retry = reset + limits.put_off(cx);
            response.headers.append("Retry-After", retry.to_string().as_bytes());
        }
        Some(response)
    }
}

#[cfg(test)]
mod tests;
