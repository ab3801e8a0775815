//! Sends the request upstream and brings back the answer; tries again where that is safe.

use super::balance::{Target, Tries, balance};
use super::body::{self, Held, HoldError};
use super::deadline::Deadline;
use super::{request_debug, upstream_head};
use crate::http::connection::Connection;
use crate::http::h1::body::OnEnd;
use crate::http::h1::client::{Answer, ExchangeError, Outgoing, Waiting, exchange};
use crate::http::h2::client::Channel;
use crate::http::{Downstream, scratch};
use crate::pipeline::Exit;
use crate::snapshot::{Destination, Endpoint, Routed, ServiceTarget, Snapshot, Terms};
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::names::tell_turn;
use crate::upstream::pool::PoolKey;
use crate::upstream::tls::TlsTarget;
use crate::worker::Thread;
use balancer::health::Report;
use balancer::{BreakerState, Pick};
use entities::RetriedFailure;
use pdk::digits::decimal;
use pdk::{Address, Attempt, Body, BodyError, Context, Headers, Method, Response, Source, Upstream, default_message};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::OwnedSemaphorePermit;

/// What belongs to an upstream's answer beside the response.
#[derive(Default)]
pub(crate) struct Forwarded {
    pub(crate) reason: Vec<u8>,
    /// The upstream's connection, where it was upgraded.
    pub(crate) upgraded: Option<Rc<Connection>>,
    /// Counts as a connection of its address until the answer has been passed on.
    pub(crate) pick: Option<Pick>,
    /// Its room in an upstream that limits how many requests it takes, until then.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// What all tries of a request have in common.
#[derive(Clone, Copy)]
struct Way<'a> {
    thread: &'a Thread,
    endpoint: &'a Endpoint,
    service: &'a ServiceTarget,
    terms: &'a Terms,
    upstream: &'a Upstream,
}

/// How a try failed.
struct Failure {
    error: ExchangeError,
    /// Whether any byte of the request may have reached the upstream.
    was_sent: bool,
}

impl Failure {
    /// Whether it is a reason for another try. `may_repeat`: the request may be sent more than once.
    fn is_retried(&self, terms: &Terms, may_repeat: bool) -> bool {
        let kind = match self.error {
            ExchangeError::Malformed | ExchangeError::Body(_) => return false,
            ExchangeError::Closed | ExchangeError::Timeout if !self.was_sent => RetriedFailure::Connect,
            ExchangeError::Closed => RetriedFailure::Reset,
            ExchangeError::Timeout => RetriedFailure::Timeout,
        };
        (may_repeat || !self.was_sent) && terms.retries_failure(kind)
    }
}

/// An answer, who gave it, and when.
type Answered = (Answer, Target, Instant);

pub(crate) async fn forward(
    thread: &Thread,
    snapshot: &Snapshot,
    Routed { endpoint, service, .. }: Routed<'_>,
    cx: &mut Context<'_>,
    to: &mut Downstream,
) -> Result<Forwarded, Exit> {
    if cx.is_awaited_upstream() && service.is_some() {
        show(thread, cx);
    }
    let mut began = Instant::now();
    cx.timing.access_end = Some(began);
    let Some(service) = service else {
        return Err(Exit::new(Response::error(cx, 503, "no Service found with those values")));
    };
    let Some(upstream) = cx.upstream.take() else {
        return Err(Exit::new(Response::error(cx, 503, "no Service found with those values")));
    };
    let elsewhere = (!service.is_at(&upstream)).then(|| Box::new(service.at(&upstream, &snapshot.upstreams)));
    let service = elsewhere.as_deref().unwrap_or(service);
    // Boxed: few routes have terms of their own.
    let own = endpoint.has_own_terms().then(|| Box::new(service.terms.on(&endpoint.route)));
    let terms = own.as_deref().unwrap_or(&service.terms);
    let mut deadline = Deadline::of(cx.timing.start, terms.limit);
    let body = std::mem::take(&mut cx.request.body);
    let request_body = if body.is_stream() {
        let held = deadline.within(Box::pin(take_body(thread, endpoint, cx, body)).as_mut()).await;
        match held.unwrap_or_else(|| Err(too_late(cx))) {
            Ok(held) => {
                began = Instant::now();
                held
            }
            Err(exit) => {
                cx.upstream = Some(upstream);
                return Err(exit);
            }
        }
    } else {
        Held::from(body)
    };
    cx.received += request_body.len().unwrap_or_default();
    let way = Way { thread, endpoint, service, terms, upstream: &upstream };
    let forwarded = with_retries(way, request_body, began, &mut deadline, cx, to).await;
    cx.upstream = Some(upstream);
    forwarded
}

