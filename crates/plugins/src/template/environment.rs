//! What the expressions of templates see: Kong's names for the parts of a request, read when they are asked for.

use super::nginx;
use pdk::{Context, Headers, Source, args::decode};
use schema::lua::{Environment, Expression, Fault, Function, Object, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

/// A request as expressions see it.
pub(crate) struct Request<'a> {
    cx: &'a Context<'a>,
    headers: &'a Headers,
    moment: Moment,
}

/// When expressions are evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheResponse,
    Log,
}

impl<'a> Request<'a> {
    /// `headers` are the fields to show, which may be those of an earlier moment.
    pub(crate) fn new(cx: &'a Context<'a>, headers: &'a Headers) -> Self {
        Self { cx, headers, moment: Moment::BeforeTheResponse }
    }

    /// In the log phase, where there is a response to see.
    pub(crate) fn answered(cx: &'a Context<'a>) -> Self {
        Self { cx, headers: &cx.request.headers, moment: Moment::Log }
    }
}

/// What an expression of the log phase reads and calls that is not there; `None`: it can be evaluated, as far as it is known
/// without a request.
pub(crate) fn missing(expression: &Expression) -> Option<String> {
    let names = Names(RefCell::default());
    let outcome = expression.evaluate(&names);
    let missing = names.0.into_inner();
    missing.or_else(|| match outcome {
        Ok(Value::Object(object)) => Some(format!("the whole of {object}")),
        Ok(Value::Function(_)) => Some("a function as a value".to_owned()),
        // Other faults may be those of values that no request was there for.
        Err(fault) => fault.0.strip_suffix(UNUSABLE).map(str::to_owned),
        Ok(_) => None,
    })
}

/// How a fault ends that is none of a request's values; so do those of the syntax that cannot be evaluated.
pub(super) const UNUSABLE: &str = " cannot be used in templates";

/// The names of the environment without a request: the first that is not there.
struct Names(RefCell<Option<String>>);

impl<'a> Environment<'a> for Names {
    fn global(&self, name: &str) -> Value<'a> {
        let value = global(name);
        if matches!(value, Value::Nil) {
            self.0.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        value
    }

    fn field(&self, object: Object, key: &Value<'a>) -> Result<Value<'a>, Fault> {
        match key {
            Value::String(name)
                if NAMESPACES.contains(&object) && object != "kong.ctx.shared" && object != "ngx.var" =>
            {
                named_field(object, &String::from_utf8_lossy(name), Moment::Log)
            }
            _ => Ok(Value::text("")),
        }
    }

    fn call(&self, function: &'static str, _: &[Value<'a>]) -> Result<Value<'a>, Fault> {
        Ok(match function {
            "require" => return Err(Fault::new(function.to_owned() + UNUSABLE)),
            "kong.request.get_headers" | "kong.response.get_headers" | "ngx.req.get_headers" => {
                Value::Object("headers")
            }
            "kong.request.get_query" | "ngx.req.get_uri_args" => Value::Object("query_params"),
            "kong.request.get_uri_captures" => Value::Object("uri_captures"),
            _ => Value::text(""),
        })
    }
}

/// Functions without an effect, by Kong's names. What `require` would load is not there: it is a value alone.
const FUNCTIONS: [&str; 36] = [
    "kong.client.get_consumer",
    "kong.client.get_credential",
    "kong.client.get_forwarded_ip",
    "kong.client.get_ip",
    "kong.client.get_port",
    "kong.node.get_hostname",
    "kong.node.get_id",
    "kong.request.get_forwarded_host",
    "kong.request.get_forwarded_path",
    "kong.request.get_forwarded_port",
    "kong.request.get_forwarded_prefix",
    "kong.request.get_forwarded_scheme",
    "kong.request.get_header",
    "kong.request.get_headers",
    "kong.request.get_host",
    "kong.request.get_http_version",
    "kong.request.get_method",
    "kong.request.get_path",
    "kong.request.get_path_with_query",
    "kong.request.get_port",
    "kong.request.get_query",
    "kong.request.get_query_arg",
    "kong.request.get_raw_path",
    "kong.request.get_raw_query",
    "kong.request.get_scheme",
    "kong.request.get_uri_captures",
    "kong.response.get_header",
    "kong.response.get_headers",
    "kong.response.get_source",
    "kong.response.get_status",
    "kong.router.get_route",
    "kong.router.get_service",
    "ngx.req.get_headers",
    "ngx.req.get_method",
    "ngx.req.get_uri_args",
    "type",
];

