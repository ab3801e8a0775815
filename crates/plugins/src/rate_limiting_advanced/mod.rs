//! # rate-limiting-advanced
//!
//! Limits how many requests a client may send in windows of any length, several at once, with the fields that Kong's
//! plugin of this name has. Windows are fixed or sliding; beyond Kong a window can be a token bucket (bursts up to the
//! limit) or a leaky bucket (requests are spaced evenly, and wait for at most `max_delay` seconds).
//!
//! Counters are in this node's memory (`strategy` `local`), exact across its threads, and belong to a `namespace`: plugins
//! with the same one share them.

mod counters;
mod window;

use counters::counters;
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Flow, Headers, Instance, Phases, Plugin, Response, Step};
use schema::{Check, CheckError, Map, Record, Value, is, lua};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use window::{Kind, Outcome, SECOND, Window};

pub const DEFINITION: Definition = Definition {
    name: "rate-limiting-advanced",
    priority: 910,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

const IDENTIFIERS: [&str; 6] = ["ip", "credential", "consumer", "service", "header", "path"];
const TYPES: [&str; 4] = ["fixed", "sliding", "token-bucket", "leaky-bucket"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Whose requests are counted together. Where a request has no such thing, its client address.
    #[field(default = "consumer", one_of(IDENTIFIERS))]
    identifier: String,
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
    #[field(default = "local", one_of(["local"]))]
    #[expect(dead_code, reason = "part of the schema; there is one strategy")]
    strategy: String,
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
    PluginSchema::plugin(DEFINITION.name, Config::record())
        .protocols_http()
        .check(Check::custom(["config"], have_limits))
        .check(needs("header", "config.header_name"))
        .check(needs("path", "config.path"))
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

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let kind = match config.window_type.as_deref() {
        Some("fixed") => Kind::Fixed,
        Some("token-bucket") => Kind::TokenBucket,
        Some("leaky-bucket") => Kind::LeakyBucket,
        _ => Kind::Sliding,
    };
    let nanos = |seconds: f64| ((seconds * SECOND as f64) as u64).max(1);
    let mut pairs: Vec<(f64, f64)> = config.window_size.into_iter().zip(config.limit).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let limits = pairs.into_iter().map(|(size, limit)| {
        let window = Window {
            kind,
            limit,
            size: nanos(size),
            max_delay: config.max_delay.map_or(SECOND, |delay| (delay * SECOND as f64) as u64),
            has_penalty: config.disable_penalty != Some(true),
        };
        let name = window_name(size);
        Limit {
            window,
            limit_text: lua::number(limit),
            limit_name: format!("X-RateLimit-Limit-{name}"),
            remaining_name: format!("X-RateLimit-Remaining-{name}"),
        }
    });
    Ok(Arc::new(RateLimitingAdvanced {
        limits: limits.collect(),
        by: match (config.identifier.as_str(), config.header_name, config.path) {
            ("credential", ..) => By::Credential,
            ("ip", ..) => By::Ip,
            ("service", ..) => By::Service,
            ("header", Some(name), _) => By::Header(name),
            ("path", _, Some(path)) => By::Path(path),
            _ => By::Consumer,
        },
        namespace: config.namespace.unwrap_or_else(|| instance.entity.id.to_string()),
        is_told: config.hide_client_headers != Some(true),
        jitter: config.retry_after_jitter_max.max(0.0) as u64,
        error_code: config.error_code.map_or(429, |code| code as u16),
        error_message: config.error_message.unwrap_or_else(|| "API rate limit exceeded".to_owned()),
    }))
}

/// A window as header fields name it: by Kong's word, where there is one for its length, else by its seconds.
fn window_name(size: f64) -> String {
    const NAMES: [(f64, &str); 6] = [
        (1.0, "Second"),
        (60.0, "Minute"),
        (3600.0, "Hour"),
        (86400.0, "Day"),
        (2_592_000.0, "Month"),
        (31_536_000.0, "Year"),
    ];
    let known = NAMES.into_iter().find(|(seconds, _)| *seconds == size);
    known.map_or_else(|| lua::number(size), |(_, name)| name.to_owned())
}

enum By {
    Consumer,
    Credential,
    Ip,
    Service,
    Header(String),
    Path(String),
}

/// A window with the names and values of its header fields.
struct Limit {
    window: Window,
    limit_text: String,
    limit_name: String,
    remaining_name: String,
}

struct RateLimitingAdvanced {
    /// From the shortest window to the longest.
    limits: Vec<Limit>,
    by: By,
    namespace: String,
    is_told: bool,
    /// In seconds.
    jitter: u64,
    error_code: u16,
    error_message: String,
}

impl Plugin for RateLimitingAdvanced {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let now = u64::try_from(cx.shared.clock.now().as_nanos()).unwrap_or(u64::MAX);
        let outcomes = self.take(&self.identifier(cx), now);
        if outcomes.iter().all(|outcome| outcome.is_allowed) {
            if self.is_told {
                self.tell(&outcomes, &mut cx.early_headers);
            }
            let delay = outcomes.iter().map(|outcome| outcome.delay).max().unwrap_or(0);
            if delay == 0 {
                return Step::Continue;
            }
            return Step::Wait(Box::pin(async move {
                tokio::time::sleep(Duration::from_nanos(delay)).await;
                Flow::Continue
            }));
        }
        let mut response = Response::error(cx, self.error_code, &self.error_message);
        if self.is_told {
            self.tell(&outcomes, &mut response.headers);
            let refused = outcomes.iter().filter(|outcome| !outcome.is_allowed);
            let reset = refused.map(|outcome| seconds(outcome.reset)).max().unwrap_or(1);
            let retry = reset + self.put_off(cx);
            response.headers.append("Retry-After", retry.to_string().as_bytes());
        }
        Step::exit(response)
    }
}

