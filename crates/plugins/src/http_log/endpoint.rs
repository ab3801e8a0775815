//! The server that log documents are sent to.

use super::{Config, bulk};
use crate::post::{Post, Settings};
use crate::queue::{Entries, Sender, Sending};
use bytes::Bytes;
use pdk::Node;
use schema::validators::url::Url;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Endpoint {
    post: Post,
    shape: Shape,
}

/// How documents are written and put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One JSON object a request.
    Object,
    /// A JSON array a request.
    Array,
    /// Elasticsearch's bulk API: a line that says what to do, then the document's.
    Bulk,
    /// Splunk's HTTP Event Collector: objects that hold the document as their `event`.
    Hec,
}

impl Shape {
    /// Two kinds of server take no JSON of Kong's shape; their paths tell.
    pub(super) fn of(url: &str, is_array: bool) -> Self {
        let path = Url::parse(url).and_then(|url| url.path).unwrap_or_default().trim_end_matches('/');
        match is_array {
            _ if path.ends_with("/_bulk") => Self::Bulk,
            _ if path.ends_with("/services/collector") || path.ends_with("/services/collector/event") => Self::Hec,
            true => Self::Array,
            false => Self::Object,
        }
    }

    fn payload(self, batch: &Entries) -> Bytes {
        let is_one = batch.len() == 1;
        let payload = match self {
            Self::Object if is_one => batch.joined(b"", b"", b""),
            Self::Object | Self::Array => batch.joined(b"[", b",", b"]"),
            Self::Bulk | Self::Hec => batch.joined(b"", b"", b""),
        };
        payload.into()
    }
}

/// A document in the shape of Splunk's HTTP Event Collector.
pub(super) fn event(document: &Value, node: &Node) -> String {
    let time = document["started_at"].as_f64().unwrap_or_default() / 1000.0;
    let envelope = json!({
        "time": time, "host": node.hostname, "source": "http-log", "sourcetype": "_json", "event": document,
    });
    format!("{envelope}\n")
}

impl Endpoint {
    /// An error says nothing of the URL, which may hold a password.
    pub(super) fn new(config: &Config, shape: Shape) -> Result<Self, String> {
        let milliseconds = |value: Option<f64>, default| Duration::from_millis(value.unwrap_or(default) as u64);
        let timeout = milliseconds(config.timeout, 10_000.0);
        let post = Post::new(&Settings {
            url: &config.http_endpoint,
            method: config.method.as_deref().unwrap_or("POST"),
            content_type: match shape {
                Shape::Bulk => "application/x-ndjson",
                _ => config.content_type.as_deref().unwrap_or("application/json"),
            },
            headers: config.headers.iter().flatten().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            connect_timeout: timeout,
            timeout,
            keepalive: milliseconds(config.keepalive, 60_000.0),
            has_query: false,
            is_verified: false,
        })?;
        Ok(Self { post, shape })
    }

    /// The server's name and port.
    pub(super) fn authority(&self) -> &str {
        self.post.authority()
    }
}

impl Sender for Endpoint {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        let is_taken = |status| status < 300;
        let payload = self.shape.payload(batch);
        match self.shape {
            Shape::Bulk => Box::pin(async move {
                let answer = self.post.ask(payload, is_taken, bulk::answer_bytes(batch)).await?;
                bulk::outcome(&answer, batch)
            }),
            _ => Box::pin(self.post.send(payload, is_taken)),
        }
    }
}
