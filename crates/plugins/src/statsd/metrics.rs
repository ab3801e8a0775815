//! The lines of a request.

use super::{Config, ServiceIdentifier, TagStyle, WorkspaceIdentifier};
use crate::proxy_cache;
use crate::stats::{ConsumerIdentifier, Figure, name_piece, rate};
use pdk::{Context, Node};
use schema::{Record, is};
use serde::Deserialize;

/// A metric to send.
#[derive(Record, Deserialize, Clone, Debug)]
#[check(conditional("stat_type", is().one_of(["counter", "gauge"]), "sample_rate", is().required(true)))]
pub(super) struct Metric {
    /// What is counted or measured.
    name: Name,
    /// The kind of metric; counts of statuses and users have their own.
    stat_type: StatType,
    /// The rate that the server is told.
    #[field(gt = 0)]
    sample_rate: Option<f64>,
    /// How consumers are called in this metric.
    consumer_identifier: Option<ConsumerIdentifier>,
    /// How services are called in this metric.
    service_identifier: Option<ServiceIdentifier>,
    /// How the workspace is called in this metric.
    workspace_identifier: Option<WorkspaceIdentifier>,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum Name {
    KongLatency,
    Latency,
    RequestCount,
    RequestPerUser,
    RequestSize,
    ResponseSize,
    StatusCount,
    StatusCountPerUser,
    UniqueUsers,
    UpstreamLatency,
    StatusCountPerWorkspace,
    StatusCountPerUserPerRoute,
    ShdictUsage,
}

#[derive(Record, Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum StatType {
    Counter,
    Gauge,
    Histogram,
    Meter,
    Set,
    Timer,
}

impl StatType {
    fn letters(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Gauge => "g",
            Self::Histogram => "h",
            Self::Meter => "m",
            Self::Set => "s",
            Self::Timer => "ms",
        }
    }
}

impl Metric {
    fn is_of_memory(&self) -> bool {
        matches!(self.name, Name::ShdictUsage)
    }
}

impl Name {
    fn figure(self) -> Option<Figure> {
        Some(match self {
            Self::KongLatency => Figure::KongLatency,
            Self::Latency => Figure::Latency,
            Self::RequestCount => Figure::RequestCount,
            Self::RequestSize => Figure::RequestSize,
            Self::ResponseSize => Figure::ResponseSize,
            Self::UpstreamLatency => Figure::UpstreamLatency,
            _ => return None,
        })
    }
}

impl Config {
    /// The lines of a request, and where `has_memory` those of the node's bounded memory.
    pub(super) fn lines(&self, cx: &Context, has_memory: bool) -> Vec<String> {
        let metrics = self.metrics.iter().flatten();
        let mut lines: Vec<String> = match self.tag_style {
            Some(style) => metrics.clone().filter_map(|metric| self.tagged(cx, metric, style)).collect(),
            None => metrics.clone().filter_map(|metric| self.untagged(cx, metric)).collect(),
        };
        if has_memory {
            lines.extend(metrics.filter(|metric| metric.is_of_memory()).flat_map(|metric| self.memory(cx, metric)));
        }
        lines
    }

    /// Whether the node's memory is asked for.
    pub(super) fn has_memory(&self) -> bool {
        self.metrics.iter().flatten().any(Metric::is_of_memory)
    }

    /// What is left of the memory that has Kong's name of a shared dictionary, and how large it is, in bytes: always gauges.
    fn memory(&self, cx: &Context, metric: &Metric) -> [String; 2] {
        let (used, capacity) = proxy_cache::memory();
        let dict = proxy_cache::DICTIONARY;
        let (prefix, node, rate) = (self.prefix(cx), hostname(cx), rate(metric.sample_rate));
        [("free_space", capacity.saturating_sub(used)), ("capacity", capacity)].map(|(stat, bytes)| {
            let value = format!("{bytes}|g{rate}");
            if let Some(style) = self.tag_style {
                return line(
                    style,
                    &format!("{prefix}.shdict.{stat}"),
                    &value,
                    &[("node", node.clone()), ("shdict", dict.to_owned())],
                );
            }
            match self.hostname_in_prefix {
                Some(true) => format!("{prefix}.shdict.{dict}.{stat}:{value}"),
                _ => format!("{prefix}.node.{node}.shdict.{dict}.{stat}:{value}"),
            }
        })
    }

    /// The prefix, with this node's name where it is asked for.
    fn prefix(&self, cx: &Context) -> String {
        let prefix = self.prefix.as_deref().unwrap_or("kong");
        match self.hostname_in_prefix {
            Some(true) if self.tag_style.is_none() => format!("{prefix}.node.{}", hostname(cx)),
            _ => prefix.to_owned(),
        }
    }

