//! Sends the request upstream and brings back the answer; tries again where that is safe.

use super::attempt::{Failure, Way, attempt, sent_method};
use super::balance::{Target, Tries, balance};
use super::body::{self, Held, HoldError};
use super::deadline::{Cut, Deadline};
use super::{request_debug, upstream_head};
use crate::http::Downstream;
use crate::http::connection::Connection;
use crate::http::h1::client::{Answer, ExchangeError};
use crate::pipeline::Exit;
use crate::snapshot::{Destination, Endpoint, Routed, ServiceTarget, Snapshot};
use crate::upstream::names::tell_turn;
use crate::worker::Thread;
use balancer::health::Report;
use balancer::{BreakerState, NewCookie, Pick};
use pdk::{Address, Attempt, Body, BodyError, Context, Headers, Response, Source, default_message};
use std::pin::pin;
use std::rc::Rc;
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
    let mut deadline = Deadline::of(cx.timing.start, terms.limit, to.watch());
    let body = std::mem::take(&mut cx.request.body);
    let request_body = if body.is_stream() {
        let held = deadline.within(Box::pin(take_body(thread, endpoint, cx, body)).as_mut()).await;
        match held.unwrap_or_else(|cut| Err(cut_off(cx, cut))) {
            Ok(held) => {
                began = Instant::now();
                held
            }
            Err(exit) => {
                cx.upstream = Some(upstream);
                return Err(if deadline.is_client_gone() { cut_off(cx, Cut::ClientGone) } else { exit });
            }
        }
    } else {
        Held::from(body)
    };
    cx.received += request_body.len().unwrap_or_default();
    let is_repeatable = request_body.is_repeatable();
    let way = Way { thread, endpoint, service, terms, upstream: &upstream, is_repeatable };
    let mut tries = Tries::default();
    let forwarded = with_retries(way, request_body, began, &mut deadline, &mut tries, cx, to).await;
    cx.upstream = Some(upstream);
    // Where nobody was asked, there is nobody to come back to.
    if let (Err(_), Some(cookie)) = (&forwarded, tries.cookie.filter(|_| !cx.attempts.is_empty())) {
        cx.early_headers.append("Set-Cookie", cookie.header_value().as_bytes());
    }
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
    tries: &mut Tries,
    cx: &mut Context<'_>,
    to: &mut Downstream,
) -> Result<Forwarded, Exit> {
    let Way { thread, service, terms, upstream, is_repeatable, .. } = way;
    if !deadline.allows(Duration::ZERO) {
        return Err(cut_off(cx, Cut::TooLate));
    }
    let mut left = terms.retries;
    // An answer after which the request is tried again, as long as nobody else is asked. Boxed: it is rare.
    let mut answered: Option<Box<Answered>> = None;
    loop {
        let is_first = cx.attempts.is_empty();
        let chosen = deadline.within(pin!(balance(&thread.proxy.upstreams, service, cx, tries))).await;
        let target = match (chosen, answered.take()) {
            (Ok(Ok(target)), None) => target,
            (Ok(Ok(target)), Some(last)) => {
                give_up(cx, last.0.status);
                target
            }
            // The answer that there is, is better than none.
            (_, Some(last)) => return Ok(accept(cx, *last, tries)),
            (Ok(Err(none)), None) => return Err(Exit::error(none.into_response(cx, is_first))),
            (Err(cut), None) => return Err(cut_off(cx, cut)),
        };
        note_attempt(thread, service, cx, &target, started);
        request_debug::enter(cx, "upstream");
        let mut body = request_body.for_try();
        let tried = deadline.within(pin!(attempt(way, cx, &target, &mut body, to))).await;
        let is_blamed = match &tried {
            // It is there, and left the request to another connection.
            Ok(Err(Failure { error: ExchangeError::Refused, .. })) => false,
            Ok(_) => true,
            // A try that had but the rest of the request's time says little of its target.
            Err(_) => terms.limit.is_none_or(|limit| started.elapsed() * 2 >= limit),
        };
        let tried = match tried {
            Ok(tried) => tried,
            Err(Cut::TooLate) => Err(Failure { error: ExchangeError::Timeout, was_sent: true }),
            // What was sent upstream is given up, and says nothing of the target.
            Err(Cut::ClientGone) => return Err(cut_off(cx, Cut::ClientGone)),
        };
        let may_repeat = || is_repeatable && terms.repeats(sent_method(cx, upstream));
        let may_retry = match &tried {
            Ok(answer) => terms.retries_status(answer.status) && may_repeat(),
            Err(failure) => failure.is_retried(terms, may_repeat()),
        };
        let now = Instant::now();
        let status = match &tried {
            Ok(answer) => heard(cx, answer.status, &target, started, now),
            Err(Failure { error: ExchangeError::Body(_), .. }) if deadline.is_client_gone() => {
                return Err(cut_off(cx, Cut::ClientGone));
            }
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
            let waited = deadline.within(Box::pin(tokio::time::sleep(pause)).as_mut()).await;
            waited.map_err(|cut| cut_off(cx, cut))?;
        }
        started = Instant::now();
    }
}

