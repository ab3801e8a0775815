//! What statsd and datadog have in common: the figures of a request, and sending lines of metrics.

mod collector;

use pdk::Context;
use pdk::log::{kong_latency, upstream_latency};
use schema::Record;
use serde::Deserialize;

pub(crate) use collector::{Collector, Transport};

/// A figure of each request.
#[derive(Record, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    KongLatency,
    Latency,
    RequestCount,
    RequestSize,
    ResponseSize,
    UpstreamLatency,
}

impl Figure {
    /// The name in metrics.
    pub(crate) fn stat(self) -> &'static str {
        match self {
            Self::KongLatency => "kong_latency",
            Self::Latency => "latency",
            Self::RequestCount => "request.count",
            Self::RequestSize => "request.size",
            Self::ResponseSize => "response.size",
            Self::UpstreamLatency => "upstream_latency",
        }
    }

    /// Milliseconds, bytes or 1; `None` where the request has no such figure.
    pub(crate) fn of(self, cx: &Context) -> Option<u64> {
        match self {
            Self::KongLatency => Some(kong_latency(cx)),
            Self::Latency => Some(cx.timing.total_ms()),
            Self::RequestCount => Some(1),
            Self::RequestSize => Some(cx.received),
            Self::ResponseSize => Some(cx.sent),
            Self::UpstreamLatency => upstream_latency(cx),
        }
    }
}

/// How a consumer is called.
#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConsumerIdentifier {
    ConsumerId,
    CustomId,
    Username,
}

impl ConsumerIdentifier {
    /// The consumer's name as one piece of a metric, without what has a meaning there.
    pub(crate) fn of(self, cx: &Context, piece: fn(&str) -> String) -> Option<String> {
        let consumer = cx.consumer.as_ref()?;
        match self {
            Self::ConsumerId => Some(consumer.id.to_string()),
            Self::CustomId => consumer.custom_id.as_deref().map(piece),
            Self::Username => consumer.username.as_deref().map(piece),
        }
    }
}

/// What the rate of a metric adds to its line. As in Kong, the rate is told, but every request counts.
pub(crate) fn rate(sample_rate: Option<f64>) -> String {
    sample_rate.filter(|rate| *rate != 1.0).map_or_else(String::new, |rate| format!("|@{rate}"))
}

/// A text that must not begin another line.
pub(crate) fn one_line(name: &str) -> String {
    name.replace(char::is_control, "_")
}

/// A piece of a metric's name, or the value of a tag in any style: it ends neither the name nor the tag, and begins no other.
pub(crate) fn name_piece(name: &str) -> String {
    name.replace(|c: char| c.is_control() || ":|,=#[]".contains(c), "_")
}

/// The value of a tag of DogStatsD, which may have colons.
pub(crate) fn tag_piece(value: &str) -> String {
    value.replace(|c: char| c.is_control() || "|,".contains(c), "_")
}

#[cfg(test)]
mod tests;
