//! Tests of `propagation`.

use super::*;
use Format::{Aws, B3, B3Single, Datadog, Gcp, Instana, Jaeger, Ot, W3c};

const TRACE: &str = "feed0123456789abcdef0123456789ab";
const SPAN: u64 = 0xfeed_0000_1111_2222;

fn headers(lines: &str) -> Headers {
    let mut out = Headers::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
        out.append(name, value.trim().as_bytes());
    }
    out
}

fn text(headers: &Headers) -> String {
    let line = |(n, v): (&[u8], &[u8])| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v));
    headers.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Trace (in its size), own span, parent, decision.
fn told(incoming: &Incoming) -> String {
    let trace = incoming.trace.map_or_else(
        || "-".to_owned(),
        |id| if id.is_short == Some(true) { format!("{:016x}", id.value) } else { format!("{:032x}", id.value) },
    );
    let span = |id: Option<u64>| id.map_or_else(|| "-".to_owned(), |id| format!("{id:x}"));
    let sampled = match (incoming.is_debug, incoming.sampled) {
        (true, _) => "debug",
        (_, Some(true)) => "yes",
        (_, Some(false)) => "no",
        _ => "-",
    };
    format!("{:?} {trace} {} {} {sampled}", incoming.format, span(incoming.span), span(incoming.parent))
}

