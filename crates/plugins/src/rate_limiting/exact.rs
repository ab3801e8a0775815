//! Counters in Redis, asked with each request (`sync_rate` -1): one script checks all windows and counts in all or none.

use super::{Limit, Period, Usage};
use crate::redis::{Failure, Redis, Script, ScriptCall};
use std::sync::Arc;
use std::time::Duration;

/// `KEYS`: a window each; `ARGV`: limit and lifetime in seconds of each. Answers whether a window is full, and the
/// counts before.
static COUNT: Script = Script::new(
    "\
local counts, full = {}, 0
for i, key in ipairs(KEYS) do
  counts[i] = tonumber(redis.call('GET', key) or '0')
  if counts[i] >= tonumber(ARGV[2 * i - 1]) then full = 1 end
end
if full == 0 then
  for i, key in ipairs(KEYS) do
    if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[2 * i]) end
  end
end
return {full, unpack(counts)}",
);

/// A request's windows, which live as keys in Redis. `key` makes the key of a window of a period that began at a time.
pub(super) fn windows(limits: &[Limit], now: Duration, key: impl Fn(Period, u64) -> String) -> ScriptCall {
    let mut call = ScriptCall::default();
    for limit in limits {
        call.keys.push(key(limit.period, limit.period.start(now)).into_bytes());
        call.arguments.push(limit.limit_text.clone().into_bytes());
        call.arguments.push(limit.period.longest().to_string().into_bytes());
    }
    call
}

/// Counts the request.
pub(super) async fn count(redis: &Arc<Redis>, windows: &ScriptCall, limits: &[Limit]) -> Result<Usage, Failure> {
    let numbers = COUNT.run(redis, windows, limits.len() + 1).await?;
    let is_refused = numbers.first() == Some(&1);
    let mut usage = Usage { remaining: [0.0; 6], is_refused };
    for ((remaining, limit), before) in usage.remaining.iter_mut().zip(limits).zip(numbers.iter().skip(1)) {
        let own = if is_refused { 0.0 } else { 1.0 };
        *remaining = (limit.limit - *before as f64 - own).max(0.0);
    }
    Ok(usage)
}
