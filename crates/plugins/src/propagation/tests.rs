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
        |id| match id.is_short {
            Some(true) => format!("{:016x}", id.value),
            Some(false) => format!("{:032x}", id.value),
            None => format!("{:x}", id.value),
        },
    );
    let span = |id: Option<u64>| id.map_or_else(|| "-".to_owned(), |id| format!("{id:x}"));
    let sampled = match incoming.sampled {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let flags = incoming.flags.iter().map(|flags| format!(" {}", String::from_utf8_lossy(flags))).collect::<String>();
    format!("{:?} {trace} {} {} {sampled}{flags}", incoming.format, span(incoming.span), span(incoming.parent))
}

const NONE: &str = "none";

fn assert_read(cases: &[(Format, &str, &str)]) {
    for (format, lines, want) in cases {
        let read = read::read(*format, &headers(&lines.replace("$T", TRACE)));
        let read = read.as_ref().map_or_else(|| NONE.to_owned(), told);
        assert_eq!(read, want.replace("$T", TRACE), "{lines}");
    }
}

#[test]
fn reads_of_w3c_what_is_well_formed_and_nothing_else() {
    assert_read(&[
        (W3c, "traceparent: 00-$T-feed000011112222-01", "W3c $T - feed000011112222 yes"),
        (W3c, "traceparent: 00-$T-feed000011112222-00\ntracestate: a=1", "W3c $T - feed000011112222 no"),
        (W3c, "traceparent: 00-$T-feed000011112222-03", "W3c $T - feed000011112222 yes"),
        (W3c, "traceparent: 01-$T-feed000011112222-01", NONE),
        (W3c, "traceparent: 00-00000000000000000000000000000000-feed000011112222-01", NONE),
        (W3c, "traceparent: 00-$T-0000000000000000-01", NONE),
        (W3c, "traceparent: 00-$T-01", NONE),
        (W3c, "traceparent: 00-$T-feed000011112222-01-x", NONE),
        (W3c, "traceparent: 00-feed0123456789ab-feed000011112222-01", NONE),
        (W3c, "traceparent: 00-$T-feed000011112222-01\ntraceparent: 00-$T-feed000011112222-01", NONE),
        (W3c, "tracestate: b3=1", NONE),
    ]);
}

#[test]
fn reads_of_b3_what_either_kind_of_fields_says() {
    assert_read(&[
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
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: 0000000000000002\nX-B3-Flags: 1", "B3 $T 2 - yes 1"),
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: 0000000000000002\nX-B3-Flags: 0", "B3 $T 2 - - 0"),
        (
            B3,
            "X-B3-TraceId: 00000000000000000000000000000000\nX-B3-SpanId: feed000011112222",
            "B3 00000000000000000000000000000000 feed000011112222 - -",
        ),
        (B3, "X-B3-TraceId: $T\nX-B3-TraceId: $T\nX-B3-SpanId: feed000011112222", "B3 - - - -"),
        (B3, "X-B3-SpanId: feed000011112222", "B3 - - - -"),
        (B3, "X-B3-Sampled: 1", "B3 - - - yes"),
        (B3, "X-B3-TraceId: zz\nX-B3-SpanId: feed000011112222", "B3 - - - -"),
        (B3, "X-B3-TraceId: $T\nX-B3-SpanId: 2", "B3 - - - -"),
        (B3, "b3: $T-feed000011112222-1-0000000000000003", "B3Single $T feed000011112222 3 yes"),
        (B3, "b3: $T-feed000011112222-feed333344445555", "B3Single $T feed000011112222 feed333344445555 -"),
        // The zero is the decision.
        (B3, "b3: $T-feed000011112222-0000000000000003", "B3Single - - - -"),
        (B3, "b3: $T-feed0000111122221feed333344445555", "B3Single $T feed000011112222 feed333344445555 yes"),
        (B3, "b3: $T-feed000011112222-d", "B3Single $T feed000011112222 - yes 1"),
        (
            B3,
            "b3: 1\nX-B3-TraceId: $T\nX-B3-SpanId: feed000011112222\nX-B3-Sampled: 0",
            "B3Single $T feed000011112222 - yes",
        ),
        (
            B3,
            "b3: $T-feed000011112222-0\nX-B3-TraceId: 2\nX-B3-ParentSpanId: feed333344445555\nX-B3-Flags: 1",
            "B3Single $T feed000011112222 - no 1",
        ),
        (
            B3,
            "b3: $T-feed000011112222-1\nX-B3-ParentSpanId: feed333344445555\nX-B3-Flags: 1",
            "B3Single $T feed000011112222 feed333344445555 yes 1",
        ),
        (B3, "b3: 1\nb3: 1", "B3 - - - -"),
        (B3, "b3: feed0123456789ab-feed000011112222", "B3Single feed0123456789ab feed000011112222 - -"),
        (B3, "b3: 0", "B3Single - - - no"),
        (B3, "b3: 1", "B3Single - - - yes"),
        (B3, "b3: d", "B3Single - - - yes 1"),
        (B3, "b3: $T-feed000011112222-1-3", "B3Single - - - -"),
        (B3, "b3: $T-feed000011112222-x", "B3Single - - - -"),
        (B3, "tracestate: a=1\ntracestate: b3=$T-feed000011112222-1", "B3Single $T feed000011112222 - yes"),
        (B3, "tracestate: a=1,b3=$T-feed000011112222-1", NONE),
        (B3, "tracestate: a=1,b=2", NONE),
    ]);
}

