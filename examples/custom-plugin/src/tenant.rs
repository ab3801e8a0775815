//! # tenant
//!
//! Lets only known tenants pass: the tenant stands in a header field, and the upstream learns the canonical name.

use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub(crate) const DEFINITION: Definition = Definition {
    name: "tenant",
    // Behind authentication (key-auth has 1250), before rate limits (910).
    priority: 1000,
    version: "1.0.0",
    // Only these phases are called.
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER),
    schema,
    build,
};

/// What stands under `config` in kong.yml and in the Admin API: checked, completed and documented from this.
#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The header field that names the tenant.
    #[field(default = "X-Tenant")]
    header_name: String,
    /// The tenants that may pass, in any case.
    #[field(set, len_min = 1)]
    tenants: Vec<String>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

/// Called once for each configured instance, when the configuration is loaded: a request never parses anything.
fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let tenants = config.tenants.iter().map(|tenant| tenant.to_ascii_lowercase()).collect();
    Ok(Arc::new(Tenant { header_name: config.header_name, tenants }))
}

struct Tenant {
    header_name: String,
    /// In lower case.
    tenants: Vec<String>,
}

impl Plugin for Tenant {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let named = cx.request.headers.get_str(&self.header_name).map(str::to_ascii_lowercase);
        match named.filter(|name| self.tenants.contains(name)) {
            Some(name) => {
                cx.request.headers.set(&self.header_name, name.as_bytes());
                Step::Continue
            }
            None => Step::exit(Response::message(403, "Unknown tenant")),
        }
    }

    fn header_filter(&self, cx: &mut Context) {
        cx.response.headers.set("X-Tenant-Checked", b"yes");
    }
}

#[cfg(test)]
mod tests;
