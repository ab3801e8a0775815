//! # response-ratelimiting
//!
//! Limits what clients use by what the upstream says a response has cost: `X-Kong-Limit: videos=1, images=2` counts
//! against the limits of these names. The upstream learns what is left (`X-RateLimit-Remaining-<limit>`), and so does
//! the client. A response that would use more of a limit that is used up becomes an empty one with status 429.
//!
//! Policy `local` counts in this node's memory, exactly. Policy `redis` counts for all nodes that use a Redis, under Kong's
//! keys: usage is read before a request, and added to in the background after its response, as in Kong. While Redis is out
//! of reach, `fault_tolerant` says whether requests pass uncounted or are answered 500. Policy `cluster` counts for all nodes
//! of a database: each node counts for itself and syncs with Kong's table twice a second.

mod redis;
mod usage;

use self::redis::Client;
use crate::rate_limiting::by::By;
use crate::rate_limiting::period::Period;
use crate::rate_limiting::{RENAMED, needs_redis, redis_of};
use crate::redis::{Failure, Redis};
use crate::tallies::{DATABASE, Synced};
use entities::PluginSchema;
use indexmap::IndexMap;
use pdk::{Body, BuildError, Context, Definition, Flow, Headers, Instance, Phases, Plugin, Response, Step};
use schema::{Record, Value, lua};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use usage::{Amount, Counter, Key};
use uuid::Uuid;

pub const DEFINITION: Definition = Definition {
    name: "response-ratelimiting",
    priority: 900,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER),
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The response's field that says what it has cost.
    #[field(default = "x-kong-limit")]
    header_name: Option<String>,
    /// Whose responses are counted together. Where a request has no such thing, its client address.
    #[field(default = "consumer", one_of(["consumer", "credential", "ip"]))]
    limit_by: Option<String>,
    /// Where counters are kept.
    #[field(default = "local", one_of(["local", "cluster", "redis"]))]
    policy: Option<String>,
    /// Whether requests pass while the store of the counters is out of reach.
    #[field(default = true)]
    fault_tolerant: bool,
    /// The Redis of policy `redis`.
    #[field(typedef = redis)]
    redis: Value,
    /// Whether requests are refused once a limit is used up, before the upstream is asked.
    #[field(default = false)]
    block_on_first_violation: bool,
    /// Whether the client is told nothing of its limits.
    #[field(default = false)]
    hide_client_headers: bool,
    /// The limits by their names, as the upstream names them.
    #[field(len_min = 1, values(validator(ascend)))]
    limits: IndexMap<String, Limits>,
}

#[derive(Record, Deserialize, Clone, Debug)]
#[check(at_least_one_of(["second", "minute", "hour", "day", "month", "year"]))]
struct Limits {
    /// How much may be used in a second.
    #[field(gt = 0)]
    second: Option<f64>,
    /// How much may be used in a minute.
    #[field(gt = 0)]
    minute: Option<f64>,
    /// How much may be used in an hour.
    #[field(gt = 0)]
    hour: Option<f64>,
    /// How much may be used in a day.
    #[field(gt = 0)]
    day: Option<f64>,
    /// How much may be used in a month.
    #[field(gt = 0)]
    month: Option<f64>,
    /// How much may be used in a year.
    #[field(gt = 0)]
    year: Option<f64>,
}

/// Longer periods have limits that are no lower.
fn ascend(limits: &Value) -> Result<(), String> {
    let limit = |period: Period| limits.get(period.name()).and_then(Value::as_f64);
    for (at, less) in Period::ALL.into_iter().enumerate() {
        let Some(most) = limit(less) else { continue };
        let lower = Period::ALL[at + 1..].iter().find_map(|more| Some((more, limit(*more).filter(|l| *l < most)?)));
        if let Some((more, limit)) = lower {
            let (more, less) = (more.name(), less.name());
            return Err(format!(
                "the limit for {more}({limit:.1}) cannot be lower than the limit for {less}({most:.1})"
            ));
        }
    }
    Ok(())
}

fn schema() -> PluginSchema {
    let record = RENAMED.iter().fold((**Config::record()).clone(), |record, (name, field)| {
        let message =
            format!("response-ratelimiting: config.redis_{name} is deprecated, please use config.redis.{name} instead");
        record.shorthand_rename(&format!("redis_{name}"), field(), ["redis", name], &message)
    });
    let schema = PluginSchema::plugin(DEFINITION.name, &Arc::new(record)).protocols_http();
    needs_redis("config.policy", "redis").into_iter().fold(schema, PluginSchema::check)
}

/// Where responses are counted.
enum Store {
    Local,
    Synced(Arc<Synced>),
    Redis(Arc<Redis>),
}

