//! The server that log documents are sent to.

use super::Config;
use crate::post::{Post, Settings};
use crate::queue::{Sender, Sending};
use bytes::Bytes;
use std::time::Duration;

pub(super) struct Endpoint {
    post: Post,
    is_array: bool,
}

impl Endpoint {
    /// `is_array`: documents are sent as JSON arrays. An error says nothing of the URL, which may hold a password.
    pub(super) fn new(config: &Config, is_array: bool) -> Result<Self, String> {
        let milliseconds = |value: Option<f64>, default| Duration::from_millis(value.unwrap_or(default) as u64);
        let timeout = milliseconds(config.timeout, 10_000.0);
        let post = Post::new(&Settings {
            url: &config.http_endpoint,
            method: config.method.as_deref().unwrap_or("POST"),
            content_type: config.content_type.as_deref().unwrap_or("application/json"),
            headers: config.headers.iter().flatten().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            connect_timeout: timeout,
            timeout,
            keepalive: milliseconds(config.keepalive, 60_000.0),
            has_query: false,
            is_verified: false,
        })?;
        Ok(Self { post, is_array })
    }

    /// The server's name and port.
    pub(super) fn authority(&self) -> &str {
        self.post.authority()
    }

    fn payload(&self, batch: &[Vec<u8>]) -> Bytes {
        match batch {
            [one] if !self.is_array => one.clone().into(),
            _ => [b"[", &*batch.join(&b','), b"]"].concat().into(),
        }
    }
}

impl Sender for Endpoint {
    fn send<'a>(&'a self, batch: &'a [Vec<u8>]) -> Sending<'a> {
        Box::pin(self.post.send(self.payload(batch), |status| status < 300))
    }
}
