//! # syslog
//!
//! Writes one message of JSON a request to this host's syslog (`/dev/log`), under the name `kong`, with a severity by the
//! response's status; what is less severe than `log_level` is not written.

use crate::calendar::{MONTHS, date, time};
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

pub const DEFINITION: Definition =
    Definition { name: "syslog", priority: 4, version: crate::VERSION, phases: Phases::LOG, schema, build };

const SOCKET: &str = "/dev/log";
/// The names of the facilities that Kong knows, in its order, and their numbers (RFC 5424, 6.2.1).
const FACILITIES: [(&str, u8); 20] = [
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The least severity that is written.
    #[field(default = "info", one_of(NAMES))]
    log_level: String,
    /// The severity of responses below 400.
    #[field(default = "info", one_of(NAMES))]
    successful_severity: String,
    /// The severity of responses from 400 to 499.
    #[field(default = "info", one_of(NAMES))]
    client_errors_severity: String,
    /// The severity of responses from 500 on.
    #[field(default = "info", one_of(NAMES))]
    server_errors_severity: String,
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
    /// The facility that messages are of.
    #[field(default = "user", one_of(FACILITIES.map(|(name, _)| name)))]
    facility: String,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_all()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    build_to(instance, SOCKET)
}

fn build_to(instance: &Instance<'_>, socket: &str) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let shape = Shape { by_lua: &config.custom_fields_by_lua, fields: &config.custom_fields, mask: &config.mask };
    let documents = Documents::new(DEFINITION.name, &shape)?;
    let name = format!("syslog:{}:{socket}", instance.entity.id);
    let parameters = config.queue.unwrap_or_default();
    let queue = queue::named(&name, &format!("syslog to {socket}"), parameters, Arc::new(Datagrams::unix(socket)));
    let facility = FACILITIES.iter().find(|(name, _)| *name == config.facility).map_or(1, |(_, number)| *number);
    Ok(Arc::new(Syslog {
        severities: Severities::of_names([
            config.log_level,
            config.successful_severity,
            config.client_errors_severity,
            config.server_errors_severity,
        ]),
        facility,
        documents,
        queue,
    }))
}

struct Syslog {
    severities: Severities,
    facility: u8,
    documents: Documents,
    queue: Arc<Queue>,
}

impl Plugin for Syslog {
    fn log(&self, cx: &mut Context) {
        let Some(severity) = self.severities.of(cx.response.status) else { return };
        let now = cx.shared.clock.now().as_secs();
        let json = self.documents.text(cx);
        self.queue.push(message(self.facility, severity, now, json.as_str()));
    }
}

/// As syslog(3) writes it (RFC 3164, 4.1).
fn message(facility: u8, severity: u8, now: u64, json: &str) -> String {
    let (_, month, day) = date(now / 86400);
    let (hour, minute, second) = time(now);
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let priority = u16::from(facility) * 8 + u16::from(severity);
    format!("<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} kong: {json}")
}

#[cfg(test)]
mod tests;
