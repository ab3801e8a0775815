//! Active health checks: one task probes the targets of all upstreams, each address in its own rhythm. What it finds
//! goes into the states of the addresses, which outlive configurations.

mod checks;
mod plain;
mod probe;
#[cfg(test)]
mod tests;
mod wheel;

pub(super) use probe::Probing;

use super::Upstreams;
use balancer::health::{Report, Source};
use balancer::{Address, Member};
use checks::{Checks, Job};
use plain::Sockets;
use probe::probe;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::{Instant, sleep_until};

impl Upstreams {
    /// Probes the targets of upstreams that ask for it. Runs for the life of the node, on any runtime.
    pub async fn check(self: Arc<Self>) {
        let sockets = Arc::new(Sockets::default());
        let attended = sockets.clone();
        let checks = self.check_by(move |how, address| {
            let sockets = sockets.clone();
            async move { probe(&how, &address, &sockets).await }
        });
        tokio::join!(checks, attended.attend());
    }

    async fn check_by<P, F>(self: Arc<Self>, probe: P)
    where
        P: Fn(Arc<Probing>, Address) -> F,
        F: Future<Output = Report> + Send + 'static,
    {
        let mut changed = self.changed.subscribe();
        let mut checks = Checks::new(self, probe);
        loop {
            checks.update();
            loop {
                tokio::select! {
                    biased;
                    _ = changed.changed() => break,
                    Some(ended) = checks.running.join_next_with_id(), if !checks.running.is_empty() => match ended {
                        Ok((id, report)) => checks.ended(id, Some(report)),
                        Err(error) => checks.ended(error.id(), None),
                    },
                    () = until(checks.wheel.next()) => checks.turn(),
                }
            }
        }
    }

    /// Reports on an address as it is by now: the configuration may have changed since its probe began.
    fn tell(&self, job: Job, report: Report) {
        let Some(upstream) = self.by_id(job.upstream).filter(|upstream| upstream.probing.is_some()) else { return };
        let balancer = upstream.balancer.load();
        let is_meant = |member: &&Member| member.id() == job.address;
        let members = balancer.addresses();
        let found = members.get(job.at).filter(is_meant).or_else(|| members.iter().find(is_meant));
        let Some(member) = found.filter(|member| member.address().weight > 0) else { return };
        if let Some(change) = balancer.report(member, Source::Active, report, SystemTime::now()) {
            let state = if change.is_healthy { "healthy" } else { "unhealthy" };
            let (name, address) = (&upstream.entity.name, member.address());
            let (host, at) = (&address.hostname, address.socket());
            log::warn!("upstream {name}: target {host} ({at}) is {state} now: {}", change.reason);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
