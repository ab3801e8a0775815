//! A route, made ready: what its fields mean, and what its requests find in a snapshot.

use super::{Plan, ServiceTarget, Terms};
use entities::{PathForwarding, Route};
use router::path::PathHandling;
use router::{Flavor, HasRoute};
use std::sync::Arc;

/// What happens to requests of a route. What every request asks of its route stands here, beside each other and where the
/// router's index leads: among very many routes each further place in memory is one to wait for.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) route: Arc<Route>,
    /// Where the route has plugins of its own; otherwise its service's plan holds, or the global one.
    pub(super) plan: Option<Arc<Plan>>,
    /// The number of its service.
    service: u32,
    traits: u16,
}

impl Endpoint {
    const HAS_SERVICE: u16 = 1;
    const HTTPS_ONLY: u16 = 1 << 1;
    const GRPC: u16 = 1 << 2;
    const GRPCS_ONLY: u16 = 1 << 3;
    const STRIPS_PATH: u16 = 1 << 4;
    const PRESERVES_HOST: u16 = 1 << 5;
    const V1: u16 = 1 << 6;
    const RAW: u16 = 1 << 7;
    const OWN_TERMS: u16 = 1 << 8;

    pub(super) fn new(route: Arc<Route>, service: Option<u32>, plan: Option<Arc<Plan>>, flavor: Flavor) -> Self {
        let is_v1 = flavor == Flavor::Traditional && route.path_handling == Some(entities::route::PathHandling::V1);
        let has = |name: &str| route.protocols.iter().any(|p| p == name);
        let traits = [
            (Self::HAS_SERVICE, service.is_some()),
            (Self::HTTPS_ONLY, has("https") && !has("http")),
            (Self::GRPC, has("grpc") || has("grpcs")),
            (Self::GRPCS_ONLY, has("grpcs") && !has("grpc")),
            (Self::STRIPS_PATH, route.strip_path),
            (Self::PRESERVES_HOST, route.preserve_host),
            (Self::V1, is_v1),
            (Self::RAW, route.path_forwarding == Some(PathForwarding::Raw)),
            (Self::OWN_TERMS, Terms::has_own(&route)),
        ];
        let traits = traits.into_iter().filter(|(_, is_so)| *is_so).fold(0, |all, (one, _)| all | one);
        Self { service: service.unwrap_or_default(), traits, route, plan }
    }

    fn is(&self, one: u16) -> bool {
        self.traits & one != 0
    }

    pub(super) fn service(&self) -> Option<u32> {
        self.is(Self::HAS_SERVICE).then_some(self.service)
    }

    /// The protocols hold `https` but not `http`.
    pub(crate) fn is_https_only(&self) -> bool {
        self.is(Self::HTTPS_ONLY)
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.is(Self::GRPC)
    }

    /// The protocols hold `grpcs` but not `grpc`.
    pub(crate) fn is_grpcs_only(&self) -> bool {
        self.is(Self::GRPCS_ONLY)
    }

    pub(crate) fn strips_path(&self) -> bool {
        self.is(Self::STRIPS_PATH)
    }

    pub(crate) fn preserves_host(&self) -> bool {
        self.is(Self::PRESERVES_HOST)
    }

    pub(crate) fn handling(&self) -> PathHandling {
        if self.is(Self::V1) { PathHandling::V1 } else { PathHandling::V0 }
    }

    /// The path goes upstream as the client sent it.
    pub(crate) fn forwards_raw(&self) -> bool {
        self.is(Self::RAW)
    }

    /// Time-outs or retries are other than the service's.
    pub(crate) fn has_own_terms(&self) -> bool {
        self.is(Self::OWN_TERMS)
    }
}

impl HasRoute for Endpoint {
    fn route(&self) -> &Arc<Route> {
        &self.route
    }
}

/// What a request that matched a route has to do with.
#[derive(Clone, Copy)]
pub(crate) struct Routed<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// `None` where the route has no service, or one that cannot be called.
    pub(crate) service: Option<&'a ServiceTarget>,
    pub(crate) plan: &'a Plan,
}
