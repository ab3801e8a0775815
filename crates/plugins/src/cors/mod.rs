//! # cors
//!
//! Tells browsers which pages of other origins may use the service (CORS), and answers their preflights.

mod origin;

use entities::PluginSchema;
use origin::{Allowed, Origins, Pattern};
use pdk::{BuildError, Context, Definition, Headers, Instance, Method, Phases, Plugin, Response, Step};
use schema::{Record, lua};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "cors",
    priority: 2000,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER),
    schema,
    build,
};

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The origins that may use the service: `*`, literal origins, or regexes. None: any.
    #[field(elements(validator(valid_origin)))]
    origins: Option<Vec<String>>,
    /// The request header fields that pages may set. None: those that the preflight asks for.
    headers: Option<Vec<String>>,
    /// The response header fields that pages may read.
    exposed_headers: Option<Vec<String>>,
    /// The methods that pages may use.
    #[field(default = METHODS, elements(one_of(METHODS)))]
    methods: Option<Vec<String>>,
    /// How long browsers may keep the answer to a preflight, in seconds.
    max_age: Option<f64>,
    /// Whether pages may send cookies and the like.
    #[field(default = false)]
    credentials: bool,
    /// Whether pages of public networks may use the service in a private one.
    #[field(default = false)]
    private_network: bool,
    /// Whether preflights go upstream.
    #[field(default = false)]
    preflight_continue: bool,
    /// Whether answers to requests without an origin get the fields too.
    #[field(default = true)]
    allow_origin_absent: bool,
}

fn valid_origin(value: &Value) -> Result<(), String> {
    let entry = value.as_str().unwrap_or_default();
    if entry == "*" || Pattern::new(entry).is_ok() { Ok(()) } else { Err(format!("'{entry}' is not a valid regex")) }
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let joined = |list: Option<Vec<String>>| list.filter(|l| !l.is_empty()).map(|l| l.join(",").into_bytes());
    Ok(Arc::new(Cors {
        origins: Origins::new(config.origins.unwrap_or_default()).map_err(|e| BuildError(format!("cors: {e}")))?,
        headers: joined(config.headers),
        exposed_headers: joined(config.exposed_headers),
        methods: config.methods.map_or_else(|| METHODS.join(","), |methods| methods.join(",")).into_bytes(),
        max_age: config.max_age.map(|age| lua::number(age).into_bytes()),
        has_credentials: config.credentials,
        has_private_network: config.private_network,
        passes_preflights: config.preflight_continue,
        needs_origin: !config.allow_origin_absent,
    }))
}

struct Cors {
    origins: Origins,
    headers: Option<Vec<u8>>,
    exposed_headers: Option<Vec<u8>>,
    methods: Vec<u8>,
    max_age: Option<Vec<u8>>,
    has_credentials: bool,
    has_private_network: bool,
    passes_preflights: bool,
    needs_origin: bool,
}

/// Marks a preflight: its response has all its fields, from here or from the upstream.
struct Preflight;

/// The value of a field, where it has one.
fn field<'a>(cx: &'a Context, name: &str) -> Option<&'a [u8]> {
    cx.request.headers.get(name).filter(|value| !value.is_empty())
}

impl Plugin for Cors {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if cx.request.method != Method::Options
            || field(cx, "origin").is_none()
            || !cx.request.headers.contains("access-control-request-method")
        {
            return Step::Continue;
        }
        cx.data.set(Preflight);
        if self.passes_preflights {
            return Step::Continue;
        }
        let mut response = Response::new(200);
        let headers = &mut response.headers;
        self.tell_origin(field(cx, "origin"), headers, Vary::Set);
        if let Some(names) = self.headers.as_deref().or(cx.request.headers.get("access-control-request-headers")) {
            headers.set("Access-Control-Allow-Headers", names);
        }
        headers.set("Access-Control-Allow-Methods", &self.methods);
        if let Some(age) = &self.max_age {
            headers.set("Access-Control-Max-Age", age);
        }
        if self.has_private_network && field(cx, "access-control-request-private-network") == Some(b"true") {
            headers.set("Access-Control-Allow-Private-Network", b"true");
        }
        Step::exit(response)
    }

    fn header_filter(&self, cx: &mut Context) {
        let origin = field(cx, "origin");
        if cx.data.get::<Preflight>().is_some() || (self.needs_origin && origin.is_none()) {
            return;
        }
        let mut headers = std::mem::take(&mut cx.response.headers);
        let before = headers.get_all("vary").count();
        self.tell_origin(field(cx, "origin"), &mut headers, Vary::Add);
        if headers.get_all("vary").count() > before {
            cx.data.set(VaryBefore(before));
        }
        if let Some(names) = &self.exposed_headers {
            headers.set("Access-Control-Expose-Headers", names);
        }
        cx.response.headers = headers;
    }
}

/// How many fields `Vary` a response had before this plugin added its own: those are by what the upstream chose.
pub(crate) struct VaryBefore(pub(crate) usize);

/// How `Vary: Origin` is told.
#[derive(Clone, Copy)]
enum Vary {
    Set,
    Add,
}

impl Vary {
    fn tell(self, headers: &mut Headers) {
        match self {
            Self::Set => headers.set("Vary", b"Origin"),
            Self::Add => headers.append("Vary", b"Origin"),
        }
    }
}

impl Cors {
    fn tell_origin(&self, origin: Option<&[u8]>, headers: &mut Headers, vary: Vary) {
        const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
        if self.origins.is_told_apart() {
            vary.tell(headers);
        }
        let origin = origin.map(String::from_utf8_lossy);
        let allowed = self.origins.judge(origin.as_deref());
        match &allowed {
            Allowed::Any => headers.set(ALLOW_ORIGIN, b"*"),
            Allowed::This(origin) => headers.set(ALLOW_ORIGIN, origin.as_bytes()),
            Allowed::None => {
                headers.remove(ALLOW_ORIGIN);
            }
        }
        if !self.has_credentials {
            return;
        }
        if matches!(allowed, Allowed::Any) {
            // With credentials browsers take no wildcard, so the origin is named.
            let Some(origin) = origin else { return };
            vary.tell(headers);
            headers.set(ALLOW_ORIGIN, origin.as_bytes());
        }
        headers.set("Access-Control-Allow-Credentials", b"true");
    }
}

#[cfg(test)]
mod tests;
