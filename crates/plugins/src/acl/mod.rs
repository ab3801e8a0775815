//! # acl
//!
//! Lets in clients by the groups of their consumer: those that have a group of `allow`, or those that have none of `deny`.
//! It needs an authentication plugin before it. The upstream is told the groups.

use entities::{Acl, PluginSchema};
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use schema::{Check, Record};
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "acl", priority: 950, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The groups that are let in.
    allow: Option<Vec<String>>,
    /// The groups that are kept out.
    deny: Option<Vec<String>>,
    /// Whether the upstream is not told the groups.
    #[field(default = false)]
    hide_groups_header: bool,
    /// Whether groups that an authentication plugin found elsewhere count before the consumer's own.
    #[field(default = false)]
    always_use_authenticated_groups: bool,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record())
        .no_consumer()
        .protocols_http()
        .check(Check::only_one_of(["config.allow", "config.deny"]))
        .check(Check::at_least_one_of(["config.allow", "config.deny"]))
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let deny = config.deny.unwrap_or_default();
    Ok(Arc::new(AccessList {
        is_deny: !deny.is_empty(),
        groups: if deny.is_empty() { config.allow.unwrap_or_default() } else { deny },
        is_told: !config.hide_groups_header,
        prefers_authenticated: config.always_use_authenticated_groups,
    }))
}

struct AccessList {
    is_deny: bool,
    groups: Vec<String>,
    is_told: bool,
    prefers_authenticated: bool,
}

const FORBIDDEN: &str = "You cannot consume this service";

impl Plugin for AccessList {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let is_known = cx.consumer.is_some() && (cx.credential.is_some() || cx.authenticated_groups.is_none());
        if cx.authenticated_groups.is_some() && (self.prefers_authenticated || !is_known) {
            return self.judge_authenticated(cx);
        }
        let Some(consumer) = &cx.consumer else {
            return Step::exit(if cx.credential.is_some() {
                Response::error(cx, 403, FORBIDDEN)
            } else {
                Response::error(cx, 401, "Unauthorized")
            });
        };
        let id = consumer.id;
        let ready = cx.shared.consumers.acls(id).ready();
        match ready {
            Some(acls) => self.judge(cx, acls.unwrap_or_default()),
            None => Step::Wait(Box::pin(async move {
                let consumers = cx.shared.consumers.clone();
                let acls = consumers.acls(id).wait().await.unwrap_or_default();
                self.judge(cx, acls).settle().await
            })),
        }
    }
}

impl AccessList {
    fn judge<'a>(&self, cx: &mut Context, acls: Vec<Arc<Acl>>) -> Step<'a> {
        if acls.is_empty() && !self.is_deny && cx.credential.is_none() {
            return Step::exit(Response::error(cx, 401, "Unauthorized"));
        }
        if !self.passes(acls.iter().map(|a| a.group.as_str())) {
            return Step::exit(Response::error(cx, 403, FORBIDDEN));
        }
        self.tell(cx, "X-Consumer-Groups", acls.iter().map(|a| a.group.as_str()));
        Step::Continue
    }

    fn judge_authenticated<'a>(&self, cx: &mut Context) -> Step<'a> {
        let groups = cx.authenticated_groups.clone().unwrap_or_default();
        if !self.passes(groups.iter().map(String::as_str)) {
            return Step::exit(Response::error(cx, 403, FORBIDDEN));
        }
        self.tell(cx, "X-Authenticated-Groups", groups.iter().map(String::as_str));
        Step::Continue
    }

    fn passes<'g>(&self, mut groups: impl Iterator<Item = &'g str>) -> bool {
        groups.any(|group| self.groups.iter().any(|g| g == group)) != self.is_deny
    }

    /// Tells the upstream the groups. What the client claims to be in is taken out either way, which Kong leaves in
    /// where the groups are hidden.
    fn tell<'g>(&self, cx: &mut Context, name: &str, groups: impl Iterator<Item = &'g str>) {
        if self.is_told {
            let mut all = String::new();
            for group in groups {
                all.push_str(if all.is_empty() { "" } else { ", " });
                all.push_str(group);
            }
            cx.request.headers.set(name, all.as_bytes());
        } else {
            cx.request.headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
