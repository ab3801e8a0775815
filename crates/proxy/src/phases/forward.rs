//! Sends the request upstream and brings back the answer; tries again where that is safe.

use super::balance::{Target, Tries, balance};
use super::{body, upstream_head};
use crate::http::connection::Connection;
use crate::http::h1::body::OnEnd;
use crate::http::h1::client::{Answer, ExchangeError, Outgoing, exchange};
use crate::http::h2::client::Channel;
use crate::pipeline::Exit;
use crate::snapshot::{Destination, Endpoint, ServiceTarget};
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::pool::PoolKey;
use crate::worker::Thread;
use balancer::Pick;
use balancer::health::Report;
use pdk::{Address, Attempt, Body, BodyError, Context, Headers, Method, Response, Source, Upstream, default_message};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What belongs to an upstream's answer beside the response.
#[derive(Default)]
pub(crate) struct Forwarded {
    pub(crate) reason: Vec<u8>,
    /// The upstream's connection, where it was upgraded.
    pub(crate) upgraded: Option<Rc<Connection>>,
    /// Counts as a connection of its address until the answer has been passed on.
    pub(crate) pick: Option<Pick>,
}

/// How a try failed.
struct Failure {
    error: ExchangeError,
    /// Whether any byte of the request may have reached the upstream.
    was_sent: bool,
}

pub(crate) async fn forward(thread: &Thread, endpoint: &Endpoint, cx: &mut Context) -> Result<Forwarded, Exit> {
    cx.timing.access_end = Some(Instant::now());
    let Some(service) = &endpoint.service else {
        return Err(Exit::new(Response::error(cx, 503, "no Service found with those values")));
    };
    let Some(upstream) = cx.upstream.take() else {
        return Err(Exit::new(Response::error(cx, 503, "no Service found with those values")));
    };
    let request_body = match take_body(thread, endpoint, cx).await {
        Ok(body) => body,
        Err(exit) => {
            cx.upstream = Some(upstream);
            return Err(exit);
        }
    };
    let forwarded = with_retries(thread, service, &upstream, request_body, cx).await;
    cx.upstream = Some(upstream);
    forwarded
}

async fn with_retries(
    thread: &Thread,
    service: &ServiceTarget,
    upstream: &Upstream,
    mut request_body: Body,
    cx: &mut Context,
) -> Result<Forwarded, Exit> {
    let mut tries = Tries::default();
    let mut left = service.retries;
    loop {
        let started = Instant::now();
        let is_first = cx.attempts.is_empty();
        let target = balance(&thread.proxy.upstreams, service, cx, &mut tries)
            .await
            .map_err(|none| Exit::error(none.into_response(cx, is_first)))?;
        note_attempt(cx, &target, started);
        // A stream can be sent once only; bytes at hand as often as need be.
        let (this_time, is_repeatable) = match &request_body {
            Body::Empty => (Body::Empty, true),
            Body::Bytes(bytes) => (Body::Bytes(bytes.clone()), true),
            Body::Stream(_) => (std::mem::take(&mut request_body), false),
        };
        let failure = match attempt(thread, service, upstream, cx, &target, this_time).await {
            Ok(answer) => return Ok(accept(cx, answer, target, started)),
            Err(failure) => failure,
        };
        let may_retry = match failure.error {
            ExchangeError::Body(error) => return Err(broken_body(cx, error)),
            ExchangeError::Malformed => false,
            ExchangeError::Closed | ExchangeError::Timeout => {
                !failure.was_sent || (is_repeatable && cx.request.method.is_retried())
            }
        };
        let status = report(cx, &target, failure.error);
        if !may_retry || left == 0 {
            if let Some(pick) = &target.pick {
                tell(pick.report(Report::HttpStatus(status), SystemTime::now()), &target);
            }
            return Err(Exit::error(Response::proxy_error(cx, status, default_message(status))));
        }
        left -= 1;
        tries.note(&target);
    }
}

/// The request's body as it will go out: held whole first where the route asks for that.
async fn take_body(thread: &Thread, endpoint: &Endpoint, cx: &mut Context) -> Result<Body, Exit> {
    let settings = &thread.proxy.settings;
    let mut taken = std::mem::take(&mut cx.request.body);
    if settings.max_body > 0 {
        taken = body::Limited::wrap(taken, settings.max_body);
    }
    if !endpoint.is_grpc {
        let waits = endpoint.route.request_buffering;
        let held = body::hold(&mut taken, settings.body_buffer, waits).await;
        held.map_err(|error| broken_body(cx, error))?;
    }
    cx.received += taken.len().unwrap_or_default();
    Ok(taken)
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

fn note_attempt(cx: &mut Context, target: &Target, started: Instant) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let latency = started.elapsed();
    cx.attempts.push(Attempt {
        address: Address { ip: target.address.ip(), port: target.address.port() },
        started_at: now.saturating_sub(latency),
        balancer_latency: latency,
        failure: None,
    });
}

/// Notes a failed try for the log and for health checks; the status it would end with.
fn report(cx: &mut Context, target: &Target, error: ExchangeError) -> u16 {
    let status = if error == ExchangeError::Timeout { 504 } else { 502 };
    cx.upstream_statuses.push(status);
    if let Some(last) = cx.attempts.last_mut() {
        last.failure = Some(("failed", status));
    }
    let report = if status == 504 { Report::Timeout } else { Report::TcpFailure };
    log::warn!(request_id = cx.request_id(); "upstream {} failed: {error:?}", target.address);
    if let Some(pick) = &target.pick {
        tell(pick.report(report, SystemTime::now()), target);
    }
    status
}

