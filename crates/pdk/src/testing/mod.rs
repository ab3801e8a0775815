//! The plugin harness: a request as text goes through the phases of some plugins; what the upstream saw and what the
//! client got come out as text.
//!
//! The wall clock and tokio's clock stand still unless a test moves them; request ids, ports and addresses are fixed.

mod storage;
mod upstreams;

use crate::log::document;
use crate::{
    Body, Chunk, Client, Clock, Consumers, Context, Definition, Flow, Format, Headers, Instance, LimitedGroup, Method,
    Node, Phases, Plugin, Request, Response, Scheme, Shared, Source, Storage, Upstream, Version,
};
use bytes::Bytes;
use entities::{CaCertificate, Configuration, Plugin as PluginEntity, Route, Service};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

pub use storage::MemoryStorage;
use upstreams::KnownUpstreams;

/// 2026-01-01 00:00:30 UTC: when the clock of a harness stands at first.
pub const START: Duration = Duration::from_secs(1_767_225_630);
/// The id of every request.
pub const REQUEST_ID: &str = "00000000000000000000000000000001";

/// Some plugins on a route, ready to be sent requests.
pub struct Harness {
    plugins: Vec<(&'static Definition, Arc<dyn Plugin>)>,
    configuration: Configuration,
    storage: Arc<MemoryStorage>,
    upstreams: KnownUpstreams,
    shared: Rc<Shared>,
    upstream: String,
    client: Client,
    route: Option<Arc<Route>>,
    service: Option<Arc<Service>>,
    runtime: tokio::runtime::Runtime,
}

/// What came of a request.
pub struct Exchange {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    /// The request the upstream got: its first line, fields and body; `None` where a plugin answered.
    pub upstream: Option<String>,
    /// Where it went: `host:port`, or nothing.
    pub target: String,
    /// The log document.
    pub log: Value,
}

impl Exchange {
    /// Status, fields and body as text.
    pub fn answer(&self) -> String {
        let body = if self.body.is_empty() { String::new() } else { format!("\n{}", self.body) };
        format!("{}\n{}{body}", self.status, lines(&self.headers))
    }

    /// The first value of a field of the answer, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get_str(name).unwrap_or_default()
    }
}

fn lines(headers: &Headers) -> String {
    headers.iter().map(|(n, v)| format!("{}: {}\n", String::from_utf8_lossy(n), String::from_utf8_lossy(v))).collect()
}

/// The config of a plugin with all its defaults, or the error tree of its schema.
pub fn complete(definition: &Definition, config: Value) -> Result<Value, Value> {
    let cx = schema::Context { now: START, random: &|bytes| bytes.fill(7), schemas: &() };
    (definition.schema)().process_config(config, &cx)
}

impl Harness {
    /// One plugin, on the route.
    pub fn new(definition: &'static Definition, config: Value) -> Self {
        Self::of(vec![(definition, config)])
    }

