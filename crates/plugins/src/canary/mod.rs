//! # canary
//!
//! Sends a part of the requests to another host, port or path than the service's: a share of the clients (`percentage`), a share
//! that grows from none to all in the `duration` after `start`, or the members of groups (`hash` `allow` or `deny`). The fields
//! are those that Kong sells its plugin of this name with.
//!
//! Clients fall into `steps` buckets by their consumer, address or a header field, as `hash` says, and a client stays in its
//! bucket, on all nodes and across restarts. A request without what `hash` asks for goes by its consumer, else by its address. With
//! `none` requests go by turns. A client of `canary_by_header_name` chooses by itself, with `always` or `never`.
//!
//! `upstream_host` may be the name of an upstream entity; with `upstream_fallback` the canary waits while that has no target that
//! takes requests.

mod bucket;

use bucket::{Buckets, By};
use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Flow, Instance, Phases, Plugin, Step};
use schema::{Check, Record, is};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

pub const DEFINITION: Definition =
    Definition { name: "canary", priority: 20, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

const HASHES: [&str; 6] = ["consumer", "ip", "none", "allow", "deny", "header"];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// When the share begins to grow, in seconds since the epoch. Where it is not given: when the plugin was created, or the
    /// `kong.yml` loaded.
    start: Option<f64>,
    /// What decides on which side a client is; `allow` and `deny`: the groups of its consumer.
    #[field(default = "consumer", one_of(HASHES))]
    hash: Option<String>,
    /// The header field that `hash` = `header` goes by.
    #[field(typedef = header_name)]
    hash_header: Option<String>,
    /// How long the share takes to grow from none to all, in seconds. Without effect where there is a `percentage`.
    #[field(default = 3600, gt = 0)]
    duration: Option<f64>,
    /// How many buckets clients fall into: the steps in which the share can grow.
    #[field(default = 1000, gt = 0)]
    steps: Option<f64>,
    /// The share of the buckets that goes to the canary, in percent; it does not grow then.
    #[field(between(0, 100))]
    percentage: Option<f64>,
    /// The canary's host, or the name of an upstream entity; the service's where it is not given.
    #[field(typedef = host)]
    upstream_host: Option<String>,
    /// The canary's port; the service's where it is not given. Targets of an upstream entity have their own.
    #[field(typedef = port)]
    upstream_port: Option<u16>,
    /// The path that requests of the canary get, instead of their own; the query stays.
    #[field(len_min = 1)]
    upstream_uri: Option<String>,
    /// Whether requests go to the service while no target of the upstream entity `upstream_host` takes requests.
    #[field(default = false)]
    upstream_fallback: bool,
    /// The groups of `acl` that are let into the canary (`hash` = `allow`), or kept out of it (`deny`).
    groups: Option<Vec<String>>,
    /// The header field by which a client chooses for a request: `always` or `never` the canary. Any other value is none.
    #[field(typedef = header_name)]
    canary_by_header_name: Option<String>,
}

fn schema() -> PluginSchema {
    let needs =
        |field: &str, value, needed: &str| Check::conditional(field, is().eq(value), needed, is().required(true));
    PluginSchema::plugin(DEFINITION.name, Config::record())
        .no_consumer()
        .protocols_http()
        .check(Check::at_least_one_of(["config.upstream_uri", "config.upstream_host", "config.upstream_port"]))
        .check(needs("config.hash", schema::Value::from("header"), "config.hash_header"))
        .check(needs("config.hash", schema::Value::from("allow"), "config.groups"))
        .check(needs("config.hash", schema::Value::from("deny"), "config.groups"))
        .check(needs("config.upstream_fallback", schema::Value::from(true), "config.upstream_host"))
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let groups = config.groups.unwrap_or_default();
    let buckets = || {
        let by = match (config.hash.as_deref(), config.hash_header) {
            (Some("ip"), _) => By::Ip,
            (Some("none"), _) => By::Turns,
            (Some("header"), Some(name)) => By::Header(name),
            _ => By::Consumer,
        };
        Buckets::new(config.steps.unwrap_or(1000.0), by)
    };
    let share = match config.percentage {
        Some(percentage) => Share::Fixed(percentage / 100.0),
        None => Share::Growing {
            start: config.start.unwrap_or(instance.entity.created_at as f64),
            duration: config.duration.unwrap_or(3600.0),
        },
    };
    let who = match config.hash.as_deref() {
        Some("allow") => Who::Groups { groups, is_deny: false },
        Some("deny") => Who::Groups { groups, is_deny: true },
        _ => Who::Share(buckets(), share),
    };
    Ok(Arc::new(Canary {
        who,
        host: config.upstream_host.map(Arc::from),
        port: config.upstream_port,
        path: config.upstream_uri.map(|uri| path(&uri)),
        falls_back: config.upstream_fallback,
        choice: config.canary_by_header_name,
    }))
}

