//! The server side of HTTP/2: streams of a connection, each handled by a task of its own.

use super::body::{StreamBody, send_data};
use super::{PREFACE, Rewound, to_map};
use crate::http::connection::Connection;
use crate::http::date::with_date;
use crate::http::downstream::{BodyLength, ClientGone, Downstream};
use crate::http::idle::Idle;
use crate::http::{Limits, Refusal, Service};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use pdk::{Body, Client, Headers, Method, Request, Span, Version};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How often a connection looks whether it is to end.
const TICK: Duration = Duration::from_secs(1);
/// How many streams a client may reset before we have answered ("rapid reset", CVE-2023-44487).
const PENDING_RESETS: usize = 50;

/// Whether the input begins like HTTP/2: `None` while that is open.
pub(crate) fn is_preface(input: &[u8]) -> Option<bool> {
    let known = input.len().min(PREFACE.len());
    if input[..known] != PREFACE[..known] { Some(false) } else { (known == PREFACE.len()).then_some(true) }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(conn: Connection, mut client: Client, service: Rc<dyn Service>, limits: Rc<Limits>) {
    let (stream, first) = conn.into_stream();
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head.total as u32)
        .max_send_buffer_size(256 * 1024)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_pending_accept_reset_streams(PENDING_RESETS);
    let Ok(Ok(mut conn)) = timeout(limits.head_timeout, builder.handshake(Rewound::new(stream, first))).await else {
        return;
    };
    let active = Rc::new(Cell::new(0_usize));
    let (mut quiet, mut is_ending) = (Duration::ZERO, false);
    loop {
        match timeout(TICK, conn.accept()).await {
            Ok(Some(Ok((request, respond)))) => {
                quiet = Duration::ZERO;
                client.connection_requests += 1;
                let task = stream_task(request, respond, client.clone(), service.clone(), limits.clone());
                active.set(active.get() + 1);
                let active = active.clone();
                tokio::task::spawn_local(async move {
                    task.await;
                    active.set(active.get() - 1);
                });
            }
            Ok(_) => return,
            Err(_) if active.get() == 0 => quiet += TICK,
            Err(_) => quiet = Duration::ZERO,
        }
        let is_spent = client.connection_requests >= limits.requests.max(1);
        if !is_ending && (is_spent || service.is_draining() || quiet >= limits.keep_alive) {
            conn.graceful_shutdown();
            is_ending = true;
        }
    }
}

async fn stream_task(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    client: Client,
    service: Rc<dyn Service>,
    limits: Rc<Limits>,
) {
    let is_head = request.method() == http::Method::HEAD;
    let to = H2Responder {
        respond: Rc::new(RefCell::new(respond)),
        stream: None,
        is_head,
        is_ended: false,
        sent: 0,
        head_size: 0,
        idle: Idle::new(limits.send_timeout),
    };
    match into_request(request, &limits) {
        Ok(request) => service.call(request, client, Downstream::H2(to)).await,
        Err(method) => {
            let request = Request::new(method, Version::Http2, Headers::new(), Span::default(), Span::default());
            let refusal = Refusal { status: 400, message: "Bad request" };
            service.refuse(request, client, refusal, Downstream::H2(to)).await;
        }
    }
}

/// The request in our form; where it is malformed, its method is all that is told of it.
fn into_request(request: http::Request<RecvStream>, limits: &Limits) -> Result<Request, Method> {
    let (parts, stream) = request.into_parts();
    let method = Method::from_name(parts.method.as_str());
    let Some((headers, target, host)) = fields(&parts, limits) else { return Err(method) };
    let length = parts.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
    let mut request = Request::new(method, Version::Http2, headers, target, host);
    request.head_size = request.headers.wire_size() as u64;
    if !stream.is_end_stream() {
        request.body = Body::Stream(Box::pin(StreamBody::new(stream, length, limits.body_timeout)));
    }
    Ok(request)
}

