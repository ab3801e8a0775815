//! The steps of a request, one file each.

pub(crate) mod access;
mod attempt;
pub(crate) mod balance;
pub(crate) mod body;
pub(crate) mod deadline;
pub(crate) mod forward;
pub(crate) mod grpc_exit;
pub(crate) mod header_filter;
pub(crate) mod log;
pub(crate) mod request_debug;
pub(crate) mod response;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod send;
pub(crate) mod trace;
pub(crate) mod upstream_head;
