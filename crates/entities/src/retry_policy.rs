//! When a request is tried again: what a service or route may say in place of Kong's rules.

use schema::Record;
use serde::{Deserialize, Serialize};

/// What a further try needs beside `retries`; not of Kong.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct RetryPolicy {
    /// Statuses of answers after which a request is tried again; none where it is not given.
    #[field(set, elements(between(400, 599)))]
    pub http_statuses: Option<Vec<u16>>,
    /// Methods of requests that may be sent more than once; all but POST, PATCH and LOCK where it is not given, as in Kong.
    #[field(typedef = methods)]
    pub methods: Option<Vec<String>>,
    /// Failures after which a request is tried again; all of them where it is not given, as in Kong.
    #[field(set)]
    pub failures: Option<Vec<RetriedFailure>>,
    /// Milliseconds before the second try; twice as many before each further one, up to 10,000. At once where it is not given.
    #[field(between(1, 10_000))]
    pub backoff: Option<u32>,
}

/// How a try may fail without an answer.
#[derive(Record, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RetriedFailure {
    /// There was no connection, or not in time: nothing was sent.
    Connect,
    /// The connection ended before the answer came.
    Reset,
    /// No answer came in time.
    Timeout,
}
