//! Counters in Redis, asked with each request (`sync_rate` 0): one script judges all windows by Redis's own clock, and
//! counts in all or in none; a penalty stays.

use super::limits::Limit;
use super::window::{Kind, Outcome};
use crate::redis::{Failure, Redis, Script, ScriptCall};

/// Redis's Lua has no whole numbers beyond 2^53: times go in microseconds.
const MICRO: u64 = 1000;

/// `KEYS`: a window each; `ARGV`, four of each: how it counts (`fixed`, `sliding`, `penalty`: sliding, refused requests
/// count; `bucket`), the limit, the size, and how far ahead a bucket may be filled. Answers, four of each: whether the
/// request has room; the counts of this window and of the one before, and the time that has passed of it; or how far ahead
/// the bucket is filled.
static TAKE: Script = Script::new(
    "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer, found, is_allowed = {}, {}, true
for i, key in ipairs(KEYS) do
  local kind, limit = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
  local size, ahead = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local one = { key = key, kind = kind, size = size }
  if kind == 'bucket' then
    one.empty = math.max(tonumber(redis.call('GET', key) or '0'), now)
    one.step = math.max(math.floor(size / limit), 1)
    one.has_room = one.empty - now <= ahead
    one.told = { one.empty - now, 0, 0 }
  else
    one.number = math.floor(now / size)
    local known = redis.call('HMGET', key, 'number', 'count', 'before')
    local number, count = tonumber(known[1] or '-1'), tonumber(known[2] or '0')
    local before, passed = tonumber(known[3] or '0'), now % size
    if number == one.number - 1 then
      count, before = 0, count
    elseif number ~= one.number then
      count, before = 0, 0
    end
    one.count, one.before = count, before
    local reached = kind == 'fixed' and 0 or before * (1 - passed / size)
    one.has_room = count + reached + 1 <= limit
    one.told = { count, before, passed }
  end
  is_allowed = is_allowed and one.has_room
  found[i] = one
end
for i, one in ipairs(found) do
  if is_allowed or (one.kind == 'penalty' and not one.has_room) then
    if one.kind == 'bucket' then
      local empty = one.empty + one.step
      redis.call('SET', one.key, string.format('%.0f', empty), 'PX', math.ceil((empty - now) / 1000) + 1)
    else
      redis.call('HSET', one.key, 'number', string.format('%.0f', one.number), 'count', one.count + 1, 'before', one.before)
      redis.call('PEXPIRE', one.key, math.ceil(2 * one.size / 1000))
    end
  end
  answer[4 * i - 3] = one.has_room and 1 or 0
  for at = 1, 3 do answer[4 * i - 3 + at] = one.told[at] end
end
return answer",
);

/// What keys are made of. The part in braces has all windows of a client on one node of a cluster; the length before it
/// tells where the namespace ends.
pub(super) struct Names<'a> {
    pub(super) namespace: &'a str,
    pub(super) identifier: &'a str,
}

impl Names<'_> {
    fn of(&self, kind: Kind, size: u64) -> String {
        let Self { namespace, identifier } = self;
        format!("ratelimit-advanced:{{{}:{namespace}:{identifier}}}:{size}:{kind:?}", namespace.len())
    }

    /// The key of a window that is synced.
    pub(super) fn of_window(&self, size: u64, number: u64) -> String {
        let Self { namespace, identifier } = self;
        format!("ratelimit-advanced:{{{}:{namespace}:{identifier}}}:{size}:{number}", namespace.len())
    }
}

pub(super) fn call(limits: &[Limit], names: &Names<'_>) -> ScriptCall {
    let mut call = ScriptCall::default();
    for Limit { window, .. } in limits {
        let kind = match window.kind {
            Kind::Fixed => "fixed",
            Kind::Sliding if window.counts_refused() => "penalty",
            Kind::Sliding => "sliding",
            Kind::TokenBucket | Kind::LeakyBucket => "bucket",
        };
        call.keys.push(names.of(window.kind, window.size).into_bytes());
        call.arguments.push(kind.into());
        call.arguments.push(window.limit.to_string().into_bytes());
        for time in [window.size, window.ahead()] {
            call.arguments.push((time / MICRO).to_string().into_bytes());
        }
    }
    call
}

/// Counts a request in all windows, or in none where one has no room.
pub(super) async fn take(redis: &Redis, call: &ScriptCall, limits: &[Limit]) -> Result<Vec<Outcome>, Failure> {
    let numbers = TAKE.run(redis, call, 4 * limits.len()).await?;
    let (each, _) = numbers.as_chunks::<4>();
    let told = limits.iter().zip(each);
    let mut outcomes: Vec<Outcome> = told
        .map(|(Limit { window, .. }, numbers)| {
            let [has_room, a, b, c] = numbers.map(|number| u64::try_from(number).unwrap_or(0));
            let is_allowed = has_room == 1;
            if window.has_buckets() {
                return window.scheduled(is_allowed, a.saturating_mul(MICRO));
            }
            let passed = c.saturating_mul(MICRO).min(window.size - 1);
            window.counted(is_allowed, a, window.within_reach(b, passed), passed)
        })
        .collect();
    if !outcomes.iter().all(|outcome| outcome.is_allowed) {
        // Nothing was counted where there was room.
        outcomes.iter_mut().filter(|outcome| outcome.is_allowed).for_each(|outcome| outcome.remaining += 1.0);
    }
    Ok(outcomes)
}
