//! What would become of a request, for people who ask: the same steps as a request's, over the current snapshot.

use crate::phases::grpc_exit;
use crate::phases::route::{Found, RequestFields, admit, check_protocol, find, not_found};
use crate::pipeline::Exit;
use crate::snapshot::{Snapshot, Terms};
use crate::worker::{Proxy, pinned};
use entities::{Plugin, Route, Service};
use pdk::{Client, Context, Phases, Request, Response, Upstream};
use router::path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Routes that are told of beside the one that matches.
const NEAREST: usize = 5;
/// Routes that are looked at closely for that.
const LOOKED_AT: usize = 50;

/// A route, and the attributes of it (or terms of its expression) that are not met.
pub type NotTaken = (Arc<Route>, Vec<String>);

/// What would become of a request.
pub struct Explained {
    /// The peer, or whom a trusted one speaks for.
    pub client: Client,
    pub found: Option<Matched>,
    /// The answer, where it does not even come to the plugins of its route.
    pub answer: Option<Response>,
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

impl Proxy {
    /// Whether the client is trusted follows from its peer. `Err`: the path is none that is routed, and the status that it is
    /// answered with.
    ///
    /// # Errors
    /// As above.
    pub fn explain(&self, request: Request, mut client: Client, consumer: Option<Uuid>) -> Result<Explained, u16> {
        let pinned = pinned(self);
        let (settings, snapshot) = (&self.settings, &*pinned.snapshot);
        client.is_trusted = settings.trusted_ips.contains(client.peer.ip());
        let mut cx = Context::new(request, client, pinned.shared.clone(), 0, (Instant::now(), Duration::ZERO));
        let admitted = admit(settings, &mut cx);
        let found = find(settings.max_request_headers, snapshot, &cx.request, &cx.client)?;
        let routed = match &found {
            None => Err(not_found(&cx)),
            Some(found) => check_protocol(found.routed.endpoint, &cx),
        };
        let answer = admitted.and(routed).err().map(|Exit { mut response, .. }| {
            grpc_exit::translate(&cx, &mut response);
            *response
        });
        // Who gets no further has only met the global plugins.
        let plan = found.as_ref().filter(|_| answer.is_none()).map_or(&*snapshot.global, |found| found.routed.plan);
        let chosen = plan.chosen(consumer, &snapshot.consumers, &snapshot.instances);
        let plugins = chosen.iter().map(|built| (built.shared_entity(), built.phases)).collect();
        let matched = found.map(|Found { routed, upstream, captures }| Matched {
            route: routed.endpoint.route.clone(),
            service: routed.service.map(|service| service.service.clone()),
            upstream,
            terms: routed.service.map(|service| service.terms.on(&routed.endpoint.route)),
            captures,
        });
        let own = matched.as_ref().map(|matched| matched.route.id);
        let others = snapshot.nearest(settings.max_request_headers, &cx.request, &cx.client, own)?;
        let client = cx.client.clone();
        Ok(Explained { client, found: matched, answer, plugins, others })
    }
}

impl Snapshot {
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
