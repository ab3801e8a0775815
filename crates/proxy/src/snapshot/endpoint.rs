//! A route, made ready: what its fields mean, and what its requests find in a snapshot.

use super::{Plan, ServiceTarget, Terms};
use entities::{PathForwarding, Route};
use router::path::PathHandling;
use router::{Flavor, HasRoute};
use std::sync::Arc;
use uuid::Uuid;

/// What happens to requests of a route. What every request asks of its route stands here, beside each other: among very many
/// routes each further place in memory is one to wait for.
pub(crate) struct Endpoint {
    pub(crate) route: Arc<Route>,
    pub(super) service: Option<Uuid>,
    /// Where the route has plugins of its own; otherwise its service's plan holds, or the global one.
    pub(super) plan: Option<Arc<Plan>>,
    /// The protocols hold `https` but not `http`.
    pub(crate) is_https_only: bool,
    pub(crate) is_grpc: bool,
    /// The protocols hold `grpcs` but not `grpc`.
    pub(crate) is_grpcs_only: bool,
    pub(crate) strips_path: bool,
    pub(crate) preserves_host: bool,
    pub(crate) handling: PathHandling,
    /// The path goes upstream as the client sent it.
    pub(crate) forwards_raw: bool,
    /// Time-outs or retries are other than the service's.
    pub(crate) has_own_terms: bool,
}

impl Endpoint {
    pub(super) fn new(route: Arc<Route>, plan: Option<Arc<Plan>>, flavor: Flavor) -> Self {
        let is_v1 = flavor == Flavor::Traditional && route.path_handling == Some(entities::route::PathHandling::V1);
        let has = |name: &str| route.protocols.iter().any(|p| p == name);
        Self {
            is_https_only: has("https") && !has("http"),
            is_grpc: has("grpc") || has("grpcs"),
            is_grpcs_only: has("grpcs") && !has("grpc"),
            service: route.service.as_ref().map(|service| service.id),
            strips_path: route.strip_path,
            preserves_host: route.preserve_host,
            handling: if is_v1 { PathHandling::V1 } else { PathHandling::V0 },
            forwards_raw: route.path_forwarding == Some(PathForwarding::Raw),
            has_own_terms: Terms::has_own(&route),
            route,
            plan,
        }
    }
}

impl HasRoute for Endpoint {
    fn route(&self) -> &Route {
        &self.route
    }
}

/// What a request that matched a route has to do with.
#[derive(Clone, Copy)]
pub(crate) struct Routed<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// `None` where the route has no service, or one that cannot be called.
    pub(crate) service: Option<&'a Arc<ServiceTarget>>,
    pub(crate) plan: &'a Plan,
}
