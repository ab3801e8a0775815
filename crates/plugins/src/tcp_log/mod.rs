//! # tcp-log
//!
//! Sends one line of JSON a request over a TCP connection that is kept, with TLS where it is asked for (the collector's
//! certificate is not verified).

use crate::log_document::{CustomFields, Documents, Shape};
use crate::mask;
use crate::queue::{self, Parameters, Queue};
use crate::sender::{Lines, Tls};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

pub const DEFINITION: Definition =
    Definition { name: "tcp-log", priority: 7, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The host to send to.
    #[field(typedef = host)]
    host: String,
    /// The port to send to.
    #[field(typedef = port)]
    port: u16,
    /// How long a message may take, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// How long a connection is kept without messages, in milliseconds.
    #[field(default = 60000)]
    keepalive: Option<f64>,
    /// Whether TLS is spoken.
    #[field(default = false)]
    tls: bool,
    /// The server name to ask for in TLS.
    tls_sni: Option<String>,
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
    let (host, port) = (&config.host, config.port);
    let name = format!("tcp-log:{}:{host}:{port}", instance.entity.id);
    let milliseconds = |value: Option<f64>, default| Duration::from_millis(value.unwrap_or(default) as u64);
    let (timeout, keepalive) = (milliseconds(config.timeout, 10_000.0), milliseconds(config.keepalive, 60_000.0));
    let tls = config.tls.then_some(Tls { server_name: config.tls_sni });
    let lines = Arc::new(Lines::new(host, port, timeout, keepalive, tls));
    let parameters = config.queue.unwrap_or_default();
    let queue = queue::named(&name, &format!("tcp-log to {host}:{port}"), parameters, lines);
    Ok(Arc::new(TcpLog { queue, documents }))
}

struct TcpLog {
    queue: Arc<Queue>,
    documents: Documents,
}

impl Plugin for TcpLog {
    fn log(&self, cx: &mut Context) {
        self.queue.push(self.documents.text(cx).as_bytes());
    }
}

#[cfg(test)]
mod tests;
