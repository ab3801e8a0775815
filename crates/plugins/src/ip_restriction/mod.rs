//! # ip-restriction
//!
//! Lets in or keeps out clients by their address: none of `deny`, and where `allow` is given, only those of it.

use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use schema::{Check, Field, Record};
use serde::Deserialize;
use std::net::IpAddr;
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
        status: config.status.map_or(403, |status| status as u16),
        message: config.message,
    }))
}

struct IpRestriction {
    allow: Option<Ranges>,
    deny: Ranges,
    status: u16,
    message: Option<String>,
}

impl Plugin for IpRestriction {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let ip = cx.client.ip;
        let is_allowed = !self.deny.contains(ip) && self.allow.as_ref().is_none_or(|allow| allow.contains(ip));
        if is_allowed {
            return Step::Continue;
        }
        Step::exit(match &self.message {
            Some(message) => Response::error(cx, self.status, message),
            None => Response::error(cx, self.status, &format!("IP address not allowed: {ip}")),
        })
    }
}

/// Sorted, disjoint ranges of addresses, first and last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    fn parse(list: &[String]) -> Result<Self, BuildError> {
        let mut ranges = Self::default();
        for entry in list {
            let invalid = || BuildError(format!("ip-restriction: invalid ip or cidr range: '{entry}'"));
            let (ip, bits) = match entry.split_once('/') {
                Some((ip, bits)) => (ip, Some(bits.parse::<u32>().map_err(|_| invalid())?)),
                None => (entry.as_str(), None),
            };
            match ip.parse().map_err(|_| invalid())? {
                IpAddr::V4(ip) => {
                    let wild = u32::MAX.checked_shr(bits.unwrap_or(32)).unwrap_or(0);
                    ranges.v4.push((ip.to_bits() & !wild, ip.to_bits() | wild));
                }
                IpAddr::V6(ip) => {
                    let wild = u128::MAX.checked_shr(bits.unwrap_or(128)).unwrap_or(0);
                    ranges.v6.push((ip.to_bits() & !wild, ip.to_bits() | wild));
                }
            }
        }
        merge(&mut ranges.v4);
        merge(&mut ranges.v6);
        Ok(ranges)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => holds(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => holds(&self.v6, ip.to_bits()),
        }
    }
}

fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort();
    ranges.dedup_by(|next, kept| {
        let is_joined = next.0 <= kept.1;
        if is_joined {
            kept.1 = kept.1.max(next.1);
        }
        is_joined
    });
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && ranges[after - 1].1 >= address
}

#[cfg(test)]
mod tests;
