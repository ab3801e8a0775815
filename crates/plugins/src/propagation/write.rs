//! Writing trace contexts.

use super::{Format, Incoming, Outgoing};
use crate::stack_text::StackText;
use pdk::Headers;
use pdk::args::encode;
use pdk::digits::hex;
use pdk::log::LogField;
use std::fmt::Write;

/// No context is longer.
pub(crate) type Text = StackText<96>;

impl Text {
    /// A number in this many hexadecimal digits.
    pub(crate) fn hex(value: u128, digits: usize) -> Self {
        Self::new().then_hex(value, digits)
    }

    fn then(mut self, piece: &str) -> Self {
        let _ = self.write_str(piece);
        self
    }

    /// At most 32 digits.
    fn then_hex(mut self, value: u128, digits: usize) -> Self {
        self.push_ascii(&hex(value)[32 - digits..]);
        self
    }

    fn then_span(self, id: u64) -> Self {
        self.then_hex(id.into(), 16)
    }
}

fn bit(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

/// Writes the context in a format; the trace's id in that format, for logs.
pub(super) fn write(format: Format, out: &Outgoing, incoming: Option<&Incoming>, headers: &mut Headers) -> LogField {
    if let Some(incoming) = incoming {
        baggage(format, incoming, headers);
    }
    let flags = incoming.and_then(|incoming| incoming.flags.as_deref());
    let is_sampled = out.sampled == Some(true);
    let id = out.trace.value;
    // Formats with ids of both sizes keep the size an id came in.
    let long = if out.trace.is_short == Some(true) { 16 } else { 32 };
    let log = |path: &'static str, id: &Text| LogField::text(path, id.as_bytes());
    let mut set = |name: &str, value: Text| headers.set(name, value.as_bytes());
    let trace = |digits: usize| Text::hex(id, digits);
    match format {
        Format::W3c => {
            let trace = trace(32);
            let mut text = Text::new().then("00-");
            text.push_ascii(trace.as_bytes());
            let text = text.then("-").then_span(out.span);
            set("traceparent", text.then("-0").then(bit(is_sampled)));
            log("trace_id.w3c", &trace)
        }
        Format::B3 => {
            set("x-b3-traceid", trace(long));
            set("x-b3-spanid", Text::new().then_span(out.span));
            if let Some(parent) = out.parent {
                set("x-b3-parentspanid", Text::new().then_span(parent));
            }
            match flags {
                Some(flags) => headers.set("x-b3-flags", flags),
                None => set("x-b3-sampled", Text::new().then(bit(is_sampled))),
            }
            log("trace_id.b3", &trace(long))
        }
        Format::B3Single => {
            // Who asked in this field not to be traced is heard.
            let is_refused = incoming.is_some_and(|it| it.format == Format::B3Single && it.sampled == Some(false));
            let decision = match (flags, out.sampled) {
                (Some(b"1"), _) => "-d",
                (_, Some(true)) => "-1",
                (_, None) if !is_refused => "",
                _ => "-0",
            };
            let text = trace(long).then("-").then_span(out.span).then(decision);
            set(
                "b3",
                match out.parent {
                    Some(parent) => text.then("-").then_span(parent),
                    None => text,
                },
            );
            log("trace_id.b3", &trace(long))
        }
        Format::Jaeger => {
            let text = trace(long).then(":").then_span(out.span).then(":");
            let text = match out.parent {
                Some(parent) => text.then_span(parent),
                None => text.then("0"),
            };
            set("uber-trace-id", text.then(":0").then(bit(is_sampled)));
            log("trace_id.jaeger", &trace(long))
        }
        Format::Ot => {
            // An id of our own takes the eight bytes that this format is known for.
            let digits = if out.trace.is_short == Some(false) { 32 } else { 16 };
            set("ot-tracer-traceid", trace(digits));
            set("ot-tracer-spanid", Text::new().then_span(out.span));
            if let Some(is_sampled) = out.sampled {
                set("ot-tracer-sampled", Text::new().then(bit(is_sampled)));
            }
            log("trace_id.ot", &trace(digits))
        }
        Format::Datadog => {
            set("x-datadog-trace-id", Text::of_number(id as u64));
            set("x-datadog-parent-id", Text::of_number(out.span));
            if let Some(is_sampled) = out.sampled {
                set("x-datadog-sampling-priority", Text::new().then(bit(is_sampled)));
            }
            log("trace_id.datadog", &Text::of_number(id as u64))
        }
        Format::Aws => {
            let root = Text::new().then("1-").then_hex(id >> 96, 8).then("-").then_hex(id, 24);
            let text = Text::new().then("Root=").then(root.as_str()).then(";Parent=").then_span(out.span);
            set("X-Amzn-Trace-Id", text.then(";Sampled=").then(bit(is_sampled)));
            log("trace_id.aws", &trace(32))
        }
        Format::Gcp => {
            let text = trace(32).then("/").then(Text::of_number(out.span).as_str());
            set("X-Cloud-Trace-Context", text.then(";o=").then(bit(is_sampled)));
            log("trace_id.gcp", &trace(32))
        }
        Format::Instana => {
            set("X-Instana-T", trace(long));
            set("X-Instana-S", Text::new().then_span(out.span));
            if let Some(is_sampled) = out.sampled {
                set("X-Instana-L", Text::new().then(bit(is_sampled)));
            }
            log("trace_id.instana", &trace(long))
        }
    }
}

/// Writes the baggage that came, in a format that has fields for it.
fn baggage(format: Format, incoming: &Incoming, headers: &mut Headers) {
    let prefix = match format {
        Format::Jaeger => "uberctx-",
        Format::Ot => "ot-baggage-",
        _ => return,
    };
    for (name, value) in &incoming.baggage {
        let mut encoded = Vec::new();
        encode(value, &mut encoded);
        headers.set(&format!("{prefix}{name}"), &encoded);
    }
}