/// Shows the request's head to plugins that wait for it.
fn show(thread: &Thread, cx: &mut Context) {
    let Some(upstream) = &cx.upstream else { return };
    let mut fields = Headers::new();
    upstream_head::fields(&mut fields, &thread.proxy.settings, cx, upstream);
    cx.show_upstream(&fields);
}

async fn with_retries(
    way: Way<'_>,
    mut request_body: Held,
    mut started: Instant,
    deadline: &mut Deadline,
    cx: &mut Context<'_>,
    to: &mut Downstream,
) -> Result<Forwarded, Exit> {
    let Way { thread, service, terms, upstream, .. } = way;
    if !deadline.allows(Duration::ZERO) {
        return Err(too_late(cx));
    }
    let mut tries = Tries::default();
    let mut left = terms.retries;
    // An answer after which the request is tried again, as long as nobody else is asked. Boxed: it is rare.
    let mut answered: Option<Box<Answered>> = None;
    loop {
        let is_first = cx.attempts.is_empty();
        let chosen = deadline.within(pin!(balance(&thread.proxy.upstreams, service, cx, &mut tries))).await;
        let target = match (chosen, answered.take()) {
            (Some(Ok(target)), None) => target,
            (Some(Ok(target)), Some(last)) => {
                give_up(cx, last.0.status);
                target
            }
            // The answer that there is, is better than none.
            (_, Some(last)) => return Ok(accept(cx, *last, tries)),
            (Some(Err(none)), None) => return Err(Exit::error(none.into_response(cx, is_first))),
            (None, None) => return Err(too_late(cx)),
        };
        note_attempt(thread, service, cx, &target, started);
        request_debug::enter(cx, "upstream");
        // A stream can be sent once only; what is held as often as need be.
        let (mut body, is_repeatable) = request_body.for_try();
        let tried = deadline.within(pin!(attempt(way, cx, &target, &mut body, to))).await;
        // A try that had but the rest of the request's time says little of its target.
        let is_blamed = tried.is_some() || terms.limit.is_none_or(|limit| started.elapsed() * 2 >= limit);
        let tried = tried.unwrap_or(Err(Failure { error: ExchangeError::Timeout, was_sent: true }));
        let may_repeat = || is_repeatable && terms.repeats(sent_method(cx, upstream));
        let may_retry = match &tried {
            Ok(answer) => terms.retries_status(answer.status) && may_repeat(),
            Err(failure) => failure.is_retried(terms, may_repeat()),
        };
        let now = Instant::now();
        let status = match &tried {
            Ok(answer) => heard(cx, answer.status, &target, started, now),
            Err(Failure { error: ExchangeError::Body(error), .. }) => return Err(broken_body(cx, *error)),
            Err(failure) => report(cx, &target, failure.error, is_blamed),
        };
        let pause = (may_retry && left > 0).then(|| terms.pause((terms.retries - left + 1) as usize, fastrand::f64));
        let pause = pause.filter(|pause| deadline.allows(*pause) && is_retry_allowed(&target));
        let Some(pause) = pause else {
            return match tried {
                Ok(answer) => Ok(accept(cx, (answer, target, now), tries)),
                Err(_) => {
                    if let Some(pick) = target.pick.as_ref().filter(|_| is_blamed) {
                        tell(pick.report(Report::HttpStatus(status), SystemTime::now()), &target);
                    }
                    Err(Exit::error(Response::proxy_error(cx, status, default_message(status))))
                }
            };
        };
        left -= 1;
        tries.note(&target);
        match tried {
            Ok(answer) => answered = Some(Box::new((answer, target, now))),
            Err(failure) if !failure.was_sent => request_body.give_back(body),
            Err(_) => {}
        }
        if !pause.is_zero() {
            Box::pin(tokio::time::sleep(pause)).await;
        }
        started = Instant::now();
    }
}

/// The time of the request as a whole is over (`request_timeout`).
fn too_late(cx: &Context) -> Exit {
    Exit::error(Response::proxy_error(cx, 504, default_message(504)))
}