/// The fields in our form, and where target and host stand in them.
fn fields(parts: &http::request::Parts, limits: &Limits) -> Option<(Headers, Span, Span)> {
    let mut headers = Headers::new();
    let authority = parts.uri.authority().map(|a| a.as_str().as_bytes());
    let named = parts.headers.get("host").map(http::HeaderValue::as_bytes);
    let host = authority.or(named)?;
    if !crate::http::head::is_host(host) || authority.is_some_and(|a| named.is_some_and(|n| n != a)) {
        return None;
    }
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let target = if target.starts_with('/') { target } else { "/" };
    crate::http::head::check_escapes(target.as_bytes()).ok()?;
    let target = headers.store(target.as_bytes());
    let host = headers.store(host);
    let name = headers.store(b"host");
    headers.push_parsed(name, host);
    if parts.headers.len() > limits.head.fields {
        return None;
    }
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != "host" && *name != "cookie") {
        headers.append(name.as_str(), value.as_bytes());
    }
    // Clients send cookies one by one, which compresses better; outside of HTTP/2 they are one field (RFC 9113, 8.2.3).
    let cookies: Vec<&[u8]> = parts.headers.get_all("cookie").iter().map(http::HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        headers.append("cookie", &cookies.join(&b"; "[..]));
    }
    Some((headers, target, host))
}

/// Writes one response.
pub struct H2Responder {
    /// Shared with who watches the client until the answer begins.
    respond: Rc<RefCell<SendResponse<Bytes>>>,
    stream: Option<SendStream<Bytes>>,
    is_head: bool,
    is_ended: bool,
    sent: u64,
    head_size: u64,
    /// Each wait for room in the client's windows.
    idle: Idle,
}

impl H2Responder {
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn head_size(&self) -> u64 {
        self.head_size
    }

    pub(crate) fn head(&mut self, status: u16, headers: &Headers, length: BodyLength) -> Result<(), ClientGone> {
        let length = if self.is_head { BodyLength::None } else { length };
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).map_err(|_| ClientGone)?;
        let map = response.headers_mut();
        *map = to_map(headers);
        if let BodyLength::Known(length) = length {
            map.insert(http::header::CONTENT_LENGTH, length.into());
        } else if length == BodyLength::Unknown {
            map.remove(http::header::CONTENT_LENGTH);
        }
        if !map.contains_key(http::header::DATE)
            && let Ok(date) = with_date(http::HeaderValue::from_bytes)
        {
            map.insert(http::header::DATE, date);
        }
        self.head_size = headers.wire_size() as u64;
        self.sent += self.head_size;
        self.is_ended = matches!(length, BodyLength::None | BodyLength::Known(0));
        let sent = self.respond.borrow_mut().send_response(response, self.is_ended);
        self.stream = Some(sent.map_err(|_| ClientGone)?);
        Ok(())
    }

    /// What shows that the client has gone, until the answer begins.
    pub(crate) fn shared(&self) -> Rc<RefCell<SendResponse<Bytes>>> {
        self.respond.clone()
    }

    /// Ready when the client has gone while the answer goes out.
    pub(crate) fn poll_gone(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.stream.as_mut().map_or(Poll::Pending, |stream| stream.poll_reset(task).map(|_| ()))
    }

    pub(crate) fn interim(&mut self, status: u16, headers: &Headers) {
        let Ok(status) = http::StatusCode::from_u16(status) else { return };
        let mut response = http::Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = to_map(headers);
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
        let _ = self.respond.borrow_mut().send_informational(response);
    }

    async fn send(&mut self, data: Bytes, is_last: bool) -> Result<(), ClientGone> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.is_ended) else { return Ok(()) };
        self.sent += data.len() as u64;
        self.is_ended = is_last;
        if data.is_empty() {
            return if is_last { stream.send_data(data, true).map_err(|_| ClientGone) } else { Ok(()) };
        }
        send_data(stream, data, is_last, &mut self.idle).await.map_err(|_| ClientGone)
    }

    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), ClientGone> {
        self.send(data, false).await
    }

    pub(crate) async fn finish(&mut self, last: Bytes, trailers: Option<&Headers>) -> Result<(), ClientGone> {
        let Some(trailers) = trailers else { return self.send(last, true).await };
        self.send(last, false).await?;
        match self.stream.as_mut().filter(|_| !self.is_ended) {
            Some(stream) => {
                self.is_ended = true;
                stream.send_trailers(to_map(trailers)).map_err(|_| ClientGone)
            }
            None => Ok(()),
        }
    }

    pub(crate) fn abort(&mut self) {
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.is_ended) {
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
            self.is_ended = true;
        }
    }
}
