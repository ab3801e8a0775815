//! Chooses the address for a try.

use super::request_debug;
use crate::snapshot::{Destination, ServiceTarget};
use crate::upstream::gate::Full;
use crate::upstream::{UpstreamTarget, Upstreams};
use balancer::{AddressId, HashValue, Inputs, NewCookie, Pick};
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Response};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// What is remembered from one try to the next.
#[derive(Default)]
pub(crate) struct Tries {
    pub(crate) hash: Option<u32>,
    /// What brings the client back to where it is sent.
    pub(crate) cookie: Option<Box<NewCookie>>,
    has_begun: bool,
    failed: SmallVec<[AddressId; 4]>,
    /// The same for names without an upstream entity.
    failed_sockets: SmallVec<[SocketAddr; 2]>,
    /// The request's room in an upstream that limits how many it takes.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl Tries {
    pub(crate) fn note(&mut self, chosen: &Target) {
        match &chosen.pick {
            Some(pick) => self.failed.push(pick.id()),
            None => self.failed_sockets.push(chosen.address),
        }
    }
}

/// The address of a try.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What Host and SNI say, unless the upstream entity has its own.
    pub(crate) name: Arc<str>,
    /// Holds the address's connection count while it lives.
    pub(crate) pick: Option<Pick>,
}

/// Why there is no address: status and message.
pub(crate) struct NoTarget {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// When it may be worth another request.
    pub(crate) retry_after: Option<Duration>,
}

impl NoTarget {
    /// On the first try it is an error of ours; on a later one nginx's, in its formats.
    pub(crate) fn into_response(self, cx: &Context, is_first: bool) -> Response {
        let mut response = if is_first {
            Response::error(cx, self.status, &self.message)
        } else {
            Response::proxy_error(cx, self.status, pdk::default_message(self.status))
        };
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
            response.headers.set("Retry-After", seconds.to_string().as_bytes());
        }
        response
    }
}

pub(crate) async fn balance(
    upstreams: &Upstreams,
    service: &ServiceTarget,
    cx: &mut Context<'_>,
    tries: &mut Tries,
) -> Result<Target, NoTarget> {
    request_debug::enter(cx, "balancer");
    match &service.destination {
        Destination::Address(ip) => {
            Ok(Target { address: SocketAddr::new(*ip, service.port), name: service.host.clone(), pick: None })
        }
        Destination::Name => {
            let mark = cx.mark(Instrumentations::DNS_QUERY);
            let started = request_debug::start(cx);
            let (found, is_known) = by_name(upstreams, service, &tries.failed_sockets).await;
            request_debug::end(cx, started, &["dns", &service.host, "resolve"], &[("cache_hit", is_known.into())]);
            cx.record(mark, Part::Dns);
            found
        }
        Destination::Upstream(upstream) => {
            if !tries.has_begun {
                tries.has_begun = true;
                if upstream.has_limits {
                    Box::pin(admit(upstream, tries)).await?;
                }
                let HashValue { hash, cookie } = upstream.balancer.load().hash_value(&FromContext(cx));
                tries.hash = hash;
                tries.cookie = cookie.map(Box::new);
            }
            let pick = upstream.balancer.load().pick(tries.hash, &tries.failed).map_err(|error| {
                log::warn!("upstream {}: {}", upstream.entity.name, error.reason());
                NoTarget { status: 503, message: error.to_string(), retry_after: None }
            })?;
            let address = pick.address().socket();
            Ok(Target { address, name: pick.address().hostname.clone(), pick: Some(pick) })
        }
    }
}

/// Lets a request in where the upstream limits how many there are, or how often it may fail.
async fn admit(upstream: &UpstreamTarget, tries: &mut Tries) -> Result<(), NoTarget> {
    let balancer = upstream.balancer.load_full();
    let beyond = &balancer.settings().beyond;
    if let Some(limits) = &beyond.breaker {
        balancer.upstream().breaker.admit(limits, Instant::now()).map_err(|open| NoTarget {
            status: 503,
            message: open.to_string(),
            retry_after: Some(open.retry_after),
        })?;
    }
    if let Some(gate) = &upstream.gate {
        let room = gate.enter().await;
        tries.room = Some(room.map_err(|Full| NoTarget {
            status: 503,
            message: "the upstream has too many requests".to_owned(),
            retry_after: None,
        })?);
    }
    if let Some(limits) = &beyond.budget {
        balancer.upstream().budget.request(limits);
    }
    Ok(())
}

/// The target, and whether its name was known already.
async fn by_name(
    upstreams: &Upstreams,
    service: &ServiceTarget,
    tried: &[SocketAddr],
) -> (Result<Target, NoTarget>, bool) {
    let known = upstreams.dns().peek(&service.host, Instant::now());
    let is_known = known.is_some();
    let answers = match known {
        Some(answers) => answers,
        None => match Box::pin(upstreams.dns().resolve(&service.host)).await {
            Ok(answers) => answers,
            Err(error) => {
                log::warn!("host {}: {error} ({})", service.host, upstreams.dns().asks());
                let none = match error.is_not_found() {
                    true => NoTarget { status: 503, message: "name resolution failed".to_owned(), retry_after: None },
                    false => NoTarget { status: 500, message: error.to_string(), retry_after: None },
                };
                return (Err(none), false);
            }
        },
    };
    let address = answers.next_but(service.port, tried);
    (Ok(Target { address, name: service.host.clone(), pick: None }), is_known)
}

/// What an upstream may hash on.
struct FromContext<'a>(&'a Context<'a>);

impl Inputs for FromContext<'_> {
    fn consumer(&self) -> Option<Cow<'_, str>> {
        let consumer = self.0.consumer.as_ref().map(|c| Cow::Owned(c.id.to_string()));
        consumer.or_else(|| self.0.credential.as_ref().map(|c| Cow::Borrowed(&*c.id)))
    }

    fn ip(&self) -> Cow<'_, str> {
        Cow::Owned(self.0.client.ip.to_canonical().to_string())
    }

    fn header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.0.request.headers.get_all(name).for_each(each);
    }

    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let pairs = self.0.request.headers.get_all("cookie").flat_map(|v| v.split(|b| *b == b';'));
        pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(Cow::Borrowed(value))
        })
    }

    fn path(&self) -> Cow<'_, [u8]> {
        router::path::normalize(self.0.request.path()).unwrap_or(Cow::Borrowed(b"/"))
    }

    fn query_arg(&self, name: &str, each: &mut dyn FnMut(Option<&[u8]>)) {
        for (_, value) in self.0.request.query_args().filter(|(n, _)| n == name) {
            each(value.as_deref().map(str::as_bytes));
        }
    }

    fn uri_capture(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let found = self.0.captures.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| Cow::Borrowed(value.as_bytes()))
    }

    fn new_cookie(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
