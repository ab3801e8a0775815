//! Upstream entities as a test says they are.

use crate::{Peer, Upstreams};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// By name, the address of the only target, where it takes requests.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownUpstreams(BTreeMap<String, Option<SocketAddr>>);

impl KnownUpstreams {
    pub(super) fn set(&mut self, name: &str, address: Option<SocketAddr>) {
        self.0.insert(name.to_owned(), address);
    }
}

impl Upstreams for KnownUpstreams {
    fn is_healthy(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(Option::is_some)
    }

    fn peer(&self, name: &str) -> Option<Option<Peer>> {
        let address = self.0.get(name)?;
        Some(address.map(|address| Peer { address, host: "target.test".into() }))
    }
}
