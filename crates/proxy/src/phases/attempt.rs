//! One try of a request at one address: over a kept connection or a new one, by the protocol that the upstream speaks.

use super::balance::Target;
use super::upstream_head;
use crate::http::connection::Connection;
use crate::http::h1::body::OnEnd;
use crate::http::h1::client::{Answer, ExchangeError, Outgoing, Waiting, exchange};
use crate::http::h2::client::{self, Channel, Room};
use crate::http::{Downstream, scratch};
use crate::snapshot::{Destination, Endpoint, ServiceTarget, Terms};
use crate::upstream::channels::{Claim, Opened, Opener, Opening};
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::pool::PoolKey;
use crate::upstream::tls::TlsTarget;
use crate::worker::Thread;
use entities::RetriedFailure;
use pdk::digits::decimal;
use pdk::{Body, Context, Headers, Method, Upstream};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::timeout;

/// What all tries of a request have in common.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) thread: &'a Thread,
    pub(super) endpoint: &'a Endpoint,
    pub(super) service: &'a ServiceTarget,
    pub(super) terms: &'a Terms,
    pub(super) upstream: &'a Upstream,
    /// The request's body is held: it can be sent as often as need be.
    pub(super) is_repeatable: bool,
}

/// How a try failed.
pub(super) struct Failure {
    pub(super) error: ExchangeError,
    /// Whether the upstream may have done something with the request.
    pub(super) was_sent: bool,
}

impl Failure {
    /// Whether it is a reason for another try. `may_repeat`: the request may be sent more than once.
    pub(super) fn is_retried(&self, terms: &Terms, may_repeat: bool) -> bool {
        let kind = match self.error {
            ExchangeError::Malformed | ExchangeError::Body(_) => return false,
            _ if !self.was_sent => RetriedFailure::Connect,
            ExchangeError::Closed | ExchangeError::Refused => RetriedFailure::Reset,
            ExchangeError::Timeout => RetriedFailure::Timeout,
        };
        (may_repeat || !self.was_sent) && terms.retries_failure(kind)
    }
}

/// One try at one address.
struct Try<'a> {
    way: Way<'a>,
    cx: &'a Context<'a>,
    tls: Option<&'a TlsTarget>,
    key: PoolKey,
    host: upstream_head::Host,
}

/// The body is taken once it begins to be sent.
pub(super) async fn attempt(
    way: Way<'_>,
    cx: &Context<'_>,
    target: &Target,
    body: &mut Body,
    to: &mut Downstream,
) -> Result<Answer, Failure> {
    let Way { endpoint, service, upstream, .. } = way;
    let own = match &service.destination {
        Destination::Upstream(entity) => entity.entity.host_header.as_deref(),
        _ => None,
    };
    let host = upstream_head::host(cx, upstream, endpoint.preserves_host(), own, &target.name, target.address.port());
    // An upgrade needs HTTP/1.1.
    let tls = service.tls.as_deref().map(|tls| match &tls.without_http2 {
        Some(without) if cx.request.is_websocket() => &**without,
        _ => tls,
    });
    let sni: Option<Arc<str>> = tls.map(|_| String::from_utf8_lossy(pdk::host_without_port(&host)).into_owned().into());
    let key = PoolKey { address: target.address, tls: sni.zip(tls.map(|t| t.id.clone())) };
    let this = Try { way, cx, tls, key, host };
    if service.is_http2 && !cx.request.is_websocket() {
        // Boxed, as all that not every request does: its future is as large as its largest turn.
        return Box::pin(this.over_http2_alone(body, to)).await;
    }
    if tls.is_some_and(|t| t.without_http2.is_some()) {
        return Box::pin(this.over_either(body, to)).await;
    }
    this.over_http1(Opener::alone(), body, to).await
}

/// The method that the upstream sees: it says whether an answer has a body, and whether a request may be sent again.
pub(super) fn sent_method<'a>(cx: &'a Context, upstream: &'a Upstream) -> &'a Method {
    upstream.method.as_ref().unwrap_or(&cx.request.method)
}

