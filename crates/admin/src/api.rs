//! The Admin API as a whole: what it is made of, and the way of a request through it.
use crate::access::{Access, Caller};
use crate::audit::{Audit, Notes, Told};
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::routes::config::Declared;
use crate::{Node, PluginEndpoint, Request, Response, generate, routes, urlencoded};
use entities::Catalog;
use schema::EntitySchema;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Change, Follower, Store};

/// What an operator sets of the Admin API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Origins of the Admin GUI; none: whatever asks.
    pub origins: Vec<String>,
    /// The `Server` header.
    pub server_header: Option<String>,
    /// Whether answers tell `X-Kong-Admin-Latency`.
    pub latency_header: bool,
    pub body_limit: usize,
    pub wasm: bool,
    pub role_control_plane: bool,
    /// Whether `/status/dns` has anything to say.
    pub new_dns_client: bool,
    /// Who may call; without it, everybody.
    pub access: Option<Arc<Access>>,
    pub audit: Option<Arc<Audit>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            origins: Vec::new(),
            server_header: Some("kong/3.10.0".to_owned()),
            latency_header: true,
            body_limit: 10 * 1024 * 1024,
            wasm: false,
            role_control_plane: false,
            new_dns_client: false,
            access: None,
            audit: None,
        }
    }
}

pub struct Api {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) settings: Settings,
    pub(crate) routes: Routes,
    pub(crate) declared: Mutex<Declared>,
    /// Held while a declarative configuration is loaded.
    pub(crate) loading: Mutex<()>,
    /// The API described, made when it is first asked for.
    pub(crate) openapi: OnceLock<Vec<u8>>,
}

/// All endpoints.
pub(crate) fn table(catalog: &Catalog, plugins: &[PluginEndpoint], settings: &Settings) -> Routes {
    let mut table = Routes::default();
    generate::add(&mut table, catalog);
    routes::add(&mut table, catalog, plugins, settings);
    let entities = catalog.entities().filter(|schema| schema.generate_admin_api || schema.name == "consumer_groups");
    let collections: Vec<&str> =
        entities.map(|schema| generate::collection(schema)).filter(|name| *name != "tags").collect();
    table.mark_entities(&collections);
    table
}

/// Hands the store's changes to the node.
struct Feed(Arc<dyn Node>);

impl Follower for Feed {
    fn changed(&self, changes: &[Change]) {
        self.0.apply(changes);
    }

    fn replaced(&self, rows: &[Change]) {
        self.0.replace(rows);
    }
}

impl Api {
    /// From now on the node follows the store.
    pub fn new(catalog: Arc<Catalog>, store: Arc<dyn Store>, node: Arc<dyn Node>, settings: Settings) -> Api {
        store.follow(Arc::new(Feed(Arc::clone(&node))));
        let routes = table(&catalog, &node.endpoints(), &settings);
        Api {
            catalog,
            store,
            node,
            settings,
            routes,
            declared: Mutex::default(),
            loading: Mutex::default(),
            openapi: OnceLock::new(),
        }
    }

    /// The largest body that is taken, in bytes: an engine need not read further.
    pub fn body_limit(&self) -> usize {
        self.settings.body_limit
    }

    pub fn handle(&self, request: Request) -> Response {
        self.respond(&request, self.settings.access.as_deref())
    }

    /// The same without asking who calls, for listeners of the node that show a few paths only.
    pub fn handle_open(&self, request: Request) -> Response {
        self.respond(&request, None)
    }

    fn respond(&self, request: &Request, access: Option<&Access>) -> Response {
        let started = Instant::now();
        // These two nginx refuses before Kong sees them.
        if matches!(request.method.as_str(), "CONNECT" | "TRACE") {
            return Response::page(405);
        }
        // A browser asks with OPTIONS before it shows credentials.
        let caller = match access.filter(|_| request.method != "OPTIONS") {
            Some(access) => Caller::of(access, request),
            None => Ok(Caller::anyone()),
        };
        let answered = caller.and_then(|caller| self.answer(request, &caller));
        let mut response = answered.unwrap_or_else(|failure| failure.into_response());
        if request.method == "HEAD" {
            let length = std::mem::take(&mut response.body).len();
            if response.rest.take().is_none() {
                response = response.with("Content-Length", &length.to_string());
            }
        }
        self.decorated(response, request, started.elapsed())
    }

