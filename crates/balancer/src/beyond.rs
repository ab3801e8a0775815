//! What an upstream may have that Kong's have not: all of it is off unless its field says otherwise (docs/beyond-kong.md).

use std::sync::Arc;
use std::time::Duration;

use entities::Upstream;
use entities::upstream as fields;

/// The settings of an upstream beyond Kong's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beyond {
    /// The session cookie of the algorithm sticky-sessions.
    pub sticky: Option<Sticky>,
    /// In which time an address that is new or comes back takes on its whole share.
    pub slow_start: Option<Duration>,
    pub outliers: Option<OutlierLimits>,
    pub breaker: Option<BreakerLimits>,
    pub budget: Option<BudgetLimits>,
    /// Where this node is: targets that are there, too, come first.
    pub locality: Option<Arc<str>>,
}

/// `sticky_sessions_cookie` and `sticky_sessions_cookie_path`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    pub cookie: Box<str>,
    pub path: Box<str>,
}

/// `outlier_detection`
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierLimits {
    /// 0 = failures in a row do not count.
    pub consecutive_failures: u32,
    /// Standard deviations below the mean; 0 = shares of good answers are not compared.
    pub deviation: f64,
    pub min_requests: u32,
    pub min_targets: usize,
    pub interval: Duration,
    pub ejection_time: Duration,
    pub max_ejected_percent: f64,
}

/// `circuit_breaker`
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerLimits {
    /// Requests at the same time; 0 = no limit.
    pub max_requests: usize,
    /// Requests that wait for one of them to end, and how long.
    pub max_pending: usize,
    pub pending_timeout: Duration,
    /// Failures in a row that open the circuit; 0 = never.
    pub consecutive_failures: u32,
    pub open_time: Duration,
}

/// `retry_budget`
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetLimits {
    pub percent: f64,
    pub min_per_second: f64,
}

impl Beyond {
    pub(crate) fn of(upstream: &Upstream) -> Self {
        let is_sticky = upstream.algorithm.as_deref() == Some("sticky-sessions");
        let sticky = Sticky {
            cookie: upstream.sticky_sessions_cookie.as_deref().unwrap_or_default().into(),
            path: upstream.sticky_sessions_cookie_path.as_deref().unwrap_or("/").into(),
        };
        Self {
            sticky: is_sticky.then_some(sticky),
            slow_start: upstream.slow_start.filter(|seconds| *seconds > 0.0).map(seconds),
            outliers: upstream.outlier_detection.as_ref().map(OutlierLimits::from),
            breaker: upstream.circuit_breaker.as_ref().map(BreakerLimits::from),
            budget: upstream.retry_budget.as_ref().map(BudgetLimits::from),
            locality: None,
        }
    }

    /// Whether something changes by the mere passing of time.
    pub(crate) fn has_clock(&self) -> bool {
        self.slow_start.is_some() || self.outliers.is_some() || self.budget.is_some()
    }
}

impl From<&fields::OutlierDetection> for OutlierLimits {
    fn from(given: &fields::OutlierDetection) -> Self {
        Self {
            consecutive_failures: count(given.consecutive_failures, 5),
            deviation: given.success_rate_deviation.unwrap_or(0.0),
            min_requests: count(given.min_requests, 100).max(1),
            min_targets: count(given.min_targets, 5) as usize,
            interval: seconds(given.interval.unwrap_or(10.0)),
            ejection_time: seconds(given.ejection_time.unwrap_or(30.0)),
            max_ejected_percent: given.max_ejected_percent.unwrap_or(50.0),
        }
    }
}

impl From<&fields::CircuitBreaker> for BreakerLimits {
    fn from(given: &fields::CircuitBreaker) -> Self {
        Self {
            max_requests: count(given.max_requests, 0) as usize,
            max_pending: count(given.max_pending, 0) as usize,
            pending_timeout: seconds(given.pending_timeout.unwrap_or(1.0)),
            consecutive_failures: count(given.consecutive_failures, 0),
            open_time: seconds(given.open_time.unwrap_or(10.0)),
        }
    }
}

impl From<&fields::RetryBudget> for BudgetLimits {
    fn from(given: &fields::RetryBudget) -> Self {
        Self { percent: given.percent.unwrap_or(20.0), min_per_second: given.min_per_second.unwrap_or(10.0) }
    }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value.clamp(0.0, 65_535.0))
}

fn count(value: Option<i64>, default: u32) -> u32 {
    value.map_or(default, |value| u32::try_from(value.max(0)).unwrap_or(u32::MAX))
}
