//! Finds the route, checks the protocol, and works out where the request goes.

use super::header_filter::debug_headers;
use super::request_debug;
use crate::pipeline::Exit;
use crate::snapshot::{Endpoint, Routed, ServiceTarget, Snapshot};
use crate::worker::Thread;
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Headers, Method, Request, Response, Scheme, Upstream, Version};
use router::{Fields, Match, Protocol, Query, path};
use std::borrow::Cow;
use std::net::SocketAddr;

/// What of a request is routed by.
pub(crate) struct RequestFields<'a> {
    request: &'a Request,
    limit: usize,
}

impl<'a> RequestFields<'a> {
    /// Header fields beyond the limit are not looked at.
    pub(crate) fn new(request: &'a Request, limit: usize) -> Self {
        Self { request, limit }
    }

    /// What is asked of a router. `normal`: the request's path in the normal form.
    pub(crate) fn query(&'a self, client: &'a pdk::Client, normal: &'a [u8]) -> Query<'a> {
        let host = self.request.host();
        Query {
            protocol: if client.scheme == Scheme::Https { Protocol::Https } else { Protocol::Http },
            method: self.request.method.as_str(),
            host: (!host.is_empty()).then_some(host),
            path: normal,
            sni: client.tls.as_ref().and_then(|t| t.sni.as_deref()),
            source: Some(SocketAddr::new(client.ip, client.port)),
            destination: Some(SocketAddr::new(client.local.ip(), client.public_port)),
            fields: self,
        }
    }
}

impl Fields for RequestFields<'_> {
    fn headers<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        for (name, value) in self.request.headers.iter().take(self.limit) {
            visit(name, value);
        }
    }

    fn query(&self) -> &[u8] {
        self.request.query().unwrap_or_default()
    }
}

pub(crate) fn route<'a>(thread: &Thread, snapshot: &'a Snapshot, cx: &mut Context<'a>) -> Result<Routed<'a>, Exit> {
    let mark = cx.mark(Instrumentations::ROUTER);
    let routed = routed(thread, snapshot, cx);
    cx.record(mark, Part::Router);
    routed
}

fn routed<'a>(thread: &Thread, snapshot: &'a Snapshot, cx: &mut Context<'a>) -> Result<Routed<'a>, Exit> {
    let settings = &thread.proxy.settings;
    request_debug::enter(cx, "access");
    admit(settings, cx)?;
    let started = request_debug::start(cx);
    let found = find(settings.max_request_headers, snapshot, &cx.request, &cx.client);
    request_debug::end(cx, started, &["router"], &[]);
    let Some(Found { routed, upstream, captures }) = found.map_err(|status| bad_path(cx, status))? else {
        return Err(not_found(cx));
    };
    let (route, service) = (&routed.endpoint.route, routed.service.map(|target| &target.service));
    if let Err(mut exit) = check_protocol(routed.endpoint, cx) {
        // As in Kong logs and metrics take such a request for one without a route, whoever may ask for these fields does not.
        if settings.debug_header && cx.request.headers.contains("kong-debug") {
            debug_headers(&mut exit.response.headers, Some(route), service);
        }
        return Err(exit);
    }
    cx.route = Some(route);
    cx.service = service;
    cx.upstream = upstream;
    cx.captures = captures;
    Ok(routed)
}

/// What holds of a request whatever its route: who the client is, and whether it is one that is routed at all.
pub(crate) fn admit(settings: &crate::Settings, cx: &mut Context) -> Result<(), Exit> {
    learn_client(settings, cx);
    let length = cx.request.body.len();
    if settings.max_body > 0 && length.is_some_and(|length| length > settings.max_body) {
        return Err(Exit::error(Response::proxy_error(cx, 413, pdk::default_message(413))));
    }
    if matches!(cx.request.method, Method::Trace | Method::Connect) {
        return Err(Exit::error(Response::proxy_error(cx, 405, pdk::default_message(405))));
    }
    Ok(())
}

pub(crate) fn not_found(cx: &Context) -> Exit {
    Exit::new(Response::error(cx, 404, "no Route matched with those values"))
}

fn bad_path(cx: &Context, status: u16) -> Exit {
    Exit::error(Response::in_format(cx, status, pdk::default_message(status), pdk::Format::Plain))
}

pub(crate) struct Found<'a> {
    pub(crate) routed: Routed<'a>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) captures: Vec<(String, String)>,
}

pub(crate) fn find<'a>(
    header_limit: usize,
    snapshot: &'a Snapshot,
    request: &Request,
    client: &pdk::Client,
) -> Result<Option<Found<'a>>, u16> {
    let normal = path::normalize(request.path()).map_err(|_| 400_u16)?;
    let fields = RequestFields::new(request, header_limit);
    let Some(found) = snapshot.router.find(&fields.query(client, &normal)) else { return Ok(None) };
    let routed = snapshot.routed(found.route);
    let captures = captures(&found);
    let upstream = routed.service.map(|service| upstream(routed.endpoint, service, &found, &normal, request));
    Ok(Some(Found { routed, upstream: upstream.transpose()?, captures }))
}

