//! One request on its way through the phases: what plugins read and change.

use crate::error::Templates;
use crate::log::{LogField, Text};
use crate::trace::Trace;
use crate::{Clock, Consumers, Format, Headers, Node, Request, Response, Storage, Upstreams, Version};
use entities::{Consumer, Route, Service};
use smallvec::SmallVec;
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How a peer is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    Grpc,
    Grpcs,
    Tcp,
    Tls,
    TlsPassthrough,
    Udp,
}

impl Scheme {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "http" => Self::Http,
            "https" => Self::Https,
            "grpc" => Self::Grpc,
            "grpcs" => Self::Grpcs,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "tls_passthrough" => Self::TlsPassthrough,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsPassthrough => "tls_passthrough",
            Self::Udp => "udp",
        }
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs | Self::Tls)
    }

    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// The port that goes unnamed in a Host field.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http | Self::Grpc => Some(80),
            Self::Https | Self::Grpcs => Some(443),
            _ => None,
        }
    }
}

/// What is known of the TLS session with the client.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name, as OpenSSL writes it.
    pub cipher: String,
    /// The server name the client asked for.
    pub sni: Option<String>,
    /// The client's certificate chain, DER, leaf first.
    pub client_certificates: Vec<Vec<u8>>,
}

/// An address as logs show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub port: u16,
}

/// The other end of the client's connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: of a trusted peer, what it says (`real_ip_header`); else the peer itself.
    pub ip: IpAddr,
    pub port: u16,
    /// The connection's peer (after the PROXY protocol).
    pub peer: SocketAddr,
    /// Whether the peer is in `trusted_ips`.
    pub is_trusted: bool,
    /// The listener's address.
    pub local: SocketAddr,
    /// The listener's port as the outside knows it (`port_maps`).
    pub public_port: u16,
    pub scheme: Scheme,
    pub tls: Option<Rc<TlsInfo>>,
    /// The connection's number: it grows by one with each connection of the process.
    pub connection: u64,
    /// How many requests came over this connection, this one included.
    pub connection_requests: u64,
}

/// Who the client proved to be.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The credential entity's id, or whatever identifies it to its plugin.
    pub id: Rc<str>,
    /// The consumer it belongs to.
    pub consumer_id: Option<Uuid>,
    /// What goes upstream as `X-Credential-Identifier`.
    pub identifier: Option<Rc<str>>,
}

/// Where the response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Upstream,
    /// A plugin's exit or the gateway's own answer.
    Exit,
    /// A plugin's exit with what the upstream said earlier.
    Cache,
    /// An error of the gateway or of the way to the upstream.
    Error,
}

impl Source {
    /// Of a response that a plugin ended the request with.
    pub fn of_exit(response: &Response) -> Self {
        if response.is_cached { Self::Cache } else { Self::Exit }
    }
}

/// The request as it will be sent upstream; plugins of the access phase may change it.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub scheme: Scheme,
    pub method: Option<crate::Method>,
    /// The service's host: a name of an upstream entity, a DNS name or an address.
    pub host: Arc<str>,
    pub port: u16,
    /// The path to send, escaped. [`Context::set_upstream_path`] changes it so that caches tell requests apart by it.
    pub path: Vec<u8>,
    /// The query to send; `None`: as the client sent it.
    pub query: Option<Vec<u8>>,
    /// The Host field to send; `None`: by the rules of router.md section 7.
    pub host_header: Option<Vec<u8>>,
    /// What `X-Forwarded-Prefix` says.
    pub prefix: Option<Vec<u8>>,
}

impl Upstream {
    /// Sends the request to another host: what `kong.service.set_target` does, and `kong.service.set_upstream` where the host
    /// is the name of an upstream entity, whose targets have ports of their own. Without a port the service's stays.
    pub fn set_target(&mut self, host: &Arc<str>, port: Option<u16>) {
        self.host = host.clone();
        self.port = port.unwrap_or(self.port);
    }
}

/// One try to reach the upstream.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub address: Address,
    /// When the balancer began to choose, after the epoch.
    pub started_at: Duration,
    /// How long choosing took.
    pub balancer_latency: Duration,
    /// `failed` (no answer) or `next` (an answer that is tried again), and its status, once this try was given up.
    pub failure: Option<(&'static str, u16)>,
}

/// When the steps of a request happened.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub start: Instant,
    /// When that was, after the epoch.
    pub started_at: Duration,
    /// The access phase has ended: the upstream is contacted, or the response is the gateway's own.
    pub access_end: Option<Instant>,
    /// The upstream's response head is here.
    pub upstream_head: Option<Instant>,
    /// The upstream's body is here.
    pub upstream_end: Option<Instant>,
    /// The last byte went to the client.
    pub end: Option<Instant>,
}

impl Timing {
    /// `start` on both clocks.
    pub fn started((start, started_at): (Instant, Duration)) -> Self {
        Self { start, started_at, access_end: None, upstream_head: None, upstream_end: None, end: None }
    }

    fn ms(from: Instant, to: Instant) -> u64 {
        to.saturating_duration_since(from).as_millis() as u64
    }

