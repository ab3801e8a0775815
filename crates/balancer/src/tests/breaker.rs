//! The circuit breaker and the retry budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{settings, target};
use crate::{AlgorithmKind, Balancer, Beyond, BreakerLimits, BreakerState, BudgetLimits, Settings, States};
use uuid::Uuid;

fn limits(consecutive_failures: u32) -> BreakerLimits {
    BreakerLimits {
        max_requests: 0,
        max_pending: 0,
        pending_timeout: Duration::ZERO,
        consecutive_failures,
        open_time: Duration::from_secs(10),
    }
}

fn guarded(limits: &BreakerLimits, start: Instant) -> Balancer {
    let beyond = Beyond { breaker: Some(limits.clone()), ..Beyond::default() };
    let settings = Settings { beyond, ..settings(AlgorithmKind::RoundRobin) };
    Balancer::new(Arc::new(settings), vec![target(1, 100)], States::default().upstream(Uuid::nil(), 0, start), start)
}

#[test]
fn failures_in_a_row_open_the_circuit_and_a_good_trial_closes_it() {
    let (limits, start) = (limits(3), Instant::now());
    let pool = guarded(&limits, start);
    let breaker = &pool.upstream().breaker;
    let ended = |is_failure, now| pool.pick(None, &[]).unwrap().ended(is_failure, now).circuit;
    for is_failure in [true, true, false, true, true] {
        assert_eq!(ended(is_failure, start), None);
    }
    assert!(breaker.admit(&limits, start).is_ok());
    assert_eq!(ended(true, start), Some(BreakerState::Open));
    let refused = breaker.admit(&limits, start + Duration::from_secs(4)).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(6));
    assert_eq!(ended(false, start), None, "what was under way when it opened does not close it");
    assert_eq!(breaker.state(), BreakerState::Open);
    let later = start + Duration::from_secs(10);
    assert!(breaker.admit(&limits, later).is_ok());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.admit(&limits, later).is_err(), "one trial at a time");
    assert_eq!(ended(true, later), Some(BreakerState::Open));
    let later = later + Duration::from_secs(10);
    assert!(breaker.admit(&limits, later).is_ok());
    assert_eq!(ended(false, later), Some(BreakerState::Closed));
    assert!(breaker.admit(&limits, later).is_ok());
}

/// A client that goes away takes its trial with it.
#[test]
fn a_trial_that_is_never_heard_of_again_holds_nothing_up() {
    let (limits, start) = (limits(1), Instant::now());
    let pool = guarded(&limits, start);
    pool.pick(None, &[]).unwrap().ended(true, start);
    let breaker = &pool.upstream().breaker;
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(breaker.admit(&limits, at(10)).is_ok());
    assert!(breaker.admit(&limits, at(19)).is_err());
    assert!(breaker.admit(&limits, at(20)).is_ok());
}

#[test]
fn a_breaker_outlives_configurations_until_it_is_switched_off() {
    let (states, start) = (States::default(), Instant::now());
    let make = |breaker: Option<BreakerLimits>| {
        let beyond = Beyond { breaker, ..Beyond::default() };
        let settings = Settings { beyond, ..settings(AlgorithmKind::RoundRobin) };
        Balancer::new(Arc::new(settings), vec![target(1, 100)], states.upstream(Uuid::nil(), 0, start), start)
    };
    make(Some(limits(1))).pick(None, &[]).unwrap().ended(true, start);
    assert_eq!(make(Some(limits(2))).upstream().breaker.state(), BreakerState::Open);
    assert_eq!(make(Some(limits(0))).upstream().breaker.state(), BreakerState::Closed);
    let off = make(None);
    assert_eq!(off.upstream().breaker.state(), BreakerState::Closed);
    assert_eq!(off.pick(None, &[]).unwrap().ended(true, start).circuit, None);
}

#[test]
fn retries_are_paid_for_by_requests_and_by_time() {
    let limits = BudgetLimits { percent: 20.0, min_per_second: 1.0 };
    let beyond = Beyond { budget: Some(limits.clone()), ..Beyond::default() };
    let settings = Settings { beyond, ..settings(AlgorithmKind::RoundRobin) };
    let pool = super::balancer(settings, vec![target(1, 100)]);
    let budget = &pool.upstream().budget;
    let retries = || (0..1000).filter(|_| budget.retry(&limits)).count();
    assert_eq!(retries(), 10, "ten seconds' worth to begin with");
    (0..20).for_each(|_| budget.request(&limits));
    assert_eq!(retries(), 4, "a fifth of the requests");
    pool.tick(Duration::from_secs(3));
    assert_eq!(retries(), 3);
    pool.tick(Duration::from_secs(300));
    (0..2000).for_each(|_| budget.request(&limits));
    assert_eq!(retries(), 10, "no more than that is held in store");
    assert_eq!(budget.counts(), (27, 3973));
}