#[test]
fn reads_what_is_well_formed_and_nothing_else() {
    const NONE: &str = "none";
    for (format, lines, want) in [
        (W3c, "traceparent: 00-$T-feed000011112222-01", "W3c $T - feed000011112222 yes"),
        (W3c, "traceparent: 00-$T-feed000011112222-00\ntracestate: a=1", "W3c $T - feed000011112222 no"),
        (W3c, "traceparent: 00-$T-feed000011112222-03", "W3c $T - feed000011112222 yes"),
        (W3c, "traceparent: 01-$T-feed000011112222-01", NONE),
        (W3c, "traceparent: 00-00000000000000000000000000000000-feed000011112222-01", NONE),
        (W3c, "traceparent: 00-$T-0000000000000000-01", NONE),
        (W3c, "traceparent: 00-$T-01", NONE),
        (W3c, "traceparent: 00-$T-feed000011112222-01-x", NONE),
        (W3c, "traceparent: 00-feed0123456789ab-feed000011112222-01", NONE),
        (W3c, "tracestate: b3=1", NONE),
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: feed000011112222", "B3 $T feed000011112222 - -"),
        (
            B3,
            "X-B3-TraceId: $T\nX-B3-SpanId: feed000011112222\nX-B3-ParentSpanId: 0000000000000003\nX-B3-Sampled: 1",
            "B3 $T feed000011112222 3 yes",
        ),
        (
            B3,
            "X-B3-TraceId: feed0123456789ab\nX-B3-SpanId: 0000000000000002\nX-B3-Sampled: false",
            "B3 feed0123456789ab 2 - no",
        ),
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: 0000000000000002\nX-B3-Flags: 1", "B3 $T 2 - debug"),
        (B3, "X-B3-Sampled: 1", "B3 - - - yes"),
        (B3, "X-B3-TraceId: zz\nX-B3-SpanId: feed000011112222", "B3 - - - -"),
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: 2", "B3 - - - -"),
        (B3, "b3: $T-feed000011112222-1-0000000000000003", "B3Single $T feed000011112222 3 yes"),
        (B3, "b3: $T-feed000011112222-0000000000000003", "B3Single $T feed000011112222 3 -"),
        (B3, "b3: $T-feed000011112222-d", "B3Single $T feed000011112222 - debug"),
        (B3, "b3: feed0123456789ab-feed000011112222", "B3Single feed0123456789ab feed000011112222 - -"),
        (B3, "b3: 0", "B3Single - - - no"),
        (B3, "b3: 1", "B3Single - - - yes"),
        (B3, "b3: d", "B3Single - - - debug"),
        (B3, "b3: $T-feed000011112222-1-3", "B3Single - - - -"),
        (B3, "b3: $T-feed000011112222-x", "B3Single - - - -"),
        (B3, "tracestate: a=1, b3=$T-feed000011112222-1", "B3Single $T feed000011112222 - yes"),
        (B3, "tracestate: a=1,b=2", NONE),
        (Jaeger, "uber-trace-id: $T:feed000011112222:3:1", "Jaeger $T feed000011112222 3 yes"),
        (Jaeger, "uber-trace-id: $T:feed000011112222:0:0", "Jaeger $T feed000011112222 - no"),
        (Jaeger, "uber-trace-id: abc:1:0:3", "Jaeger 0000000000000abc 1 - yes"),
        (Jaeger, "uber-trace-id: x:y:z", NONE),
        (Jaeger, "uber-trace-id: $T:1:0:1:1", NONE),
        (Jaeger, "uber-trace-id: 0:1:0:1", NONE),
        (
            Ot,
            "ot-tracer-traceid: $T\not-tracer-spanid: feed000011112222\not-tracer-sampled: true",
            "Ot $T - feed000011112222 yes",
        ),
        (Ot, "ot-tracer-spanid: feed000011112222\not-tracer-sampled: 1", NONE),
        (
            Datadog,
            "x-datadog-trace-id: 14839080548208970155\nx-datadog-parent-id: 42",
            "Datadog cdef0123456789ab - 2a -",
        ),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-sampling-priority: 2", "Datadog 0000000000000001 - - yes"),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-sampling-priority: -1", "Datadog 0000000000000001 - - no"),
        (Datadog, "x-datadog-trace-id: 184467440737095516160", NONE),
        (
            Aws,
            "X-Amzn-Trace-Id: Root=1-feed0123-456789abcdef0123456789ab;Parent=feed000011112222;Sampled=1",
            "Aws $T - feed000011112222 yes",
        ),
        (
            Aws,
            "X-Amzn-Trace-Id: Sampled=0; Self=1; Parent=feed000011112222; Root=1-feed0123-456789abcdef0123456789ab",
            "Aws $T - feed000011112222 no",
        ),
        (Aws, "X-Amzn-Trace-Id: Root=1-feed0123-456789abcdef0123456789ab;Sampled=?", "Aws $T - - -"),
        (Aws, "X-Amzn-Trace-Id: Root=1-feed0123456789abcdef0123456789ab", NONE),
        (Aws, "X-Amzn-Trace-Id: Parent=feed000011112222;Sampled=1", NONE),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=1", "Gcp $T - ff yes"),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=0", "Gcp $T - ff no"),
        (Gcp, "X-Cloud-Trace-Context: $T/255", "Gcp $T - ff no"),
        (Gcp, "X-Cloud-Trace-Context: $T/zz;o=1", NONE),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=x", NONE),
        (Gcp, "X-Cloud-Trace-Context: feed0123456789ab/255", NONE),
        (
            Instana,
            "X-Instana-T: $T\nX-Instana-S: feed000011112222\nX-Instana-L: 1",
            "Instana $T - feed000011112222 yes",
        ),
        (Instana, "X-Instana-L: 0", "Instana - - - no"),
        (Instana, "X-Instana-S: feed000011112222", NONE),
    ] {
        let read = read::read(format, &headers(&lines.replace("$T", TRACE)));
        let read = read.as_ref().map_or_else(|| NONE.to_owned(), told);
        assert_eq!(read, want.replace("$T", TRACE), "{lines}");
    }
}

