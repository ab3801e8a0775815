//! # http-log
//!
//! Sends the log document of each request to an HTTP server: one JSON object a request, or arrays of them where the
//! queue makes batches (`queue.max_batch_size` above 1). An answer below 300 takes the batch; any other outcome is
//! tried again for `queue.max_retry_time` seconds. The server's certificate is not verified, and the query of
//! `http_endpoint` is not sent, as in Kong. Instances that send the same to the same server share a queue.
//!
//! Where the path of `http_endpoint` ends in `/_bulk`, documents go in the shape of Elasticsearch's bulk API; where it
//! ends in `/services/collector` or `/services/collector/event`, in that of Splunk's HTTP Event Collector. Neither
//! takes the shape above.

mod bulk;
mod endpoint;

use crate::log_document::{self, CustomFields, Documents};
use crate::mask;
use crate::queue::{self, Parameters, Queue};
use endpoint::{Endpoint, Shape};
use entities::PluginSchema;
use indexmap::IndexMap;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::validators::url::Url;
use schema::{Deprecation, Record, Value};
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "http-log", priority: 12, version: crate::VERSION, phases: Phases::LOG, schema, build };

/// Header fields that are not the configuration's to say.
const OWN_HEADERS: [(&str, &str); 3] = [
    ("^[Hh][Oo][Ss][Tt]$", "cannot contain 'Host' header"),
    ("^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][nn][Gg][Tt][Hh]$", "cannot contain 'Content-Length' header"),
    ("^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]$", "cannot contain 'Content-Type' header"),
];

#[derive(Record, Deserialize, Clone)]
#[record(validator(authorizes_once))]
struct Config {
    /// The URL to send to; user and password in it become an `Authorization` field.
    #[field(typedef = url, referenceable, encrypted)]
    http_endpoint: String,
    /// The request's method.
    #[field(default = "POST", one_of(["POST", "PUT", "PATCH"]))]
    method: Option<String>,
    /// The request's content type.
    #[field(default = "application/json", one_of(["application/json", "application/json; charset=utf-8"]))]
    content_type: Option<String>,
    /// How long a request may take, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// How long an idle connection is kept, in milliseconds.
    #[field(default = 60000)]
    keepalive: Option<f64>,
    /// No longer used.
    #[field(deprecation(deprecated("retry_count no longer works", "max_retry_time").old_default(10)))]
    #[serde(rename = "retry_count")]
    _retry_count: Option<i64>,
    /// Now `queue.max_batch_size`.
    #[field(deprecation(deprecated("queue_size is deprecated", "max_batch_size").old_default(1)))]
    queue_size: Option<i64>,
    /// Now `queue.max_coalescing_delay`.
    #[field(deprecation(deprecated("flush_timeout is deprecated", "max_coalescing_delay").old_default(2)))]
    flush_timeout: Option<f64>,
    /// More header fields to send.
    #[field(keys(typedef = header_name, match_none(OWN_HEADERS)), values(referenceable))]
    headers: Option<IndexMap<String, String>>,
    /// How log documents wait and are put together.
    queue: Parameters,
    /// Members of the log document and the Lua functions that make them.
    #[field(typedef = lua_code)]
    custom_fields_by_lua: CustomFields,
    /// Members of the log document and the templates that make them, for example `$(headers['x-tenant'])`. Not in Kong.
    #[field(hidden, keys(len_min = 1), values(len_min = 1))]
    custom_fields: CustomFields,
    /// Which values of the log document are masked. Not in Kong.
    #[field(hidden)]
    mask: Option<mask::Config>,
}

fn deprecated(what: &str, instead: &str) -> Deprecation {
    Deprecation::new(&format!("http-log: config.{what}, please use config.queue.{instead} instead"), "4.0")
}

fn authorizes_once(config: &Value) -> Result<(), String> {
    let endpoint = config.get("http_endpoint").and_then(Value::as_str).and_then(Url::parse);
    let headers = config.get("headers").and_then(Value::as_object);
    let is_said = headers.is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")));
    if is_said && endpoint.is_some_and(|endpoint| endpoint.userinfo.is_some()) {
        return Err("specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed".into());
    }
    Ok(())
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let shape =
        log_document::Shape { by_lua: &config.custom_fields_by_lua, fields: &config.custom_fields, mask: &config.mask };
    let documents = Documents::new(DEFINITION.name, &shape)?;
    let parameters = config.queue.clone().with_deprecated(config.queue_size, config.flush_timeout);
    let shape = Shape::of(&config.http_endpoint, parameters.max_batch_size() > 1);
    let endpoint = Endpoint::new(&config, shape)
        .map_err(|reason| BuildError(format!("http-log: config.http_endpoint: {reason}")))?;
    let name = format!(
        "http-log:{}:{:?}:{:?}:{:?}:{:?}:{:?}",
        config.http_endpoint, config.method, config.content_type, config.timeout, config.keepalive, config.headers
    );
    let label = format!("http-log to {}", endpoint.authority());
    Ok(Arc::new(HttpLog { queue: queue::named(&name, &label, parameters, Arc::new(endpoint)), shape, documents }))
}

struct HttpLog {
    queue: Arc<Queue>,
    shape: Shape,
    documents: Documents,
}

impl Plugin for HttpLog {
    fn log(&self, cx: &mut Context) {
        match self.shape {
            Shape::Object | Shape::Array => self.queue.push(self.documents.text(cx).as_bytes()),
            Shape::Bulk => self.queue.push(bulk::entry(self.documents.of(cx))),
            Shape::Hec => self.queue.push(endpoint::event(&self.documents.of(cx), &cx.shared.node)),
        }
    }
}

#[cfg(test)]
mod tests;