/// Where the request goes, and with which path; an error is the status for a path that must not go there.
fn upstream(
    endpoint: &Endpoint,
    service: &ServiceTarget,
    found: &Match<'_, '_, Endpoint>,
    normal: &[u8],
    request: &Request,
) -> Result<Upstream, u16> {
    let strip = endpoint.strips_path() && !service.scheme.is_grpc();
    let base = service.path();
    let path = if endpoint.forwards_raw() {
        let matched = found.prefix.map(<[u8]>::len);
        path::raw_upstream_path(base, matched, request.path(), strip, endpoint.handling()).ok_or(400_u16)?
    } else {
        let path = path::upstream_path(base, found.prefix, normal, strip, endpoint.handling());
        match path::escape_upstream(&path) {
            Cow::Owned(escaped) => escaped,
            Cow::Borrowed(_) => path.into_owned(),
        }
    };
    Ok(Upstream {
        scheme: service.scheme,
        method: None,
        host: service.host.clone(),
        port: service.port,
        path,
        query: None,
        host_header: None,
        prefix: found.prefix.filter(|p| strip && *p != b"/").map(|p| path::forwarded_prefix(p).into_owned()),
    })
}

fn captures(found: &Match<'_, '_, Endpoint>) -> Vec<(String, String)> {
    let Some(captures) = &found.captures else { return Vec::new() };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let numbered = captures.numbered().map(|(number, value)| (number.to_string(), text(value)));
    numbered.chain(captures.named().map(|(name, value)| (name.to_owned(), text(value)))).collect()
}

/// A trusted peer tells who the client is (`real_ip_header`).
fn learn_client(settings: &crate::Settings, cx: &mut Context) {
    if !cx.client.is_trusted {
        return;
    }
    let crate::RealIpHeader::Field(name) = &settings.real_ip_header else { return };
    let Some(told) = real_ip(settings, &cx.request.headers, name) else { return };
    cx.client.ip = told.ip();
    cx.client.port = told.port();
}

fn real_ip(settings: &crate::Settings, headers: &Headers, name: &str) -> Option<SocketAddr> {
    // X-Forwarded-For may come in several fields, which are one list; of any other field the first counts.
    let all = if name.eq_ignore_ascii_case("x-forwarded-for") {
        headers.joined(name)
    } else {
        headers.get(name).map(<[u8]>::to_vec)
    }?;
    let all = std::str::from_utf8(&all).ok()?;
    let mut told = None;
    // As nginx reads it: what lies before something that is no address, nobody trusted has vouched for.
    for part in all.rsplit([',', ' ']).filter(|part| !part.is_empty()) {
        let Some(address) = parse_address(part) else { break };
        told = Some(address);
        if !settings.real_ip_recursive || !settings.trusted_ips.contains(address.ip()) {
            break;
        }
    }
    told
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).ok()
}

/// The protocol checks behind a match, in Kong's order (router.md, 6).
pub(crate) fn check_protocol(endpoint: &Endpoint, cx: &Context) -> Result<(), Exit> {
    let is_https = cx.forwarded_scheme() == "https";
    if endpoint.is_https_only() && !is_https {
        return Err(Exit::new(to_https(endpoint, cx)));
    }
    if !endpoint.is_grpc() {
        return Ok(());
    }
    let content_type = cx.request.headers.get("content-type");
    let is_grpc = content_type.is_some_and(|t| t.starts_with(b"application/grpc"));
    if is_grpc && cx.request.version < Version::Http2 {
        let mut response = Response::error(cx, 426, "Please use HTTP2 protocol");
        response.headers.set("connection", b"Upgrade");
        response.headers.set("upgrade", b"HTTP/2");
        return Err(Exit::new(response));
    }
    if !is_grpc {
        return Err(Exit::new(Response::error(cx, 415, "Non-gRPC request matched gRPC route")));
    }
    if endpoint.is_grpcs_only() && !is_https {
        let mut response = Response::new(200);
        response.headers.append("content-type", b"application/grpc");
        response.headers.append("grpc-status", b"1");
        response.headers.append("grpc-message", b"gRPC request matched gRPCs route");
        return Err(Exit::new(response));
    }
    Ok(())
}

fn to_https(endpoint: &Endpoint, cx: &Context) -> Response {
    let status = endpoint.route.https_redirect_status_code;
    if status == 426 {
        let mut response = Response::error(cx, 426, "Please use HTTPS protocol");
        response.headers.set("Connection", b"Upgrade");
        response.headers.set("Upgrade", b"TLS/1.2, HTTP/1.1");
        return response;
    }
    let mut response = Response::bare(cx, status);
    let location = [b"https://", &*cx.forwarded_host(), cx.request.target()].concat();
    response.headers.append("Location", &location);
    response
}
