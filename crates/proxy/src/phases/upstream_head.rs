//! The head of a request on its way upstream: what the client sent, less what was meant for us, plus what we know.

use crate::http::head::write_field;
use crate::http::scratch;
use crate::settings::Settings;
use pdk::digits::{LONGEST, address, decimal};
use pdk::{Body, Context, Headers, Scheme, Upstream, host_without_port, is_same_name};
use smallvec::SmallVec;
use std::net::IpAddr;

/// What of the client's fields needs a second look.
#[derive(Default)]
struct Notes<'a> {
    forwarded_for: Option<&'a [u8]>,
    more_forwarded_for: bool,
    forwarded: [Option<&'a [u8]>; 5],
    via: Option<&'a [u8]>,
    wants_trailers: bool,
    had_framing: bool,
}

const PROTO: usize = 0;
const HOST: usize = 1;
const PORT: usize = 2;
const PATH: usize = 3;
const PREFIX: usize = 4;

/// Where the head is written to: HTTP/1 bytes, or fields for HTTP/2.
pub(crate) trait Sink {
    fn field(&mut self, name: &str, value: &[u8]);

    /// Takes the fields that are not left out.
    fn fields<'a>(&mut self, headers: &'a Headers, is_left_out: impl FnMut(&'a [u8], &'a [u8]) -> bool);
}

impl Sink for Vec<u8> {
    // Inlined, a name that is known at compile time is a few stores instead of a call: a head has a dozen of them.
    #[inline(always)]
    fn field(&mut self, name: &str, value: &[u8]) {
        write_field(self, name.as_bytes(), value);
    }

    fn fields<'a>(&mut self, headers: &'a Headers, is_left_out: impl FnMut(&'a [u8], &'a [u8]) -> bool) {
        headers.write_lines(self, is_left_out);
    }
}

impl Sink for Headers {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.append(&name.to_ascii_lowercase(), value);
    }

    fn fields<'a>(&mut self, headers: &'a Headers, mut is_left_out: impl FnMut(&'a [u8], &'a [u8]) -> bool) {
        for (name, value) in headers.iter() {
            if !is_left_out(name, value)
                && let Ok(name) = std::str::from_utf8(name)
            {
                self.field(name, value);
            }
        }
    }
}