/// Tables of the environment whose fields are further names.
const NAMESPACES: [Object; 11] = [
    "kong",
    "kong.client",
    "kong.ctx",
    "kong.ctx.shared",
    "kong.node",
    "kong.request",
    "kong.response",
    "kong.router",
    "ngx",
    "ngx.req",
    "ngx.var",
];

fn global<'a>(name: &str) -> Value<'a> {
    match name {
        "headers" => Value::Object("headers"),
        "query_params" => Value::Object("query_params"),
        "uri_captures" => Value::Object("uri_captures"),
        "shared" => Value::Object("kong.ctx.shared"),
        "kong" => Value::Object("kong"),
        "ngx" => Value::Object("ngx"),
        "require" => Value::Function(Function::Host("require")),
        "type" => Value::Function(Function::Host("type")),
        _ => Value::Nil,
    }
}

/// What a namespace has under a name.
fn named_field<'a>(object: Object, name: &str, moment: Moment) -> Result<Value<'a>, Fault> {
    let path = format!("{object}.{name}");
    if path == "kong.version" {
        return Ok(Value::text(crate::VERSION));
    }
    let function = FUNCTIONS.into_iter().find(|known| *known == path);
    let namespace = NAMESPACES.into_iter().find(|known| *known == path);
    match (function, namespace) {
        _ if path.starts_with("kong.response") && moment != Moment::Log => {}
        (Some(function), _) => return Ok(Value::Function(Function::Host(function))),
        (None, Some(namespace)) => return Ok(Value::Object(namespace)),
        (None, None) => {
            if let Some(value) = nginx::named(&path) {
                return Ok(value);
            }
        }
    }
    Err(Fault::new(path + UNUSABLE))
}