/// Notes for the log that an answer was not taken.
fn give_up(cx: &mut Context, status: u16) {
    if let Some(last) = cx.attempts.last_mut() {
        last.failure = Some(("next", status));
    }
}

/// Whether the upstream's retry budget and its circuit breaker have room for another try.
fn is_retry_allowed(target: &Target) -> bool {
    let Some(pick) = &target.pick else { return true };
    let (upstream, beyond) = (pick.balancer().upstream(), &pick.balancer().settings().beyond);
    let is_open = beyond.breaker.is_some() && upstream.breaker.state() == BreakerState::Open;
    !is_open && beyond.budget.as_ref().is_none_or(|limits| upstream.budget.retry(limits))
}

/// The request's body as it will go out: held whole first where the route asks for that.
async fn take_body(thread: &Thread, endpoint: &Endpoint, cx: &Context<'_>, mut taken: Body) -> Result<Held, Exit> {
    let settings = &thread.proxy.settings;
    if settings.max_body > 0 {
        taken = body::Limited::wrap(taken, settings.max_body);
    }
    if endpoint.is_grpc() {
        return Ok(Held::Once(taken));
    }
    let waits = endpoint.route.request_buffering;
    body::hold(taken, settings.body_buffer, waits, &settings.spool).await.map_err(|error| match error {
        HoldError::Body(error) => broken_body(cx, error),
        HoldError::File(error) => {
            log::error!("a request's body cannot be buffered in {}: {error}", settings.spool.display());
            Exit::error(Response::proxy_error(cx, 500, default_message(500)))
        }
    })
}

fn broken_body(cx: &Context, error: BodyError) -> Exit {
    let status = match error {
        BodyError::TooLarge => 413,
        BodyError::Malformed => 400,
        BodyError::Timeout => 408,
        BodyError::Closed => 400,
    };
    Exit::error(Response::proxy_error(cx, status, default_message(status)))
}

fn note_attempt(thread: &Thread, service: &ServiceTarget, cx: &mut Context, target: &Target, started: Instant) {
    // Where there is nothing to choose from, it took no time.
    let is_fixed = matches!(service.destination, Destination::Address(_));
    if let Some(trace) = &mut cx.trace {
        trace.note_peer(&target.name);
    }
    cx.attempts.push(Attempt {
        address: Address { ip: target.address.ip(), port: target.address.port() },
        started_at: thread.wall_time(started),
        balancer_latency: if is_fixed { Duration::ZERO } else { started.elapsed() },
        failure: None,
    });
}

/// Notes a failed try for the log and, where the target is to blame, for health checks; the status it would end with.
fn report(cx: &mut Context, target: &Target, error: ExchangeError, is_blamed: bool) -> u16 {
    let status = if error == ExchangeError::Timeout { 504 } else { 502 };
    cx.upstream_statuses.push(status);
    if let Some(last) = cx.attempts.last_mut() {
        last.failure = Some(("failed", status));
    }
    let report = if status == 504 { Report::Timeout } else { Report::TcpFailure };
    log::warn!(request_id = cx.request_id(); "upstream {} failed: {error:?}", target.address);
    if let Some(pick) = target.pick.as_ref().filter(|_| is_blamed) {
        tell(pick.report(report, SystemTime::now()), target);
        count(pick, true);
    }
    status
}

/// Counts a try for outlier detection and the circuit breaker.
fn count(pick: &Pick, is_failure: bool) {
    let beyond = &pick.balancer().settings().beyond;
    if beyond.outliers.is_none() && beyond.breaker.is_none() {
        return;
    }
    let name = &pick.balancer().settings().name;
    let ended = pick.ended(is_failure, Instant::now());
    if let Some(turn) = &ended.turn {
        tell_turn(name, turn);
    }
    if let Some(state) = ended.circuit {
        log::warn!("upstream {name}: the circuit is {} now", state.name());
    }
}

fn tell(change: Option<balancer::health::Change>, target: &Target) {
    if let Some(change) = change {
        let state = if change.is_healthy { "healthy" } else { "unhealthy" };
        log::warn!("target {} is {state} now: {}", target.address, change.reason);
    }
}

/// Notes an answer for the log and for health checks; its status. `sent` is when the try that brought it began.
fn heard(cx: &mut Context, status: u16, target: &Target, sent: Instant, now: Instant) -> u16 {
    cx.upstream_statuses.push(status);
    if let Some(pick) = &target.pick {
        let report = if status == 504 { Report::Timeout } else { Report::HttpStatus(status) };
        tell(pick.report(report, SystemTime::now()), target);
        pick.measured(now.saturating_duration_since(sent), now);
        count(pick, status >= 500);
    }
    status
}