#[test]
fn reads_of_other_formats_what_is_well_formed_and_nothing_else() {
    assert_read(&[
        (Jaeger, "uber-trace-id: $T:feed000011112222:3:1", "Jaeger $T feed000011112222 3 yes"),
        (Jaeger, "uber-trace-id: $T:feed000011112222:0:0", "Jaeger $T feed000011112222 0 no"),
        (Jaeger, "uber-trace-id: abc:1:0:3", "Jaeger abc 1 0 yes"),
        (Jaeger, "uber-trace-id: feed0123456789ab:1:0:3", "Jaeger feed0123456789ab 1 0 yes"),
        (Jaeger, "uber-trace-id: $T:0:1:1", NONE),
        (Jaeger, "uber-trace-id: x:y:z", NONE),
        (Jaeger, "uber-trace-id: $T:1:0:1:1", NONE),
        (Jaeger, "uber-trace-id: 0:1:0:1", NONE),
        (
            Ot,
            "ot-tracer-traceid: $T\not-tracer-spanid: feed000011112222\not-tracer-sampled: true",
            "Ot $T - feed000011112222 yes",
        ),
        (Ot, "ot-tracer-spanid: feed000011112222\not-tracer-sampled: 1", "Ot - - - yes"),
        (Ot, "ot-tracer-sampled: 0", "Ot - - - no"),
        (Ot, "ot-tracer-sampled: x", NONE),
        (Ot, "ot-tracer-sampled: x\not-baggage-a: b", "Ot - - - -"),
        (Ot, "ot-tracer-traceid: $T\not-tracer-spanid: x", NONE),
        (Ot, "ot-baggage-a: b", NONE),
        (
            Datadog,
            "x-datadog-trace-id: 14839080548208970155\nx-datadog-parent-id: 42",
            "Datadog cdef0123456789ab - 2a -",
        ),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-sampling-priority: 2", "Datadog 1 - - yes"),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-sampling-priority: -1", "Datadog 1 - - no"),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-sampling-priority: x", NONE),
        (Datadog, "x-datadog-sampling-priority: 1\nx-datadog-parent-id: 42", "Datadog - - - yes"),
        (Datadog, "x-datadog-trace-id: x\nx-datadog-parent-id: 42", NONE),
        (Datadog, "x-datadog-trace-id: 0", NONE),
        (Datadog, "x-datadog-trace-id: 184467440737095516160", "Datadog a0000000000000000 - - -"),
        (
            Datadog,
            "x-datadog-trace-id: 340282366920938463463374607431768211455\nx-datadog-parent-id: 18446744073709551616",
            "Datadog ffffffffffffffffffffffffffffffff - 0 -",
        ),
        (Datadog, "x-datadog-trace-id: 340282366920938463463374607431768211457", "Datadog 1 - - -"),
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
        (Aws, "X-Amzn-Trace-Id: Root=1-feed0123-456789abcdef0123456789ab;Sampled=?", NONE),
        (Aws, "X-Amzn-Trace-Id: Root=1-feed0123-456789abcdef0123456789ab", "Aws $T - - -"),
        (Aws, "X-Amzn-Trace-Id: Sampled=0", "Aws - - - no"),
        (Aws, "X-Amzn-Trace-Id: Self=1", NONE),
        (Aws, "X-Amzn-Trace-Id: Root=1-feed0123456789abcdef0123456789ab", NONE),
        (Aws, "X-Amzn-Trace-Id: Parent=feed000011112222;Sampled=1", "Aws - - feed000011112222 yes"),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=1", "Gcp $T - ff yes"),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=0", "Gcp $T - ff no"),
        (Gcp, "X-Cloud-Trace-Context: $T/255", "Gcp $T - ff no"),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=2", "Gcp $T - ff no"),
        (Gcp, "X-Cloud-Trace-Context: $T/99999999999999999999;o=1", "Gcp $T - 6bc75e2d630fffff yes"),
        (Gcp, "X-Cloud-Trace-Context: FEED0123456789ABCDEF0123456789AB/255;o=1", NONE),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=11", NONE),
        (Gcp, "X-Cloud-Trace-Context: $T/zz;o=1", NONE),
        (Gcp, "X-Cloud-Trace-Context: $T/255;o=x", NONE),
        (Gcp, "X-Cloud-Trace-Context: feed0123456789ab/255", NONE),
        (
            Instana,
            "X-Instana-T: $T\nX-Instana-S: feed000011112222\nX-Instana-L: 1",
            "Instana $T - feed000011112222 yes",
        ),
        (Instana, "X-Instana-T: $T\nX-Instana-S: feed000011112222", "Instana $T - feed000011112222 no"),
        (
            Instana,
            "X-Instana-T: feed0123456789ab\nX-Instana-S: feed000011112222\nX-Instana-L: 1,correlationType=web",
            "Instana feed0123456789ab - feed000011112222 yes",
        ),
        (Instana, "X-Instana-T: abc\nX-Instana-S: x", "Instana abc - - no"),
        (Instana, "X-Instana-L: 0", NONE),
        (Instana, "X-Instana-T: $T", NONE),
        (Instana, "X-Instana-S: feed000011112222", NONE),
    ]);
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
        let out = Outgoing { trace, span: SPAN, parent: Some(3), sampled: Some(true) };
        let mut headers = Headers::new();
        write::write(format, &out, None, &mut headers);
        let want = want.replace("$T", TRACE).replace("$t", "cdef0123456789ab").replace("$S", "feed000011112222");
        assert_eq!(text(&headers), want, "{format:?} {trace:?}");
    }
}