impl<'a> Environment<'a> for Request<'a> {
    fn global(&self, name: &str) -> Value<'a> {
        global(name)
    }

    fn field(&self, object: Object, key: &Value<'a>) -> Result<Value<'a>, Fault> {
        let name = match key {
            Value::String(text) => String::from_utf8_lossy(text),
            Value::Number(n) if object == "uri_captures" => Cow::Owned(n.to_string()),
            _ => return Ok(Value::Nil),
        };
        Ok(match object {
            "headers" => header(self.headers, &name),
            "query_params" => self.query_arg(&name),
            "uri_captures" => self.capture(&name),
            // No plugin that is there writes into it.
            "kong.ctx.shared" => Value::Nil,
            "ngx.var" => self.variable(&name),
            "response_headers" => header(&self.cx.response.headers, &name),
            _ => return named_field(object, &name, self.moment),
        })
    }

    fn call(&self, function: &'static str, arguments: &[Value<'a>]) -> Result<Value<'a>, Fault> {
        let cx = self.cx;
        let text = || match arguments.first() {
            Some(Value::String(text)) => Ok(String::from_utf8_lossy(text)),
            _ => Err(Fault::new(format!("{function} takes a string"))),
        };
        let optional = |value: Option<&'a [u8]>| value.map_or(Value::Nil, |v| Value::String(Cow::Borrowed(v)));
        Ok(match function {
            "type" => {
                let of = arguments.first().ok_or_else(|| Fault::new("bad argument #1 to 'type' (value expected)"))?;
                Value::text(of.type_name())
            }
            "kong.client.get_consumer" => cx.consumer.as_ref().map_or(Value::Nil, |consumer| {
                let optional = |text: Option<&'a str>| text.map_or(Value::Nil, Value::text);
                record([
                    ("id", Value::owned(consumer.id.to_string())),
                    ("username", optional(consumer.username.as_deref())),
                    ("custom_id", optional(consumer.custom_id.as_deref())),
                ])
            }),
            "kong.client.get_credential" => cx.credential.as_ref().map_or(Value::Nil, |credential| {
                let consumer = credential.consumer_id.map_or(Value::Nil, |id| Value::owned(id.to_string()));
                record([("id", Value::text(&credential.id)), ("consumer_id", consumer)])
            }),
            "kong.client.get_forwarded_ip" => Value::owned(cx.client.ip.to_string()),
            "kong.client.get_ip" => Value::owned(cx.client.peer.ip().to_string()),
            "kong.client.get_port" => Value::Number(f64::from(cx.client.port)),
            "kong.node.get_hostname" => Value::text(&cx.shared.node.hostname),
            "kong.node.get_id" => Value::owned(cx.shared.node.id.to_string()),
            "kong.request.get_forwarded_host" => Value::String(cx.forwarded_host()),
            "kong.request.get_forwarded_path" => match self.told("x-forwarded-path") {
                Some(path) => Value::String(Cow::Borrowed(path)),
                None => Value::owned(normal_path(cx.request.path())),
            },
            "kong.request.get_forwarded_port" => Value::Number(f64::from(self.forwarded_port())),
            "kong.request.get_forwarded_prefix" => {
                let stripped = cx.upstream.as_ref().and_then(|upstream| upstream.prefix.as_deref());
                optional(self.told("x-forwarded-prefix").or(stripped))
            }
            "kong.request.get_forwarded_scheme" => Value::text(cx.forwarded_scheme()),
            "kong.request.get_header" => optional(self.headers.get(&text()?)),
            "kong.request.get_headers" | "ngx.req.get_headers" => Value::Object("headers"),
            "kong.request.get_host" => Value::String(cx.request.host_name()),
            "kong.request.get_http_version" => cx.request.version.as_str().parse().map_or(Value::Nil, Value::Number),
            "kong.request.get_method" | "ngx.req.get_method" => Value::text(cx.request.method.as_str()),
            "kong.request.get_path" => Value::owned(normal_path(cx.request.path())),
            "kong.request.get_path_with_query" => {
                let query = cx.request.query().map(|query| [b"?", query].concat()).unwrap_or_default();
                Value::owned([normal_path(cx.request.path()).into_bytes(), query].concat())
            }
            "kong.request.get_port" => Value::Number(f64::from(cx.client.local.port())),
            "kong.request.get_query" | "ngx.req.get_uri_args" => Value::Object("query_params"),
            "kong.request.get_query_arg" => match self.query_arg(&text()?) {
                // Of several values it says the first.
                Value::Table(all) => all.first().map_or(Value::Nil, |(_, value)| value.clone()),
                one => one,
            },
            "kong.request.get_raw_path" => optional(Some(cx.request.path())),
            "kong.request.get_raw_query" => Value::String(Cow::Borrowed(cx.request.query().unwrap_or_default())),
            "kong.request.get_scheme" => Value::text(cx.client.scheme.as_str()),
            "kong.request.get_uri_captures" => Value::Object("uri_captures"),
            "kong.response.get_header" => optional(cx.response.headers.get(&text()?)),
            "kong.response.get_headers" => Value::Object("response_headers"),
            "kong.response.get_source" => Value::text(match cx.source {
                Source::Upstream => "service",
                Source::Exit | Source::Cache => "exit",
                Source::Error => "error",
            }),
            "kong.response.get_status" => Value::Number(f64::from(cx.response.status)),
            "kong.router.get_route" => cx.route.map_or(Value::Nil, |route| named(&route.id, route.name.as_deref())),
            "kong.router.get_service" => {
                cx.service.map_or(Value::Nil, |service| named(&service.id, service.name.as_deref()))
            }
            _ => return nginx::call(function, arguments, cx.shared.clock.now()),
        })
    }
}

