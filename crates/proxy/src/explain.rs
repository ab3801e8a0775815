//! What would become of a request, for people who ask: the same look-up as a request's, over the current snapshot.

use crate::phases::route::{Found, RequestFields, find};
use crate::snapshot::{Snapshot, Terms};
use entities::{Plugin, Route, Service};
use pdk::{Client, Phases, Request, Upstream};
use router::path;
use std::sync::Arc;
use uuid::Uuid;

/// Routes that are told of beside the one that matches.
const NEAREST: usize = 5;
/// Routes that are looked at closely for that.
const LOOKED_AT: usize = 50;

/// A route, and the attributes of it (or terms of its expression) that are not met.
pub type NotTaken = (Arc<Route>, Vec<String>);

/// What would become of a request.
pub struct Explained {
    pub found: Option<Matched>,
    /// The plugins that would run, in execution order, and the phases they have.
    pub plugins: Vec<(Arc<Plugin>, Phases)>,
    /// Routes that do not match, or are outranked, the nearest first.
    pub others: Vec<NotTaken>,
}

/// The route that would match.
pub struct Matched {
    pub route: Arc<Route>,
    pub service: Option<Arc<Service>>,
    /// Where the request would go; `None` without a service.
    pub upstream: Option<Upstream>,
    /// How long the upstream would be waited for, and when it would be asked again; `None` without a service.
    pub terms: Option<Terms>,
    pub captures: Vec<(String, String)>,
}

impl Snapshot {
    /// `Err`: the path is none that is routed, and the status that it is answered with.
    ///
    /// # Errors
    /// As above.
    pub fn explain(
        &self,
        max_headers: usize,
        request: &Request,
        client: &Client,
        consumer: Option<Uuid>,
    ) -> Result<Explained, u16> {
        let found = find(max_headers, self, request, client)?;
        let plan = found.as_ref().map_or(&*self.global, |found| found.routed.plan);
        let chosen = plan.chosen(consumer, &self.consumers, &self.instances);
        let plugins = chosen.iter().map(|built| (built.shared_entity(), built.phases)).collect();
        let matched = found.map(|Found { routed, upstream, captures }| Matched {
            route: routed.endpoint.route.clone(),
            service: routed.service.map(|service| service.service.clone()),
            upstream,
            terms: routed.service.map(|service| service.terms.on(&routed.endpoint.route)),
            captures,
        });
        let own = matched.as_ref().map(|matched| matched.route.id);
        let others = self.nearest(max_headers, request, client, own)?;
        Ok(Explained { found: matched, plugins, others })
    }

    fn nearest(
        &self,
        max_headers: usize,
        request: &Request,
        client: &Client,
        own: Option<Uuid>,
    ) -> Result<Vec<NotTaken>, u16> {
        let normal = path::normalize(request.path()).map_err(|_| 400_u16)?;
        let host = String::from_utf8_lossy(request.host()).to_ascii_lowercase();
        let mut near: Vec<_> = self
            .router
            .iter()
            .filter(|route| Some(route.id) != own)
            .map(|route| (closeness(route, &host, &normal), route))
            .collect();
        near.sort_by(|(one, a), (two, b)| two.cmp(one).then(a.id.cmp(&b.id)));
        near.truncate(LOOKED_AT);
        let fields = RequestFields::new(request, max_headers);
        let query = fields.query(client, &normal);
        let mut others: Vec<_> = near
            .into_iter()
            .map(|(close, route): (usize, &Arc<Route>)| {
                let unmet = router::unmet(self.router.flavor(), route, &query);
                (route.clone(), unmet, close)
            })
            .collect();
        others.sort_by_key(|(_, unmet, close)| (unmet.len(), std::cmp::Reverse(*close)));
        Ok(others.into_iter().take(NEAREST).map(|(route, unmet, _)| (route, unmet)).collect())
    }
}

/// A rough measure, cheap enough for a hundred thousand routes.
fn closeness(route: &Route, host: &str, path: &[u8]) -> usize {
    let name = host.split(':').next().unwrap_or_default();
    let by_host = |own: &String| {
        let own = own.trim_matches('*');
        if own == name || own == host {
            60
        } else if !own.is_empty() && (name.ends_with(own) || name.starts_with(own)) {
            40
        } else {
            0
        }
    };
    let by_path = |own: &String| {
        let own = own.trim_start_matches(['~', '^']);
        own.bytes().zip(path).take_while(|(one, two)| one == *two).count().min(100)
    };
    // Of an expression, its literals tell what it is about.
    let literals = route.expression.as_deref().unwrap_or_default().split('"').skip(1).step_by(2);
    let (paths, hosts): (Vec<String>, Vec<String>) =
        literals.map(str::to_owned).partition(|literal| literal.starts_with(['/', '^']));
    let hosts = route.hosts.iter().flatten().chain(&hosts).map(by_host).max().unwrap_or(0);
    hosts + route.paths.iter().flatten().chain(&paths).map(by_path).max().unwrap_or(0)
}
