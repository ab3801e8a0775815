//! Reading trace contexts. What is malformed is as if it were not there; what that is, Kong says.

use super::{Format, Incoming, TraceId};
use pdk::Headers;
use pdk::args::decode;

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

/// The value of a field that comes once.
fn single<'a>(headers: &'a Headers, name: &'a str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name);
    values.next().filter(|_| values.next().is_none())
}

/// The value of a field; of one that comes several times an empty one, which nobody takes for valid.
fn field<'a>(headers: &'a Headers, name: &'a str) -> Option<&'a [u8]> {
    headers.contains(name).then(|| single(headers, name).unwrap_or_default())
}

/// A number in hexadecimal digits, of which the last 32 count.
fn hex(text: &[u8]) -> Option<u128> {
    let digit = |value: u128, byte: &u8| Some(value << 4 | u128::from(char::from(*byte).to_digit(16)?));
    text.iter().try_fold(0, digit).filter(|_| !text.is_empty())
}

/// A span's id of exactly sixteen digits.
fn span(text: &[u8]) -> Option<u64> {
    (text.len() == 16).then(|| hex(text)).flatten().map(|id| id as u64)
}

/// A trace's id of sixteen or 32 digits.
fn trace(text: &[u8]) -> Option<TraceId> {
    matches!(text.len(), 16 | 32).then(|| trace_of_any_size(text)).flatten()
}

fn trace_of_any_size(text: &[u8]) -> Option<TraceId> {
    Some(TraceId { value: hex(text)?, is_short: is_short(text.len().div_ceil(2)) })
}

/// What a size in bytes says of an id.
fn is_short(bytes: usize) -> Option<bool> {
    matches!(bytes, 8 | 16).then_some(bytes == 8)
}

/// A number in decimal digits, of which as much counts as the type holds; and whether that is all.
fn decimal(text: &[u8]) -> Option<(u128, bool)> {
    let digit = |(value, is_whole): (u128, bool), byte: &u8| {
        let digit = u128::from(char::from(*byte).to_digit(10)?);
        let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
        let rest = || value.wrapping_mul(10).wrapping_add(digit);
        Some((next.unwrap_or_else(rest), is_whole && next.is_some()))
    };
    text.iter().try_fold((0, true), digit).filter(|_| !text.is_empty())
}

/// A span's id as a decimal number; zero is none.
fn decimal_span(text: &[u8]) -> Option<u64> {
    decimal(text).filter(|id| *id != (0, true)).map(|(id, _)| id as u64)
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
    let mut parts = single(headers, "traceparent")?.split(|byte| *byte == b'-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != b"00" || id.len() != 32 || flags.len() != 2 || parts.next().is_some() {
        return None;
    }
    Some(Incoming {
        trace: Some(trace(id).filter(|id| id.value != 0)?),
        parent: Some(span(parent).filter(|id| *id != 0)?),
        sampled: Some(hex(flags)? & 1 == 1),
        ..Incoming::of(Format::W3c)
    })
}

/// Either kind. Any of their fields makes the context one of b3, even where it yields nothing.
fn b3(headers: &Headers) -> Option<Incoming> {
    let one = b3_value(headers);
    let names = ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
    let several = names.map(|name| field(headers, name));
    if one.is_none() && several.iter().all(Option::is_none) && !headers.contains("b3") {
        return None;
    }
    let mut out = Incoming::of(if one.is_some() { Format::B3Single } else { Format::B3 });
    if let Some(value) = one {
        b3_single(value, &mut out);
    }
    b3_multi(several, &mut out);
    if out.trace.is_none() {
        (out.span, out.parent) = (None, None);
    }
    Some(out)
}

/// The field `b3`, or a `tracestate` that is a member of that name.
fn b3_value(headers: &Headers) -> Option<&[u8]> {
    if headers.contains("b3") {
        return single(headers, "b3");
    }
    headers.get_all("tracestate").find_map(|value| value.strip_prefix(b"b3=").filter(|value| !value.is_empty()))
}

