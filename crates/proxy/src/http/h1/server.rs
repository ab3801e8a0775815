//! The server side: one connection, request after request.

use super::body::{Payload, RequestBody};
use crate::http::chunked;
use crate::http::connection::Connection;
use crate::http::date::with_date;
use crate::http::downstream::{BodyLength, ClientGone, Downstream};
use crate::http::h2::is_connection_field;
use crate::http::head::{self, Framing, HeadError, RequestHead, write_field};
use crate::http::{Limits, Refusal, Service, scratch};
use bytes::Buf;
use pdk::digits::decimal;
use pdk::{Body, Client, Headers, Method, Version};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body nobody read is read away so that the connection can go on.
const DISCARD: u64 = 256 * 1024;
/// How long a closing connection listens on, so that the client sees the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);

/// What the responder tells the connection's loop.
#[derive(Default)]
struct Turn {
    /// The answer has gone out whole and the connection may go on.
    reusable: Cell<bool>,
    /// The connection belongs to a tunnel now.
    upgraded: Cell<bool>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(conn: Rc<Connection>, mut client: Client, service: Rc<dyn Service>, limits: Rc<Limits>) {
    let turn = Rc::new(Turn::default());
    for served in 1.. {
        client.connection_requests = served;
        let head = match next_head(&conn, &limits, served == 1).await {
            Ok(Some(head)) => head,
            Ok(None) => break,
            Err(error) => {
                Box::pin(refuse(&conn, error, &client, &service, &limits)).await;
                return Box::pin(linger(&conn)).await;
            }
        };
        let keep_alive = head.keep_alive && served < limits.requests && !service.is_draining();
        let payload = (head.framing != Framing::None)
            .then(|| Rc::new(RefCell::new(Payload::new(conn.clone(), head.framing, limits.body_timeout))));
        let mut to = H1Responder::new(conn.clone(), &head, keep_alive, turn.clone(), limits.send_timeout);
        to.request_body.clone_from(&payload);
        let mut request = head.request;
        turn.reusable.set(false);
        if let Some(payload) = &payload {
            request.body = Body::Stream(Box::pin(RequestBody::new(payload.clone(), head.expects_continue)));
        }
        service.call(request, client.clone(), Downstream::H1(to)).await;
        if turn.upgraded.get() {
            return;
        }
        let is_read = payload.as_ref().is_none_or(|p| p.borrow().is_done());
        if !turn.reusable.get() && is_read {
            break;
        }
        if let Some(payload) = payload
            && !is_read
        {
            let is_beyond = payload.borrow().is_beyond(head.expects_continue, DISCARD);
            if is_beyond || !turn.reusable.get() || !Box::pin(discard(&payload)).await {
                return Box::pin(linger(&conn)).await;
            }
        }
        conn.rest();
    }
    let _ = conn.shutdown().await;
}

/// Reads away the rest of a body that nobody wanted; whether its end came within bounds.
async fn discard(payload: &Rc<RefCell<Payload>>) -> bool {
    let all = async {
        let mut read = 0;
        while read < DISCARD && !payload.borrow().is_done() {
            match std::future::poll_fn(|task| payload.borrow_mut().poll(task)).await {
                Some(Ok(pdk::Frame::Data(data))) => read += data.len() as u64,
                Some(Ok(pdk::Frame::Trailers(_))) | None => return true,
                Some(Err(_)) => return false,
            }
        }
        payload.borrow().is_done()
    };
    timeout(LINGER, all).await.unwrap_or(false)
}

/// Closes our side and swallows what the client still sends, bounded in time and bytes.
async fn linger(conn: &Connection) {
    let swallow = async {
        let _ = conn.shutdown().await;
        let mut swallowed = 0;
        while swallowed < DISCARD as usize {
            match conn.fill(0).await {
                Ok(count) if count > 0 => {
                    swallowed += count;
                    conn.input().clear();
                }
                _ => break,
            }
        }
    };
    let _ = timeout(LINGER, swallow).await;
}

/// The next request head; `None` where the client closed or stayed silent.
async fn next_head(conn: &Connection, limits: &Limits, is_first: bool) -> Result<Option<RequestHead>, HeadError> {
    if conn.input().is_empty() {
        let patience = if is_first { limits.head_timeout } else { limits.keep_alive };
        conn.set_waiting(true);
        match conn.within(patience, conn.fill(0)).await {
            Ok(Ok(count)) if count > 0 => conn.set_waiting(false),
            _ => return Ok(None),
        }
    }
    if let Some(head) = parse(conn, limits)? {
        return Ok(Some(head));
    }
    let whole = Box::pin(async {
        loop {
            match conn.fill(0).await {
                Ok(count) if count > 0 => {}
                _ => return Ok(None),
            }
            if let Some(head) = parse(conn, limits)? {
                return Ok(Some(head));
            }
        }
    });
    timeout(limits.head_timeout, whole).await.unwrap_or(Ok(None))
}

fn parse(conn: &Connection, limits: &Limits) -> Result<Option<RequestHead>, HeadError> {
    let mut input = conn.input();
    // Empty lines before a request are skipped (RFC 9112, 2.2).
    while input.starts_with(b"\r\n") {
        input.advance(2);
    }
    if input.is_empty() || input.as_ref() == b"\r" {
        return Ok(None);
    }
    let Some(end) = head::find_end(&input, &limits.head)? else { return Ok(None) };
    let head = head::parse_request(&input[..end], &limits.head)?;
    input.advance(end);
    Ok(Some(head))
}

/// Answers a request without TLS on a port that asks for it (nginx's 497).
pub(crate) async fn refuse_plain(conn: &Rc<Connection>, client: &Client, service: &Rc<dyn Service>, limits: &Limits) {
    let _ = timeout(limits.head_timeout, conn.fill(0)).await;
    send_refusal(conn, Refusal { status: 497, message: "" }, client, service, limits).await;
    linger(conn).await;
}

async fn refuse(conn: &Rc<Connection>, error: HeadError, client: &Client, service: &Rc<dyn Service>, limits: &Limits) {
    let (status, message) = match error {
        HeadError::Malformed => (400, "Bad request"),
        HeadError::FieldsTooLarge => (400, "Request header or cookie too large"),
        HeadError::UriTooLong => (414, "URI too long"),
        HeadError::Version => (505, ""),
        HeadError::Coding => (501, ""),
    };
    send_refusal(conn, Refusal { status, message }, client, service, limits).await;
}

async fn send_refusal(
    conn: &Rc<Connection>,
    refusal: Refusal,
    client: &Client,
    service: &Rc<dyn Service>,
    limits: &Limits,
) {
    let request = head::understood(&conn.input(), &limits.head);
    let to = H1Responder {
        conn: conn.clone(),
        version: request.version,
        is_head: request.method == Method::Head,
        keep_alive: false,
        turn: Rc::default(),
        request_body: None,
        expects_continue: false,
        mode: Mode::None,
        out: Vec::with_capacity(512),
        patience: limits.send_timeout,
        sent_before: conn.sent(),
        head_size: 0,
        is_broken: false,
    };
    service.refuse(request, client.clone(), refusal, Downstream::H1(to)).await;
}

enum Mode {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// Writes one response.
pub struct H1Responder {
    conn: Rc<Connection>,
    version: Version,
    is_head: bool,
    keep_alive: bool,
    turn: Rc<Turn>,
    /// What may still come of the request.
    request_body: Option<Rc<RefCell<Payload>>>,
    expects_continue: bool,
    mode: Mode,
    /// What is to be sent next.
    out: Vec<u8>,
    patience: Duration,
    sent_before: u64,
    head_size: u64,
    /// A write stopped in the middle: whatever came behind it would be taken for its rest.
    is_broken: bool,
}

impl H1Responder {
    fn new(conn: Rc<Connection>, head: &RequestHead, keep_alive: bool, turn: Rc<Turn>, patience: Duration) -> Self {
        Self {
            version: head.request.version,
            is_head: head.request.method == Method::Head,
            keep_alive,
            turn,
            request_body: None,
            expects_continue: head.expects_continue,
            mode: Mode::None,
            out: Vec::new(),
            patience,
            sent_before: conn.sent(),
            head_size: 0,
            is_broken: false,
            conn,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn connection(&self) -> Rc<Connection> {
        self.conn.clone()
    }

    /// Whether the request's body is known to leave the connection of no more use: the answer must say so.
    fn is_last(&self) -> bool {
        self.request_body.as_ref().is_some_and(|body| body.borrow().is_beyond(self.expects_continue, DISCARD))
    }

    pub(crate) fn head_size(&self) -> u64 {
        self.head_size
    }

    pub(crate) fn sent(&self) -> u64 {
        self.conn.sent() - self.sent_before + self.out.len() as u64
    }

    pub(crate) fn head(&mut self, status: u16, reason: &[u8], headers: &Headers, length: BodyLength) {
        let length = if self.is_head { BodyLength::None } else { length };
        self.mode = match length {
            BodyLength::None => Mode::None,
            BodyLength::Known(length) => Mode::Length(length),
            BodyLength::Unknown if self.version == Version::Http11 => Mode::Chunked,
            BodyLength::Unknown => Mode::Close,
        };
        self.keep_alive &= !matches!(self.mode, Mode::Close) && !self.is_last();
        scratch::give_back(std::mem::replace(&mut self.out, scratch::take(256 + headers.wire_size())));
        let out = &mut self.out;
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(if reason.is_empty() { standard_reason(status).as_bytes() } else { reason });
        out.extend_from_slice(b"\r\n");
        let mut has_date = false;
        headers.write_lines(out, |name, _| match name.len() {
            4 => {
                has_date |= name.eq_ignore_ascii_case(b"date");
                false
            }
            10 if name.eq_ignore_ascii_case(b"connection") => status != 101,
            10 => name.eq_ignore_ascii_case(b"keep-alive"),
            14 => length != BodyLength::None && name.eq_ignore_ascii_case(b"content-length"),
            17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
            _ => false,
        });
        if !has_date {
            with_date(|date| write_field(out, b"Date", date));
        }
        match self.mode {
            Mode::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                push_number(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Mode::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Mode::None | Mode::Close => {}
        }
        if status != 101 {
            out.extend_from_slice(if self.keep_alive {
                b"Connection: keep-alive\r\n"
            } else {
                b"Connection: close\r\n"
            });
        }
        out.extend_from_slice(b"\r\n");
        self.head_size = out.len() as u64;
    }

    pub(crate) async fn interim(&mut self, status: u16, headers: &Headers) {
        if self.is_broken {
            return;
        }
        let mut out = Vec::with_capacity(64 + headers.wire_size());
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(&mut out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(standard_reason(status).as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| is_of_interim(name)) {
            write_field(&mut out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        let written = self.conn.within(self.patience, self.conn.write_all(&out, &[])).await;
        self.is_broken |= !matches!(written, Ok(Ok(())));
        // It is not a part of the answer, whose bytes logs count.
        self.sent_before += out.len() as u64;
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), ClientGone> {
        if self.is_broken {
            return Err(ClientGone);
        }
        let written = self.conn.within(self.patience, self.conn.write_all(&self.out, data)).await;
        self.out.clear();
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(ClientGone) }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.write(&[]).await
    }

    /// Puts a piece of the body behind what waits in `out`; what must be written from elsewhere comes back.
    fn frame<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        match &mut self.mode {
            Mode::None => &[],
            Mode::Length(left) => {
                // More than was announced would be taken for the next answer.
                let data = &data[..data.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
                *left -= data.len() as u64;
                data
            }
            Mode::Chunked => {
                if !data.is_empty() {
                    chunked::write_size(&mut self.out, data.len());
                }
                data
            }
            Mode::Close => data,
        }
    }

    pub(crate) async fn data(&mut self, data: &[u8]) -> Result<(), ClientGone> {
        let data = self.frame(data);
        if matches!(self.mode, Mode::Chunked) && !data.is_empty() {
            self.write(data).await?;
            // The chunk's line end goes out with what comes next.
            self.out.extend_from_slice(b"\r\n");
            return Ok(());
        }
        self.write(data).await
    }

    pub(crate) async fn finish(&mut self, last: &[u8], trailers: Option<&Headers>) -> Result<(), ClientGone> {
        let last = self.frame(last);
        if matches!(self.mode, Mode::Chunked) {
            if !last.is_empty() {
                self.out.extend_from_slice(last);
                self.out.extend_from_slice(b"\r\n");
            }
            chunked::write_end(&mut self.out, trailers);
            self.flush().await?;
        } else if last.len() <= 4096 {
            self.out.extend_from_slice(last);
            self.flush().await?;
        } else {
            self.write(last).await?;
        }
        scratch::give_back(std::mem::take(&mut self.out));
        // A body shorter than announced must not look complete.
        let is_whole = !matches!(self.mode, Mode::Length(left) if left > 0);
        self.turn.reusable.set(self.keep_alive && is_whole);
        Ok(())
    }

    pub(crate) fn abort(&mut self) {
        self.keep_alive = false;
        self.turn.reusable.set(false);
    }

    pub(crate) fn upgrade(&mut self) -> Rc<Connection> {
        self.turn.upgraded.set(true);
        self.conn.clone()
    }
}

/// An interim answer has no body and nothing to say about the connection.
fn is_of_interim(name: &[u8]) -> bool {
    !is_connection_field(name) && !name.eq_ignore_ascii_case(b"content-length")
}

pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    out.extend_from_slice(decimal(number, &mut digits));
}

/// The reason phrase of a status (RFC 9110, 15).
pub(crate) fn standard_reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default()
}
