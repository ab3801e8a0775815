//! How long an upstream is waited for, and when a request is tried again: what services say, and routes in their place.

use crate::upstream::Patience;
use entities::{RetriedFailure, RetryPolicy, Route, Service};
use pdk::Method;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait before a further try.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What holds for a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Tries beyond the first.
    pub retries: u32,
    pub connect_timeout: Duration,
    pub patience: Patience,
    /// From the end of the request's head to the end of the answer's, all tries together.
    pub limit: Option<Duration>,
    /// `None`: Kong's rules.
    pub policy: Option<Arc<RetryPolicy>>,
}

impl Terms {
    pub(super) fn of_service(service: &Service) -> Self {
        let ms = |value: Option<i64>| Duration::from_millis(value.and_then(|v| v.try_into().ok()).unwrap_or(60_000));
        Self {
            retries: service.retries.and_then(|r| r.try_into().ok()).unwrap_or(5),
            connect_timeout: ms(service.connect_timeout),
            patience: Patience { write: ms(service.write_timeout), read: ms(service.read_timeout) },
            limit: service.request_timeout.map(milliseconds),
            policy: service.retry_policy.clone(),
        }
    }

    /// Whether a route says anything of this itself.
    pub(super) fn has_own(route: &Route) -> bool {
        let times = [route.connect_timeout, route.write_timeout, route.read_timeout, route.request_timeout];
        times.iter().any(Option::is_some) || route.retries.is_some() || route.retry_policy.is_some()
    }

    /// With a route's word in place of the service's.
    pub(crate) fn on(&self, route: &Route) -> Self {
        let of = |own: Option<NonZeroU32>, other: Duration| own.map_or(other, milliseconds);
        Self {
            retries: route.retries.map_or(self.retries, u32::from),
            connect_timeout: of(route.connect_timeout, self.connect_timeout),
            patience: Patience {
                write: of(route.write_timeout, self.patience.write),
                read: of(route.read_timeout, self.patience.read),
            },
            limit: route.request_timeout.map(milliseconds).or(self.limit),
            policy: route.retry_policy.as_ref().or(self.policy.as_ref()).cloned(),
        }
    }

    /// Whether a request with this method may be sent more than once.
    pub(crate) fn repeats(&self, method: &Method) -> bool {
        match self.policy.as_ref().and_then(|policy| policy.methods.as_ref()) {
            Some(methods) => methods.iter().any(|known| known == method.as_str()),
            None => method.is_retried(),
        }
    }

    /// Whether such a failure is a reason for another try.
    pub(crate) fn retries_failure(&self, failure: RetriedFailure) -> bool {
        let failures = self.policy.as_ref().and_then(|policy| policy.failures.as_ref());
        failures.is_none_or(|failures| failures.contains(&failure))
    }

    /// Whether such an answer is one.
    pub(crate) fn retries_status(&self, status: u16) -> bool {
        let statuses = self.policy.as_ref().and_then(|policy| policy.http_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses.contains(&status))
    }

    /// How long to wait before try number `number`, the first being 0: at random between half of what the policy says and all
    /// of it, so that requests that failed together do not come back together.
    pub(crate) fn pause(&self, number: usize, random: impl FnOnce() -> f64) -> Duration {
        let Some(first) = self.policy.as_ref().and_then(|policy| policy.backoff) else { return Duration::ZERO };
        let doublings = u32::try_from(number.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let longest = Duration::from_millis(u64::from(first) << doublings).min(LONGEST_PAUSE);
        longest.mul_f64(0.5 + random() / 2.0)
    }
}

fn milliseconds(value: NonZeroU32) -> Duration {
    Duration::from_millis(value.get().into())
}

#[cfg(test)]
mod tests;