    /// Milliseconds the gateway worked before it contacted the upstream (`X-Kong-Proxy-Latency`).
    pub fn proxy_ms(&self) -> u64 {
        self.access_end.map_or(0, |end| Self::ms(self.start, end))
    }

    /// Milliseconds until the upstream's response head (`X-Kong-Upstream-Latency`).
    pub fn upstream_ms(&self) -> Option<u64> {
        Some(Self::ms(self.access_end?, self.upstream_head?))
    }

    /// Milliseconds since the request's start.
    pub fn elapsed_ms(&self, now: Instant) -> u64 {
        Self::ms(self.start, now)
    }

    /// Milliseconds of the whole request.
    pub fn total_ms(&self) -> u64 {
        self.elapsed_ms(self.end.unwrap_or_else(Instant::now))
    }
}

/// Values that a plugin keeps from one phase to another, one of each type.
#[derive(Default)]
pub struct Data(Vec<(TypeId, Box<dyn Any>)>);

impl Data {
    pub fn set<T: Any>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        self.0.retain(|(known, _)| *known != id);
        self.0.push((id, Box::new(value)));
    }

    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find(|(id, _)| *id == TypeId::of::<T>()).and_then(|(_, v)| v.downcast_ref())
    }

    pub fn take<T: Any>(&mut self) -> Option<T> {
        let at = self.0.iter().position(|(id, _)| *id == TypeId::of::<T>())?;
        self.0.swap_remove(at).1.downcast::<T>().ok().map(|value| *value)
    }

    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().find(|(id, _)| *id == TypeId::of::<T>()).and_then(|(_, v)| v.downcast_mut())
    }
}

/// What all requests of a worker and a snapshot share.
pub struct Shared {
    /// Consumers, their groups and credentials.
    pub consumers: Arc<Consumers>,
    /// `error_default_type`.
    pub error_default: Format,
    pub error_templates: Templates,
    pub node: Arc<Node>,
    pub clock: Clock,
    /// Where plugins keep rows.
    pub storage: Arc<dyn Storage>,
    pub upstreams: Arc<dyn Upstreams>,
}

