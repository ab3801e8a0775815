//! # correlation-id
//!
//! Gives each request an id in a header field, unless it brings one, and shows it to the client where `echo_downstream`
//! says so. Logs have it as `correlation_id`.

use crate::stack_text::StackText;
use entities::PluginSchema;
use pdk::log::LogField;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Step};
use schema::Record;
use serde::Deserialize;
use std::cell::Cell;
use std::sync::Arc;
use uuid::Uuid;

pub const DEFINITION: Definition = Definition {
    name: "correlation-id",
    priority: 100_001,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER),
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The header field that holds the id.
    #[field(default = "Kong-Request-ID")]
    header_name: Option<String>,
    /// How ids are made: a UUID each; one UUID of the worker and a counter; or address, port, process, connection,
    /// request of the connection and time.
    #[field(default = "uuid#counter")]
    generator: Generator,
    /// Whether the response has the field too.
    #[field(default = false)]
    echo_downstream: bool,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
enum Generator {
    #[serde(rename = "uuid")]
    Uuid,
    #[serde(rename = "uuid#counter")]
    Counter,
    #[serde(rename = "tracker")]
    Tracker,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(CorrelationId {
        header_name: config.header_name,
        generator: config.generator,
        is_echoed: config.echo_downstream,
    }))
}

struct CorrelationId {
    header_name: Option<String>,
    generator: Generator,
    is_echoed: bool,
}

/// The id of this request.
struct Id(Box<str>);

thread_local! {
    static WORKER: (String, Cell<u64>) = (Uuid::new_v4().to_string(), Cell::new(0));
}

impl Generator {
    fn make(self, cx: &Context) -> String {
        match self {
            Self::Uuid => Uuid::new_v4().to_string(),
            Self::Counter => WORKER.with(|(id, counter)| {
                counter.set(counter.get() + 1);
                let count = StackText::<20>::of_number(counter.get());
                [id, "#", count.as_str()].concat()
            }),
            Self::Tracker => {
                let client = &cx.client;
                let now = cx.shared.clock.now();
                format!(
                    "{}-{}-{}-{}-{}-{}.{:03}",
                    client.local.ip(),
                    client.local.port(),
                    std::process::id(),
                    client.connection,
                    client.connection_requests,
                    now.as_secs(),
                    now.subsec_millis()
                )
            }
        }
    }
}

impl Plugin for CorrelationId {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let Some(name) = &self.header_name else { return Step::Continue };
        let given = cx.request.headers.get(name).filter(|v| !v.is_empty());
        let id = match given {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => {
                let id = self.generator.make(cx);
                cx.request.headers.set(name, id.as_bytes());
                id
            }
        };
        cx.log_fields.push(LogField::text("correlation_id", &id));
        if self.is_echoed {
            cx.data.set(Id(id.into()));
        }
        Step::Continue
    }

    fn header_filter(&self, cx: &mut Context) {
        let Some(name) = self.header_name.as_ref().filter(|_| self.is_echoed) else { return };
        if let Some(Id(id)) = cx.data.get::<Id>() {
            return cx.response.headers.set(name, id.as_bytes());
        }
        // No access phase ran (no route matched): what the client brought, or an id of its own.
        match cx.request.headers.get(name).filter(|given| !given.is_empty()) {
            Some(given) => cx.response.headers.set(name, given),
            None => cx.response.headers.set(name, self.generator.make(cx).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
