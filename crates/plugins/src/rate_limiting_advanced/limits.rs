//! What holds for a client: windows, each with what header fields say of it.

use super::Config;
use super::window::{Kind, Outcome, SECOND, Window};
use crate::rate_limiting::by::Short;
use entities::GroupLimits;
use pdk::{Context, Headers};
use schema::lua;

/// Whole seconds, at least one.
pub(super) fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND).max(1)
}

/// A number as Lua writes it; counts are mostly whole and need nothing of what others do.
fn number(count: f64) -> Short {
    let whole = count as u64;
    let is_plain = whole as f64 == count && whole < 100_000_000_000_000;
    if is_plain { Short::of_number(whole) } else { Short::of(lua::number(count)) }
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

/// What holds for a client.
pub(super) struct Limits {
    /// From the shortest window to the longest.
    pub(super) all: Vec<Limit>,
    /// In seconds.
    jitter: u64,
}

impl Limits {
    pub(super) fn new(config: &Config, said: &GroupLimits) -> Self {
        let kind = match said.window_type.as_deref() {
            Some("fixed") => Kind::Fixed,
            Some("token-bucket") => Kind::TokenBucket,
            Some("leaky-bucket") => Kind::LeakyBucket,
            _ => Kind::Sliding,
        };
        let nanos = |seconds: f64| ((seconds * SECOND as f64) as u64).max(1);
        let mut pairs: Vec<(f64, f64)> = said.window_size.iter().copied().zip(said.limit.iter().copied()).collect();
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
        Self { all: limits.collect(), jitter: said.retry_after_jitter_max.unwrap_or(0.0).max(0.0) as u64 }
    }

    pub(super) fn tell(&self, outcomes: &[Outcome], headers: &mut Headers) {
        let mut tightest: Option<(&Limit, &Outcome)> = None;
        for (limit, outcome) in self.all.iter().zip(outcomes) {
            headers.append(&limit.limit_name, limit.limit_text.as_bytes());
            headers.append(&limit.remaining_name, number(outcome.remaining).as_bytes());
            if tightest.is_none_or(|(_, least)| outcome.remaining <= least.remaining) {
                tightest = Some((limit, outcome));
            }
        }
        let Some((limit, outcome)) = tightest else { return };
        headers.append("RateLimit-Limit", limit.limit_text.as_bytes());
        headers.append("RateLimit-Remaining", number(outcome.remaining).as_bytes());
        headers.append("RateLimit-Reset", Short::of_number(seconds(outcome.reset)).as_bytes());
    }

    /// A part of the jitter by the request's id, which is random.
    pub(super) fn put_off(&self, cx: &Context) -> u64 {
        let random = cx.request_id().get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        random.unwrap_or(0) % self.jitter.saturating_add(1)
    }
}

/// A window with the names and values of its header fields.
pub(super) struct Limit {
    pub(super) window: Window,
    limit_text: String,
    limit_name: String,
    remaining_name: String,
}