    /// Several plugins, in execution order.
    pub fn of(plugins: Vec<(&'static Definition, Value)>) -> Self {
        Self::with_authorities(&[], plugins)
    }

    /// Several plugins, all of which get these authorities.
    pub fn with_authorities(authorities: &[Arc<CaCertificate>], plugins: Vec<(&'static Definition, Value)>) -> Self {
        Self::made(authorities, &[], plugins)
    }

    /// Several plugins, all of which get these consumer groups.
    pub fn with_groups(groups: &[LimitedGroup], plugins: Vec<(&'static Definition, Value)>) -> Self {
        Self::made(&[], groups, plugins)
    }

    #[expect(clippy::panic, reason = "a test with a wrong config is to fail")]
    fn made(
        authorities: &[Arc<CaCertificate>],
        groups: &[LimitedGroup],
        plugins: Vec<(&'static Definition, Value)>,
    ) -> Self {
        let built = plugins.into_iter().map(|(definition, config)| {
            let config = complete(definition, config).unwrap_or_else(|e| panic!("{}: {e}", definition.name));
            let entity = plugin_entity(definition.name, &config);
            let plugin = (definition.build)(&Instance { entity: &entity, config: &config, authorities, groups });
            (definition, plugin.unwrap_or_else(|e| panic!("{}: {e}", definition.name)))
        });
        let plugins = built.collect();
        let configuration = Configuration::default();
        let storage = Arc::new(MemoryStorage::default());
        let upstreams = KnownUpstreams::default();
        Self {
            plugins,
            shared: Rc::new(shared(&configuration, Clock::stopped(START), storage.clone(), upstreams.clone())),
            configuration,
            storage,
            upstreams,
            upstream: "200\n\n".to_owned(),
            client: client(),
            route: Some(Arc::new(entity(json!({
                "id": Uuid::from_u128(0xa), "name": "r", "created_at": 0, "updated_at": 0, "paths": ["/"],
                "protocols": ["http", "https"], "https_redirect_status_code": 426, "regex_priority": 0, "strip_path": true,
                "path_handling": "v0", "preserve_host": false, "request_buffering": true, "response_buffering": true,
                "service": { "id": Uuid::from_u128(0xb) },
            })))),
            service: Some(Arc::new(service("s"))),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap_or_else(|e| panic!("no runtime: {e}")),
        }
    }

    /// Adds an entity, with its times filled in.
    #[expect(clippy::panic, reason = "a test with a wrong entity is to fail")]
    pub fn with(mut self, kind: &str, mut value: Value) -> Self {
        if let Some(members) = value.as_object_mut() {
            members.entry("created_at").or_insert(0.into());
            members.entry("updated_at").or_insert(0.into());
        }
        self.configuration.set(kind, &value).unwrap_or_else(|e| panic!("{kind}: {e}"));
        self.renewed()
    }

    /// With what all requests share made anew.
    fn renewed(mut self) -> Self {
        let clock = Clock::stopped(self.shared.clock.now());
        self.shared = Rc::new(shared(&self.configuration, clock, self.storage.clone(), self.upstreams.clone()));
        self
    }

    /// Adds an upstream entity, or changes it, with the address of its only target; without one it takes no requests.
    pub fn with_upstream_entity(mut self, name: &str, address: Option<SocketAddr>) -> Self {
        self.upstreams.set(name, address);
        self.renewed()
    }

    /// Adds a consumer whose id is this number.
    pub fn with_consumer(self, id: u128, username: &str) -> Self {
        self.with("consumers", json!({ "id": Uuid::from_u128(id), "username": username }))
    }

    /// What the upstream answers: status, fields, an empty line, body.
    pub fn with_upstream(mut self, answer: &str) -> Self {
        self.upstream = answer.to_owned();
        self
    }

    pub fn with_client(mut self, change: impl FnOnce(&mut Client)) -> Self {
        change(&mut self.client);
        self
    }

    /// Gives the service another name than `s`.
    pub fn with_service_name(mut self, name: &str) -> Self {
        self.service = Some(Arc::new(service(name)));
        self
    }

    /// The route keeps the client's Host.
    pub fn with_preserved_host(mut self) -> Self {
        if let Some(route) = &mut self.route {
            Arc::make_mut(route).preserve_host = true;
        }
        self
    }

    /// Requests match no route.
    pub fn without_route(mut self) -> Self {
        self.route = None;
        self.service = None;
        self
    }

    /// Requests match a route without a service.
    pub fn without_service(mut self) -> Self {
        self.service = None;
        self
    }

    /// What plugins have stored.
    pub fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    /// Forgets an entity that [`with`](Self::with) added.
    pub fn without(mut self, kind: &str, id: u128) -> Self {
        self.configuration.remove(kind, Uuid::from_u128(id));
        self.renewed()
    }

    /// Lets tokio's clock go, as what speaks to real servers needs it.
    pub fn in_real_time(self) -> Self {
        self.runtime.block_on(async { tokio::time::resume() });
        self
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Sends a request: its first line (`GET /path`), fields, an empty line, body.
    pub fn send(&self, request: &str) -> Exchange {
        self.send_with(request, |_| {})
    }

    /// Sends a request whose context is changed before its phases.
    pub fn send_with(&self, request: &str, change: impl FnOnce(&mut Context)) -> Exchange {
        let mut cx = self.context(request);
        change(&mut cx);
        self.runtime.block_on(self.exchange(cx))
    }

    /// Lets what plugins have spawned run for a while of tokio's clock.
    pub fn run_for(&self, time: Duration) {
        self.shared.clock.advance(time);
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    async fn exchange<'s>(&'s self, mut cx: Context<'s>) -> Exchange {
        let mut flow = self.early(&mut cx, Phases::REWRITE).await;
        if matches!(flow, Flow::Continue) {
            cx.route = self.route.as_ref();
            cx.service = self.service.as_ref();
            cx.upstream = self.upstream_of(&cx.request);
            flow = self.early(&mut cx, Phases::ACCESS).await;
        }
        cx.timing.access_end = Some(cx.timing.start);
        let mut seen = None;
        match flow {
            Flow::Exit(response) => {
                let source = Source::of_exit(&response);
                cx.respond(*response, source);
            }
            Flow::Continue => {
                if cx.is_awaited_upstream() {
                    let fields = cx.request.headers.clone();
                    cx.show_upstream(&fields);
                }
                seen = Some(self.seen(&mut cx).await);
                cx.upstream_statuses.push(parse_response(&self.upstream).status);
                cx.timing.upstream_head = Some(cx.timing.start);
                cx.respond(parse_response(&self.upstream), Source::Upstream);
            }
        }
        if let Flow::Exit(response) = self.early(&mut cx, Phases::RESPONSE).await {
            cx.respond(*response, Source::Exit);
        }
        self.each(Phases::HEADER_FILTER, |plugin| plugin.header_filter(&mut cx));
        cx.settle_head().await;
        let body = self.filter_body(&mut cx).await;
        cx.sent = (cx.response.headers.wire_size() + body.len()) as u64;
        cx.timing.upstream_end = cx.timing.upstream_head;
        cx.timing.end = Some(cx.timing.start);
        self.each(Phases::LOG, |plugin| plugin.log(&mut cx));
        let log = document(&mut cx);
        Exchange {
            status: cx.response.status,
            headers: std::mem::take(&mut cx.response.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
            upstream: seen,
            target: cx.upstream.as_ref().map(|to| format!("{}:{}", to.host, to.port)).unwrap_or_default(),
            log,
        }
    }

    /// A request as it is before any phase.
    pub fn context(&self, text: &str) -> Context<'_> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut all = head.lines();
        let (method, target) = all.next().and_then(|l| l.split_once(' ')).unwrap_or(("GET", "/"));
        let mut headers = Headers::new();
        let target = headers.store(target.as_bytes());
        for (name, value) in all.filter_map(|line| line.split_once(':')) {
            headers.append(name, value.trim().as_bytes());
        }
        let host = headers.get("host").unwrap_or(b"h.test").to_vec();
        let host = headers.store(&host);
        if !body.is_empty() && !headers.contains("content-length") && !headers.contains("transfer-encoding") {
            headers.append("Content-Length", body.len().to_string().as_bytes());
        }
        let mut request = Request::new(Method::from_name(method), Version::Http11, headers, target, host);
        request.body = Body::from(body.as_bytes().to_vec());
        request.head_size = head.len() as u64;
        let start = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Context::new(request, self.client.clone(), self.shared.clone(), 1, start)
    }

    /// Where a request goes, as routing says it.
    pub fn upstream_of(&self, request: &Request) -> Option<Upstream> {
        self.service.is_some().then(|| upstream(request))
    }

    /// Runs a phase that may end the request.
    async fn early(&self, cx: &mut Context<'_>, phase: Phases) -> Flow {
        for (_, plugin) in self.plugins.iter().filter(|(d, _)| d.phases.contains(phase)) {
            let step = match phase {
                Phases::REWRITE => plugin.rewrite(cx),
                Phases::ACCESS => plugin.access(cx),
                _ => plugin.response(cx),
            };
            if let Flow::Exit(response) = step.settle().await {
                return Flow::Exit(response);
            }
        }
        Flow::Continue
    }

    fn each(&self, phase: Phases, mut run: impl FnMut(&dyn Plugin)) {
        for (_, plugin) in self.plugins.iter().filter(|(d, _)| d.phases.contains(phase)) {
            run(&**plugin);
        }
    }

    async fn seen(&self, cx: &mut Context<'_>) -> String {
        let body = cx.request.body.collect(usize::MAX).await.unwrap_or_default();
        let (method, path) = match &cx.upstream {
            Some(to) => (to.method.clone().unwrap_or_else(|| cx.request.method.clone()), to.path.clone()),
            None => (cx.request.method.clone(), cx.request.path().to_vec()),
        };
        let mut target = String::from_utf8_lossy(&path).into_owned();
        if let Some(query) = cx.upstream_query().filter(|q| !q.is_empty()) {
            target = format!("{target}?{}", String::from_utf8_lossy(query));
        }
        let mut text = format!("{method} {target}\n");
        if let Some(host) = cx.upstream.as_ref().and_then(|u| u.host_header.as_deref()) {
            text = format!("{text}Host: {}\n", String::from_utf8_lossy(host));
        }
        text += &lines(&cx.request.headers);
        if !body.is_empty() {
            text = format!("{text}\n{}", String::from_utf8_lossy(&body));
        }
        text
    }

    async fn filter_body(&self, cx: &mut Context<'_>) -> Vec<u8> {
        let whole = cx.response.collect(usize::MAX).await.unwrap_or_default();
        let middle = whole.len() / 2;
        let mut out = Vec::new();
        for (data, is_last) in [(whole.slice(..middle), false), (whole.slice(middle..), false), (Bytes::new(), true)] {
            let mut chunk = Chunk { data, is_last };
            self.each(Phases::BODY_FILTER, |plugin| plugin.body_filter(cx, &mut chunk));
            out.extend_from_slice(&chunk.data);
        }
        out
    }
}

fn shared(configuration: &Configuration, clock: Clock, storage: Arc<dyn Storage>, upstreams: KnownUpstreams) -> Shared {
    Shared {
        storage,
        upstreams: Arc::new(upstreams),
        consumers: Arc::new(Consumers::new(configuration)),
        error_default: Format::Plain,
        error_templates: Default::default(),
        node: Arc::new(Node {
            id: Uuid::from_u128(0xe),
            hostname: "node.test".to_owned(),
            version: "1.2.3".to_owned(),
            workspace_id: Uuid::from_u128(0xf),
        }),
        clock,
    }
}

fn client() -> Client {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    Client {
        ip,
        port: 40000,
        peer: SocketAddr::new(ip, 40000),
        is_trusted: false,
        local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
        public_port: 8000,
        scheme: Scheme::Http,
        tls: None,
        connection: 3,
        connection_requests: 1,
    }
}

fn service(name: &str) -> Service {
    entity(json!({
        "id": Uuid::from_u128(0xb), "name": name, "created_at": 0, "updated_at": 0, "host": "up.test", "port": 80,
        "protocol": "http", "retries": 5, "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000,
        "enabled": true,
    }))
}

fn upstream(request: &Request) -> Upstream {
    Upstream {
        scheme: Scheme::Http,
        method: None,
        host: "up.test".into(),
        port: 80,
        path: request.path().to_vec(),
        query: None,
        host_header: None,
        prefix: None,
    }
}

fn parse_response(text: &str) -> Response {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut all = head.lines();
    let mut response = Response::new(all.next().and_then(|s| s.trim().parse().ok()).unwrap_or(200));
    for (name, value) in all.filter_map(|line| line.split_once(':')) {
        response.headers.append(name, value.trim().as_bytes());
    }
    response.body = Body::from(body.as_bytes().to_vec());
    response
}

/// The entity that an instance of a plugin on the harness's route has.
pub fn plugin_entity(name: &str, config: &Value) -> PluginEntity {
    entity(json!({
        "id": Uuid::from_u128(0xd), "name": name, "created_at": 0, "updated_at": 0, "enabled": true, "config": config,
        "protocols": ["grpc", "grpcs", "http", "https"], "route": { "id": Uuid::from_u128(0xa) },
    }))
}

#[expect(clippy::panic, reason = "the harness's own entities are complete")]
fn entity<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}"))
}
