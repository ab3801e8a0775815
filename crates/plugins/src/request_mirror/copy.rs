//! A request's copies on their way.

use super::outcome::Outcome;
use super::target::{Room, Target};
use super::tee::Held;
use crate::background;
use crate::post::{self, HttpClient};
use crate::queue::Failure;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderMap};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use pdk::{Headers, Method, Peer, Upstreams};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// An answer is read up to here and thrown away; a longer one costs its connection.
const ANSWER_BYTES: usize = 1 << 20;

/// Fields of a message's framing, and of its connection.
const NOT_COPIED: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "expect",
];

/// The thread that sends; `None` where it could not be started.
static RUNTIME: LazyLock<Option<Handle>> = LazyLock::new(|| background::start("mirror"));

/// How copies are sent.
pub(super) struct Sending {
    pub(super) client: HttpClient,
    pub(super) timeout: Duration,
    pub(super) remove: Vec<HeaderName>,
    pub(super) add: Vec<(HeaderName, HeaderValue)>,
}

/// A request's head as the service gets it.
pub(super) struct Head {
    pub(super) method: Method,
    /// With the query.
    pub(super) path: Vec<u8>,
    pub(super) fields: Headers,
    /// The client's `Host`, where copies have it.
    pub(super) host: Option<Vec<u8>>,
}

/// The way to a target, kept free for a copy.
pub(super) struct Way {
    target: Arc<Target>,
    /// Which target of an upstream entity.
    peer: Option<Peer>,
    _room: Room,
}

impl Way {
    /// `None`: there is to be no copy, which was counted.
    pub(super) fn to(target: &Arc<Target>, upstreams: &dyn Upstreams) -> Option<Self> {
        let way = target
            .enter()
            .ok_or(Outcome::Dropped)
            .and_then(|room| Ok(Self { target: target.clone(), peer: target.peer(upstreams)?, _room: room }));
        way.map_err(Outcome::count).ok()
    }

    async fn go(self, head: Arc<Head>, sending: Arc<Sending>, held: Arc<Held>) {
        let exchange = async {
            let request = head.request(&self, &sending, held.bytes.clone());
            let request = request.ok_or_else(|| Failure::new("the request cannot be written anew".to_owned()))?;
            post::send(&sending.client, request, ANSWER_BYTES).await
        };
        let late = || Err(Failure::new("timeout".to_owned()));
        match timeout(sending.timeout, exchange).await.unwrap_or_else(|_| late()) {
            Ok(_) => {
                self.target.note(None);
                Outcome::Answered.count();
            }
            Err(Failure { reason, .. }) => {
                self.target.note(Some(&reason));
                Outcome::Failed.count();
            }
        }
    }
}

impl Head {
    fn request(&self, way: &Way, sending: &Sending, body: Bytes) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::from_bytes(self.method.as_str().as_bytes()).ok()?;
        *request.uri_mut() = way.target.uri(way.peer.as_ref(), &self.path)?;
        *request.headers_mut() = self.headers(way, sending);
        Some(request)
    }

    fn headers(&self, way: &Way, sending: &Sending) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(self.fields.len() + 4);
        for (name, value) in self.fields.iter() {
            let is_copied = |name: &HeaderName| !NOT_COPIED.contains(&name.as_str()) && !sending.remove.contains(name);
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                && is_copied(&name)
            {
                out.append(name, value);
            }
        }
        let host = self.host.clone().or_else(|| Some(way.target.host_field(way.peer.as_ref()?).into_bytes()));
        if let Some(host) = host.and_then(|host| HeaderValue::from_bytes(&host).ok()) {
            out.insert(HOST, host);
        }
        if let Some(authorization) = &way.target.authorization {
            out.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &sending.add {
            out.insert(name.clone(), value.clone());
        }
        out
    }
}

/// The copies of a request, one a target, which wait for its body.
pub(super) struct Copy {
    pub(super) head: Head,
    pub(super) ways: Vec<Way>,
    pub(super) sending: Arc<Sending>,
}

impl Copy {
    /// Sends the copies with the body, or gives them up.
    pub(super) fn end(self, body: Result<Held, Outcome>) {
        match body {
            Ok(held) => self.send(held),
            Err(outcome) => self.give_up(outcome),
        }
    }

    pub(super) fn send(self, held: Held) {
        let Some(runtime) = &*RUNTIME else { return self.give_up(Outcome::Failed) };
        let (head, held) = (Arc::new(self.head), Arc::new(held));
        for way in self.ways {
            runtime.spawn(way.go(head.clone(), self.sending.clone(), held.clone()));
        }
    }

    pub(super) fn give_up(self, outcome: Outcome) {
        self.ways.iter().for_each(|_| outcome.count());
    }
}
