//! Trace contexts in header fields: read from the client's request, written into the upstream's, in nine formats, as the
//! `propagation` record of a config says.

mod read;
mod write;

use pdk::trace::has_context;
use pdk::{Context, Headers};
use schema::{Field, RecordSchema, Type, typedefs};
use serde::Deserialize;
use std::sync::{Arc, LazyLock};

pub(crate) use write::Text;

/// How a trace context is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `traceparent` (W3C Trace Context).
    W3c,
    /// `X-B3-*`.
    B3,
    /// `b3`.
    B3Single,
    /// `uber-trace-id`.
    Jaeger,
    /// `ot-tracer-*`.
    Ot,
    /// `x-datadog-*`.
    Datadog,
    /// `X-Amzn-Trace-Id`.
    Aws,
    /// `X-Cloud-Trace-Context`.
    Gcp,
    /// `X-Instana-*`.
    Instana,
}

/// What may be read: `b3` is both of its kinds.
const EXTRACTED: [&str; 8] = ["w3c", "b3", "jaeger", "ot", "datadog", "aws", "gcp", "instana"];
const INJECTED: [&str; 10] = ["preserve", "w3c", "b3", "b3-single", "jaeger", "ot", "datadog", "aws", "gcp", "instana"];
const DEFAULTS: [&str; 9] = ["w3c", "b3", "b3-single", "jaeger", "ot", "datadog", "aws", "gcp", "instana"];
/// The order of old: what is tried where the config says nothing of `propagation`.
const LEGACY: [Format; 8] =
    [Format::B3, Format::W3c, Format::Jaeger, Format::Ot, Format::Datadog, Format::Aws, Format::Gcp, Format::Instana];

impl Format {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "w3c" => Self::W3c,
            "b3" => Self::B3,
            "b3-single" => Self::B3Single,
            "jaeger" => Self::Jaeger,
            "ot" => Self::Ot,
            "datadog" => Self::Datadog,
            "aws" => Self::Aws,
            "gcp" => Self::Gcp,
            "instana" => Self::Instana,
            _ => return None,
        })
    }
}

/// The `propagation` record.
#[derive(Deserialize, Clone, Debug, Default)]
pub(crate) struct Settings {
    extract: Option<Vec<String>>,
    clear: Option<Vec<String>>,
    inject: Option<Vec<String>>,
    default_format: String,
}

impl Type for Settings {
    fn field() -> Field {
        static RECORD: LazyLock<Arc<RecordSchema>> = LazyLock::new(|| {
            Arc::new(RecordSchema::new([
                (
                    "extract",
                    Field::array(Field::string().one_of(EXTRACTED))
                        .description("Formats to read, in this order; the first that yields a context counts."),
                ),
                (
                    "clear",
                    Field::array(typedefs::header_name())
                        .description("Header fields to remove after reading, before writing."),
                ),
                (
                    "inject",
                    Field::array(Field::string().one_of(INJECTED))
                        .description("Formats to write; `preserve` is the one that was read, else `default_format`."),
                ),
                (
                    "default_format",
                    Field::string()
                        .required(true)
                        .one_of(DEFAULTS)
                        .description("The format that `preserve` writes where none was read."),
                ),
            ]))
        });
        Field::record(Arc::clone(&RECORD)).required(true)
    }
}

/// A trace's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId {
    pub(crate) value: u128,
    /// How it came: whether in eight bytes, not sixteen. `None` for an id of our own, and for one of another size. Formats
    /// that have both keep it.
    pub(crate) is_short: Option<bool>,
}

/// What the client's request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) format: Format,
    pub(crate) trace: Option<TraceId>,
    /// The span of the request itself, in formats where both sides of a call share one.
    pub(crate) span: Option<u64>,
    /// The span above: the caller's, or that of the shared span.
    pub(crate) parent: Option<u64>,
    pub(crate) sampled: Option<bool>,
    /// The flags of b3, as they came; `1` is: sampled, whatever anybody decides.
    flags: Option<Vec<u8>>,
    /// Baggage that came in fields of its own: names in small letters, and decoded values.
    baggage: Vec<(String, Vec<u8>)>,
}

impl Incoming {
    fn of(format: Format) -> Self {
        Self { format, trace: None, span: None, parent: None, sampled: None, flags: None, baggage: Vec::new() }
    }
}

/// What the upstream is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) trace: TraceId,
    pub(crate) span: u64,
    pub(crate) parent: Option<u64>,
    /// `None` is not told where a format can do without.
    pub(crate) sampled: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Inject {
    Preserve,
    As(Format),
}

/// A `propagation` record, ready.
pub(crate) struct Propagation {
    extract: Box<[Format]>,
    clear: Box<[String]>,
    inject: Box<[Inject]>,
    default: Format,
}

impl Propagation {
    /// `header_type` and `default_header_type` are older fields, which count where the record says nothing but its default
    /// format: then the older default is the one that counts, as in Kong.
    pub(crate) fn new(settings: &Settings, header_type: Option<&str>, default_header_type: Option<&str>) -> Self {
        let default = Format::from_name(&settings.default_format).unwrap_or(Format::W3c);
        // An empty list says something, too.
        if settings.extract.is_some() || settings.clear.is_some() || settings.inject.is_some() {
            let formats = settings.extract.iter().flatten().filter_map(|name| Format::from_name(name));
            let inject = settings.inject.iter().flatten();
            return Self {
                extract: formats.collect(),
                clear: settings.clear.iter().flatten().cloned().collect(),
                inject: inject.map(|name| Format::from_name(name).map_or(Inject::Preserve, Inject::As)).collect(),
                default,
            };
        }
        let default = default_header_type.and_then(Format::from_name).unwrap_or(default);
        let (extract, inject): (&[Format], Vec<Inject>) = match header_type {
            Some("ignore") => (&[], vec![Inject::As(default)]),
            Some(name) => {
                (&LEGACY, [Inject::Preserve].into_iter().chain(Format::from_name(name).map(Inject::As)).collect())
            }
            None => (&[], Vec::new()),
        };
        Self { extract: extract.into(), clear: Box::default(), inject: inject.into(), default }
    }

    /// The first context there is, in the order of the formats.
    pub(crate) fn extract(&self, headers: &Headers) -> Option<Incoming> {
        if !has_context(headers) {
            return None;
        }
        self.extract.iter().find_map(|format| read::read(*format, headers))
    }

    /// Tells the upstream, and logs (`trace_id`), of the span that calls it.
    pub(crate) fn inject(&self, cx: &mut Context, incoming: Option<&Incoming>, out: &Outgoing) {
        for name in &self.clear {
            cx.request.headers.remove(name);
        }
        let mut written = 0_u16;
        for inject in &self.inject {
            let format = match inject {
                Inject::Preserve => incoming.map_or(self.default, |incoming| incoming.format),
                Inject::As(format) => *format,
            };
            let bit = 1 << format as u16;
            if written & bit == 0 {
                written |= bit;
                let log_field = write::write(format, out, incoming, &mut cx.request.headers);
                cx.log_fields.push(log_field);
            }
        }
    }
}

#[cfg(test)]
mod crossed_tests;
#[cfg(test)]
mod tests;