/// Takes the upstream's answer into the context.
fn accept(cx: &mut Context, (answer, target, now): Answered, tries: Tries) -> Forwarded {
    cx.timing.upstream_head = Some(now);
    if let Some(cookie) = target.pick.as_ref().and_then(|pick| pick.session_cookie(tries.hash)) {
        cx.early_headers.append("Set-Cookie", cookie.header_value().as_bytes());
    }
    cx.upstream_version = Some(answer.version);
    let mut response = Response::new(answer.status);
    response.headers = answer.headers;
    response.body = answer.body;
    cx.respond(response, Source::Upstream);
    Forwarded { reason: answer.reason, upgraded: answer.upgraded, pick: target.pick, room: tries.room }
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
async fn attempt(
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
    if service.scheme.is_grpc() {
        // Boxed, as all that not every request does: its future is as large as its largest turn.
        return Box::pin(this.over_grpc(body, to)).await;
    }
    if tls.is_some_and(|t| t.without_http2.is_some())
        && let Some(channel) = Box::pin(this.kept_channel()).await
    {
        return Box::pin(this.over_http2(channel, body, to)).await;
    }
    this.over_http1(body, to).await
}

/// The method that the upstream sees: it says whether an answer has a body, and whether a request may be sent again.
fn sent_method<'a>(cx: &'a Context, upstream: &'a Upstream) -> &'a Method {
    upstream.method.as_ref().unwrap_or(&cx.request.method)
}

impl Try<'_> {
    /// Over a kept connection or a new one; on a new one HTTP/2 where that was agreed on.
    async fn over_http1(&self, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
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
            let waiting = Waiting { patience: terms.patience, is_head, may_upgrade, to };
            match exchange(conn, &head, std::mem::take(body), outgoing, waiting, on_end).await {
                Err(ExchangeError::Closed) if again.is_some() && is_repeated => {
                    thread.pool.forget(key);
                    *body = again.unwrap_or_default();
                }
                other => {
                    scratch::give_back(head);
                    return other.map_err(|error| Failure { error, was_sent: true });
                }
            }
        }
        let conn = Box::pin(self.open()).await?;
        if conn.speaks_http2() {
            let channel = Box::pin(self.new_channel(conn)).await?;
            return Box::pin(self.over_http2(channel, body, to)).await;
        }
        let waiting = Waiting { patience: terms.patience, is_head, may_upgrade, to };
        let body = std::mem::take(body);
        let answered = exchange(Rc::new(conn), &head, body, outgoing, waiting, self.back(1)).await;
        scratch::give_back(head);
        answered.map_err(|error| Failure { error, was_sent: true })
    }

    async fn over_grpc(&self, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let channel = match self.kept_channel().await {
            Some(channel) => channel,
            None => self.new_channel(self.open().await?).await?,
        };
        self.over_http2(channel, body, to).await
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

    async fn kept_channel(&self) -> Option<Channel> {
        let channel = self.way.thread.pool.channel(&self.key)?;
        if channel.is_open(self.way.terms.connect_timeout).await {
            return Some(channel);
        }
        self.way.thread.pool.drop_channel(&self.key);
        None
    }

    async fn new_channel(&self, conn: Connection) -> Result<Channel, Failure> {
        let opened = Channel::open(conn, self.way.terms.connect_timeout).await;
        let channel = opened.map_err(|error| Failure { error, was_sent: false })?;
        self.way.thread.pool.keep_channel(self.key.clone(), channel.clone());
        Ok(channel)
    }

    async fn over_http2(&self, channel: Channel, body: &mut Body, to: &mut Downstream) -> Result<Answer, Failure> {
        let Self { way: Way { thread, service, terms, upstream, .. }, cx, key, host, .. } = self;
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
        let waiting = Waiting { patience: terms.patience, is_head, may_upgrade: false, to };
        let answered = channel.exchange(method.as_str(), uri, &headers, std::mem::take(body), waiting).await;
        answered.map_err(|error| {
            if error != ExchangeError::Timeout && !matches!(error, ExchangeError::Body(_)) {
                thread.pool.drop_channel(key);
            }
            Failure { error, was_sent: true }
        })
    }
}
