//! # ip-restriction
//!
//! Lets in or keeps out clients by their address: none of `deny`, and where `allow` is given, only those of it.

mod ranges;

use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use ranges::Ranges;
use schema::{Check, Field, Record};
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "ip-restriction",
    priority: 990,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Addresses and ranges that are let in.
    #[field(elements(typedef = ip_or_cidr))]
    allow: Option<Vec<String>>,
    /// Addresses and ranges that are kept out.
    #[field(elements(typedef = ip_or_cidr))]
    deny: Option<Vec<String>>,
    /// The status of refused requests.
    #[field(required = false)]
    status: Option<f64>,
    /// The message of refused requests.
    #[field(required = false)]
    message: Option<String>,
}

fn schema() -> PluginSchema {
    const ALL: [&str; 8] = ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];
    let protocols = Field::set(Field::string().one_of(ALL))
        .required(true)
        .default(serde_json::json!(["http", "https", "tcp", "tls", "grpc", "grpcs"]));
    PluginSchema::plugin(DEFINITION.name, Config::record())
        .field("protocols", protocols)
        .check(Check::at_least_one_of(["config.allow", "config.deny"]))
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    Ok(Arc::new(IpRestriction {
        allow: config.allow.filter(|list| !list.is_empty()).map(|list| Ranges::parse(&list)).transpose()?,
        deny: Ranges::parse(&config.deny.unwrap_or_default())?,
        status: Some(config.status.map_or(403, |status| status as u16)).filter(|status| (400..600).contains(status)),
        message: config.message,
    }))
}

struct IpRestriction {
    allow: Option<Ranges>,
    deny: Ranges,
    /// `None`: one that is no error's, which Kong fails with.
    status: Option<u16>,
    message: Option<String>,
}

impl Plugin for IpRestriction {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let ip = cx.client.ip;
        let is_allowed = !self.deny.contains(ip) && self.allow.as_ref().is_none_or(|allow| allow.contains(ip));
        if is_allowed {
            return Step::Continue;
        }
        Step::exit(match (self.status, &self.message) {
            (Some(status), Some(message)) => Response::error(cx, status, message),
            (Some(status), None) => Response::error(cx, status, &format!("IP address not allowed: {ip}")),
            (None, _) => Response::error(cx, 500, pdk::default_message(500)),
        })
    }
}

#[cfg(test)]
mod tests;
