//! # request-termination
//!
//! Answers requests itself: a status with a message, a body or nothing. With `trigger`, only requests that have a header
//! field or a query argument of that name. With `echo`, the answer tells what the gateway saw of the request.

use entities::PluginSchema;
use pdk::args::{Arg, Args, find};
use pdk::form::Form;
use pdk::log::entity;
use pdk::{BuildError, Context, Definition, Flow, Instance, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "request-termination",
    priority: 2,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
#[record(validator(validate))]
struct Config {
    /// The status of the answer.
    #[field(default = 503, between(100, 599))]
    status_code: u16,
    /// The message of the answer, sent as JSON.
    message: Option<String>,
    /// The media type of `body`.
    content_type: Option<String>,
    /// The whole body of the answer.
    body: Option<String>,
    /// Whether the answer tells what the gateway saw of the request.
    #[field(default = false)]
    echo: bool,
    /// A header field or query argument without which requests pass.
    #[field(typedef = header_name)]
    trigger: Option<String>,
}

fn validate(config: &Value) -> Result<(), String> {
    let has = |name: &str| config.get(name).is_some_and(|v| !v.is_null());
    let message = match (has("message"), has("content_type"), has("body")) {
        (true, true, _) | (true, _, true) => "message cannot be used with content_type or body",
        (_, true, false) => "content_type requires a body",
        (_, _, true) if config.get("echo") == Some(&Value::Bool(true)) => {
            "echo cannot be used with content_type and body"
        }
        _ => return Ok(()),
    };
    Err(message.to_owned())
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    Ok(Arc::new(RequestTermination(instance.config()?)))
}

struct RequestTermination(Config);

/// The message of a status for which none is configured.
fn default_message(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        500 => "An unexpected error occurred",
        502 => "Bad Gateway",
        503 => "Service unavailable",
        _ => return None,
    })
}

impl Plugin for RequestTermination {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let config = &self.0;
        if let Some(trigger) = &config.trigger
            && !cx.request.headers.contains(trigger)
            && find(cx.upstream_query().unwrap_or_default(), trigger.as_bytes()) == Arg::Absent
        {
            return Step::Continue;
        }
        if config.echo {
            return Step::Wait(Box::pin(self.echo(cx)));
        }
        if let Some(body) = &config.body {
            let mut response = Response::new(config.status_code);
            if let Some(media) = &config.content_type {
                response.headers.append("Content-Type", media.as_bytes());
            }
            response.body = body.clone().into_bytes().into();
            return Step::exit(response);
        }
        Step::exit(match self.message() {
            Some(message) => Response::message(config.status_code, message),
            None => Response::bare(cx, config.status_code),
        })
    }
}

impl RequestTermination {
    fn message(&self) -> Option<&str> {
        self.0.message.as_deref().or_else(|| default_message(self.0.status_code))
    }

    async fn echo(&self, cx: &mut Context<'_>) -> Flow {
        let body = match cx.request.body.collect(pdk::form::LIMIT).await {
            Ok(body) => body,
            Err(error) => return Flow::Exit(Box::new(cx.body_error(error))),
        };
        let parsed = match Form::parse(cx.request.headers.get("content-type"), &body) {
            Ok(Form::Json(_)) => serde_json::from_slice(&body).ok(),
            Ok(Form::Args(args)) => Some(table(args.iter())),
            Ok(Form::Multipart(parts)) => Some(table(parts.iter().map(|(name, value)| (name, Some(value))))),
            Err(_) => None,
        };
        let request = &cx.request;
        let node = &cx.shared.node;
        let mut seen = json!({
            "scheme": if cx.client.scheme.is_tls() { "https" } else { "http" },
            "host": lossy(&request.host_name()),
            "port": cx.client.public_port,
            "headers": headers(cx),
            "query": table(Args::parse(cx.upstream_query().unwrap_or_default()).iter()),
            "raw_body": lossy(&body),
            "method": cx.upstream_method().as_str(),
            "path": schema::validators::normalize(&lossy(request.path())),
            "uri_captures": captures(cx),
        });
        if let Some(body) = parsed {
            seen["body"] = body;
        }
        let mut answer = json!({
            "kong": { "node_id": node.id, "worker_pid": std::process::id(), "hostname": node.hostname },
            "request": seen,
        });
        for (name, value) in [
            ("message", self.message().map(Value::from)),
            ("matched_route", cx.route.map(|route| entity(cx, &**route))),
            ("matched_service", cx.service.map(|service| entity(cx, &**service))),
        ] {
            if let Some(value) = value {
                answer[name] = value;
            }
        }
        Flow::Exit(Box::new(Response::json(self.0.status_code, &answer)))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn headers(cx: &Context) -> Value {
    let lower: Vec<_> = cx.request.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v)).collect();
    table(lower.iter().map(|(n, v)| (n.as_slice(), Some(*v))))
}

/// Names and values as Kong's tables: a value, `true` for a bare name, an array for a repeated one.
fn table<'a>(pairs: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Value {
    let mut out = Map::new();
    for (name, value) in pairs {
        let value = value.map_or(Value::Bool(true), |v| lossy(v).into());
        match out.get_mut(&lossy(name)) {
            None => {
                out.insert(lossy(name), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = vec![first.take(), value].into(),
        }
    }
    Value::Object(out)
}

fn captures(cx: &Context) -> Value {
    let is_number = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    let named: Map<_, _> =
        cx.captures.iter().filter(|(n, _)| !is_number(n)).map(|(n, v)| (n.clone(), v.as_str().into())).collect();
    let unnamed: Vec<_> =
        cx.captures.iter().filter(|(n, _)| is_number(n) && n != "0").map(|(_, v)| v.as_str()).collect();
    json!({ "named": named, "unnamed": unnamed })
}

#[cfg(test)]
mod tests;
