//! # rate-limiting
//!
//! Limits how many requests a client may send in a second, minute, hour, day, month or year (fixed windows in UTC).
//!
//! Policy `local` counts in this node's memory, exactly and across all its threads. Policy `redis` counts for all nodes
//! that use a Redis, under Kong's keys: with `sync_rate` -1 each request asks Redis, and counts are exact; else each
//! node counts for itself and syncs every `sync_rate` seconds, so that all nodes together let through at most the limit
//! and what all but one of them let through in the time of two syncs, and goes on to count while Redis is out of reach. With `sync_rate` -1
//! `fault_tolerant` says then whether requests pass uncounted or are answered 500; none but those that were under way waits
//! for it.
//!
//! Policy `cluster` counts for all nodes of a database: each node counts for itself and syncs with the database twice a
//! second, with the same bound. No request waits for the database.
//!
//! Counters belong to the scope of the plugin entity, so instances on the same route (or service, or none) share them,
//! also over a change of the configuration.

pub(crate) mod by;
mod counters;
mod exact;
pub(crate) mod period;

use crate::redis::{Config as RedisConfig, Failure, Redis, Settings};
use crate::tallies::Synced;
use by::By;
use counters::{Counter, Key};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Flow, Headers, Instance, Phases, Plugin, ReadyField, Response, Step};
use period::Period;
use schema::{Check, Field, Record, is, lua};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub const DEFINITION: Definition =
    Definition { name: "rate-limiting", priority: 910, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const LIMIT_BY: [&str; 6] = ["consumer", "credential", "ip", "service", "header", "path"];
/// A field's name and what it takes.
pub(crate) type Renamed = (&'static str, fn() -> Field);
/// Fields of `redis` that were once fields of the config itself, as `redis_<name>`.
pub(crate) const RENAMED: [Renamed; 9] = [
    ("host", Field::string),
    ("port", Field::integer),
    ("password", password),
    ("username", Field::string),
    ("ssl", Field::boolean),
    ("ssl_verify", Field::boolean),
    ("server_name", Field::string),
    ("timeout", Field::integer),
    ("database", Field::integer),
];

fn password() -> Field {
    Field::string().len_min(0)
}

#[derive(Record, Deserialize, Clone, Debug)]
#[record(validator(validate))]
struct Config {
    /// How many requests are let through in a second.
    #[field(gt = 0)]
    second: Option<f64>,
    /// How many requests are let through in a minute.
    #[field(gt = 0)]
    minute: Option<f64>,
    /// How many requests are let through in an hour.
    #[field(gt = 0)]
    hour: Option<f64>,
    /// How many requests are let through in a day.
    #[field(gt = 0)]
    day: Option<f64>,
    /// How many requests are let through in a month.
    #[field(gt = 0)]
    month: Option<f64>,
    /// How many requests are let through in a year.
    #[field(gt = 0)]
    year: Option<f64>,
    /// Whose requests are counted together. Where a request has no such thing, its client address.
    #[field(default = "consumer", one_of(LIMIT_BY))]
    limit_by: Option<String>,
    /// The header field that `limit_by` = `header` goes by.
    #[field(typedef = header_name)]
    header_name: Option<String>,
    /// The path that `limit_by` = `path` counts.
    #[field(typedef = path)]
    path: Option<String>,
    /// Where counters are kept.
    #[field(default = "local", len_min = 0, one_of(["local", "cluster", "redis"]))]
    policy: Option<String>,
    /// Whether requests pass while the store of the counters is out of reach.
    #[field(default = true)]
    fault_tolerant: bool,
    /// The Redis of policy `redis`.
    #[field(typedef = redis)]
    redis: Value,
    /// Whether the client is told nothing of its limits.
    #[field(default = false)]
    hide_client_headers: bool,
    /// The status of refused requests.
    #[field(default = 429, gt = 0)]
    error_code: Option<f64>,
    /// The message of refused requests.
    #[field(default = "API rate limit exceeded")]
    error_message: Option<String>,
    /// How often counters are synchronised with Redis, in seconds; -1: with each request.
    #[field(default = -1)]
    sync_rate: f64,
}

fn validate(config: &Value) -> Result<(), String> {
    let limit = |period: Period| config.get(period.name()).and_then(Value::as_f64);
    for (at, less) in Period::ALL.into_iter().enumerate() {
        let Some(most) = limit(less) else { continue };
        let lower = Period::ALL[at + 1..].iter().find_map(|more| Some((more, limit(*more).filter(|l| *l < most)?)));
        if let Some((more, limit)) = lower {
            let (more, less) = (more.name(), less.name());
            return Err(format!(
                "The limit for {more}({limit:.1}) cannot be lower than the limit for {less}({most:.1})"
            ));
        }
    }
    let is_redis = config.get("policy").and_then(Value::as_str) == Some("redis");
    match config.get("sync_rate").and_then(Value::as_f64) {
        Some(rate) if rate != -1.0 && !is_redis => Err("sync_rate can only be used with the redis policy".to_owned()),
        Some(rate) if rate != -1.0 && rate < 0.02 => {
            Err("sync_rate must be greater than 0.02, or -1 to disable".to_owned())
        }
        _ => Ok(()),
    }
}

fn schema() -> PluginSchema {
    let record = RENAMED.iter().fold((**Config::record()).clone(), |record, (name, field)| {
        let message =
            format!("rate-limiting: config.redis_{name} is deprecated, please use config.redis.{name} instead");
        record.shorthand_rename(&format!("redis_{name}"), field(), ["redis", name], &message)
    });
    let periods = Period::ALL.map(|p| format!("config.{}", p.name()));
    let needs = |value: &str, field: &str, needed: &str| {
        Check::conditional(&format!("config.{field}"), is().eq(value), needed, is().required(true))
    };
    let schema = PluginSchema::plugin(DEFINITION.name, &Arc::new(record))
        .protocols_http()
        .check(Check::at_least_one_of(periods.each_ref().map(String::as_str)));
    needs_redis("config.policy", "redis")
        .into_iter()
        .fold(schema, PluginSchema::check)
        .check(needs("header", "limit_by", "config.header_name"))
        .check(needs("path", "limit_by", "config.path"))
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let store = store(&config)?;
    let values = [config.second, config.minute, config.hour, config.day, config.month, config.year];
    let limits = Period::ALL.into_iter().zip(values).filter_map(|(p, v)| Some(Limit::new(p, v?)));
    Ok(Arc::new(RateLimiting {
        limits: limits.collect(),
        by: By::new(config.limit_by.as_deref().unwrap_or_default(), config.header_name, config.path),
        route: instance.entity.route.as_ref().map(|r| r.id).unwrap_or_default(),
        service: instance.entity.service.as_ref().map(|s| s.id).unwrap_or_default(),
        store,
        is_tolerant: config.fault_tolerant,
        is_told: !config.hide_client_headers,
        error_code: config.error_code.map(|code| code as u16).filter(|code| (400..600).contains(code)),
        error_message: config.error_message,
    }))
}

fn store(config: &Config) -> Result<Store, BuildError> {
    match config.policy.as_deref() {
        Some("redis") => {}
        Some("cluster") => {
            let synced = Synced::with_database();
            let missing = || BuildError("rate-limiting: policy 'cluster' needs a database".to_owned());
            return synced.map(Store::Synced).ok_or_else(missing);
        }
        _ => return Ok(Store::Local),
    }
    let redis = redis_of(DEFINITION.name, &config.redis)?;
    Ok(match Duration::try_from_secs_f64(config.sync_rate) {
        Ok(rate) if !rate.is_zero() => Store::Synced(Synced::with_redis(redis, rate)),
        _ => Store::Redis(redis),
    })
}

/// The Redis that a plugin's config names.
pub(crate) fn redis_of(plugin: &str, config: &Value) -> Result<Arc<Redis>, BuildError> {
    let config = RedisConfig::deserialize(config).map_err(|error| BuildError(format!("{plugin}: {error}")))?;
    let settings = Settings::new(config).ok_or_else(|| BuildError(format!("{plugin}: no config.redis.host")))?;
    Ok(Redis::of(settings))
}

/// A check that the `redis` of a config names a server where it is needed. Sentinels and cluster nodes are servers, too.
pub(crate) fn needs_redis(condition: &str, value: &str) -> [Check; 3] {
    ["host", "port", "timeout"].map(|field| {
        Check::conditional(condition, is().eq(value), &format!("config.redis.{field}"), is().required(true))
            .unless(["config.redis.sentinel_nodes", "config.redis.cluster_nodes"])
    })
}

/// Where requests are counted.
enum Store {
    Local,
    Synced(Arc<Synced>),
    Redis(Arc<Redis>),
}

/// The key of a window in Redis, as Kong writes it. In a cluster braces keep the windows of a client on one node.
fn window_key(key: &Key<'_>, period: Period, start: u64, is_cluster: bool) -> String {
    let (open, close) = if is_cluster { ("{", "}") } else { ("", "") };
    let Key { route, service, identifier, .. } = key;
    format!("ratelimit:{open}{route}:{service}:{identifier}{close}:{}:{}", start * 1000, period.name())
}

/// A limit with the names and values of its header fields.
struct Limit {
    period: Period,
    limit: f64,
    limit_text: String,
    limit_field: ReadyField,
    remaining_name: String,
    /// `RateLimit-Limit` where it is the tightest.
    tightest_field: ReadyField,
}

impl Limit {
    fn new(period: Period, limit: f64) -> Self {
        let name = period.name();
        let name = format!("{}{}", name.get(..1).unwrap_or_default().to_uppercase(), name.get(1..).unwrap_or_default());
        let limit_text = lua::number(limit);
        Self {
            period,
            limit,
            limit_field: ReadyField::new(&format!("X-RateLimit-Limit-{name}"), limit_text.as_bytes()),
            tightest_field: ReadyField::new("RateLimit-Limit", limit_text.as_bytes()),
            limit_text,
            remaining_name: format!("X-RateLimit-Remaining-{name}"),
        }
    }
}

struct RateLimiting {
    limits: Box<[Limit]>,
    by: By,
    route: Uuid,
    service: Uuid,
    store: Store,
    is_tolerant: bool,
    is_told: bool,
    /// `None`: one that is no error's, which Kong fails with.
    error_code: Option<u16>,
    error_message: Option<String>,
}

/// How a request fared: what remains of each limit, this request counted, and whether it is refused.
struct Usage {
    remaining: [f64; 6],
    is_refused: bool,
}

impl Plugin for RateLimiting {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let now = cx.shared.clock.now();
        let usage = match &self.store {
            Store::Local => self.with_key(cx, 0, |key| counters::with(key, now, |c| self.reserve(c, now))),
            Store::Synced(synced) => self.with_key(cx, synced.center().id(), |key| {
                counters::with(key, now, |counter| {
                    let usage = self.reserve(counter, now);
                    if !usage.is_refused {
                        synced.note(counter);
                    }
                    usage
                })
            }),
            Store::Redis(redis) => return Step::Wait(Box::pin(self.ask(redis, cx, now))),
        };
        match self.tell_all(cx, &usage, now) {
            Some(refusal) => Step::Exit(refusal),
            None => Step::Continue,
        }
    }
}

impl RateLimiting {
    /// Counts the request in Redis.
    async fn ask(&self, redis: &Arc<Redis>, cx: &mut Context<'_>, now: Duration) -> Flow {
        let windows = self.with_key(cx, redis.id(), |key| {
            exact::windows(&self.limits, now, |period, start| window_key(&key, period, start, redis.is_cluster()))
        });
        match exact::count(redis, &windows, &self.limits).await {
            Ok(usage) => self.tell_all(cx, &usage, now).map_or(Flow::Continue, Flow::Exit),
            Err(failure) => self.out_of_reach(cx, &failure),
        }
    }

    fn out_of_reach(&self, cx: &Context, failure: &Failure) -> Flow {
        // Redis itself says once that it is out of reach; a line a request would be a flood.
        log::debug!(request_id = cx.request_id(); "rate-limiting: the request is not counted: {failure}");
        match self.is_tolerant {
            true => Flow::Continue,
            false => Flow::Exit(Box::new(Response::error(cx, 500, pdk::default_message(500)))),
        }
    }

    /// Tells the client how it fared; the answer to a request that is refused.
    fn tell_all(&self, cx: &mut Context, usage: &Usage, now: Duration) -> Option<Box<Response>> {
        if !usage.is_refused {
            if self.is_told {
                self.tell(usage, now, &mut cx.early_headers);
            }
            return None;
        }
        let (code, message) = match self.error_code {
            Some(code) => (code, self.error_message.as_deref().unwrap_or_else(|| pdk::default_message(code))),
            None => (500, pdk::default_message(500)),
        };
        let mut response = Response::error(cx, code, message);
        if self.is_told {
            let reset = self.tell(usage, now, &mut response.headers);
            response.headers.append_number("Retry-After", reset);
        }
        Some(Box::new(response))
    }

    /// The key under which the request counts.
    fn with_key<R>(&self, cx: &Context, store: u64, then: impl FnOnce(Key<'_>) -> R) -> R {
        let call = |identifier: &str| then(Key { store, route: self.route, service: self.service, identifier });
        if store == 0 { self.by.with(cx, call) } else { self.by.with_told(cx, call) }
    }

    /// Counts one more in all windows, or in none where one is full.
    fn reserve(&self, counter: &Counter, now: Duration) -> Usage {
        let mut usage = Usage { remaining: [0.0; 6], is_refused: false };
        let mut full = None;
        for (at, limit) in self.limits.iter().enumerate() {
            let start = limit.period.start(now);
            counter.keep_until(start + limit.period.longest());
            match counter.reserve(limit.period, start, limit.limit) {
                Ok(before) => usage.remaining[at] = limit.limit - before as f64 - 1.0,
                Err(_) => {
                    full = Some(at);
                    break;
                }
            }
        }
        if let Some(full) = full {
            for limit in &self.limits[..full] {
                counter.release(limit.period, limit.period.start(now));
            }
            for (at, limit) in self.limits.iter().enumerate() {
                let count = counter.count(limit.period, limit.period.start(now));
                usage.remaining[at] = (limit.limit - count as f64).max(0.0);
            }
            usage.is_refused = true;
        }
        usage.remaining.iter_mut().for_each(|r| *r = r.max(0.0));
        usage
    }

    /// Writes the header fields, and returns the seconds until the tightest window's reset.
    fn tell(&self, usage: &Usage, now: Duration, headers: &mut Headers) -> u64 {
        let mut tightest: Option<(usize, f64)> = None;
        for (at, limit) in self.limits.iter().enumerate() {
            let remaining = usage.remaining[at];
            headers.append_ready(&limit.limit_field);
            append_count(headers, &limit.remaining_name, remaining);
            if tightest.is_none_or(|(_, least)| remaining <= least) {
                tightest = Some((at, remaining));
            }
        }
        let Some((at, remaining)) = tightest else { return 1 };
        let reset = self.limits[at].period.reset(now);
        headers.append_ready(&self.limits[at].tightest_field);
        append_count(headers, "RateLimit-Remaining", remaining);
        headers.append_number("RateLimit-Reset", reset);
        reset
    }
}

/// A count as Lua prints it: mostly whole and not large, which needs none of what formatting takes else.
fn append_count(headers: &mut Headers, name: &str, count: f64) {
    let whole = count as u64;
    if whole as f64 == count && count < lua::LARGE {
        headers.append_number(name, whole);
    } else {
        headers.append(name, lua::number(count).as_bytes());
    }
}

#[cfg(test)]
mod tests;
