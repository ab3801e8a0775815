//! Counters in Redis, asked with each request (`sync_rate` -1): one script checks all windows and counts in all or none.

use super::{Limit, Usage};
use crate::redis::resp::{self, Reply};
use crate::redis::{Failure, Redis};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// `KEYS`: a window each; `ARGV`: limit and lifetime in seconds of each. Answers whether a window is full, and the
/// counts before.
const SCRIPT: &str = "\
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
return {full, unpack(counts)}";

/// How Redis calls the script (`EVALSHA`).
static NAME: LazyLock<String> = LazyLock::new(|| {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, SCRIPT.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
});

/// A request's windows, which live as keys in Redis.
pub(super) struct Windows {
    /// Key, limit and lifetime of each.
    all: Vec<[String; 3]>,
}

impl Windows {
    /// `key` makes the key of a window of a period that began at a time.
    pub(super) fn new(limits: &[Limit], now: Duration, key: impl Fn(super::Period, u64) -> String) -> Self {
        let window = |limit: &Limit| {
            let key = key(limit.period, limit.period.start(now));
            [key, limit.limit_text.clone(), limit.period.longest().to_string()]
        };
        Self { all: limits.iter().map(window).collect() }
    }

    fn command(&self, verb: &str, script: &str) -> Vec<u8> {
        let count = self.all.len().to_string();
        let mut parts: Vec<&[u8]> = vec![verb.as_bytes(), script.as_bytes(), count.as_bytes()];
        parts.extend(self.all.iter().map(|[key, ..]| key.as_bytes()));
        parts.extend(self.all.iter().flat_map(|[_, limit, lifetime]| [limit.as_bytes(), lifetime.as_bytes()]));
        let mut out = Vec::with_capacity(512);
        resp::command(&mut out, &parts);
        out
    }

    /// Counts the request.
    pub(super) async fn count(&self, redis: &Arc<Redis>, limits: &[Limit]) -> Result<Usage, Failure> {
        let mut reply = redis.call(self.command("EVALSHA", &NAME)).await?;
        if matches!(&reply, Reply::Error(error) if error.starts_with("NOSCRIPT")) {
            reply = redis.call(self.command("EVAL", SCRIPT)).await?;
        }
        let Reply::Array(numbers) = &reply else { return Err(Failure::Other(format!("{reply:?}"))) };
        let mut numbers = numbers.iter().map(|number| if let Reply::Number(n) = number { Some(*n) } else { None });
        let odd = || Failure::new("an answer that is none of the script's");
        let is_refused = numbers.next().flatten().ok_or_else(odd)? == 1;
        let mut usage = Usage { remaining: [0.0; 6], is_refused };
        for (at, limit) in limits.iter().enumerate() {
            let before = numbers.next().flatten().ok_or_else(odd)? as f64;
            let own = if is_refused { 0.0 } else { 1.0 };
            usage.remaining[at] = (limit.limit - before - own).max(0.0);
        }
        Ok(usage)
    }
}
