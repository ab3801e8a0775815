//! # request-transformer
//!
//! Changes the request on its way to the service: its path, method, header fields, body and query, in this order; in each
//! of them removes, renames, replaces, adds and appends, in this order. Values are templates: `$(headers.x)`,
//! `$(query_params.x)`, `$(uri_captures.x)` and other expressions of Lua that only read.
//!
//! Bodies are changed where they are JSON (of an object, only the top level; values are strings, unless `json_types` says
//! otherwise, a list that Kong Enterprise has in `request-transformer-advanced`), URL-encoded or multipart forms, of at most
//! 8 MiB; what is no such body passes as it is. A template that fails answers the request with status 500.

mod body;
mod changes;
mod config;
mod types;

use crate::template::{Request, Template};
use body::Kind;
use changes::Changes;
pub(crate) use config::names_two_headers;
use config::{Config, Lists};
use pdk::args::Args;
use pdk::{Body, BuildError, Context, Definition, Flow, Headers, Instance, Method, Phases, Plugin, Response, Step};
use schema::lua::Fault;
use std::borrow::Cow;
use std::sync::Arc;
pub(crate) use types::{JsonType, TYPES};

pub const DEFINITION: Definition = Definition {
    name: "request-transformer",
    priority: 801,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema: config::schema,
    build,
};

/// The methods that a request may get.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
];

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let uri = config.replace.uri.as_deref().map(Template::lenient);
    let headers = Changes::new(&config, Lists::headers);
    let body = Changes::new(&config, Lists::body);
    let query = Changes::new(&config, Lists::querystring);
    let is_read_early = headers.read("headers") || uri.as_ref().is_some_and(|uri| uri.reads("headers"));
    let is_read_late = body.read("headers") || query.read("headers");
    Ok(Arc::new(RequestTransformer {
        uri,
        method: config.http_method.as_deref().map(Method::from_name),
        keeps_headers: is_read_early && is_read_late,
        headers,
        body,
        query,
    }))
}

struct RequestTransformer {
    uri: Option<Template>,
    method: Option<Method>,
    headers: Changes,
    body: Changes,
    query: Changes,
    /// Whether templates of body and query see the header fields as they were: once read, they stay as they are.
    keeps_headers: bool,
}

/// The values of a list of changes, in its order.
type Values<'a> = Vec<Cow<'a, [u8]>>;

impl Plugin for RequestTransformer {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let merges_body = matches!(self.method, Some(Method::Get | Method::Head | Method::Trace))
            && !cx.request.body.is_empty()
            && Kind::of(cx.request.headers.get("content-type")) == Some(Kind::Form);
        let before = self.keeps_headers.then(|| cx.request.headers.clone());
        if let Err(fault) = self.change_head(cx) {
            return Step::exit(failed(cx, &fault));
        }
        // A header field that was changed decides on the body.
        let kind = if self.body.is_empty() { None } else { Kind::of(cx.request.headers.get("content-type")) };
        if merges_body || kind.is_some() {
            return Step::Wait(Box::pin(self.change_rest(cx, before, kind, merges_body)));
        }
        match self.change_query(cx, before.as_ref()) {
            Ok(()) => Step::Continue,
            Err(fault) => Step::exit(failed(cx, &fault)),
        }
    }
}

/// The answer where a template has no value.
fn failed(cx: &Context, fault: &Fault) -> Response {
    log::error!("request-transformer: failed to render a template: {fault} (request_id: {})", cx.request_id());
    Response::error(cx, 500, pdk::default_message(500))
}

impl RequestTransformer {
    /// Path, method and header fields.
    fn change_head(&self, cx: &mut Context) -> Result<(), Fault> {
        if let Some(uri) = &self.uri {
            let path = path(&uri.render(&Request::new(cx, &cx.request.headers))?);
            cx.set_upstream_path(path);
        }
        if let Some(method) = &self.method {
            if !METHODS.contains(&method.as_str()) {
                return Err(Fault::new("http_method is none that a request can have"));
            }
            if let Some(upstream) = &mut cx.upstream {
                upstream.method = Some(method.clone());
            }
        }
        if !self.headers.is_empty() {
            self.change_headers(cx)?;
        }
        Ok(())
    }

