//! Reading trace contexts. What is malformed is as if it were not there.

use super::{Format, Incoming, TraceId};
use pdk::Headers;

pub(super) fn read(format: Format, headers: &Headers) -> Option<Incoming> {
    match format {
        Format::W3c => w3c(headers),
        Format::B3 | Format::B3Single => b3(headers),
        Format::Jaeger => jaeger(headers),
        Format::Ot => ot(headers),
        Format::Datadog => datadog(headers),
        Format::Aws => aws(headers),
        Format::Gcp => gcp(headers),
        Format::Instana => instana(headers),
    }
}

/// A number of up to this many hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.is_empty() || text.len() > digits {
        return None;
    }
    let digit = |value: u128, byte: &u8| Some(value << 4 | u128::from(char::from(*byte).to_digit(16)?));
    text.iter().try_fold(0, digit)
}

/// A span's id of exactly sixteen digits; none is all zeros.
fn span(text: &[u8]) -> Option<u64> {
    (text.len() == 16).then(|| hex(text, 16)).flatten().map(|id| id as u64).filter(|id| *id != 0)
}

/// A trace's id of sixteen or 32 digits; none is all zeros.
fn trace(text: &[u8]) -> Option<TraceId> {
    let value = matches!(text.len(), 16 | 32).then(|| hex(text, 32)).flatten().filter(|id| *id != 0)?;
    Some(TraceId { value, is_short: Some(text.len() == 16) })
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn flag(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// Version 00 alone, as in Kong: later ones begin a trace of their own.
fn w3c(headers: &Headers) -> Option<Incoming> {
    let mut parts = headers.get("traceparent")?.trim_ascii().split(|byte| *byte == b'-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != b"00" || id.len() != 32 || flags.len() != 2 || parts.next().is_some() {
        return None;
    }
    Some(Incoming {
        trace: Some(trace(id)?),
        parent: Some(span(parent)?),
        sampled: Some(hex(flags, 2)? & 1 == 1),
        ..Incoming::of(Format::W3c)
    })
}

/// Either kind. Any of their fields makes the context one of b3, even where it yields nothing.
fn b3(headers: &Headers) -> Option<Incoming> {
    if let Some(single) = b3_value(headers) {
        return Some(b3_single(single).unwrap_or(Incoming::of(Format::B3Single)));
    }
    let names = ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
    let values = names.map(|name| headers.get(name));
    if values.iter().all(Option::is_none) {
        return None;
    }
    let [id, own, parent, sampled, flags] = values;
    let mut out = Incoming::of(Format::B3);
    out.is_debug = flags == Some(b"1");
    out.sampled = if out.is_debug { Some(true) } else { sampled.and_then(flag) };
    let (own, parent) = (own.map(span), parent.map(span));
    // One bad id spoils all.
    if own != Some(None) && parent != Some(None) {
        out.trace = id.and_then(trace);
    }
    if out.trace.is_some() {
        out.span = own.flatten();
        out.parent = parent.flatten();
    }
    Some(out)
}

/// The field `b3`, or the member of that name in `tracestate`.
fn b3_value(headers: &Headers) -> Option<&[u8]> {
    let members = || headers.get_all("tracestate").flat_map(|value| value.split(|byte| *byte == b','));
    headers.get("b3").or_else(|| members().find_map(|member| member.trim_ascii().strip_prefix(b"b3=")))
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`, or the decision alone.
fn b3_single(value: &[u8]) -> Option<Incoming> {
    let decision = |out: &mut Incoming, text: &[u8]| {
        out.is_debug = text == b"d";
        out.sampled = if out.is_debug { Some(true) } else { flag(text) };
        out.sampled.filter(|_| text.len() == 1)
    };
    let mut out = Incoming::of(Format::B3Single);
    let value = value.trim_ascii();
    if value.len() == 1 {
        decision(&mut out, value)?;
        return Some(out);
    }
    let mut parts = value.split(|byte| *byte == b'-');
    out.trace = Some(trace(parts.next()?)?);
    out.span = Some(span(parts.next()?)?);
    let mut next = parts.next();
    if let Some(text) = next.filter(|text| text.len() < 16) {
        decision(&mut out, text)?;
        next = parts.next();
    }
    if let Some(text) = next {
        out.parent = Some(span(text)?);
    }
    parts.next().is_none().then_some(out)
}

/// `<trace>:<span>:<parent>:<flags>`, ids without leading zeros.
fn jaeger(headers: &Headers) -> Option<Incoming> {
    let mut parts = headers.get("uber-trace-id")?.trim_ascii().split(|byte| *byte == b':');
    let (id, own, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let value = hex(id, 32).filter(|id| *id != 0)?;
    Some(Incoming {
        trace: Some(TraceId { value, is_short: Some(id.len() <= 16) }),
        span: Some(hex(own, 16)? as u64).filter(|id| *id != 0),
        parent: Some(hex(parent, 16)? as u64).filter(|id| *id != 0),
        sampled: Some(hex(flags, 2)? & 1 == 1),
        ..Incoming::of(Format::Jaeger)
    })
}

fn ot(headers: &Headers) -> Option<Incoming> {
    Some(Incoming {
        trace: Some(trace(headers.get("ot-tracer-traceid")?)?),
        parent: headers.get("ot-tracer-spanid").and_then(span),
        sampled: headers.get("ot-tracer-sampled").and_then(flag),
        ..Incoming::of(Format::Ot)
    })
}

fn datadog(headers: &Headers) -> Option<Incoming> {
    let value = decimal(headers.get("x-datadog-trace-id")?).filter(|id| *id != 0)?;
    let priority = headers.get_str("x-datadog-sampling-priority").and_then(|text| text.trim().parse::<i32>().ok());
    Some(Incoming {
        trace: Some(TraceId { value: value.into(), is_short: Some(true) }),
        parent: headers.get("x-datadog-parent-id").and_then(decimal).filter(|id| *id != 0),
        sampled: priority.map(|priority| priority > 0),
        ..Incoming::of(Format::Datadog)
    })
}

/// `Root=1-<8>-<24>;Parent=<16>;Sampled=<0|1>` in any order; only the root must be there.
fn aws(headers: &Headers) -> Option<Incoming> {
    let mut out = Incoming::of(Format::Aws);
    for part in headers.get("x-amzn-trace-id")?.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
        if let Some(root) = part.strip_prefix(b"Root=") {
            let root = root.strip_prefix(b"1-").filter(|root| root.len() == 33)?;
            let (time, rest) = (root.get(..8)?, root.get(8..)?.strip_prefix(b"-")?);
            let value = hex(time, 8)? << 96 | hex(rest, 24)?;
            out.trace = Some(TraceId { value, is_short: Some(false) }).filter(|id| id.value != 0);
        } else if let Some(parent) = part.strip_prefix(b"Parent=") {
            out.parent = Some(span(parent)?);
        } else if let Some(sampled) = part.strip_prefix(b"Sampled=") {
            out.sampled = flag(sampled);
        }
    }
    out.trace.is_some().then_some(out)
}

/// `<trace>/<decimal span>[;o=<0|1>]`.
fn gcp(headers: &Headers) -> Option<Incoming> {
    let value = headers.get("x-cloud-trace-context")?.trim_ascii();
    let mut halves = value.splitn(2, |byte| *byte == b';');
    let mut ids = halves.next()?.splitn(2, |byte| *byte == b'/');
    let id = ids.next().filter(|id| id.len() == 32)?;
    let parent = decimal(ids.next()?)?;
    let options = halves.next().map(|options| options.strip_prefix(b"o=").and_then(flag));
    if options == Some(None) {
        return None;
    }
    Some(Incoming {
        trace: Some(trace(id)?),
        parent: Some(parent).filter(|id| *id != 0),
        // As Kong reads it: who does not say so does not sample.
        sampled: Some(options.flatten().unwrap_or(false)),
        ..Incoming::of(Format::Gcp)
    })
}

/// The level may alone say that nothing is to be traced.
fn instana(headers: &Headers) -> Option<Incoming> {
    let [id, parent, level] = ["x-instana-t", "x-instana-s", "x-instana-l"].map(|name| headers.get(name));
    let sampled = level.and_then(|level| flag(level.get(..1)?));
    if id.is_none() && sampled.is_none() {
        return None;
    }
    Some(Incoming {
        trace: id.and_then(trace),
        parent: id.and(parent).and_then(span),
        sampled,
        ..Incoming::of(Format::Instana)
    })
}
