//! The log document as a logging plugin sends it: Kong's, and beyond Kong with members made by expressions, and with masked
//! values.

use crate::mask::{self, Mask};
use crate::template::{Request, Template, missing};
use indexmap::IndexMap;
use pdk::log::Text;
use pdk::{BuildError, Context};
use schema::lua::{Expression, Value as Lua};
use serde_json::{Map, Number, Value};

pub(crate) type CustomFields = Option<IndexMap<String, String>>;

/// How an instance shapes documents.
#[derive(Debug)]
pub(crate) struct Documents {
    /// Where a member goes, and what makes its value.
    fields: Vec<(Vec<String>, Made)>,
    mask: Option<Mask>,
}

#[derive(Debug)]
enum Made {
    /// A text; an empty one takes the member out.
    ByTemplate(Template),
    /// A value of any type; nil takes the member out.
    ByLua(Expression),
}

/// What the config of a logging plugin says of documents.
pub(crate) struct Shape<'a> {
    /// Kong's `custom_fields_by_lua`.
    pub(crate) by_lua: &'a CustomFields,
    pub(crate) fields: &'a CustomFields,
    pub(crate) mask: &'a Option<mask::Config>,
}

impl Documents {
    /// A field by Lua that cannot be evaluated is told of and left out: a log without it is better than none.
    pub(crate) fn new(plugin: &str, shape: &Shape<'_>) -> Result<Self, BuildError> {
        let by_lua = shape.by_lua.iter().flatten().filter_map(|(name, code)| match returned(code) {
            Ok(expression) => Some((path(name), Made::ByLua(expression))),
            Err(why) => {
                log::warn!("{plugin}: custom_fields_by_lua.{name} is left out of the log: {why}");
                None
            }
        });
        let mut fields: Vec<_> = by_lua.collect();
        for (name, source) in shape.fields.iter().flatten() {
            let template = Template::compile(source);
            let template = template.map_err(|why| BuildError(format!("{plugin}: custom_fields.{name}: {why}")))?;
            fields.push((path(name), Made::ByTemplate(template)));
        }
        let mask = shape.mask.as_ref().map(Mask::new).transpose();
        Ok(Self { fields, mask: mask.map_err(|why| BuildError(format!("{plugin}: mask: {why}")))? })
    }

    /// The document of a request, as JSON.
    pub(crate) fn text(&self, cx: &mut Context) -> Text {
        if self.is_kongs() { pdk::log::text(cx) } else { self.of(cx).to_string().into_bytes().into() }
    }

    /// The document of a request, to be changed.
    pub(crate) fn of(&self, cx: &mut Context) -> Value {
        let mut document = pdk::log::document(cx);
        if self.is_kongs() {
            return document;
        }
        let request = Request::answered(cx);
        for (path, made) in &self.fields {
            // What faults takes a member out, too.
            let value = match made {
                Made::ByTemplate(template) => {
                    let rendered = template.render(&request).unwrap_or_default();
                    (!rendered.is_empty()).then(|| Value::from(String::from_utf8_lossy(&rendered)))
                }
                Made::ByLua(expression) => expression.evaluate(&request).ok().as_ref().and_then(json),
            };
            put(&mut document, path, value);
        }
        if let Some(mask) = &self.mask {
            mask.apply(&mut document);
        }
        document
    }

    fn is_kongs(&self) -> bool {
        self.fields.is_empty() && self.mask.is_none()
    }
}

/// The expression whose value a chunk returns, where that is all that it does and can be evaluated; else why not.
fn returned(code: &str) -> Result<Expression, String> {
    let code = code.trim().trim_end_matches(';');
    let returned =
        code.strip_prefix("return").filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    let returned = returned.ok_or("it needs Lua; only `return <expression>` is evaluated")?;
    let returned = if returned.trim().is_empty() { "nil" } else { returned };
    let expression = Expression::compile(returned, "return")?;
    match missing(&expression) {
        Some(what) => Err(format!("it needs Lua, since {what} is not there")),
        None => Ok(expression),
    }
}