    fn answer(&self, request: &Request, caller: &Caller) -> Outcome {
        if request.body.len() > self.settings.body_limit {
            return Ok(Response::too_large());
        }
        let Some((endpoint, parameters)) = self.routes.find(&request.path) else {
            return Ok(Response::not_found());
        };
        let arguments = urlencoded::arguments(request.query.as_bytes());
        caller.check(&request.method, endpoint)?;
        let reads =
            matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") || endpoint.path.starts_with("/schemas/");
        let notes = self.settings.audit.as_ref().filter(|_| !reads).map(|_| Notes::default());
        let call = Call { request, endpoint, parameters, arguments, caller, transaction: None, notes: notes.as_ref() };
        let answered = self.run(&call);
        if let (Some(audit), Some(notes), Ok(response)) = (&self.settings.audit, &notes, &answered)
            && response.status < 400
        {
            let told = Told {
                user: caller.name(),
                client: request.client,
                method: &request.method,
                path: &request.path,
                status: response.status,
            };
            audit.add(&told, notes);
        }
        answered
    }

    /// Runs the endpoint's handler.
    pub(crate) fn run(&self, call: &Call<'_>) -> Outcome {
        let (request, endpoint) = (call.request, call.endpoint);
        if let Some(before) = &endpoint.before {
            before(self, call)?;
        }
        if request.method == "OPTIONS" {
            return Ok(options(&endpoint.allowed(), request));
        }
        if call.arguments.len() > urlencoded::MOST_ARGUMENTS {
            return Ok(Response::message(400, "Too many arguments"));
        }
        call.check_content_type()?;
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        pace::breathe();
        match endpoint.handler(method) {
            Some(handler) => handler(self, call),
            None => Ok(Response::method_not_allowed()),
        }
    }

    fn decorated(&self, mut response: Response, request: &Request, took: Duration) -> Response {
        if let Some(server) = &self.settings.server_header {
            response = response.with("Server", server);
        }
        if self.settings.latency_header {
            response = response.with("X-Kong-Admin-Latency", &took.as_millis().to_string());
        }
        let origin = request.header("origin");
        let allowed = match self.settings.origins.as_slice() {
            [] => origin.unwrap_or("*"),
            [first, ..] => {
                origin.filter(|origin| self.settings.origins.iter().any(|known| known == origin)).unwrap_or(first)
            }
        };
        response = response.with("Access-Control-Allow-Origin", allowed);
        response.with("Access-Control-Allow-Credentials", "true")
    }

    /// DB-less: loads a declarative configuration (`kong.yml` or its JSON), as `POST /config` does.
    pub fn load(&self, text: &str) -> Result<(), schema::Error> {
        routes::config::load_text(self, text)
    }

    pub(crate) fn schema(&self, entity: &str) -> Outcome<&EntitySchema> {
        self.catalog
            .entity(entity)
            .map(Arc::as_ref)
            .ok_or_else(|| schema::Error::database(&format!("no entity '{entity}'")).into())
    }

    pub(crate) fn declared(&self) -> std::sync::MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What schemas need to fill defaults: the time, randomness and each other.
    pub(crate) fn with_context<T>(&self, work: impl FnOnce(&schema::Context<'_>) -> T) -> T {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Before the time is taken that rows get.
        pace::breathe();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Duration::from_millis(later(&LAST, now.as_millis() as u64));
        work(&schema::Context { now, random: &random, schemas: &*self.catalog })
    }
}

/// The time in milliseconds, but later than the last one, so that targets, which are listed by time, stay in the order in which
/// they were made. Under a long rush it runs ahead by a second at most; then some share their time.
fn later(last: &AtomicU64, now: u64) -> u64 {
    let next = |last: u64| now.max((last + 1).min(now + 1000));
    last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last))).map_or(now, next)
}

pub(crate) fn random(bytes: &mut [u8]) {
    // The system's source fails only where there is none; ids and secrets must then not be made up.
    if let Err(error) = getrandom::fill(bytes) {
        log::error!("admin: no randomness: {error}");
        std::process::abort();
    }
}

fn options(allowed: &str, request: &Request) -> Response {
    let headers = request.header("access-control-request-headers").unwrap_or("Content-Type");
    Response::empty(204)
        .with("Allow", allowed)
        .with("Access-Control-Allow-Methods", allowed)
        .with("Access-Control-Allow-Headers", headers)
}

#[cfg(test)]
mod tests {
    use super::later;
    use std::sync::atomic::AtomicU64;

    /// Two targets made within a millisecond were listed in the order of their random ids.
    #[test]
    fn no_two_requests_have_the_same_time_unless_there_are_too_many() {
        let last = AtomicU64::new(0);
        let times = [5000, 5000, 5000, 5001, 5010, 5009].map(|now| later(&last, now));
        assert_eq!(times, [5000, 5001, 5002, 5003, 5010, 5011]);
        let rush: Vec<u64> = (0..2000).map(|_| later(&last, 5020)).collect();
        assert_eq!((rush.first(), rush.last()), (Some(&5020), Some(&6020)));
        // A clock that was set back is followed, but for that second.
        assert_eq!(later(&last, 1000), 2000);
    }
}