#[test]
fn writes_ids_in_the_size_they_came_in_where_a_format_has_both() {
    let long = TraceId { value: 0xfeed_0123_4567_89ab_cdef_0123_4567_89ab, is_short: Some(false) };
    let own = TraceId { is_short: None, ..long };
    let short = TraceId { value: 0xcdef_0123_4567_89ab, is_short: Some(true) };
    for (format, trace, want) in [
        (W3c, own, "traceparent: 00-$T-$S-01"),
        (W3c, short, "traceparent: 00-0000000000000000$t-$S-01"),
        (B3, own, "x-b3-traceid: $T\nx-b3-spanid: $S\nx-b3-parentspanid: 0000000000000003\nx-b3-sampled: 1"),
        (B3, short, "x-b3-traceid: $t\nx-b3-spanid: $S\nx-b3-parentspanid: 0000000000000003\nx-b3-sampled: 1"),
        (B3Single, long, "b3: $T-$S-1-0000000000000003"),
        (B3Single, short, "b3: $t-$S-1-0000000000000003"),
        (Jaeger, own, "uber-trace-id: $T:$S:0000000000000003:01"),
        (Jaeger, short, "uber-trace-id: $t:$S:0000000000000003:01"),
        (Ot, own, "ot-tracer-traceid: $t\not-tracer-spanid: $S\not-tracer-sampled: 1"),
        (Ot, long, "ot-tracer-traceid: $T\not-tracer-spanid: $S\not-tracer-sampled: 1"),
        (Ot, short, "ot-tracer-traceid: $t\not-tracer-spanid: $S\not-tracer-sampled: 1"),
        (
            Datadog,
            long,
            "x-datadog-trace-id: 14839080548208970155\nx-datadog-parent-id: 18369338455400456738\n\
             x-datadog-sampling-priority: 1",
        ),
        (Aws, own, "X-Amzn-Trace-Id: Root=1-feed0123-456789abcdef0123456789ab;Parent=$S;Sampled=1"),
        (Aws, short, "X-Amzn-Trace-Id: Root=1-00000000-00000000cdef0123456789ab;Parent=$S;Sampled=1"),
        (Gcp, long, "X-Cloud-Trace-Context: $T/18369338455400456738;o=1"),
        (Gcp, short, "X-Cloud-Trace-Context: 0000000000000000$t/18369338455400456738;o=1"),
        (Instana, own, "X-Instana-T: $T\nX-Instana-S: $S\nX-Instana-L: 1"),
        (Instana, short, "X-Instana-T: $t\nX-Instana-S: $S\nX-Instana-L: 1"),
    ] {
        let out = Outgoing { trace, span: SPAN, parent: Some(3), is_sampled: true, is_debug: false };
        let mut headers = Headers::new();
        write::write(format, &out, &mut headers);
        let want = want.replace("$T", TRACE).replace("$t", "cdef0123456789ab").replace("$S", "feed000011112222");
        assert_eq!(text(&headers), want, "{format:?} {trace:?}");
    }
}

#[test]
fn writes_no_parent_where_there_is_none_and_debug_instead_of_sampled() {
    let trace = TraceId { value: 1, is_short: Some(true) };
    let out = Outgoing { trace, span: 2, parent: None, is_sampled: true, is_debug: true };
    for (format, want) in [
        (B3, "x-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-flags: 1"),
        (B3Single, "b3: 0000000000000001-0000000000000002-d"),
        (Jaeger, "uber-trace-id: 0000000000000001:0000000000000002:0:01"),
    ] {
        let mut headers = Headers::new();
        write::write(format, &out, &mut headers);
        assert_eq!(text(&headers), want, "{format:?}");
    }
}

#[test]
fn baggage_is_carried_between_the_formats_that_have_fields_for_it() {
    for (from, to, want) in [
        (Ot, Jaeger, "ot-baggage-User: b%20c\nuberctx-user: b%20c"),
        (Ot, Ot, "ot-baggage-User: b%20c"),
        (W3c, Jaeger, "ot-baggage-User: b%20c"),
    ] {
        let mut headers = headers("ot-baggage-User: b%20c");
        write::baggage(to, Some(&Incoming::of(from)), &mut headers);
        assert_eq!(text(&headers), want, "{from:?} {to:?}");
    }
}
