//! The upstream entities by their names, which plugins may choose as hosts of requests.

use crate::upstream::UpstreamTarget;
use entities::SharedMap;
use pdk::Peer;
use std::sync::Arc;

/// Snapshots share it, as far as it is the same.
#[derive(Clone, Default)]
pub(crate) struct NamedUpstreams(SharedMap<Box<str>, Arc<UpstreamTarget>>);

impl NamedUpstreams {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<UpstreamTarget>> {
        self.0.get(name)
    }

    /// What a name stands for from now on.
    pub(super) fn set(&mut self, name: &str, upstream: Option<Arc<UpstreamTarget>>) {
        match upstream {
            Some(upstream) => self.0.insert(name.into(), upstream),
            None => drop(self.0.remove(name)),
        }
    }
}

impl pdk::Upstreams for NamedUpstreams {
    fn is_healthy(&self, name: &str) -> Option<bool> {
        self.get(name).map(|upstream| upstream.balancer.load().is_healthy())
    }

    fn peer(&self, name: &str) -> Option<Option<Peer>> {
        let upstream = self.get(name)?;
        let pick = upstream.balancer.load().pick(None, &[]).ok();
        Some(pick.map(|pick| {
            let own = upstream.entity.host_header.as_deref().map(Arc::from);
            Peer { address: pick.address().socket(), host: own.unwrap_or_else(|| pick.address().hostname.clone()) }
        }))
    }
}
