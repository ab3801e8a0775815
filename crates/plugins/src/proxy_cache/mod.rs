//! # proxy-cache
//!
//! Keeps responses in memory and answers with them while they are fresh. What is kept is chosen by the request's method
//! and the response's status and media type, and with `cache_control` by what client and upstream say (RFC 9111). A
//! response is kept for its route and consumer, path and query (also as plugins have changed them), and the header fields in
//! `vary_headers` and in the response's own `Vary`. `X-Cache-Status` tells `Miss`, `Hit`, `Refresh` or `Bypass`.
//!
//! The memory is one for all instances (`mem_cache_size`); bodies larger than 4 MiB are not kept. Partial responses
//! (206), answers to GET and HEAD requests with a body, gRPC, and the gateway's own errors are never kept.
//!
//! Beyond Kong, and off unless configured: strategy `redis` keeps responses for all nodes that use a Redis, `ranges` answers
//! for parts of what is kept, `invalidate` lets go of what was written to; `revalidate`, `collapse_requests`,
//! `stale_while_revalidate`, `stale_if_error`. With `cache_control` the upstream's directives of the last two names count (RFC 5861).

mod conditions;
mod control;
mod endpoints;
mod flights;
mod in_redis;
mod invalid;
mod keep;
mod key;
mod ranges;
mod store;

pub use endpoints::{cached, forget, forget_all};
pub use store::{bound, memory};

use crate::rate_limiting::redis_of;
use bytes::{Bytes, BytesMut};
use control::{Directives, MediaType};
use entities::PluginSchema;
use flights::{Boarding, Flight};
use in_redis::InRedis;
use key::Key;
use pdk::{
    BuildError, Chunk, Context, Definition, Flow, Headers, Instance, Method, Phases, Plugin, Response, Source, Step,
};
use schema::{Check, CheckError, Map, Record, Value};
use serde::Deserialize;
use std::sync::Arc;
use store::{Stored, store};

pub const DEFINITION: Definition = Definition {
    name: "proxy-cache",
    priority: 100,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER).union(Phases::BODY_FILTER),
    schema,
    build,
};

/// The shared memories that Kong has.
/// The name that Kong's metrics have for the memory of responses.
pub const DICTIONARY: &str = "kong_db_cache";
const DICTIONARIES: [&str; 11] = [
    "kong",
    "kong_cluster_events",
    "kong_core_db_cache",
    "kong_core_db_cache_miss",
    "kong_db_cache",
    "kong_db_cache_miss",
    "kong_healthchecks",
    "kong_locks",
    "kong_rate_limiting_counters",
    "kong_secrets",
    "prometheus_metrics",
];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The statuses of responses that are kept.
    #[field(default = [200, 301, 404], len_min = 1, elements(between(100, 900)))]
    response_code: Vec<u16>,
    /// The methods of requests whose responses are kept.
    #[field(default = ["GET", "HEAD"], elements(one_of(["HEAD", "GET", "POST", "PATCH", "PUT"])))]
    request_method: Vec<String>,
    /// The media types of responses that are kept, with all their parameters; `*` stands for any type or subtype.
    #[field(default = ["text/plain", "application/json"])]
    content_type: Vec<String>,
    /// How long a response is fresh, in seconds.
    #[field(default = 300, gt = 0)]
    cache_ttl: Option<i64>,
    /// Where responses are kept.
    #[field(one_of(["memory"]), beyond(["redis"]))]
    strategy: String,
    /// Whether `Cache-Control` of clients and upstreams is heeded.
    #[field(default = false)]
    cache_control: bool,
    /// Whether paths that differ in case alone are one.
    #[field(default = false, required = false)]
    ignore_uri_case: Option<bool>,
    /// How long a response is kept, in seconds, however long it is fresh; 0: until its memory is needed.
    storage_ttl: Option<i64>,
    /// The memory of strategy `memory`.
    #[expect(dead_code, reason = "part of the schema; all instances share one memory")]
    memory: Memory,
    /// The arguments of the query that tell requests apart; all, where none are named.
    vary_query_params: Option<Vec<String>>,
    /// Header fields that tell requests apart.
    vary_headers: Option<Vec<String>>,
    /// Which header fields clients are told.
    response_headers: Shown,
    /// Whether a client that has the response already is told so (304), and the upstream is asked whether a stale
    /// response still holds (`ETag`, `Last-Modified`). Not in Kong.
    #[field(hidden)]
    revalidate: Option<bool>,
    /// Whether of many requests for the same one asks the upstream, and the others wait for its answer, at most five
    /// seconds. Not in Kong.
    #[field(hidden)]
    collapse_requests: Option<bool>,
    /// The Redis of strategy `redis`. Not in Kong.
    #[field(typedef = redis, required = false, hidden)]
    redis: Option<Value>,
    /// Whether clients that ask for a range of bytes get just that of what is kept whole. Not in Kong.
    #[field(hidden)]
    ranges: Option<bool>,
    /// Whether a write (a request of a method that is not safe and not kept, and that succeeds) makes invalid what is kept of its
    /// URI, and of those in the response's `Location` and `Content-Location` that have the same origin. Not in Kong.
    #[field(hidden)]
    invalidate: Option<bool>,
    /// How long a stale response is given while one request fetches a new one, in seconds. Not in Kong.
    #[field(hidden, gt = 0)]
    stale_while_revalidate: Option<i64>,
    /// How long a stale response is given where the upstream is out of reach or answers 500, 502, 503 or 504, in seconds.
    /// Not in Kong.
    #[field(hidden, gt = 0)]
    stale_if_error: Option<i64>,
}

