//! # file-log
//!
//! Appends one line of JSON a request to a file. One thread of the process writes all files, so requests never wait for a
//! disk; what it cannot keep up with (64 Ki lines or 64 MiB wait) is dropped, counted and told. With `reopen` the file is opened for each batch of lines,
//! which lets log rotation move it away; without, it is opened anew after [`reopen`].

mod writer;

use crate::log_document::{CustomFields, Documents, Shape};
use crate::mask;
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use writer::flush;
pub use writer::{dropped, flush_within, reopen};

pub const DEFINITION: Definition =
    Definition { name: "file-log", priority: 9, version: crate::VERSION, phases: Phases::LOG, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The file to append to; it is made where it is missing.
    #[field(match_("^[^%s*&%%\\`][^*&%%\\`]*[^%s*&%%\\`]$"), err = "not a valid filename")]
    path: String,
    /// Whether the file is opened anew for each batch of lines.
    #[field(default = false)]
    reopen: bool,
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
    Ok(Arc::new(FileLog { path: config.path.into(), is_reopened: config.reopen, documents }))
}

struct FileLog {
    path: Arc<str>,
    is_reopened: bool,
    documents: Documents,
}

impl Plugin for FileLog {
    fn log(&self, cx: &mut Context) {
        let line = format!("{}\n", self.documents.text(cx));
        writer::append(&self.path, self.is_reopened, line);
    }
}

#[cfg(test)]
mod tests;