#[test]
fn writes_no_parent_where_there_is_none_and_flags_instead_of_a_decision() {
    let trace = TraceId { value: 1, is_short: Some(true) };
    let out = Outgoing { trace, span: 2, parent: None, sampled: Some(true) };
    for (format, flags, want) in [
        (B3, "1", "x-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-flags: 1"),
        (B3, "0", "x-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-flags: 0"),
        (B3Single, "1", "b3: 0000000000000001-0000000000000002-d"),
        (B3Single, "0", "b3: 0000000000000001-0000000000000002-1"),
        (Jaeger, "1", "uber-trace-id: 0000000000000001:0000000000000002:0:01"),
    ] {
        let mut headers = Headers::new();
        let incoming = Incoming { flags: Some(flags.into()), ..Incoming::of(B3) };
        write::write(format, &out, Some(&incoming), &mut headers);
        assert_eq!(text(&headers), want, "{format:?} {flags}");
    }
}

#[test]
fn a_decision_that_is_not_told_is_left_out_where_a_format_can_do_without() {
    let trace = TraceId { value: 1, is_short: Some(true) };
    let out = Outgoing { trace, span: 2, parent: None, sampled: None };
    let written = |format, incoming: Option<&Incoming>| {
        let mut headers = Headers::new();
        write::write(format, &out, incoming, &mut headers);
        text(&headers)
    };
    for (format, want) in [
        (B3, "x-b3-traceid: 0000000000000001\nx-b3-spanid: 0000000000000002\nx-b3-sampled: 0"),
        (B3Single, "b3: 0000000000000001-0000000000000002"),
        (Ot, "ot-tracer-traceid: 0000000000000001\not-tracer-spanid: 0000000000000002"),
        (Datadog, "x-datadog-trace-id: 1\nx-datadog-parent-id: 2"),
        (Instana, "X-Instana-T: 0000000000000001\nX-Instana-S: 0000000000000002"),
        (Gcp, "X-Cloud-Trace-Context: 00000000000000000000000000000001/2;o=0"),
    ] {
        assert_eq!(written(format, None), want, "{format:?}");
    }
    // Who asked in this field not to be traced is heard.
    let refused = Incoming { sampled: Some(false), ..Incoming::of(B3Single) };
    assert_eq!(written(B3Single, Some(&refused)), "b3: 0000000000000001-0000000000000002-0");
}