    fn untagged(&self, cx: &Context, metric: &Metric) -> Option<String> {
        let scope = self.scope(cx, metric);
        let status = cx.response.status;
        let consumer = || metric.consumer_identifier.unwrap_or(self.consumer_identifier_default).of(cx, name_piece);
        let (stat, value, kind) = match (metric.name, metric.name.figure()) {
            (_, Some(figure)) => {
                (format!("{scope}.{}", figure.stat()), figure.of(cx)?.to_string(), metric.stat_type.letters())
            }
            (Name::UniqueUsers, _) => {
                return Some(format!("{}.{scope}.user.uniques:{}|s", self.prefix(cx), consumer()?));
            }
            (Name::RequestPerUser, _) => counted(format!("{scope}.user.{}.request.count", consumer()?)),
            (Name::StatusCount, _) => counted(format!("{scope}.status.{status}")),
            (Name::StatusCountPerUser, _) => counted(format!("{scope}.user.{}.status.{status}", consumer()?)),
            (Name::StatusCountPerWorkspace, _) => {
                counted(format!("{scope}.workspace.{}.status.{status}", self.workspace(cx, metric)))
            }
            (Name::StatusCountPerUserPerRoute, _) => {
                counted(format!("route.{}.user.{}.status.{status}", cx.route?.id, consumer()?))
            }
            _ => return None,
        };
        Some(format!("{}.{stat}:{value}|{kind}{}", self.prefix(cx), rate(metric.sample_rate)))
    }

    /// With tags, only what each request has a figure of is sent. Without a service there are none.
    fn tagged(&self, cx: &Context, metric: &Metric, style: TagStyle) -> Option<String> {
        let figure = metric.name.figure()?;
        let name = format!("{}.{}", self.prefix(cx), figure.stat());
        let value = format!("{}|{}{}", figure.of(cx)?, metric.stat_type.letters(), rate(metric.sample_rate));
        let Some(tags) = self.tags(cx, metric) else { return Some(format!("{name}:{value}")) };
        Some(line(style, &name, &value, &tags))
    }

    fn tags(&self, cx: &Context, metric: &Metric) -> Option<Vec<(&'static str, String)>> {
        let mut tags = vec![("service", self.service(cx, metric)?)];
        if let Some(route) = cx.route {
            tags.push(("route", route.name.as_deref().map_or_else(|| route.id.to_string(), name_piece)));
        }
        tags.push(("workspace", self.workspace(cx, metric)));
        if let Some(consumer) =
            metric.consumer_identifier.unwrap_or(self.consumer_identifier_default).of(cx, name_piece)
        {
            tags.push(("consumer", consumer));
        }
        tags.push(("node", hostname(cx)));
        tags.push(("status", cx.response.status.to_string()));
        Some(tags)
    }

    fn service(&self, cx: &Context, metric: &Metric) -> Option<String> {
        let service = cx.service?;
        match metric.service_identifier.unwrap_or(self.service_identifier_default) {
            ServiceIdentifier::Id => Some(service.id.to_string()),
            ServiceIdentifier::Name => service.name.as_deref().map(name_piece),
            ServiceIdentifier::Host => Some(name_piece(&service.host)),
            ServiceIdentifier::NameOrHost => Some(name_piece(service.name.as_deref().unwrap_or(&service.host))),
        }
    }

    fn scope(&self, cx: &Context, metric: &Metric) -> String {
        if cx.service.is_none() {
            return "global.unmatched".to_owned();
        }
        self.service(cx, metric)
            .map_or_else(|| "service.unnamed".to_owned(), |name| format!("service.{}", name.replace('.', "_")))
    }

    fn workspace(&self, cx: &Context, metric: &Metric) -> String {
        match metric.workspace_identifier.unwrap_or(self.workspace_identifier_default) {
            WorkspaceIdentifier::WorkspaceId => cx.shared.node.workspace_id.to_string(),
            WorkspaceIdentifier::WorkspaceName => Node::WORKSPACE.to_owned(),
        }
    }
}

/// A metric with tags.
fn line(style: TagStyle, name: &str, value: &str, tags: &[(&str, String)]) -> String {
    let join = |sign| tags.iter().map(|(tag, value)| format!("{tag}{sign}{value}")).collect::<Vec<_>>().join(",");
    match style {
        TagStyle::Dogstatsd => format!("{name}:{value}|#{}", join(':')),
        TagStyle::Influxdb => format!("{name},{}:{value}", join('=')),
        TagStyle::Librato => format!("{name}#{}:{value}", join('=')),
        TagStyle::Signalfx => format!("{name}[{}]:{value}", join('=')),
    }
}

fn counted(stat: String) -> (String, String, &'static str) {
    (stat, "1".to_owned(), "c")
}

fn hostname(cx: &Context) -> String {
    cx.shared.node.hostname.replace('.', "_")
}
