//! Silverback as a library.

pub mod commands;
pub mod conf;
pub mod error_log;
pub mod node;
pub mod supervisor;