/// Work for the moment before the request goes upstream.
type BeforeUpstream = Box<dyn FnOnce(&mut Context<'_>, &Headers)>;

/// A request with all that belongs to it. `'s` is the life of the configuration that it was routed by: what it meets of that is
/// held once for all, and not counted for each.
pub struct Context<'s> {
    pub request: Request,
    /// The response: whole from the header_filter phase on.
    pub response: Response,
    /// Fields that plugins give the response before there is one; [`respond`](Self::respond) puts them into it.
    pub early_headers: Headers,
    pub client: Client,
    pub route: Option<&'s Arc<Route>>,
    pub service: Option<&'s Arc<Service>>,
    /// Captures of the matched path: by number (`0` is the whole match) and by name.
    pub captures: Vec<(String, String)>,
    /// Where the request goes; set by routing.
    pub upstream: Option<Upstream>,
    pub consumer: Option<Arc<Consumer>>,
    pub credential: Option<Credential>,
    /// Whether a plugin has verified the client's certificate, as logs say; the handshake accepts any.
    pub is_certificate_verified: bool,
    /// Groups that an authentication plugin found outside of the store.
    pub authenticated_groups: Option<Vec<String>>,
    pub data: Data,
    pub timing: Timing,
    pub source: Source,
    /// The tries to reach the upstream so far.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// The statuses the upstream answered, one a try.
    pub upstream_statuses: SmallVec<[u16; 4]>,
    /// The HTTP that the upstream's answer came by.
    pub upstream_version: Option<Version>,
    /// Bytes of the request (head and body) and of the response sent so far.
    pub received: u64,
    pub sent: u64,
    /// What plugins add to the log document.
    pub log_fields: SmallVec<[LogField; 1]>,
    /// What is recorded for traces; `None` for requests that are not recorded.
    pub trace: Option<Box<Trace>>,
    pub shared: Rc<Shared>,
    /// The log document, once it is written.
    pub(crate) log_text: Option<Text>,
    request_id: [u8; 32],
    has_new_path: bool,
    before_upstream: Vec<BeforeUpstream>,
    before_head: Vec<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Context<'_> {
    /// `id` becomes the request id: 32 lower-case hexadecimal digits. `start` is the request's start on both clocks, the second
    /// one after the epoch.
    pub fn new(request: Request, client: Client, shared: Rc<Shared>, id: u128, start: (Instant, Duration)) -> Self {
        let request_id = crate::digits::hex(id);
        Self {
            received: request.head_size,
            request,
            response: Response::default(),
            early_headers: Headers::new(),
            client,
            route: None,
            service: None,
            captures: Vec::new(),
            upstream: None,
            consumer: None,
            credential: None,
            is_certificate_verified: false,
            authenticated_groups: None,
            data: Data::default(),
            timing: Timing::started(start),
            source: Source::Exit,
            attempts: SmallVec::new(),
            upstream_statuses: SmallVec::new(),
            upstream_version: None,
            sent: 0,
            log_fields: SmallVec::new(),
            trace: None,
            shared,
            log_text: None,
            request_id,
            has_new_path: false,
            before_upstream: Vec::new(),
            before_head: Vec::new(),
        }
    }

    pub fn request_id(&self) -> &str {
        std::str::from_utf8(&self.request_id).unwrap_or_default()
    }

    pub fn request_id_bytes(&self) -> &[u8; 32] {
        &self.request_id
    }

    /// Makes this the response. The early fields go before its own; where the response is the gateway's own, its fields
    /// win over early ones of the same name, as `kong.response.exit` overwrites what plugins have set. What comes out of a
    /// cache gives way to them: the early fields are of this request.
    pub fn respond(&mut self, response: Response, source: Source) {
        self.source = source;
        self.response = response;
        if self.early_headers.is_empty() {
            return;
        }
        let mut early = std::mem::take(&mut self.early_headers);
        let is_in = |headers: &Headers, name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| headers.contains(name));
        let own = &mut self.response.headers;
        match source {
            Source::Upstream => {}
            Source::Cache => own.retain(|name, _| !is_in(&early, name)),
            Source::Exit | Source::Error => early.retain(|name, _| !is_in(own, name)),
        }
        own.prepend(&early);
        early.give_back();
    }

    /// Sends the request to another path than routing has chosen.
    pub fn set_upstream_path(&mut self, path: Vec<u8>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.path = path;
            self.has_new_path = true;
        }
    }

    /// The path that a plugin has chosen: it may tell requests apart that route and client's path do not.
    pub fn new_upstream_path(&self) -> Option<&[u8]> {
        self.upstream.as_ref().filter(|_| self.has_new_path).map(|upstream| &*upstream.path)
    }

    /// Has this done when the request is about to go upstream, as all plugins have left it; never, where it ends before. It is
    /// shown the fields that the upstream will get, without `Host` and those of the framing. It may replace the body.
    pub fn before_upstream(&mut self, work: impl FnOnce(&mut Context<'_>, &Headers) + 'static) {
        self.before_upstream.push(Box::new(work));
    }

    /// Whether [`before_upstream`](Self::before_upstream) was given anything.
    pub fn is_awaited_upstream(&self) -> bool {
        !self.before_upstream.is_empty()
    }

    /// Does what [`before_upstream`](Self::before_upstream) was given.
    pub fn show_upstream(&mut self, fields: &Headers) {
        for work in std::mem::take(&mut self.before_upstream) {
            work(self, fields);
        }
    }

    /// Has the response's head wait for this: for what must be done before the client may know of it, in a phase that
    /// cannot wait itself (a session is stored before its cookie is sent).
    pub fn before_head(&mut self, work: impl Future<Output = ()> + 'static) {
        self.before_head.push(Box::pin(work));
    }

    /// Waits for what [`before_head`](Self::before_head) was given.
    pub async fn settle_head(&mut self) {
        for work in std::mem::take(&mut self.before_head) {
            work.await;
        }
    }

    /// Whether the head has anything to wait for.
    pub fn head_waits(&self) -> bool {
        !self.before_head.is_empty()
    }

    /// The scheme the client used: a trusted peer's `X-Forwarded-Proto`, else the connection's.
    pub fn forwarded_scheme(&self) -> &str {
        let told = self.client.is_trusted.then(|| self.request.headers.get_str("x-forwarded-proto")).flatten();
        told.unwrap_or_else(|| self.client.scheme.as_str())
    }

    /// The host the client asked for: a trusted peer's `X-Forwarded-Host`, else Host without its port.
    pub fn forwarded_host(&self) -> Cow<'_, [u8]> {
        let told = self.client.is_trusted.then(|| self.request.headers.get("x-forwarded-host")).flatten();
        told.map_or_else(|| self.request.host_name(), Cow::Borrowed)
    }

    /// Makes the client known by the headers that Kong's authentication plugins set, and removes copies the client sent.
    pub fn authenticate(
        &mut self,
        consumer: Option<Arc<Consumer>>,
        credential: Option<Credential>,
        is_anonymous: bool,
    ) {
        let headers = &mut self.request.headers;
        let mut put = |name: &str, value: Option<&str>| match value {
            Some(value) => headers.set(name, value.as_bytes()),
            None => {
                headers.remove(name);
            }
        };
        let mut id = Uuid::encode_buffer();
        put("X-Consumer-ID", consumer.as_ref().map(|c| &*c.id.hyphenated().encode_lower(&mut id)));
        put("X-Consumer-Custom-ID", consumer.as_ref().and_then(|c| c.custom_id.as_deref()));
        put("X-Consumer-Username", consumer.as_ref().and_then(|c| c.username.as_deref()));
        put("X-Credential-Identifier", credential.as_ref().and_then(|c| c.identifier.as_deref()));
        put("X-Anonymous-Consumer", is_anonymous.then_some("true"));
        self.consumer = consumer;
        self.credential = credential;
    }
}

/// The host of `host[:port]`; brackets of an IPv6 literal stay.
pub fn host_without_port(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        return memchr::memchr(b']', host).map_or(host, |end| &host[..=end]);
    }
    memchr::memchr(b':', host).map_or(host, |at| &host[..at])
}