#[derive(Record, Deserialize, Clone, Debug)]
struct Memory {
    /// The name of Kong's shared memory; it has no effect but that it must be one of Kong's.
    #[field(default = "kong_db_cache")]
    #[expect(dead_code, reason = "part of the schema")]
    dictionary_name: String,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
struct Shown {
    /// How old the response is, in seconds.
    #[field(default = true)]
    age: Option<bool>,
    /// Whether the response was kept.
    #[field(default = true)]
    #[serde(rename = "X-Cache-Status")]
    status: Option<bool>,
    /// The key that the Admin API knows the response by.
    #[field(default = true)]
    #[serde(rename = "X-Cache-Key")]
    key: Option<bool>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).check(Check::custom(["config"], has_memory))
}

/// One check, as Kong has one: `/schemas` shows it.
fn has_memory(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let memory = entity.get("config").and_then(|config| config.get("memory"));
    let name = memory.and_then(|memory| memory.get("dictionary_name")).and_then(Value::as_str);
    match name {
        Some(name) if !DICTIONARIES.contains(&name) => Err(format!("missing shared dict '{name}'").into()),
        _ => has_redis(entity),
    }
}

/// Strategy `redis` needs a server.
fn has_redis(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let field = |name: &str| entity.get("config").and_then(|config| config.get(name));
    let redis = field("redis").filter(|redis| !redis.is_null());
    let has_server = |redis: &Value| {
        ["host", "sentinel_nodes", "cluster_nodes"].iter().any(|name| redis.get(name).is_some_and(|v| !v.is_null()))
    };
    if field("strategy").is_some_and(|strategy| strategy == "redis") && !redis.is_some_and(has_server) {
        return Err(CheckError::field("config.redis.host", "required field missing"));
    }
    Ok(())
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let shared = match &config.redis {
        Some(redis) if config.strategy == "redis" => Some(InRedis::new(redis_of(DEFINITION.name, redis)?)),
        _ => None,
    };
    let lower = |names: Vec<String>| {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names
    };
    Ok(Arc::new(ProxyCache {
        statuses: config.response_code,
        methods: config.request_method.iter().map(|name| Method::from_name(name)).collect(),
        types: config.content_type.iter().filter_map(|text| MediaType::parse(text.as_bytes())).collect(),
        ttl: config.cache_ttl.and_then(|ttl| ttl.try_into().ok()).unwrap_or(300),
        heeds: config.cache_control,
        ignores_case: config.ignore_uri_case == Some(true),
        storage_ttl: config.storage_ttl,
        vary_query: config.vary_query_params,
        vary_headers: config.vary_headers.map(lower).unwrap_or_default(),
        shown: config.response_headers,
        shared,
        has_ranges: config.ranges == Some(true),
        invalidates: config.invalidate == Some(true),
        revalidates: config.revalidate == Some(true),
        collapses: config.collapse_requests == Some(true),
        stale_while: seconds(config.stale_while_revalidate),
        stale_on_error: seconds(config.stale_if_error),
    }))
}

fn seconds(configured: Option<i64>) -> u64 {
    configured.and_then(|n| n.try_into().ok()).unwrap_or(0)
}

