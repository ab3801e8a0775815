//! Counters in Redis: read before a request goes to the upstream, added to in the background once its response has said what
//! it cost, as Kong does.

use super::usage::{Amount, Counter};
use super::{Limit, Period};
use crate::redis::{Failure, Redis, Script, ScriptCall};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// `KEYS`: a window each. Answers thousandths, since upstreams may count in fractions.
static READ: Script = Script::new(
    "\
local used = {}
for i, key in ipairs(KEYS) do used[i] = math.floor(tonumber(redis.call('GET', key) or '0') * 1000 + 0.5) end
return used",
);

/// `KEYS`: a window each; `ARGV`: what is added and the lifetime in seconds of each. Answers how many there were.
static ADD: Script = Script::new(
    "\
for i, key in ipairs(KEYS) do
  local added = redis.pcall('INCRBY', key, ARGV[2 * i - 1])
  if type(added) == 'table' then redis.call('INCRBYFLOAT', key, ARGV[2 * i - 1]) end
  if redis.call('TTL', key) < 0 then redis.call('EXPIRE', key, ARGV[2 * i]) end
end
return {#KEYS}",
);

/// Whose windows they are.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) route: Uuid,
    pub(super) service: Uuid,
    pub(super) identifier: String,
}

impl Client {
    /// As Kong writes it. In a cluster braces keep the windows of a client on one node.
    pub(super) fn key(&self, redis: &Redis, limit: &str, period: Period, now: Duration) -> Vec<u8> {
        let (open, close) = if redis.is_cluster() { ("{", "}") } else { ("", "") };
        let Self { route, service, identifier } = self;
        let (start, period) = (period.start(now) * 1000, period.name());
        format!("response-ratelimit:{open}{route}:{service}:{identifier}{close}:{start}:{limit}:{period}").into_bytes()
    }
}

/// What the client has used of each limit: counters of this request's own.
pub(super) async fn used(
    redis: &Redis,
    client: &Client,
    limits: &[Limit],
    now: Duration,
) -> Result<Vec<Arc<Counter>>, Failure> {
    let windows = || limits.iter().flat_map(|limit| limit.windows.iter().map(move |window| (limit, window)));
    let keys = windows().map(|(limit, window)| client.key(redis, &limit.name, window.period, now)).collect();
    let call = ScriptCall { keys, arguments: Vec::new() };
    let mut used = READ.run(redis, &call, windows().count()).await?.into_iter();
    let counter = |limit: &Limit| {
        let counter = Counter::default();
        for (window, used) in limit.windows.iter().zip(&mut used) {
            counter.set(window.period, now, Amount::of_thousandths(used));
        }
        Arc::new(counter)
    };
    Ok(limits.iter().map(counter).collect())
}

/// Adds what a response has cost, in the background.
pub(super) fn add(redis: &Arc<Redis>, client: &Client, limits: &[Limit], costs: &[Option<Amount>], now: Duration) {
    let mut call = ScriptCall::default();
    for (limit, cost) in limits.iter().zip(costs) {
        let Some(cost) = cost.filter(|cost| *cost != Amount::default()) else { continue };
        for window in &limit.windows {
            call.keys.push(client.key(redis, &limit.name, window.period, now));
            call.arguments.push(cost.units().to_string().into_bytes());
            call.arguments.push(window.period.longest().to_string().into_bytes());
        }
    }
    if call.keys.is_empty() {
        return;
    }
    let redis = redis.clone();
    tokio::spawn(async move {
        if let Err(failure) = ADD.run(&redis, &call, 1).await {
            log::debug!("response-ratelimiting: what a response has cost is not counted: {failure}");
        }
    });
}