    fn change_headers(&self, cx: &mut Context) -> Result<(), Fault> {
        let all = self.headers.all(&Request::new(cx, &cx.request.headers))?;
        let mut host = None;
        let is_host = |name: &str| name.eq_ignore_ascii_case("host");
        let headers = &mut cx.request.headers;
        for name in self.headers.remove.iter().filter(|name| !is_host(name)) {
            let is_removed = headers.remove(name);
            if is_removed && name.eq_ignore_ascii_case("content-length") {
                // Without its length the upstream would take the body for the next request.
                cx.request.body = Body::Empty;
            }
        }
        for (old, value) in all.rename.pairs().filter(|(old, _)| !is_host(old)) {
            let new = String::from_utf8_lossy(value);
            if is_host(&new) {
                host = headers.get(old).map(<[u8]>::to_vec).or(host);
                headers.remove(old);
            } else {
                rename(headers, old, &new);
            }
        }
        for (name, value) in all.replace.pairs() {
            if is_host(name) {
                host = Some(value.to_vec());
            } else if headers.contains(name) {
                headers.set(name, value);
            }
        }
        for (name, value) in all.add.pairs().filter(|(name, _)| !is_host(name)) {
            if !headers.contains(name) {
                headers.append(name, value);
            }
        }
        for (name, value) in all.append.pairs().filter(|(name, _)| !is_host(name)) {
            headers.append(name, value);
        }
        if let (Some(mut host), Some(upstream)) = (host, &mut cx.upstream) {
            // What could end the line, or be read as another part of a request's target, is no part of a host.
            host.retain(|byte| byte.is_ascii_graphic() && !b"/?#@\\".contains(byte));
            upstream.host_header = Some(host);
        }
        Ok(())
    }

    async fn change_rest(
        &self,
        cx: &mut Context<'_>,
        before: Option<Headers>,
        kind: Option<Kind>,
        merges: bool,
    ) -> Flow {
        // A body that is known to be too large is left where it is.
        if cx.request.body.len().is_none_or(|length| length <= pdk::form::LIMIT as u64) {
            let body = match cx.request.body.collect(pdk::form::LIMIT).await {
                Ok(body) => body,
                Err(error) => return Flow::Exit(Box::new(cx.body_error(error))),
            };
            if merges {
                merge_into_query(cx, &body);
            }
            if let Some(kind) = kind {
                let headers = before.as_ref().unwrap_or(&cx.request.headers);
                let content_type = cx.request.headers.get("content-type");
                let changed = match kind.changed(&self.body, &Request::new(cx, headers), content_type, &body) {
                    Ok(changed) => changed,
                    Err(fault) => return Flow::Exit(Box::new(failed(cx, &fault))),
                };
                if let Some(changed) = changed {
                    cx.set_request_body(changed);
                }
            }
        }
        match self.change_query(cx, before.as_ref()) {
            Ok(()) => Flow::Continue,
            Err(fault) => Flow::Exit(Box::new(failed(cx, &fault))),
        }
    }

    fn change_query(&self, cx: &mut Context, before: Option<&Headers>) -> Result<(), Fault> {
        if self.query.is_empty() {
            return Ok(());
        }
        let all = self.query.all(&Request::new(cx, before.unwrap_or(&cx.request.headers)))?;
        let mut args = Args::parse(cx.upstream_query().unwrap_or_default());
        body::change_args(&all, &mut args);
        cx.set_upstream_query(args.encode());
        Ok(())
    }
}

/// Gives a field another name, with all its values, in place of what has that name.
fn rename(headers: &mut Headers, old: &str, new: &str) {
    if old.eq_ignore_ascii_case(new) || !headers.contains(old) {
        return;
    }
    let values: Vec<Vec<u8>> = headers.get_all(old).map(<[u8]>::to_vec).collect();
    headers.remove(old);
    headers.remove(new);
    for value in values {
        headers.append(new, &value);
    }
}

/// A form in the body of a request that becomes GET, HEAD or TRACE goes into the query, too.
fn merge_into_query(cx: &mut Context, body: &[u8]) {
    let form = Args::parse(body);
    if form.is_empty() {
        return;
    }
    let mut args = Args::parse(cx.upstream_query().unwrap_or_default());
    for (name, value) in form.iter() {
        args.append(name, value);
    }
    cx.set_upstream_query(args.encode());
}

/// A rendered path as it may go over the wire: it begins with a slash, and what could end it is escaped.
fn path(rendered: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if rendered.first() == Some(&b'/') { b"" } else { b"/" };
    let mut out = slash.to_vec();
    for &byte in rendered {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(byte);
        } else {
            pdk::args::encode(&[byte], &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests;