/// Whole seconds, at least one.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND).max(1)
}

impl RateLimitingAdvanced {
    fn identifier<'a>(&'a self, cx: &'a Context) -> Cow<'a, str> {
        let credential = || cx.credential.as_ref().map(|credential| Cow::Borrowed(credential.id.as_str()));
        let known = match &self.by {
            By::Consumer => cx.consumer.as_ref().map(|c| Cow::Owned(c.id.to_string())).or_else(credential),
            By::Credential => credential(),
            By::Service => cx.service.as_ref().map(|service| Cow::Owned(service.id.to_string())),
            By::Header(name) => cx.request.headers.get_str(name).map(Cow::Borrowed),
            By::Path(path) => (cx.request.path() == path.as_bytes()).then_some(Cow::Borrowed(path.as_str())),
            By::Ip => None,
        };
        known.unwrap_or_else(|| Cow::Owned(cx.client.ip.to_string()))
    }

    /// Counts a request in all windows, or in none where one has no room; a penalty stays.
    fn take(&self, identifier: &str, now: u64) -> Vec<Outcome> {
        let take = |limit: &Limit| limit.window.take(counters(), &self.namespace, identifier, now);
        let mut outcomes: Vec<Outcome> = self.limits.iter().map(take).collect();
        if !outcomes.iter().all(|outcome| outcome.is_allowed) {
            outcomes.iter_mut().for_each(Outcome::undo);
        }
        outcomes
    }

    fn tell(&self, outcomes: &[Outcome], headers: &mut Headers) {
        let mut tightest: Option<(&Limit, &Outcome)> = None;
        for (limit, outcome) in self.limits.iter().zip(outcomes) {
            headers.append(&limit.limit_name, limit.limit_text.as_bytes());
            headers.append(&limit.remaining_name, lua::number(outcome.remaining).as_bytes());
            if tightest.is_none_or(|(_, least)| outcome.remaining <= least.remaining) {
                tightest = Some((limit, outcome));
            }
        }
        let Some((limit, outcome)) = tightest else { return };
        headers.append("RateLimit-Limit", limit.limit_text.as_bytes());
        headers.append("RateLimit-Remaining", lua::number(outcome.remaining).as_bytes());
        headers.append("RateLimit-Reset", seconds(outcome.reset).to_string().as_bytes());
    }

    /// A part of the jitter by the request's id, which is random.
    fn put_off(&self, cx: &Context) -> u64 {
        let random = cx.request_id().get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        random.unwrap_or(0) % self.jitter.saturating_add(1)
    }
}

#[cfg(test)]
mod tests;