struct ProxyCache {
    statuses: Vec<u16>,
    methods: Vec<Method>,
    types: Vec<MediaType>,
    /// In seconds.
    ttl: u64,
    heeds: bool,
    ignores_case: bool,
    storage_ttl: Option<i64>,
    vary_query: Option<Vec<String>>,
    /// In lower case, sorted.
    vary_headers: Vec<String>,
    shown: Shown,
    /// `None`: responses are kept in this node's memory.
    shared: Option<InRedis>,
    has_ranges: bool,
    invalidates: bool,
    revalidates: bool,
    collapses: bool,
    /// In seconds, as is the next.
    stale_while: u64,
    stale_on_error: u64,
}

/// Where what is kept for a request is to be found.
#[derive(Clone, Copy)]
struct Place {
    key: Key,
    /// Where writes make invalid what is kept: the request's URI.
    uri: Option<Key>,
}

/// What is kept for a request, and the mark of its URI.
struct Found {
    stored: Option<Arc<Stored>>,
    mark: u64,
}

/// A request whose response may be kept.
struct Pending {
    key: Key,
    /// The mark that its URI had when it came.
    mark: u64,
    /// What `X-Cache-Status` says.
    told: &'static str,
    /// What is kept already, but too old.
    stale: Option<Arc<Stored>>,
    /// Whether the upstream is asked if that still holds.
    asks: bool,
    /// Others wait for this.
    flight: Option<Flight>,
    /// The response as far as it is here; `None`: it is not kept.
    taken: Option<Taken>,
}

struct Taken {
    stored: Stored,
    body: BytesMut,
}

impl Plugin for ProxyCache {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let shown = self.shown(cx);
        let asked = if self.heeds { Directives::of(&cx.request.headers) } else { Directives::default() };
        if !self.may_keep_request(cx, &asked) {
            tell(&mut cx.early_headers, shown.status, "X-Cache-Status", "Bypass");
            return Step::Continue;
        }
        let key = key::of(self, cx);
        tell(&mut cx.early_headers, shown.key, "X-Cache-Key", &key::text(&key));
        let (path, query) = (cx.request.path(), cx.request.query().unwrap_or_default());
        let place = Place { key, uri: self.invalidates.then(|| key::of_uri(self, cx, path, query)) };
        match &self.shared {
            Some(shared) => Step::Wait(Box::pin(async move {
                let found = self.find_in(shared, cx, place).await;
                self.decide(cx, place, asked, found).settle().await
            })),
            None => {
                let found = find(cx, place);
                self.decide(cx, place, asked, found)
            }
        }
    }

    fn header_filter(&self, cx: &mut Context) {
        if self.invalidates {
            self.invalidate(cx);
        }
        let Some(pending) = cx.data.get_mut::<Pending>() else { return };
        let (key, asks, stale) = (pending.key, pending.asks, pending.stale.take());
        if let Some(stale) = stale {
            if asks && cx.source == Source::Upstream && cx.response.status == 304 {
                return self.renew(cx, key, &stale);
            }
            if self.helps_out(cx, &stale) {
                let shown = self.shown(cx);
                tell(&mut cx.early_headers, shown.key, "X-Cache-Key", &key::text(&key));
                if asks {
                    // The conditions were this plugin's: the client has nothing.
                    conditions::ask_no_more(&mut cx.request.headers);
                }
                cx.response = self.hit(cx, &stale, "Stale");
                let early = std::mem::take(&mut cx.early_headers);
                cx.response.headers.prepend(&early);
                return;
            }
        }
        let taken = self.take(cx);
        if taken.is_none() {
            let shown = self.shown(cx);
            tell(&mut cx.response.headers, shown.status, "X-Cache-Status", "Bypass");
        }
        if let Some(pending) = cx.data.get_mut::<Pending>() {
            if taken.is_none() {
                // Who waits for it need not wait any longer.
                pending.flight = None;
            }
            pending.taken = taken;
        }
    }

    fn body_filter(&self, cx: &mut Context, chunk: &mut Chunk) {
        // A response without a body has none to keep; as in Kong this goes for HEAD, too.
        let has_body = cx.request.method != Method::Head && Response::may_have_body(cx.response.status);
        let Some(pending) = cx.data.get_mut::<Pending>() else { return };
        let Some(taken) = &mut pending.taken else { return };
        if !has_body || taken.body.len() + chunk.data.len() > store::BODY_MAX {
            pending.taken = None;
            return;
        }
        taken.body.extend_from_slice(&chunk.data);
        if !chunk.is_last {
            return;
        }
        let Some(Taken { mut stored, body }) = pending.taken.take() else { return };
        // In a buffer of its own, so that no more memory is held than is weighed.
        stored.body = Bytes::from(body.to_vec().into_boxed_slice());
        stored.told = pending.told;
        stored.mark = pending.mark;
        let (key, flight) = (pending.key, pending.flight.take());
        self.keep(key, stored, flight);
    }
}

