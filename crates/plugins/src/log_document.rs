//! The log document as a logging plugin sends it: Kong's, and beyond Kong with members made by expressions, and with masked
//! values.

use crate::mask::{self, Mask};
use crate::template::{Request, Template};
use indexmap::IndexMap;
use pdk::log::Text;
use pdk::{BuildError, Context, log};
use serde_json::{Map, Value};

pub(crate) type CustomFields = Option<IndexMap<String, String>>;

/// How an instance shapes documents.
#[derive(Debug)]
pub(crate) struct Documents {
    /// Where a member goes, and what makes its value.
    fields: Vec<(Vec<String>, Template)>,
    mask: Option<Mask>,
}

/// What the config of a logging plugin says of documents.
pub(crate) struct Shape<'a> {
    /// Kong's `custom_fields_by_lua`.
    pub(crate) by_lua: &'a CustomFields,
    pub(crate) fields: &'a CustomFields,
    pub(crate) mask: &'a Option<mask::Config>,
}

impl Documents {
    /// This version has no Lua: an instance that has custom fields by Lua is not built, rather than logging without them.
    pub(crate) fn new(plugin: &str, shape: &Shape<'_>) -> Result<Self, BuildError> {
        if shape.by_lua.as_ref().is_some_and(|fields| !fields.is_empty()) {
            let message = "custom_fields_by_lua needs Lua, which this version does not have; see custom_fields";
            return Err(BuildError(format!("{plugin}: {message}")));
        }
        let field = |(name, source): (&String, &String)| {
            let template = Template::compile(source);
            let template = template.map_err(|why| BuildError(format!("{plugin}: custom_fields.{name}: {why}")))?;
            Ok((path(name), template))
        };
        let mask = shape.mask.as_ref().map(Mask::new).transpose();
        Ok(Self {
            fields: shape.fields.iter().flatten().map(field).collect::<Result<_, _>>()?,
            mask: mask.map_err(|why| BuildError(format!("{plugin}: mask: {why}")))?,
        })
    }

    /// The document of a request, as JSON.
    pub(crate) fn text(&self, cx: &mut Context) -> Text {
        if self.is_kongs() { log::text(cx) } else { self.of(cx).to_string().into_bytes().into() }
    }

    /// The document of a request, to be changed.
    pub(crate) fn of(&self, cx: &mut Context) -> Value {
        let mut document = log::document(cx);
        if self.is_kongs() {
            return document;
        }
        let request = Request::new(cx, &cx.request.headers);
        for (path, template) in &self.fields {
            // Nothing takes a member out, as nil does in Kong; so does what faults.
            let rendered = template.render(&request).unwrap_or_default();
            let value = (!rendered.is_empty()).then(|| Value::from(String::from_utf8_lossy(&rendered)));
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
        let folder = std::env::temp_dir().join(format!("silverback-{}-{}", std::process::id(), fastrand::u64(..)));
        let mut config = json!({ "path": folder.to_str().unwrap() });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Harness::new(&file_log::DEFINITION, config).send(request);
        file_log::flush();
        let line = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        serde_json::from_str(&line).unwrap()
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
        let error = Documents::new("p", &Shape { by_lua: &fields, fields: &None, mask: &None }).unwrap_err();
        assert!(error.to_string().contains("custom_fields_by_lua needs Lua"), "{error}");
    }
}