fn store(config: &Config) -> Result<Store, BuildError> {
    match config.policy.as_deref() {
        Some("redis") => redis_of(DEFINITION.name, &config.redis).map(Store::Redis),
        Some("cluster") => {
            let missing = || BuildError("response-ratelimiting: policy 'cluster' needs a database".to_owned());
            Synced::with_database().map(Store::Synced).ok_or_else(missing)
        }
        _ => Ok(Store::Local),
    }
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let store = store(&config)?;
    Ok(Arc::new(ResponseRateLimiting {
        limits: config.limits.into_iter().map(|(name, limits)| Limit::new(name, &limits)).collect(),
        header_name: config.header_name.unwrap_or_else(|| "x-kong-limit".to_owned()),
        by: By::new(config.limit_by.as_deref().unwrap_or_default(), None, None),
        store,
        is_tolerant: config.fault_tolerant,
        route: instance.entity.route.as_ref().map(|r| r.id).unwrap_or_default(),
        service: instance.entity.service.as_ref().map(|s| s.id).unwrap_or_default(),
        blocks: config.block_on_first_violation,
        is_told: !config.hide_client_headers,
    }))
}

/// A limit, with what header fields say of it.
struct Limit {
    name: String,
    /// The field that tells the upstream what is left.
    left_name: String,
    windows: Vec<Window>,
}

struct Window {
    period: Period,
    /// What of it can be counted; more is refused.
    limit: Amount,
    units: f64,
    limit_name: String,
    limit_text: String,
    left_name: String,
}

impl Limit {
    fn new(name: String, limits: &Limits) -> Self {
        let values = [limits.second, limits.minute, limits.hour, limits.day, limits.month, limits.year];
        let windows = Period::ALL.into_iter().zip(values).filter_map(|(period, limit)| {
            let limit = limit?;
            Some(Window {
                period,
                limit: Amount::new(limit),
                units: limit,
                limit_name: format!("X-RateLimit-Limit-{name}-{}", period.name()),
                limit_text: lua::number(limit),
                left_name: format!("X-RateLimit-Remaining-{name}-{}", period.name()),
            })
        });
        Self { windows: windows.collect(), left_name: format!("X-RateLimit-Remaining-{name}"), name }
    }
}

impl Window {
    /// What is left; below zero where the last response used more than there was.
    fn left(&self, counter: &Counter, now: Duration) -> f64 {
        self.units - counter.used(self.period, now).units()
    }
}

struct ResponseRateLimiting {
    limits: Vec<Limit>,
    header_name: String,
    by: By,
    store: Store,
    is_tolerant: bool,
    /// The scope that the plugin entity has.
    route: Uuid,
    service: Uuid,
    blocks: bool,
    is_told: bool,
}

/// A number as LuaJIT's `tonumber` reads it, hexadecimal and binary ones, too.
fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let of_radix = |prefixes: [&str; 2], radix| {
        let digits = prefixes.into_iter().find_map(|prefix| digits.strip_prefix(prefix))?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(digits, radix).ok().filter(|_| is_plain).map(|n| sign * n as f64)
    };
    let special = of_radix(["0x", "0X"], 16).or_else(|| of_radix(["0b", "0B"], 2));
    special.or_else(|| text.parse().ok()).filter(|n| !n.is_nan())
}

/// The counters of a request's client, in the order of the limits.
struct Counters {
    counters: Vec<Arc<Counter>>,
    /// Who it is to other nodes.
    client: Option<Client>,
}

impl Plugin for ResponseRateLimiting {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let client = || self.by.with_told(cx, |identifier| self.client(identifier));
        let counted = match &self.store {
            Store::Redis(redis) => {
                let client = client();
                return Step::Wait(Box::pin(self.ask(redis, client, cx)));
            }
            Store::Synced(_) => {
                let client = client();
                Counters { counters: self.counters(DATABASE, &client.identifier), client: Some(client) }
            }
            Store::Local => self.by.with(cx, |id| Counters { counters: self.counters(0, id), client: None }),
        };
        match self.begin(cx, counted) {
            Some(refusal) => Step::exit(refusal),
            None => Step::Continue,
        }
    }

    fn header_filter(&self, cx: &mut Context) {
        let Some(Counters { counters, client }) = cx.data.get() else { return };
        let now = cx.shared.clock.now();
        let headers = &mut cx.response.headers;
        let costs = self.costs(headers);
        if self.is_told {
            for ((limit, counter), cost) in self.limits.iter().zip(counters).zip(&costs) {
                for window in &limit.windows {
                    let left = window.left(counter, now) - cost.map_or(0.0, Amount::units);
                    headers.set(&window.limit_name, window.limit_text.as_bytes());
                    headers.set(&window.left_name, lua::number(left.max(0.0)).as_bytes());
                }
            }
        }
        headers.remove(&self.header_name);
        if !self.count(counters, &costs, now) {
            cx.response.status = 429;
            cx.response.body = Body::Empty;
            cx.response.trailers = None;
        } else if let Some(client) = client {
            self.tell_others(client, counters, &costs, now);
        }
    }
}

