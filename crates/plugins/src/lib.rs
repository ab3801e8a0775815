//! The plugins, and the table that lists them in execution order.
//!
//! A plugin is one folder: `mod.rs` (what it does, its config, its phases) and `tests.rs`.

pub mod acl;
mod auth;
pub mod basic_auth;
pub mod correlation_id;
pub mod cors;
pub mod file_log;
pub mod hmac_auth;
pub mod ip_restriction;
pub mod key_auth;
mod lua_fields;
pub mod prometheus;
pub mod rate_limiting;
pub mod redirect;
pub mod request_size_limiting;
pub mod request_termination;
pub mod response_transformer;

use pdk::Definition;

/// The version every plugin tells: that of the Kong whose behaviour it has.
const VERSION: &str = "3.10.0";

/// All plugins in execution order: by descending priority; of equal ones the later name goes first.
pub const TABLE: &[Definition] = &[
    correlation_id::DEFINITION,
    cors::DEFINITION,
    key_auth::DEFINITION,
    basic_auth::DEFINITION,
    hmac_auth::DEFINITION,
    ip_restriction::DEFINITION,
    request_size_limiting::DEFINITION,
    acl::DEFINITION,
    rate_limiting::DEFINITION,
    response_transformer::DEFINITION,
    redirect::DEFINITION,
    prometheus::DEFINITION,
    file_log::DEFINITION,
    request_termination::DEFINITION,
];

/// The plugin of a name.
pub fn find(name: &str) -> Option<&'static Definition> {
    TABLE.iter().find(|d| d.name == name)
}

#[cfg(test)]
mod tests;