fn tell(headers: &mut Headers, is_shown: Option<bool>, name: &str, value: &str) {
    if is_shown == Some(true) {
        headers.set(name, value.as_bytes());
    }
}

/// The answer out of the memory.
fn answer(stored: &Stored, shown: Shown, now: u64) -> Response {
    let mut response = Response::new(stored.status);
    response.headers = stored.headers.clone();
    response.body = stored.body.clone().into();
    response.is_cached = true;
    tell(&mut response.headers, shown.age, "Age", &stored.age(now).to_string());
    response
}

/// Whether a response may be given although it has been stale for some of these seconds.
fn is_fine_stale(stored: &Stored, most: u64, now: u64) -> bool {
    !stored.must_revalidate && stored.freshness(now).min(0).unsigned_abs() <= most && most > 0
}

/// What this node keeps for a request.
fn find(cx: &Context, place: Place) -> Found {
    let mark = place.uri.as_ref().map_or(0, invalid::mark);
    let stored = store().get(&place.key, &cx.request.headers, cx.shared.clock.now().as_secs());
    Found { stored: stored.filter(|stored| stored.mark == mark), mark }
}

impl ProxyCache {
    /// What Redis keeps for a request.
    async fn find_in(&self, shared: &InRedis, cx: &Context<'_>, place: Place) -> Found {
        let now = cx.shared.clock.now().as_secs();
        let stored = shared.get(&place.key, &cx.request.headers, now);
        let Some(uri) = &place.uri else { return Found { stored: stored.await, mark: 0 } };
        // Asked for first: what is written to meanwhile is not found valid.
        let Some(mark) = shared.mark(uri).await else { return Found { stored: None, mark: 0 } };
        Found { stored: stored.await.filter(|stored| stored.mark == mark), mark }
    }

    /// What becomes of a request for which this is found.
    fn decide<'a>(&'a self, cx: &'a mut Context, place: Place, asked: Directives, found: Found) -> Step<'a> {
        let Found { stored, mark } = found;
        let key = place.key;
        let now = cx.shared.clock.now().as_secs();
        match &stored {
            Some(stored) if self.may_answer(stored, &asked, now) => return Step::exit(self.hit(cx, stored, "Hit")),
            None if asked.only_if_cached => {
                return Step::exit(Response::proxy_error(cx, 504, pdk::default_message(504)));
            }
            _ => {}
        }
        let is_fine =
            |stored: &&Arc<Stored>| is_fine_stale(stored, stored.stale_while.unwrap_or(self.stale_while), now);
        let stale = stored.as_ref().filter(is_fine);
        if !self.collapses && stale.is_none() {
            self.ask(cx, key, Found { stored, mark }, None);
            return Step::Continue;
        }
        match flights::board(&key) {
            Boarding::First(flight) => {
                self.ask(cx, key, Found { stored, mark }, Some(flight));
                Step::Continue
            }
            Boarding::Waiting(landing) => match stale {
                Some(stale) => Step::exit(self.hit(cx, stale, "Stale")),
                None => Step::Wait(Box::pin(async move {
                    flights::wait(&landing).await;
                    let now = cx.shared.clock.now().as_secs();
                    let found = match &self.shared {
                        Some(shared) => self.find_in(shared, cx, place).await,
                        None => find(cx, place),
                    };
                    match &found.stored {
                        Some(stored) if self.may_answer(stored, &asked, now) => {
                            Flow::Exit(Box::new(self.hit(cx, stored, "Hit")))
                        }
                        _ => {
                            self.ask(cx, key, found, None);
                            Flow::Continue
                        }
                    }
                })),
            },
        }
    }

    /// Keeps a response; whoever waits for it goes on when it is kept.
    fn keep(&self, key: Key, stored: Stored, flight: Option<Flight>) {
        let Some(shared) = self.shared.clone() else { return store().put(key, stored) };
        tokio::spawn(async move {
            shared.put(&key, &stored).await;
            drop(flight);
        });
    }

