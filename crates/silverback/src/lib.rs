//! Silverback as a library.

mod admin_client;
pub mod commands;
pub mod conf;
pub mod error_log;
mod lint;
pub mod node;
pub mod supervisor;