fn tell(change: Option<balancer::health::Change>, target: &Target) {
    if let Some(change) = change {
        let state = if change.is_healthy { "healthy" } else { "unhealthy" };
        log::warn!("target {} is {state} now: {}", target.address, change.reason);
    }
}

/// Takes the upstream's answer into the context. `sent` is when the try that brought it began.
fn accept(cx: &mut Context, answer: Answer, target: Target, sent: Instant) -> Forwarded {
    let now = Instant::now();
    cx.timing.upstream_head = Some(now);
    cx.upstream_statuses.push(answer.status);
    if let Some(pick) = &target.pick {
        let report = if answer.status == 504 { Report::Timeout } else { Report::HttpStatus(answer.status) };
        tell(pick.report(report, SystemTime::now()), &target);
        pick.measured(now.saturating_duration_since(sent), now);
    }
    let mut response = Response::new(answer.status);
    response.headers = answer.headers;
    response.body = answer.body;
    cx.respond(response, Source::Upstream);
    Forwarded { reason: answer.reason, upgraded: answer.upgraded, pick: target.pick }
}

/// One try at one address.
async fn attempt(
    thread: &Thread,
    service: &ServiceTarget,
    upstream: &Upstream,
    cx: &Context,
    target: &Target,
    body: Body,
) -> Result<Answer, Failure> {
    let own = match &service.destination {
        Destination::Upstream(entity) => entity.entity.host_header.as_deref(),
        _ => None,
    };
    let host = upstream_head::host(cx, upstream, own, &target.name, target.address.port());
    let sni: Option<Arc<str>> =
        service.tls.as_ref().map(|_| String::from_utf8_lossy(pdk::host_without_port(&host)).into_owned().into());
    let tls_id = service.tls.as_ref().map(|t| t.id.clone());
    let key = PoolKey { address: target.address, tls: sni.zip(tls_id) };
    if service.scheme.is_grpc() {
        return over_http2(thread, service, upstream, cx, key, &host, body).await;
    }
    let head = upstream_head::http1(&thread.proxy.settings, cx, upstream, &host, &body);
    over_http1(thread, service, cx, key, &head, body).await
}

async fn over_http1(
    thread: &Thread,
    service: &ServiceTarget,
    cx: &Context,
    key: PoolKey,
    head: &[u8],
    body: Body,
) -> Result<Answer, Failure> {
    let is_head = cx.request.method == Method::Head;
    let outgoing = if body.len().is_some() { Outgoing::Plain } else { Outgoing::Chunked };
    // A kept connection may have been closed by the upstream a moment ago: that costs no try, as long as nothing is lost.
    let again = match &body {
        Body::Empty => Some(Body::Empty),
        Body::Bytes(bytes) => Some(Body::Bytes(bytes.clone())),
        Body::Stream(_) => None,
    };
    let mut first = Some(body);
    if !cx.request.is_websocket()
        && (again.is_some() || cx.request.method.is_retried())
        && let Some((conn, requests)) = thread.pool.take(&key)
    {
        let on_end = back_to(thread, &key, requests + 1);
        let body = first.take().unwrap_or_default();
        match exchange(conn, head, body, outgoing, service.patience, is_head, on_end).await {
            Err(ExchangeError::Closed) if again.is_some() && cx.request.method.is_retried() => {
                thread.pool.forget(&key);
                first = again;
            }
            other => return other.map_err(|error| Failure { error, was_sent: true }),
        }
    }
    let conn = open(service, &key).await?;
    let on_end = back_to(thread, &key, 1);
    let body = first.take().unwrap_or_default();
    exchange(Rc::new(conn), head, body, outgoing, service.patience, is_head, on_end)
        .await
        .map_err(|error| Failure { error, was_sent: true })
}

fn back_to(thread: &Thread, key: &PoolKey, requests: u64) -> OnEnd {
    OnEnd { pool: thread.pool.clone(), key: key.clone(), requests }
}

async fn open(service: &ServiceTarget, key: &PoolKey) -> Result<Connection, Failure> {
    let tls = service.tls.as_deref().zip(key.tls.as_ref().map(|(name, _)| &**name));
    connect(key.address, tls, service.connect_timeout).await.map_err(|error| {
        log::warn!("connecting to {}: {error}", key.address);
        let error = if matches!(error, ConnectError::Timeout) { ExchangeError::Timeout } else { ExchangeError::Closed };
        Failure { error, was_sent: false }
    })
}

async fn over_http2(
    thread: &Thread,
    service: &ServiceTarget,
    upstream: &Upstream,
    cx: &Context,
    key: PoolKey,
    host: &[u8],
    body: Body,
) -> Result<Answer, Failure> {
    let kept = thread.pool.channel(&key);
    let channel = match kept {
        Some(channel) if channel.is_open(service.connect_timeout).await => channel,
        _ => {
            thread.pool.drop_channel(&key);
            let conn = open(service, &key).await?;
            let opened = Channel::open(conn, service.connect_timeout).await;
            let channel = opened.map_err(|error| Failure { error, was_sent: false })?;
            thread.pool.keep_channel(key.clone(), channel.clone());
            channel
        }
    };
    let mut path = Vec::new();
    upstream_head::target(&mut path, cx, upstream);
    let scheme = if service.scheme.is_tls() { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    let uri = uri.map_err(|_| Failure { error: ExchangeError::Malformed, was_sent: false })?;
    let mut headers = Headers::new();
    upstream_head::fields(&mut headers, &thread.proxy.settings, cx, upstream);
    let method = upstream.method.as_ref().unwrap_or(&cx.request.method).as_str();
    let answered = channel.exchange(method, uri, &headers, body, service.patience).await;
    answered.map_err(|error| {
        thread.pool.drop_channel(&key);
        Failure { error, was_sent: true }
    })
}