/// The end of a request that is not waited for any more.
pub(super) fn cut_off(cx: &Context, cut: Cut) -> Exit {
    match cut {
        Cut::TooLate => Exit::error(Response::proxy_error(cx, 504, default_message(504))),
        // nginx's own number for it: only logs see it.
        Cut::ClientGone => Exit::error(Response::new(499)),
    }
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
fn accept(cx: &mut Context, (answer, target, now): Answered, tries: &mut Tries) -> Forwarded {
    cx.timing.upstream_head = Some(now);
    let session = || target.pick.as_ref()?.session_cookie(tries.hash).map(Box::new);
    let cookie = tries.cookie.take().or_else(session);
    cx.upstream_version = Some(answer.version);
    let mut response = Response::new(answer.status);
    response.headers = answer.headers;
    response.body = answer.body;
    cx.respond(response, Source::Upstream);
    if let Some(cookie) = cookie {
        set_cookie(&mut cx.response.headers, &cookie);
    }
    Forwarded { reason: answer.reason, upgraded: answer.upgraded, pick: target.pick, room: tries.room.take() }
}

/// Sets the balancer's cookie in place of the upstream's first one of that name, or behind all others.
fn set_cookie(headers: &mut Headers, cookie: &NewCookie) {
    let value = cookie.header_value().into_bytes();
    let is_same =
        |known: &Vec<u8>| known.strip_prefix(cookie.name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
    let mut all: Vec<Vec<u8>> = headers.get_all("set-cookie").map(<[u8]>::to_vec).collect();
    match all.iter_mut().find(|known| is_same(known)) {
        None => headers.append("Set-Cookie", &value),
        Some(own) => {
            *own = value;
            headers.remove("set-cookie");
            all.iter().for_each(|value| headers.append("Set-Cookie", value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::set_cookie;
    use balancer::NewCookie;
    use pdk::Headers;

    #[test]
    fn the_cookie_of_the_balancer_replaces_one_of_its_name_or_comes_last() {
        let cookie = NewCookie { name: "c".into(), value: "v".into(), path: "/".into() };
        let own = "c=v; Path=/; SameSite=Lax; HttpOnly";
        for (before, after) in [
            (&[][..], &[own][..]),
            (&["z=1", "cc=2"], &["z=1", "cc=2", own]),
            (&["c=1"], &[own]),
            (&["a=1", "c=1; Path=/x", "c=2"], &["a=1", own, "c=2"]),
        ] {
            let mut headers = Headers::new();
            before.iter().for_each(|value| headers.append("Set-Cookie", value.as_bytes()));
            set_cookie(&mut headers, &cookie);
            let all: Vec<_> = headers.get_all("set-cookie").map(|v| v.escape_ascii().to_string()).collect();
            assert_eq!(all, after, "{before:?}");
        }
    }
}