/// `<trace>-<span>[-<decision>[-<parent>]]`, or the decision alone.
fn b3_single(value: &[u8], out: &mut Incoming) {
    let decision = match value {
        [decision @ (b'0' | b'1' | b'd')] => Some(*decision),
        _ => match b3_parts(value) {
            Some((decision, trace, span, parent)) => {
                (out.trace, out.span, out.parent) = (Some(trace), Some(span), parent);
                decision
            }
            None => None,
        },
    };
    out.sampled = decision.map(|decision| decision != b'0');
    if decision == Some(b'd') {
        out.flags = Some(b"1".to_vec());
    }
}

/// As Kong takes it apart, to whom the dashes around the decision are optional.
fn b3_parts(value: &[u8]) -> Option<(Option<u8>, TraceId, u64, Option<u64>)> {
    let (id, rest) = value.split_at(value.iter().position(|byte| *byte == b'-')?);
    let (own, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
    let (decision, rest) = match rest.strip_prefix(b"-").unwrap_or(rest) {
        [decision @ (b'0' | b'1' | b'd'), rest @ ..] => (Some(*decision), rest),
        rest => (None, rest),
    };
    let parent = rest.strip_prefix(b"-").unwrap_or(rest);
    let parent = if parent.is_empty() { None } else { Some(span(parent)?) };
    Some((decision, trace(id)?, span(own)?, parent))
}

/// What the single field does not say.
fn b3_multi([id, own, parent, sampled, flags]: [Option<&[u8]>; 5], out: &mut Incoming) {
    let flags = flags.filter(|flags| !flags.is_empty());
    if out.sampled.is_none() {
        out.sampled = if flags == Some(b"1") { Some(true) } else { sampled.and_then(flag) };
    }
    if out.flags.is_none() {
        out.flags = flags.map(<[u8]>::to_vec);
    }
    let (id, own, parent) = (id.map(trace), own.map(span), parent.map(span));
    // One bad id spoils all.
    if id != Some(None) && own != Some(None) && parent != Some(None) {
        out.trace = out.trace.or(id.flatten());
        out.span = out.span.or(own.flatten());
        out.parent = out.parent.or(parent.flatten());
    }
}

/// `<trace>:<span>:<parent>:<flags>`, ids without leading zeros.
fn jaeger(headers: &Headers) -> Option<Incoming> {
    let mut parts = single(headers, "uber-trace-id")?.split(|byte| *byte == b':');
    let (id, own, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || id.len() > 32 || own.len() > 16 || flags.len() > 2 {
        return None;
    }
    Some(Incoming {
        trace: Some(trace_of_any_size(id).filter(|id| id.value != 0)?),
        span: Some(hex(own).filter(|id| *id != 0)? as u64),
        // Zeros where there is none, and told so.
        parent: Some(hex(parent)? as u64),
        sampled: Some(hex(flags)? & 1 == 1),
        baggage: baggage(headers, "uberctx-"),
        ..Incoming::of(Format::Jaeger)
    })
}

fn ot(headers: &Headers) -> Option<Incoming> {
    let fields = ["ot-tracer-traceid", "ot-tracer-spanid", "ot-tracer-sampled"].map(|name| field(headers, name));
    if fields.iter().all(Option::is_none) {
        return None;
    }
    let [id, parent, sampled] = fields;
    let mut out = Incoming { baggage: baggage(headers, "ot-baggage-"), ..Incoming::of(Format::Ot) };
    out.sampled = sampled.and_then(flag);
    let parent = parent.map(span);
    // One bad id spoils both.
    out.trace = id.and_then(trace).filter(|_| parent != Some(None));
    out.parent = parent.flatten().filter(|_| out.trace.is_some());
    (out.trace.is_some() || out.sampled.is_some() || !out.baggage.is_empty()).then_some(out)
}

/// As many as Kong reads fields of.
const MOST_BAGGAGE: usize = 100;

/// Fields whose names begin so and that come once.
fn baggage(headers: &Headers, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let item = |(name, value): (&[u8], &[u8])| {
        let (start, key) = name.split_at_checked(prefix.len())?;
        if !start.eq_ignore_ascii_case(prefix.as_bytes()) {
            return None;
        }
        single(headers, std::str::from_utf8(name).ok()?)?;
        Some((std::str::from_utf8(key).ok()?.to_ascii_lowercase(), decode(value).into_owned()))
    };
    headers.iter().filter_map(item).take(MOST_BAGGAGE).collect()
}

fn datadog(headers: &Headers) -> Option<Incoming> {
    let mut out = Incoming::of(Format::Datadog);
    out.sampled = match field(headers, "x-datadog-sampling-priority") {
        Some(b"1" | b"2") => Some(true),
        Some(b"0" | b"-1") => Some(false),
        Some(_) => return None,
        None => None,
    };
    let number = |name| field(headers, name).map(<[u8]>::trim_ascii);
    if let Some((value, is_whole)) = number("x-datadog-trace-id").and_then(decimal) {
        // A number has no leading zeros, so that its size is whatever it takes.
        let bytes = (u128::BITS - value.leading_zeros()).div_ceil(8);
        let is_short = if is_whole { is_short(bytes as usize) } else { None };
        out.trace = Some(TraceId { value, is_short }).filter(|id| !is_whole || id.value != 0);
        out.parent = number("x-datadog-parent-id").and_then(decimal_span);
    }
    (out.trace.is_some() || out.parent.is_some() || out.sampled.is_some()).then_some(out)
}

/// `Root=1-<8>-<24>;Parent=<16>;Sampled=<0|1>` in any order, and each of them optional.
fn aws(headers: &Headers) -> Option<Incoming> {
    let mut out = Incoming::of(Format::Aws);
    for part in single(headers, "x-amzn-trace-id")?.split(|byte| *byte == b';') {
        let mut halves = part.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let (name, value) = (halves.next()?, halves.next().unwrap_or_default());
        match name {
            b"Root" => {
                let root = value.strip_prefix(b"1-").filter(|root| root.len() == 33)?;
                let (time, rest) = (root.get(..8)?, root.get(8..)?.strip_prefix(b"-")?);
                let value = hex(time)? << 96 | hex(rest)?;
                out.trace = Some(TraceId { value, is_short: Some(false) });
            }
            b"Parent" => out.parent = Some(span(value)?),
            b"Sampled" => out.sampled = Some(matches!(value, b"0" | b"1").then_some(value == b"1")?),
            _ => {}
        }
    }
    (out.trace.is_some() || out.parent.is_some() || out.sampled.is_some()).then_some(out)
}

/// `<trace>/<decimal span>[;o=<digit>]`, the trace in small letters.
fn gcp(headers: &Headers) -> Option<Incoming> {
    let value = single(headers, "x-cloud-trace-context")?;
    let (id, rest) = value.split_at_checked(32).filter(|(id, _)| !id.iter().any(u8::is_ascii_uppercase))?;
    let mut halves = rest.strip_prefix(b"/")?.splitn(2, |byte| *byte == b';');
    let parent = halves.next().filter(|parent| parent.len() <= 20)?;
    let option = match halves.next() {
        Some([b'o', b'=', digit @ b'0'..=b'9']) => Some(*digit),
        Some(_) => return None,
        None => None,
    };
    decimal(parent)?;
    Some(Incoming {
        trace: Some(trace(id)?),
        parent: decimal_span(parent),
        // As Kong reads it: who does not say so does not sample.
        sampled: Some(option == Some(b'1')),
        ..Incoming::of(Format::Gcp)
    })
}

/// Trace and span must be there; of each what begins like a number counts.
fn instana(headers: &Headers) -> Option<Incoming> {
    fn digits(text: &[u8]) -> &[u8] {
        let end = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
        text.get(..end).unwrap_or_default()
    }
    let (id, parent) = (single(headers, "x-instana-t")?, single(headers, "x-instana-s")?);
    Some(Incoming {
        trace: trace_of_any_size(digits(id)),
        parent: hex(digits(parent)).map(|id| id as u64),
        // `1,correlationType=web;correlationId=...` samples, too.
        sampled: Some(field(headers, "x-instana-l").is_some_and(|level| level.starts_with(b"1"))),
        ..Incoming::of(Format::Instana)
    })
}