    /// The answer out of the memory, as a client gets it that may have it already.
    fn hit(&self, cx: &mut Context, stored: &Stored, told: &'static str) -> Response {
        let shown = self.shown(cx);
        tell(&mut cx.early_headers, shown.status, "X-Cache-Status", told);
        let response = answer(stored, shown, cx.shared.clock.now().as_secs());
        let may_know = self.revalidates && matches!(cx.request.method, Method::Get | Method::Head);
        if may_know
            && stored.status == 200
            && conditions::is_known(&cx.request.headers, &stored.headers, stored.timestamp)
        {
            return conditions::not_modified(response);
        }
        if self.has_ranges { ranges::cut(&cx.request, &stored.body, response) } else { response }
    }

    /// Lets the request go to the upstream, whose answer may be kept.
    fn ask(&self, cx: &mut Context, key: Key, found: Found, flight: Option<Flight>) {
        let Found { stored: stale, mark } = found;
        let shown = self.shown(cx);
        let told = if stale.is_some() { "Refresh" } else { "Miss" };
        tell(&mut cx.early_headers, shown.status, "X-Cache-Status", told);
        let headers = &mut cx.request.headers;
        let may_ask = self.revalidates && !conditions::is_conditional(headers) && !headers.contains("range");
        let asks = may_ask && stale.as_ref().is_some_and(|stale| conditions::ask(headers, stale));
        cx.data.set(Pending { key, mark, told, stale, asks, flight, taken: None });
    }

    /// The upstream has said that a stale response still holds: it is fresh again, and the answer.
    fn renew(&self, cx: &mut Context, key: Key, stale: &Stored) {
        let shown = self.shown(cx);
        let cache_key = cx.response.headers.get("x-cache-key").map(<[u8]>::to_vec);
        let is_choice_told = keep::upstreams_vary(cx).next().is_some();
        cx.response.headers = conditions::renewed(&stale.headers, &cx.response.headers);
        cx.response.status = stale.status;
        let taken = self.take(cx);
        cx.response.body = stale.body.clone().into();
        if let Some(cache_key) = cache_key {
            cx.response.headers.set("X-Cache-Key", &cache_key);
        }
        tell(&mut cx.response.headers, shown.status, "X-Cache-Status", "Revalidated");
        let Some(pending) = cx.data.get_mut::<Pending>() else { return };
        if let Some(Taken { mut stored, .. }) = taken {
            stored.body = stale.body.clone();
            stored.told = "Revalidated";
            if !is_choice_told {
                stored.chosen_by.clone_from(&stale.chosen_by);
            }
            stored.mark = pending.mark;
            let flight = pending.flight.take();
            self.keep(key, stored, flight);
        } else {
            pending.flight = None;
        }
    }

    /// Whether a stale response is better than what came.
    fn helps_out(&self, cx: &Context, stale: &Stored) -> bool {
        let is_failure = |status: u16| matches!(status, 500 | 502 | 503 | 504);
        let is_error = (cx.source == Source::Error || is_failure(cx.response.status)) && !is_failure(stale.status);
        let most = stale.stale_on_error.unwrap_or(self.stale_on_error);
        is_error && is_fine_stale(stale, most, cx.shared.clock.now().as_secs())
    }

    /// How long a response is kept that is stale.
    fn afterlife(&self, stored: &Stored) -> u64 {
        let to_ask = if self.revalidates { self.ttl } else { 0 };
        let to_help =
            stored.stale_while.unwrap_or(self.stale_while).max(stored.stale_on_error.unwrap_or(self.stale_on_error));
        to_help.max(to_ask)
    }

    /// What the client is told: as configured, or all where it asks with `Kong-Debug`.
    fn shown(&self, cx: &Context) -> Shown {
        if cx.request.headers.contains("kong-debug") {
            return Shown { age: Some(true), status: Some(true), key: Some(true) };
        }
        self.shown
    }

    fn may_answer(&self, stored: &Stored, asked: &Directives, now: u64) -> bool {
        let freshness = stored.freshness(now);
        if !self.heeds {
            // The configuration of today counts, not that of when the response came.
            return freshness >= 0 && now.saturating_sub(stored.timestamp) <= self.ttl;
        }
        let staleness = freshness.min(0).unsigned_abs();
        let is_stale_fine = !stored.must_revalidate && asked.max_stale.is_some_and(|most| staleness <= most);
        asked.max_age.is_none_or(|most| stored.age(now) <= most)
            && asked.min_fresh.is_none_or(|least| freshness >= i64::try_from(least).unwrap_or(i64::MAX))
            && (staleness == 0 && stored.ttl > 0 || is_stale_fine)
    }
}

#[cfg(test)]
mod tests;
