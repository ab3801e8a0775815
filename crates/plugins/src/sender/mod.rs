//! Where the queues of log messages end that are not sent by HTTP: lines over TCP, and datagrams.

mod datagrams;
mod lines;

pub(crate) use datagrams::Datagrams;
pub(crate) use lines::{Lines, Tls};

#[cfg(test)]
mod tests;