impl Try<'_> {
    /// Over a kept connection or a new one; on a new one HTTP/2 where that was agreed on.
    async fn over_http1(&self, opener: Opener, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let Self { way: Way { thread, terms, upstream, .. }, cx, key, host, .. } = self;
        let head = upstream_head::http1(&thread.proxy.settings, cx, upstream, host, body);
        let method = sent_method(cx, upstream);
        let (is_head, may_upgrade, is_repeated) =
            (*method == Method::Head, cx.request.is_websocket(), terms.repeats(method));
        let outgoing = if body.len().is_some() { Outgoing::Plain } else { Outgoing::Chunked };
        // A kept connection may have been closed by the upstream a moment ago: that costs no try, as long as nothing is
        // lost.
        let again = match &*body {
            Body::Empty => Some(Body::Empty),
            Body::Bytes(bytes) => Some(Body::Bytes(bytes.clone())),
            Body::Stream(_) => None,
        };
        if !may_upgrade
            && (again.is_some() || is_repeated)
            && let Some((conn, requests)) = thread.pool.take(key)
        {
            let on_end = self.back(requests + 1);
            let mut waiting = Waiting { patience: terms.patience, is_head, may_upgrade, to, interims: 0 };
            match exchange(conn, &head, std::mem::take(body), outgoing, &mut waiting, on_end).await {
                // Who has said something was there.
                Err(ExchangeError::Closed) if again.is_some() && is_repeated && waiting.interims == 0 => {
                    thread.pool.forget(key);
                    *body = again.unwrap_or_default();
                }
                other => {
                    scratch::give_back(head);
                    return other.map_err(|error| Failure { error, was_sent: true });
                }
            }
        }
        let conn = match Box::pin(self.open()).await {
            Ok(conn) if conn.speaks_http2() => {
                let room = Box::pin(self.new_channel(conn, opener)).await?;
                return Box::pin(self.over_http2(room, body, to)).await;
            }
            Ok(conn) => {
                opener.end(Opened::Http1);
                conn
            }
            Err(failure) => {
                opener.end(Opened::Failed(failure.error));
                return Err(failure);
            }
        };
        let mut waiting = Waiting { patience: terms.patience, is_head, may_upgrade, to, interims: 0 };
        let body = std::mem::take(body);
        let answered = exchange(Rc::new(conn), &head, body, outgoing, &mut waiting, self.back(1)).await;
        scratch::give_back(head);
        answered.map_err(|error| Failure { error, was_sent: true })
    }

    /// By the protocol that was agreed on, or will be.
    async fn over_either(&self, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let pool = &self.way.thread.pool;
        while !pool.has_seen_http1(&self.key) {
            match pool.channels.claim(&self.key) {
                Claim::Room(room) => return self.over_http2(room, body, to).await,
                Claim::Open(opener) => return self.over_http1(opener, body, to).await,
                Claim::Wait(opening) if self.wait(&opening).await? == Opened::Http1 => break,
                Claim::Wait(_) => {}
            }
        }
        self.over_http1(Opener::alone(), body, to).await
    }

    /// By HTTP/2, whatever the upstream says: gRPC, and `http` services that say so.
    async fn over_http2_alone(&self, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let room = loop {
            match self.way.thread.pool.channels.claim(&self.key) {
                Claim::Room(room) => break room,
                Claim::Wait(opening) => {
                    self.wait(&opening).await?;
                }
                Claim::Open(opener) => match self.open().await {
                    Ok(conn) => break self.new_channel(conn, opener).await?,
                    Err(failure) => {
                        opener.end(Opened::Failed(failure.error));
                        return Err(failure);
                    }
                },
            }
        };
        self.over_http2(room, body, to).await
    }

    /// Waits for a connection that another request opens. Where that fails, it would fail here too.
    async fn wait(&self, opening: &Opening) -> Result<Opened, Failure> {
        let failed = |error| Failure { error, was_sent: false };
        match timeout(self.way.terms.connect_timeout, opening.ended()).await {
            Ok(Opened::Failed(error)) => Err(failed(error)),
            Ok(opened) => Ok(opened),
            Err(_) => Err(failed(ExchangeError::Timeout)),
        }
    }

    fn back(&self, requests: u64) -> OnEnd {
        OnEnd { pool: self.way.thread.pool.clone(), key: self.key.clone(), requests }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let tls = self.tls.zip(self.key.tls.as_ref().map(|(name, _)| &**name));
        connect(self.key.address, tls, self.way.terms.connect_timeout).await.map_err(|error| {
            log::warn!("connecting to {}: {error}", self.key.address);
            let error =
                if matches!(error, ConnectError::Timeout) { ExchangeError::Timeout } else { ExchangeError::Closed };
            Failure { error, was_sent: false }
        })
    }

    /// Makes a channel of a new connection; room for this request comes before those that wait for it.
    async fn new_channel(&self, conn: Connection, opener: Opener) -> Result<Room, Failure> {
        let opened = match Channel::open(conn, self.way.terms.connect_timeout).await {
            Ok(channel) => channel.room().map(|room| (channel, room)).ok_or(ExchangeError::Closed),
            Err(error) => Err(error),
        };
        match opened {
            Ok((channel, room)) => {
                self.way.thread.pool.channels.keep(self.key.clone(), channel);
                opener.end(Opened::Shared);
                Ok(room)
            }
            Err(error) => {
                opener.end(Opened::Failed(error));
                Err(Failure { error, was_sent: false })
            }
        }
    }

    async fn over_http2(&self, room: Room, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let Self { way: Way { thread, service, terms, upstream, is_repeatable, .. }, cx, host, .. } = self;
        let mut path = Vec::new();
        upstream_head::target(&mut path, cx, upstream);
        let scheme = if service.scheme.is_tls() { "https" } else { "http" };
        let uri =
            |path: Vec<u8>| http::Uri::builder().scheme(scheme).authority(host.as_slice()).path_and_query(path).build();
        let uri = uri(path).or_else(|_| {
            // What the client sent may have bytes that HTTP/1 upstreams take as they are, but no URI has.
            let mut path = Vec::new();
            upstream_head::target(&mut path, cx, upstream);
            uri(router::path::escape_upstream(&path).into_owned())
        });
        let uri = uri.map_err(|_| Failure { error: ExchangeError::Malformed, was_sent: false })?;
        let mut headers = Headers::new();
        let had_framing = upstream_head::fields(&mut headers, &thread.proxy.settings, cx, upstream);
        if let Some(length) = body.len()
            && (length > 0 || had_framing)
        {
            headers.append("content-length", decimal(length, &mut [0; 20]));
        }
        let method = sent_method(cx, upstream);
        let is_head = *method == Method::Head;
        let waiting = Waiting { patience: terms.patience, is_head, may_upgrade: false, to, interims: 0 };
        let request = client::request(method.as_str(), uri, &headers);
        let request = request.map_err(|error| Failure { error, was_sent: false })?;
        let answered = room.exchange(request, body, *is_repeatable, waiting).await;
        answered.map_err(|error| Failure { error, was_sent: error != ExchangeError::Refused })
    }
}