impl<'a> Request<'a> {
    /// What a peer that is trusted says of the request.
    fn told(&self, name: &str) -> Option<&'a [u8]> {
        self.cx.client.is_trusted.then(|| self.headers.get(name)).flatten()
    }

    /// The port that the client asked for: as a trusted peer says, in a field or behind the host, else the gateway's.
    fn forwarded_port(&self) -> u16 {
        let port = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse().ok().filter(|port: &u16| *port > 0);
        let behind_host = || {
            let host = self.told("x-forwarded-host")?;
            let host = host.splitn(2, |byte| *byte == b'@').last()?;
            host.splitn(2, |byte| *byte == b':').nth(1).and_then(port)
        };
        self.told("x-forwarded-port").and_then(port).or_else(behind_host).unwrap_or(self.cx.client.public_port)
    }

    /// An argument's value, decoded; true where it has none, all values where there are several.
    fn query_arg(&self, name: &str) -> Value<'a> {
        let parts = self.cx.request.query().unwrap_or_default().split(|byte| *byte == b'&');
        let all = parts.filter_map(|part| {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            let key = halves.next().unwrap_or_default();
            if key.is_empty() || *decode(key) != *name.as_bytes() {
                return None;
            }
            Some(halves.next().map_or(Value::Bool(true), |value| Value::String(decode(value))))
        });
        one_or_all(all)
    }

    fn capture(&self, name: &str) -> Value<'a> {
        let found = self.cx.captures.iter().find(|(known, _)| known == name);
        found.map_or(Value::Nil, |(_, value)| Value::text(value))
    }

    /// nginx's variables that tell of the request; nil for all others.
    fn variable(&self, name: &str) -> Value<'a> {
        let request = &self.cx.request;
        let bytes = |value: &'a [u8]| Value::String(Cow::Borrowed(value));
        if let Some(field) = name.strip_prefix("http_") {
            return self.headers.get(&field.replace('_', "-")).map_or(Value::Nil, bytes);
        }
        if let Some(arg) = name.strip_prefix("arg_") {
            return match self.query_arg(arg) {
                Value::Table(all) => all.first().map_or(Value::Nil, |(_, value)| value.clone()),
                one => one,
            };
        }
        match name {
            "args" | "query_string" => request.query().map_or(Value::Nil, bytes),
            "content_type" => self.headers.get("content-type").map_or(Value::Nil, bytes),
            "host" => Value::String(request.host_name()),
            "remote_addr" => Value::owned(self.cx.client.ip.to_string()),
            "remote_port" => Value::owned(self.cx.client.port.to_string()),
            "request_id" => Value::text(self.cx.request_id()),
            "request_method" => Value::text(request.method.as_str()),
            "request_uri" => bytes(request.target()),
            "scheme" => Value::text(self.cx.client.scheme.as_str()),
            "server_port" => Value::owned(self.cx.client.local.port().to_string()),
            "uri" => Value::owned(decode_path(request.path())),
            _ => Value::Nil,
        }
    }
}

/// A field's value, or all its values where it is there more than once. Underscores stand for dashes.
fn header<'a>(headers: &'a Headers, name: &str) -> Value<'a> {
    let dashed;
    let name = if name.contains('_') && !headers.contains(name) {
        dashed = name.replace('_', "-");
        &dashed
    } else {
        name
    };
    let named = |(known, _): &(&[u8], &[u8])| known.eq_ignore_ascii_case(name.as_bytes());
    one_or_all(headers.iter().filter(named).map(|(_, value)| Value::String(Cow::Borrowed(value))))
}

fn one_or_all<'a>(mut all: impl Iterator<Item = Value<'a>>) -> Value<'a> {
    let Some(first) = all.next() else { return Value::Nil };
    match all.next() {
        None => first,
        Some(second) => Value::list([first, second].into_iter().chain(all)),
    }
}

fn record<'a, const N: usize>(fields: [(&'a str, Value<'a>); N]) -> Value<'a> {
    let present = fields.into_iter().filter(|(_, value)| !matches!(value, Value::Nil));
    Value::Table(Rc::new(present.map(|(name, value)| (Value::text(name), value)).collect()))
}

fn named<'a>(id: &uuid::Uuid, name: Option<&'a str>) -> Value<'a> {
    record([("id", Value::owned(id.to_string())), ("name", name.map_or(Value::Nil, Value::text))])
}

fn normal_path(path: &[u8]) -> String {
    schema::validators::normalize(&String::from_utf8_lossy(path))
}

/// `%XX` undone; a plus is a plus in a path.
fn decode_path(path: &[u8]) -> Vec<u8> {
    let escaped: Vec<u8> = path
        .iter()
        .flat_map(|byte| if *byte == b'+' { &b"%2B"[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect();
    decode(&escaped).into_owned()
}