/// The whole HTTP/1 head.
pub(crate) fn http1(settings: &Settings, cx: &Context, upstream: &Upstream, host: &[u8], body: &Body) -> Vec<u8> {
    let mut out = scratch::take(512 + cx.request.headers.wire_size());
    let method = upstream.method.as_ref().unwrap_or(&cx.request.method);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    target(&mut out, cx, upstream);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(&mut out, b"Host", host);
    let had_framing = fields(&mut out, settings, cx, upstream);
    match body.len() {
        Some(0) if !had_framing => {}
        Some(length) => {
            out.extend_from_slice(b"Content-Length: ");
            crate::http::h1::server::push_number(&mut out, length);
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if cx.request.is_websocket() {
        out.extend_from_slice(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    } else {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Path and query.
pub(crate) fn target(out: &mut Vec<u8>, cx: &Context, upstream: &Upstream) {
    out.extend_from_slice(&upstream.path);
    if let Some(query) = upstream.query.as_deref().or_else(|| cx.request.query())
        && (!query.is_empty() || upstream.query.is_none())
    {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// All fields but Host, framing and connection. Whether the client's request had a framing of its own.
pub(crate) fn fields(out: &mut impl Sink, settings: &Settings, cx: &Context, upstream: &Upstream) -> bool {
    let mut notes = Notes::default();
    let named = named_by_connection(&cx.request.headers);
    out.fields(&cx.request.headers, |name, value| {
        is_ours(name, value, &mut notes) || named.iter().any(|n| n.eq_ignore_ascii_case(name))
    });
    if notes.wants_trailers || upstream.scheme.is_grpc() {
        out.field("TE", b"trailers");
    }
    forwarded(out, cx, upstream, &notes);
    via(out, settings, cx, notes.via);
    if settings.upstream_request_id {
        out.field("X-Kong-Request-Id", cx.request_id_bytes());
    }
    notes.had_framing
}

/// Names that `Connection` declares hop-by-hop (RFC 9110, 7.6.1).
fn named_by_connection(headers: &Headers) -> SmallVec<[&[u8]; 4]> {
    let options = headers.get_all("connection").flat_map(|v| v.split(|b| *b == b','));
    let known: [&[u8]; 3] = [b"close", b"keep-alive", b"upgrade"];
    options
        .map(<[u8]>::trim_ascii)
        .filter(|o| !o.is_empty() && !known.iter().any(|k| o.eq_ignore_ascii_case(k)))
        .collect()
}

/// Whether a field is not passed on as it is.
fn is_ours<'a>(name: &[u8], value: &'a [u8], notes: &mut Notes<'a>) -> bool {
    let is = |known: &[u8]| is_same_name(name, known);
    match name.len() {
        2 if is(b"te") => notes.wants_trailers |= has_trailers(value),
        3 if is(b"via") => notes.via = notes.via.or(Some(value)),
        4 if is(b"host") => {}
        5 if is(b"proxy") => {}
        6 if is(b"expect") => {}
        7 if is(b"upgrade") => {}
        9 if is(b"x-real-ip") => {}
        10 if is(b"connection") || is(b"keep-alive") => {}
        14 if is(b"content-length") => notes.had_framing = true,
        15 if is(b"x-forwarded-for") => {
            notes.more_forwarded_for = notes.forwarded_for.is_some();
            notes.forwarded_for = notes.forwarded_for.or(Some(value));
        }
        16 if is(b"x-forwarded-host") => notes.forwarded[HOST] = notes.forwarded[HOST].or(Some(value)),
        16 if is(b"x-forwarded-port") => notes.forwarded[PORT] = notes.forwarded[PORT].or(Some(value)),
        16 if is(b"x-forwarded-path") => notes.forwarded[PATH] = notes.forwarded[PATH].or(Some(value)),
        16 if is(b"proxy-connection") => {}
        17 if is(b"x-forwarded-proto") => notes.forwarded[PROTO] = notes.forwarded[PROTO].or(Some(value)),
        17 if is(b"x-kong-request-id") => {}
        17 if is(b"transfer-encoding") => notes.had_framing = true,
        18 if is(b"x-forwarded-prefix") => notes.forwarded[PREFIX] = notes.forwarded[PREFIX].or(Some(value)),
        20 if is(b"x-kong-request-debug") => {}
        24 if is(b"x-kong-request-debug-log") => {}
        26 if is(b"x-kong-request-debug-token") => {}
        _ => return false,
    }
    true
}

fn has_trailers(value: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// `X-Forwarded-*` and `X-Real-IP`: a trusted peer's word stands, anybody else's is replaced.
fn forwarded(out: &mut impl Sink, cx: &Context, upstream: &Upstream, notes: &Notes<'_>) {
    let client = &cx.client;
    let trusted = |at: usize| notes.forwarded[at].filter(|_| client.is_trusted);
    let mut text = SmallVec::<[u8; 64]>::new();
    match notes.forwarded_for {
        Some(first) if !notes.more_forwarded_for => text.extend_from_slice(first),
        Some(_) => text.extend_from_slice(&cx.request.headers.joined("x-forwarded-for").unwrap_or_default()),
        None => {}
    }
    let own = if notes.forwarded_for.is_some() {
        text.extend_from_slice(b", ");
        client.peer.ip()
    } else {
        client.ip
    };
    let own_at = text.len();
    push_ip(&mut text, own);
    out.field("X-Forwarded-For", &text);
    // A trusted peer's empty word means that the field is not sent (as nginx does with empty values).
    let mut tell = |name: &str, value: &[u8]| {
        if !value.is_empty() {
            out.field(name, value);
        }
    };
    tell("X-Forwarded-Proto", trusted(PROTO).unwrap_or(client.scheme.as_str().as_bytes()));
    match trusted(HOST) {
        Some(told) => tell("X-Forwarded-Host", told),
        None => tell("X-Forwarded-Host", &cx.request.host_name()),
    }
    let mut digits = [0; 20];
    tell("X-Forwarded-Port", trusted(PORT).unwrap_or(decimal(client.public_port.into(), &mut digits)));
    tell("X-Forwarded-Path", trusted(PATH).unwrap_or(cx.request.path()));
    if let Some(prefix) = trusted(PREFIX).or(upstream.prefix.as_deref()) {
        tell("X-Forwarded-Prefix", prefix);
    }
    let mut real = text.get(own_at..).unwrap_or_default();
    let mut other = SmallVec::<[u8; 64]>::new();
    if own != client.ip {
        push_ip(&mut other, client.ip);
        real = &other;
    }
    out.field("X-Real-IP", real);
}

/// Writes an address behind the text.
pub(crate) fn push_ip(text: &mut impl Text, ip: IpAddr) {
    text.write(address(ip.to_canonical(), &mut [0; LONGEST]));
}

/// Bytes at whose end more can be put.
pub(crate) trait Text {
    fn write(&mut self, piece: &[u8]);
}

impl Text for Vec<u8> {
    fn write(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

impl Text for SmallVec<[u8; 64]> {
    fn write(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

fn via(out: &mut impl Sink, settings: &Settings, cx: &Context, before: Option<&[u8]>) {
    let mut text = SmallVec::<[u8; 64]>::new();
    if let Some(before) = before {
        text.extend_from_slice(before);
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(cx.request.version.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(settings.server.as_bytes());
    out.field("Via", &text);
}

/// A Host field's value, mostly short enough to need no allocation.
pub(crate) type Host = SmallVec<[u8; 64]>;

/// The Host field: the client's where the route `preserves` it, else what the upstream entity or the target says, with
/// the port unless it is the scheme's own.
pub(crate) fn host(
    cx: &Context,
    upstream: &Upstream,
    preserves: bool,
    own: Option<&str>,
    name: &str,
    port: u16,
) -> Host {
    if let Some(set) = &upstream.host_header {
        return Host::from_slice(set);
    }
    if preserves && !cx.request.host().is_empty() {
        return Host::from_slice(cx.request.host());
    }
    with_port(own.unwrap_or(name), port, upstream.scheme)
}

fn with_port(name: &str, port: u16, scheme: Scheme) -> Host {
    let mut host = Host::from_slice(name.as_bytes());
    let has_port = host_without_port(&host).len() < host.len();
    if scheme.default_port() != Some(port) && !has_port {
        host.push(b':');
        host.extend_from_slice(decimal(port.into(), &mut [0; 20]));
    }
    host
}
