//! # tcp-log
//!
//! Sends one line of JSON a request over a TCP connection that is kept, with TLS where it is asked for (the collector's
//! certificate is not verified).

use crate::log_document::{CustomFields, Documents, Shape};
use crate::mask;
use crate::sender::{Destination, Sender, Tls};
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
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let shape = Shape { by_lua: &config.custom_fields_by_lua, fields: &config.custom_fields, mask: &config.mask };
    let documents = Documents::new(DEFINITION.name, &shape)?;
    let sender = Sender::new(Destination::Tcp {
        host: config.host,
        port: config.port,
        timeout: Duration::from_millis(config.timeout.unwrap_or(10_000.0) as u64),
        keepalive: Duration::from_millis(config.keepalive.unwrap_or(60_000.0) as u64),
        tls: config.tls.then_some(Tls { server_name: config.tls_sni }),
    });
    Ok(Arc::new(TcpLog { sender, documents }))
}

struct TcpLog {
    sender: Sender,
    documents: Documents,
}

impl Plugin for TcpLog {
    fn log(&self, cx: &mut Context) {
        let line = format!("{}\n", self.documents.text(cx));
        self.sender.send(line.into_bytes());
    }
}

#[cfg(test)]
mod tests;
