//! # loggly
//!
//! Sends one message of JSON a request to Loggly, as a datagram of syslog with the customer's key and tags.

use crate::calendar::{date, time};
use crate::log_document::{CustomFields, Documents, Shape};
use crate::mask;
use crate::queue::{self, Parameters, Queue};
use crate::sender::Datagrams;
use crate::severity::{NAMES, Severities};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

pub const DEFINITION: Definition =
    Definition { name: "loggly", priority: 6, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone)]
struct Config {
    /// The host to send to.
    #[field(typedef = host, default = "logs-01.loggly.com")]
    host: Option<String>,
    /// The port to send to.
    #[field(typedef = port, default = 514)]
    port: Option<u16>,
    /// The customer's key.
    #[field(referenceable, encrypted)]
    key: String,
    /// The tags of the messages.
    #[field(set, default = ["kong"])]
    tags: Option<Vec<String>>,
    /// The least severity that is sent.
    #[field(default = "info", one_of(NAMES))]
    log_level: Option<String>,
    /// The severity of responses below 400.
    #[field(default = "info", one_of(NAMES))]
    successful_severity: Option<String>,
    /// The severity of responses from 400 to 499.
    #[field(default = "info", one_of(NAMES))]
    client_errors_severity: Option<String>,
    /// The severity of responses from 500 on.
    #[field(default = "info", one_of(NAMES))]
    server_errors_severity: Option<String>,
    /// How long a message may take, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// Members of the log document and the Lua functions that make them.
    #[field(typedef = lua_code)]
    custom_fields_by_lua: CustomFields,
    /// Members of the log document and the templates that make them, for example `$(headers['x-tenant'])`. Not in Kong.
    #[field(hidden, keys(len_min = 1), values(len_min = 1))]
    custom_fields: CustomFields,
    /// Which values of the log document are masked. Not in Kong.
    #[field(hidden)]
    mask: Option<mask::Config>,
    /// How messages wait and are put together, as those of `http-log`. Not in Kong.
    #[field(hidden)]
    queue: Option<Parameters>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let shape = Shape { by_lua: &config.custom_fields_by_lua, fields: &config.custom_fields, mask: &config.mask };
    let documents = Documents::new(DEFINITION.name, &shape)?;
    let (host, port) = (config.host.as_deref().unwrap_or("logs-01.loggly.com"), config.port.unwrap_or(514));
    let timeout = Duration::from_millis(config.timeout.unwrap_or(10_000.0) as u64);
    let name = format!("loggly:{}:{host}:{port}", instance.entity.id);
    let datagrams = Arc::new(Datagrams::udp(host, port, timeout));
    let parameters = config.queue.unwrap_or_default();
    let queue = queue::named(&name, &format!("loggly to {host}:{port}"), parameters, datagrams);
    let tags = config.tags.iter().flatten().map(|tag| format!("tag=\"{}\"", parameter_value(tag)));
    // Kong leaves the space before the tags where there are none, too.
    let tags = tags.collect::<Vec<_>>().join(" ");
    let or_info = |name: Option<String>| name.unwrap_or_else(|| "info".to_owned());
    Ok(Arc::new(Loggly {
        severities: Severities::of_names([
            or_info(config.log_level),
            or_info(config.successful_severity),
            or_info(config.client_errors_severity),
            or_info(config.server_errors_severity),
        ]),
        // 41058 is Loggly's number among the enterprises (RFC 5424, 7.2.2).
        identity: format!("[{}@41058 {tags}]", element_name(&config.key)),
        documents,
        queue,
    }))
}

/// The name of an element (RFC 5424, 6.3.2), without what would end it.
fn element_name(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii_graphic() || "=]\"".contains(c), "_")
}

/// A parameter's value (RFC 5424, 6.3.3).
fn parameter_value(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\"\\]".contains(c) {
            out.push('\\');
        }
        out.push(if c.is_control() { '_' } else { c });
    }
    out
}

struct Loggly {
    severities: Severities,
    identity: String,
    documents: Documents,
    queue: Arc<Queue>,
}

impl Plugin for Loggly {
    fn log(&self, cx: &mut Context) {
        let Some(severity) = self.severities.of(cx.response.status) else { return };
        let now = cx.shared.clock.now().as_secs();
        let (year, month, day) = date(now / 86400);
        let (hour, minute, second) = time(now);
        let json = self.documents.text(cx);
        let message = format!(
            "<{}>1 {year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z {} kong - - {} {json}",
            // Facility `user`.
            8 + severity,
            cx.shared.node.hostname,
            self.identity,
        );
        self.queue.push(message);
    }
}

#[cfg(test)]
mod tests;
