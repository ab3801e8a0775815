//! # udp-log
//!
//! Sends one datagram of JSON a request.

use crate::lua_fields::{self, CustomFields};
use crate::sender::{Destination, Sender};
use entities::PluginSchema;
use pdk::log::document;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

pub const DEFINITION: Definition =
    Definition { name: "udp-log", priority: 8, version: crate::VERSION, phases: Phases::LOG, schema, build };

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
    /// Members of the log document and the Lua functions that make them.
    #[field(typedef = lua_code)]
    custom_fields_by_lua: CustomFields,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    lua_fields::refuse(DEFINITION.name, &config.custom_fields_by_lua)?;
    let timeout = Duration::from_millis(config.timeout.unwrap_or(10_000.0) as u64);
    Ok(Arc::new(UdpLog(Sender::new(Destination::Udp { host: config.host, port: config.port, timeout }))))
}

struct UdpLog(Sender);

impl Plugin for UdpLog {
    fn log(&self, cx: &mut Context) {
        self.0.send(document(cx).to_string().into_bytes());
    }
}

#[cfg(test)]
mod tests;