/// A value as JSON: a table whose keys are 1 to its size is an array, all others are objects. `None`: nil, and what JSON has
/// no value for.
fn json(value: &Lua<'_>) -> Option<Value> {
    Some(match value {
        Lua::Bool(value) => Value::Bool(*value),
        Lua::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 => Value::from(*n as i64),
        Lua::Number(n) => Value::Number(Number::from_f64(*n)?),
        Lua::String(text) => Value::from(String::from_utf8_lossy(text)),
        Lua::Table(entries) => {
            let is_next =
                |(at, (key, _)): (usize, &(Lua<'_>, Lua<'_>))| matches!(key, Lua::Number(n) if *n == (at + 1) as f64);
            if !entries.is_empty() && entries.iter().enumerate().all(is_next) {
                Value::Array(entries.iter().filter_map(|(_, value)| json(value)).collect())
            } else {
                let members = entries.iter().map(|(key, value)| {
                    let name = String::from_utf8_lossy(&key.clone().display()).into_owned();
                    Some((name, json(value)?))
                });
                Value::Object(members.flatten().collect())
            }
        }
        Lua::Null => Value::Null,
        Lua::Nil | Lua::Object(_) | Lua::Function(_) => return None,
    })
}

/// A dotted name taken apart; `\.` is a dot.
fn path(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'.') => part.extend(chars.next()),
            '.' => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// Sets or removes a member; what is no object on the way becomes one.