/// A path as it may go over the wire: it begins with a slash, and what could end it is escaped.
fn path(uri: &str) -> Vec<u8> {
    let mut out = if uri.starts_with('/') { Vec::new() } else { b"/".to_vec() };
    for byte in uri.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte) {
            out.push(byte);
        } else {
            pdk::args::encode(&[byte], &mut out);
        }
    }
    out
}

/// Who goes to the canary.
enum Who {
    Groups { groups: Vec<String>, is_deny: bool },
    Share(Buckets, Share),
}

/// How much of the buckets.
enum Share {
    Fixed(f64),
    /// Seconds since the epoch, and seconds.
    Growing {
        start: f64,
        duration: f64,
    },
}

impl Share {
    /// How many of so many buckets are open by now.
    fn open(&self, now: Duration, steps: u64) -> f64 {
        match self {
            Self::Fixed(share) => share * steps as f64,
            Self::Growing { start, duration } => {
                let passed = ((now.as_secs_f64() - start) / duration).clamp(0.0, 1.0);
                (passed * steps as f64).floor()
            }
        }
    }
}

struct Canary {
    who: Who,
    host: Option<Arc<str>>,
    port: Option<u16>,
    path: Option<Vec<u8>>,
    falls_back: bool,
    choice: Option<String>,
}

impl Plugin for Canary {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let chosen = self.choice.as_deref().and_then(|name| cx.request.headers.get(name));
        match (chosen, &self.who) {
            (Some(b"always"), _) => self.lead(cx),
            (Some(b"never"), _) => {}
            (_, Who::Share(buckets, share)) => {
                let open = share.open(cx.shared.clock.now(), buckets.count());
                if (buckets.of(cx) as f64) < open {
                    self.lead(cx);
                }
            }
            (_, Who::Groups { groups, is_deny }) => return self.by_groups(cx, groups, *is_deny),
        }
        Step::Continue
    }
}

impl Canary {
    fn by_groups<'a>(&'a self, cx: &'a mut Context, groups: &'a [String], is_deny: bool) -> Step<'a> {
        let has = |group: &str| groups.iter().any(|known| known == group);
        let Some(id) = cx.consumer.as_ref().map(|consumer| consumer.id) else {
            let is_member = cx.authenticated_groups.iter().flatten().any(|group| has(group));
            if is_member != is_deny {
                self.lead(cx);
            }
            return Step::Continue;
        };
        let ready = cx.shared.consumers.acls(id).ready();
        if let Some(acls) = ready {
            if acls.iter().flatten().any(|acl| has(&acl.group)) != is_deny {
                self.lead(cx);
            }
            return Step::Continue;
        }
        Step::Wait(Box::pin(async move {
            let consumers = cx.shared.consumers.clone();
            let acls = consumers.acls(id).wait().await;
            if acls.iter().flatten().any(|acl| has(&acl.group)) != is_deny {
                self.lead(cx);
            }
            Flow::Continue
        }))
    }

    /// Sends the request to the canary.
    fn lead(&self, cx: &mut Context) {
        let is_down = |host: &Arc<str>| cx.shared.upstreams.is_healthy(host) == Some(false);
        if self.falls_back && self.host.as_ref().is_some_and(is_down) {
            return;
        }
        let Some(upstream) = &mut cx.upstream else { return };
        let host = self.host.clone().unwrap_or_else(|| upstream.host.clone());
        upstream.set_target(&host, self.port);
        if let Some(path) = &self.path {
            upstream.path.clone_from(path);
        }
    }
}

#[cfg(test)]
mod tests;