impl ResponseRateLimiting {
    fn client(&self, identifier: &str) -> Client {
        Client { route: self.route, service: self.service, identifier: identifier.to_owned() }
    }

    fn key<'a>(&self, store: u64, limit: &'a Limit, identifier: &'a str) -> Key<'a> {
        Key { store, route: self.route, service: self.service, limit: &limit.name, identifier }
    }

    fn counters(&self, store: u64, identifier: &str) -> Vec<Arc<Counter>> {
        self.limits.iter().map(|limit| usage::counters().get(&self.key(store, limit, identifier))).collect()
    }

    /// Learns from Redis what the client has used.
    async fn ask(&self, redis: &Arc<Redis>, client: Client, cx: &mut Context<'_>) -> Flow {
        let now = cx.shared.clock.now();
        match self::redis::used(redis, &client, &self.limits, now).await {
            Ok(counters) => {
                let refusal = self.begin(cx, Counters { counters, client: Some(client) });
                refusal.map_or(Flow::Continue, |refusal| Flow::Exit(Box::new(refusal)))
            }
            Err(failure) => self.out_of_reach(cx, &failure),
        }
    }

    fn out_of_reach(&self, cx: &Context, failure: &Failure) -> Flow {
        // Redis itself says once that it is out of reach; a line a request would be a flood.
        log::debug!(request_id = cx.request_id(); "response-ratelimiting: the response is not counted: {failure}");
        match self.is_tolerant {
            true => Flow::Continue,
            false => Flow::Exit(Box::new(Response::error(cx, 500, pdk::default_message(500)))),
        }
    }

    /// Tells the upstream what is left; the answer to a request that is refused.
    fn begin(&self, cx: &mut Context, counted: Counters) -> Option<Response> {
        let now = cx.shared.clock.now();
        for (limit, counter) in self.limits.iter().zip(&counted.counters) {
            let left = limit.windows.iter().map(|window| window.left(counter, now));
            if self.blocks && left.clone().any(|left| left == 0.0) {
                let message = format!("API rate limit exceeded for '{}'", limit.name);
                return Some(Response::error(cx, 429, &message));
            }
            let least = left.fold(f64::INFINITY, f64::min);
            cx.request.headers.set(&limit.left_name, lua::number(least).as_bytes());
        }
        cx.data.set(counted);
        None
    }

    /// Has other nodes told of what a response has cost.
    fn tell_others(&self, client: &Client, counters: &[Arc<Counter>], costs: &[Option<Amount>], now: Duration) {
        match &self.store {
            Store::Local => {}
            Store::Redis(redis) => self::redis::add(redis, client, &self.limits, costs, now),
            Store::Synced(synced) => {
                let counted = self.limits.iter().zip(counters).zip(costs);
                for ((limit, counter), _) in counted.filter(|(_, cost)| cost.is_some()) {
                    counter.note(synced, self.key(DATABASE, limit, &client.identifier), now);
                }
            }
        }
    }

    /// What the response has cost of each limit. As in Kong one field counts, and what is no `name=number` is nothing.
    fn costs(&self, headers: &Headers) -> Vec<Option<Amount>> {
        let field = headers.get_str(&self.header_name).unwrap_or_default();
        let cost_of = |name: &str| {
            let mut parts = field.split(',').filter_map(|part| {
                let mut halves = part.split('=');
                let (known, amount) = (halves.next()?.trim(), halves.next()?.trim());
                let is_whole = halves.next().is_none() && known == name;
                is_whole.then(|| number(amount).map(Amount::new)).flatten()
            });
            parts.next_back()
        };
        self.limits.iter().map(|limit| cost_of(&limit.name)).collect()
    }

    /// Counts the costs in all windows, or in none where a limit is used up.
    fn count(&self, counters: &[Arc<Counter>], costs: &[Option<Amount>], now: Duration) -> bool {
        let all = self.limits.iter().zip(counters).zip(costs);
        let windows = all.flat_map(|((limit, counter), cost)| {
            let cost = cost.filter(|cost| *cost != Amount::default());
            limit.windows.iter().filter_map(move |window| Some((window, counter, cost?)))
        });
        for (counted, (window, counter, cost)) in windows.clone().enumerate() {
            if !counter.add(window.period, now, cost, window.limit) {
                for (window, counter, cost) in windows.take(counted) {
                    counter.take_back(window.period, now, cost);
                }
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
