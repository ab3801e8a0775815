//! Targets known by name: their addresses are looked up again as the answers expire.

use super::Upstreams;
use super::dns::{Answers, ResolveError};
use ahash::HashMap;
use balancer::{Record, Resolution};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

/// How often names are looked at for a new answer.
const TICK: Duration = Duration::from_millis(500);
/// The least time between two look-ups of a name, whatever its time to live: that of some answers is 0.
const PACE: Duration = Duration::from_secs(1);
/// When a failed look-up is tried again: the first of a name soon, since a new name may be on its way.
const RETRY: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// Look-ups at the same time.
const MOST: usize = 16;
/// How often states that nothing uses any more are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// The host of a target that is no address.
#[derive(Clone, Debug)]
pub(super) struct Name {
    host: Arc<str>,
    /// When it is to be looked up (again); `None` = never, as for names of the hosts file.
    due: Option<Instant>,
    has_failed: bool,
}

impl Name {
    pub(super) fn new(host: &str, known: Option<Arc<Answers>>, now: Instant) -> (Self, Resolution) {
        let due = known.as_ref().map_or(Some(now), |answers| answers.valid_until);
        let resolution = known.map_or_else(|| Resolution::Failed("not resolved yet".into()), |a| records(&a));
        (Self { host: host.into(), due, has_failed: false }, resolution)
    }

    pub(super) fn is(&self, host: &str) -> bool {
        *self.host == *host
    }

    /// Takes note of a look-up's outcome.
    fn looked_up(&mut self, outcome: &Result<Arc<Answers>, ResolveError>, now: Instant) {
        self.due = match outcome {
            Ok(answers) => answers.valid_until.map(|end| end.max(now + PACE)),
            Err(_) if self.has_failed => Some(now + RETRY),
            Err(_) => Some(now + FIRST_RETRY),
        };
        self.has_failed = outcome.is_err();
    }
}

/// A look-up that is due.
#[derive(Clone)]
struct Lookup {
    upstream: Uuid,
    target: Uuid,
    host: Arc<str>,
}

impl Upstreams {
    /// Keeps the addresses of targets fresh. Runs for the life of the node, on any runtime.
    pub async fn keep(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        let mut running = JoinSet::new();
        let mut targets: HashMap<tokio::task::Id, Uuid> = HashMap::default();
        let (mut swept, mut ticked) = (now(), now());
        let mut generation = self.dns.generation();
        loop {
            let now = now();
            if self.dns.generation() != generation {
                generation = self.dns.generation();
                self.look_up_all_again(now);
            }
            if now.saturating_duration_since(ticked) >= TICK {
                self.tick(now.saturating_duration_since(ticked));
                ticked = now;
            }
            let is_under_way = |lookup: &Lookup| targets.values().any(|target| *target == lookup.target);
            let mut due = self.due(now);
            due.retain(|lookup| !is_under_way(lookup));
            for lookup in due.into_iter().take(MOST.saturating_sub(running.len())) {
                let (dns, target) = (self.dns.clone(), lookup.target);
                let handle = running.spawn(async move {
                    let outcome = dns.renew(&lookup.host).await;
                    (lookup, outcome)
                });
                targets.insert(handle.id(), target);
            }
            if now.saturating_duration_since(swept) >= SWEEP {
                self.states.sweep(now);
                swept = now;
            }
            tokio::select! {
                () = sleep(TICK) => {}
                _ = changed.changed() => {}
                Some(done) = running.join_next_with_id(), if !running.is_empty() => match done {
                    Ok((id, (lookup, outcome))) => {
                        targets.remove(&id);
                        self.looked_up(&lookup, outcome);
                    }
                    Err(error) => {
                        targets.remove(&error.id());
                    }
                },
            }
        }
    }

    /// Slow starts, rests of targets and retry budgets go on.
    fn tick(&self, elapsed: Duration) {
        let clocked: Vec<_> = {
            let all = self.lock();
            let balancers = all.values().map(|upstream| (upstream, upstream.balancer.load()));
            balancers.filter(|(_, b)| b.has_clock()).map(|(upstream, b)| (upstream.clone(), b.clone())).collect()
        };
        for (upstream, balancer) in clocked {
            for turn in balancer.tick(elapsed) {
                tell_turn(&upstream.entity.name, &turn);
            }
        }
    }

    /// The hosts file has changed: a name may be in it now, or be no more.
    fn look_up_all_again(&self, now: Instant) {
        for upstream in self.lock().values() {
            for name in upstream.names.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
                name.due = Some(now);
            }
        }
    }

    fn due(&self, now: Instant) -> Vec<Lookup> {
        let mut due = Vec::new();
        for (id, upstream) in &*self.lock() {
            let names = upstream.names.lock().unwrap_or_else(PoisonError::into_inner);
            let names = names.iter().filter(|(_, name)| name.due.is_some_and(|at| at <= now));
            due.extend(names.map(|(target, name)| (name.due, (*id, *target, name.host.clone()))));
        }
        // Who has waited longest comes first.
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, (upstream, target, host))| Lookup { upstream, target, host }).collect()
    }

    /// The configuration may have changed meanwhile: the outcome goes to the target as it is now.
    fn looked_up(&self, lookup: &Lookup, outcome: Result<Arc<Answers>, ResolveError>) {
        // Under the lock, so that no other balancer of the upstream is made from the old answer at the same time.
        let all = self.lock();
        let Some(upstream) = all.get(&lookup.upstream) else { return };
        let mut names = upstream.names.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = names.get_mut(&lookup.target).filter(|name| name.is(&lookup.host)) else { return };
        let now = now();
        name.looked_up(&outcome, now);
        let resolution = match outcome {
            Ok(answers) => records(&answers),
            Err(error) => {
                log::warn!("upstream {}: target {}: {error} ({})", upstream.entity.name, lookup.host, self.dns.asks());
                Resolution::Failed(error.to_string().into())
            }
        };
        let before = upstream.balancer.load();
        let balancer = before.with_target_addresses(lookup.target, resolution, now);
        if !balancer.is(&before) {
            upstream.balancer.store(Arc::new(balancer));
            self.changed.send_replace(());
        }
    }
}

/// Tells the log that an address rests, or is back.
pub(crate) fn tell_turn(upstream: &str, turn: &balancer::Turn) {
    let (host, at) = (&turn.address.hostname, turn.address.socket());
    match &turn.fault {
        Some(fault) => log::warn!("upstream {upstream}: target {host} ({at}) rests for a while: {fault}"),
        None => log::warn!("upstream {upstream}: target {host} ({at}) is back after its rest"),
    }
}

/// The time as tokio has it, which tests can hold still.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// In the order of the addresses: servers that answer in turns would make a new balancer every time.
fn records(answers: &Answers) -> Resolution {
    let mut records: Vec<_> = answers
        .records
        .iter()
        .map(|r| Record { ip: r.ip, port: r.port, weight: r.weight, name: r.name.clone() })
        .collect();
    records.sort_by(|a, b| (a.ip, a.port, &a.name).cmp(&(b.ip, b.port, &b.name)));
    Resolution::Records { dns: answers.kind, records }
}

#[cfg(test)]
mod tests;