#[test]
fn baggage_goes_on_decoded_and_encoded_anew_in_the_formats_that_have_fields_for_it() {
    let jaeger = "uber-trace-id: 1:2:3:1\nuberctx-Foo: a b%20c+d\nuberctx-two: 1\nuberctx-two: 2";
    let ot = "ot-tracer-sampled: 1\not-baggage-Mid: a/b c%2f";
    for (from, lines, to, want) in [
        (Jaeger, jaeger, Jaeger, &["uberctx-Foo: a%20b%20c%20d", "uberctx-two: 1", "uberctx-two: 2"][..]),
        (
            Jaeger,
            jaeger,
            Ot,
            &["uberctx-Foo: a b%20c+d", "uberctx-two: 1", "uberctx-two: 2", "ot-baggage-foo: a%20b%20c%20d"],
        ),
        (Ot, ot, Jaeger, &["ot-baggage-Mid: a/b c%2f", "uberctx-mid: a%2Fb%20c%2F"]),
        (Ot, ot, Ot, &["ot-baggage-Mid: a%2Fb%20c%2F"]),
        (Ot, ot, B3, &["ot-baggage-Mid: a/b c%2f"]),
    ] {
        let mut headers = headers(lines);
        let incoming = read::read(from, &headers);
        let trace = TraceId { value: 1, is_short: None };
        let out = Outgoing { trace, span: 2, parent: None, sampled: Some(true) };
        write::write(to, &out, incoming.as_ref(), &mut headers);
        let text = text(&headers);
        let baggage: Vec<&str> =
            text.lines().filter(|line| ["uberctx-", "ot-baggage-"].iter().any(|it| line.starts_with(it))).collect();
        assert_eq!(baggage, want, "{from:?} {to:?}");
    }
    let many: String = (0..200).map(|n| format!("ot-baggage-{n}: v\n")).collect();
    let read = read::read(Ot, &headers(&format!("ot-tracer-sampled: 1\n{many}"))).unwrap();
    assert_eq!(read.baggage.len(), 100, "as many as Kong reads fields of");
}