fn put(document: &mut Value, path: &[String], value: Option<Value>) {
    let Some((last, way)) = path.split_last() else { return };
    let mut at = document;
    for name in way {
        if value.is_none() && at.get(name).is_none() {
            return;
        }
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(members) = at else { return };
        at = members.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    let Value::Object(members) = at else { return };
    match value {
        Some(value) => {
            members.insert(last.clone(), value);
        }
        None => {
            members.shift_remove(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_log;
    use pdk::testing::{Harness, complete};
    use serde_json::json;

    /// The line that file-log writes of a request.
    fn line(more: &Value, request: &str) -> Value {
        line_of(more, request, |h| h)
    }

    fn line_of(more: &Value, request: &str, change: impl FnOnce(Harness) -> Harness) -> Value {
        let folder = std::env::temp_dir().join(format!("silverback-{}-{}", std::process::id(), fastrand::u64(..)));
        let mut config = json!({ "path": folder.to_str().unwrap() });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        change(Harness::new(&file_log::DEFINITION, config).with_upstream("200\nX-Up: 1\n\n")).send(request);
        file_log::flush();
        let line = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn tries_are_told_where_there_is_a_route_and_an_empty_query_where_it_was_sent() {
        let none = json!({});
        assert_eq!(line(&none, "GET /?")["upstream_uri"], "/?");
        assert_eq!(line(&none, "GET /")["upstream_uri"], "/");
        assert!(line(&none, "GET /")["tries"].is_array());
        assert!(line_of(&none, "GET /", Harness::without_service)["tries"].is_array());
        assert_eq!(line_of(&none, "GET /?", Harness::without_route).get("tries"), None);
        assert_eq!(line_of(&none, "GET /?", Harness::without_route)["upstream_uri"], "");
    }

    #[test]
    fn fields_of_the_connection_are_not_told_of_requests_that_went_on() {
        let all =
            "Host: h\nProxy: p\nProxy-Connection: keep-alive\nKeep-Alive: timeout=5\nUpgrade: h2c\nX-A: 1\nX-B: 2";
        for (connection, is_sent, gone) in [
            ("Connection: X-A", false, &[][..]),
            ("Connection: keep-alive", true, &["proxy", "proxy-connection"]),
            ("Connection: Close", true, &["proxy", "proxy-connection"]),
            ("Connection: Upgrade", true, &["proxy", "proxy-connection"]),
            ("Connection: keep-alive, x-a", true, &["keep-alive", "proxy", "proxy-connection", "x-a"]),
            ("Connection: Upgrade,X-A ,", true, &["proxy", "proxy-connection", "upgrade", "x-a"]),
            ("Connection: x-a\nConnection: x-b", true, &["proxy", "proxy-connection", "x-a"]),
        ] {
            let told = |lines: &str| {
                let h = Harness::new(&file_log::DEFINITION, json!({ "path": "/dev/null" }));
                let mut cx = h.context(&format!("GET /\n{lines}"));
                let ip = cx.client.ip;
                if is_sent {
                    cx.attempts.push(pdk::Attempt {
                        address: pdk::Address { ip, port: 80 },
                        started_at: std::time::Duration::ZERO,
                        balancer_latency: std::time::Duration::ZERO,
                        failure: None,
                    });
                }
                let document = pdk::log::document(&mut cx);
                document["request"]["headers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
            };
            let left = told(&format!("{connection}\n{all}"));
            let missing = |name: &&str| !left.iter().any(|it| it == name);
            let names = ["connection", "host", "keep-alive", "proxy", "proxy-connection", "upgrade", "x-a", "x-b"];
            assert_eq!(names.into_iter().filter(missing).collect::<Vec<_>>(), gone, "{connection}");
            let websocket = told("Host: h\nConnection: keep-alive, Upgrade\nUpgrade: WebSocket\nProxy: p");
            assert!(websocket.iter().any(|name| name == "upgrade"), "{websocket:?}");
        }
    }

    #[test]
    fn members_are_made_by_expressions() {
        let config = json!({ "custom_fields": {
            "tenant": "$(headers['x-tenant'])", "request.kind": "api-$(query_params.v)", "a\\.b": "dot",
            "client_ip": "$(headers.absent)", "absent.too": "$(headers.absent)", "latencies.kong.x": "y",
        } });
        let line = line(&config, "GET /?v=2\nX-Tenant: acme");
        assert_eq!((&line["request"]["kind"], &line["a.b"]), (&json!("api-2"), &json!("dot")));
        assert_eq!((line.get("client_ip"), line.get("absent")), (None, None));
        assert_eq!(line["latencies"]["kong"], json!({ "x": "y" }));
        assert_eq!(line["tenant"], "acme");
        assert_eq!(line["request"]["method"], "GET");
    }

    #[test]
    fn values_are_masked() {
        let config = json!({ "mask": { "paths": ["request.headers.cookie", "request.querystring.*"], "patterns": ["\\d{8,}"] } });
        let line = line(&config, "GET /card/12345678?token=t\nCookie: c\nX-A: b");
        assert_eq!(line["request"]["headers"]["cookie"], "***");
        assert_eq!(line["request"]["querystring"]["token"], "***");
        assert_eq!(line["request"]["headers"]["x-a"], "b");
        assert!(!line.to_string().contains("12345678"), "{line}");
    }

    #[test]
    fn wrong_expressions_and_patterns_are_refused() {
        let config = json!({ "path": "/tmp/x", "mask": { "patterns": ["("] } });
        let error = complete(&file_log::DEFINITION, config).unwrap_err();
        assert!(error.to_string().contains("'(' is no regular expression"), "{error}");
        let fields = Some([("a".to_owned(), "$(1 +)".to_owned())].into_iter().collect());
        let error = Documents::new("p", &Shape { by_lua: &None, fields: &fields, mask: &None }).unwrap_err();
        assert!(error.to_string().starts_with("p: custom_fields.a: "), "{error}");
    }

    #[test]
    fn expressions_of_custom_fields_by_lua_keep_their_types() {
        for (code, want) in [
            ("return kong.response.get_status()", json!(200)),
            ("return kong.response.get_header('x-up')", json!("1")),
            ("return kong.response.get_headers().x_up", json!("1")),
            ("return kong.response.get_source()", json!("service")),
            ("return 'tenant-' .. kong.request.get_header('X-Tenant'):upper()", json!("tenant-ACME")),
            ("  return(1 + 0.5);\n", json!(1.5)),
            ("return 1 < 2", json!(true)),
            ("return false", json!(false)),
            ("return ''", json!("")),
            ("return { 1, 'b', { c = true } }", json!([1, "b", { "c": true }])),
            ("return {}", json!({})),
            ("return kong.client.get_consumer()", json!(null)),
            ("return nil", json!(null)),
            ("return", json!(null)),
            ("return 1 / 0", json!(null)),
            ("return headers.none .. 'x'", json!(null)),
        ] {
            let config = json!({ "custom_fields_by_lua": { "client_ip": code, "request.made": code } });
            let line = line(&config, "GET /\nX-Tenant: acme");
            let there = |value: Option<&Value>| value.cloned().unwrap_or_default();
            assert_eq!(there(line.get("client_ip")), want, "{code}");
            assert_eq!(there(line["request"].get("made")), want, "{code}");
            assert_eq!(line["request"]["method"], "GET", "{code}");
            assert_eq!(line.get("client_ip").is_some(), !want.is_null(), "{code}: nil takes the member out");
        }
    }

    #[test]
    fn what_needs_lua_is_left_out_of_a_document_that_is_logged() {
        for code in [
            "local a = 1 return a",
            "return (function(a) return a end)(1)",
            "return require('x')",
            "return function() end",
            "return os.time()",
            "return kong.response.get_raw_body()",
            "return kong.request.get_headers()",
            "return ngx.ctx.x",
            "return 1, 2",
            "returned()",
            "kong.log.err('x')",
        ] {
            let error = returned(code).unwrap_err();
            assert!(!error.is_empty(), "{code}");
            let fields = json!({ "custom_fields_by_lua": { "client_ip": code, "b": "return 2" } });
            let line = line(&fields, "GET /");
            assert_eq!((&line["client_ip"], &line["b"]), (&json!("10.0.0.1"), &json!(2)), "{code}");
        }
    }
}
