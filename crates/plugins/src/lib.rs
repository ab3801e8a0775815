//! The plugins, and the table that lists them in execution order.
//!
//! A plugin is one folder: `mod.rs` (what it does, its config, its phases) and `tests.rs`.

pub mod acl;
mod auth;
mod background;
pub mod basic_auth;
mod ber;
pub mod bot_detection;
mod calendar;
pub mod canary;
mod certificate;
pub mod correlation_id;
pub mod cors;
pub mod datadog;
mod digested;
pub mod file_log;
mod hashing;
pub mod hmac_auth;
#[cfg(test)]
mod hostile;
mod http_date;
pub mod http_log;
pub mod ip_restriction;
pub mod jwt;
pub mod key_auth;
mod lately;
pub mod ldap_auth;
mod log_document;
pub mod loggly;
mod mask;
pub mod mtls_auth;
pub mod oauth2;
pub mod opentelemetry;
mod pcre;
mod post;
pub mod prometheus;
mod propagation;
pub mod proxy_cache;
mod queue;
pub mod rate_limiting;
pub mod rate_limiting_advanced;
mod recent;
pub mod redirect;
mod redis;
pub mod request_mirror;
pub mod request_size_limiting;
pub mod request_termination;
pub mod request_transformer;
pub mod response_ratelimiting;
pub mod response_transformer;
mod roots;
#[cfg(test)]
mod script;
mod sender;
pub mod session;
mod severity;
mod stack_text;
pub mod standard_webhooks;
mod stats;
pub mod statsd;
pub mod syslog;
mod tallies;
pub mod tcp_log;
mod template;
pub mod tls_metadata_headers;
mod trust;
pub mod udp_log;
mod unverified;
pub mod zipkin;

use entities::PluginSchema;
use pdk::Definition;
pub use queue::spill_to as spill_logs_to;
use schema::{Constraint, Value};
use std::time::Duration;
pub use tallies::count_in;
pub use trust::trust_authorities;

/// The version every plugin tells: that of the Kong whose behaviour it has.
const VERSION: &str = "3.10.0";

/// All plugins in execution order: by descending priority; of equal ones the later name goes first.
pub const TABLE: &[Definition] = &[
    correlation_id::DEFINITION,
    zipkin::DEFINITION,
    bot_detection::DEFINITION,
    cors::DEFINITION,
    session::DEFINITION,
    mtls_auth::DEFINITION,
    jwt::DEFINITION,
    oauth2::DEFINITION,
    key_auth::DEFINITION,
    ldap_auth::DEFINITION,
    basic_auth::DEFINITION,
    hmac_auth::DEFINITION,
    tls_metadata_headers::DEFINITION,
    ip_restriction::DEFINITION,
    request_size_limiting::DEFINITION,
    acl::DEFINITION,
    rate_limiting_advanced::DEFINITION,
    rate_limiting::DEFINITION,
    response_ratelimiting::DEFINITION,
    request_transformer::DEFINITION,
    response_transformer::DEFINITION,
    redirect::DEFINITION,
    standard_webhooks::DEFINITION,
    proxy_cache::DEFINITION,
    canary::DEFINITION,
    opentelemetry::DEFINITION,
    prometheus::DEFINITION,
    http_log::DEFINITION,
    statsd::DEFINITION,
    datadog::DEFINITION,
    file_log::DEFINITION,
    udp_log::DEFINITION,
    tcp_log::DEFINITION,
    loggly::DEFINITION,
    syslog::DEFINITION,
    request_termination::DEFINITION,
    request_mirror::DEFINITION,
];

/// The plugin of a name.
pub fn find(name: &str) -> Option<&'static Definition> {
    TABLE.iter().find(|d| d.name == name)
}

/// A plugin's schema where there is no database: nothing can be counted there.
#[must_use]
pub fn without_database(schema: PluginSchema) -> PluginSchema {
    let is_of_database = |value: &Value| value == "cluster";
    schema.map_config(|config| {
        let Some(policy) = config.get("policy").cloned() else { return config };
        let policies = policy.constraints().iter().find_map(|constraint| match constraint {
            Constraint::OneOf(all) if all.iter().any(is_of_database) => Some(all.clone()),
            _ => None,
        });
        let Some(policies) = policies else { return config };
        let left = policies.into_iter().filter(|policy| !is_of_database(policy));
        config.field("policy", policy.one_of(left))
    })
}

/// How many log messages each logging plugin has dropped since the start: a queue was full, or a file or host out of reach.
pub fn dropped_log_messages() -> impl Iterator<Item = (String, u64)> {
    let of_files = (file_log::DEFINITION.name.to_owned(), file_log::dropped());
    queue::dropped().into_iter().chain([of_files])
}

/// Writes and sends what logging plugins still hold, for at most this time to files and this time to hosts; says how many
/// messages to hosts are left. For the end of the process.
pub fn flush_logs(limit: Duration) -> usize {
    file_log::flush_within(limit);
    queue::flush(limit)
}

#[cfg(test)]
mod tests;
