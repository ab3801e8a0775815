//! Tests of `trace`.

use super::*;

#[test]
fn finds_fields_of_every_format_and_no_others() {
    for (name, want) in [
        ("traceparent", true),
        ("TraceState", true),
        ("b3", true),
        ("X-B3-Flags", true),
        ("x-b3-traceid", true),
        ("uber-trace-id", true),
        ("ot-tracer-spanid", true),
        ("ot-tracer-traceid", true),
        ("x-datadog-trace-id", true),
        ("X-Amzn-Trace-Id", true),
        ("X-Cloud-Trace-Context", true),
        ("X-Instana-L", true),
        ("te", false),
        ("bb", false),
        ("user-agent", false),
        ("accept-encoding", false),
        ("x-forwarded-for", false),
        ("transfer-encoding", false),
    ] {
        let mut headers = Headers::new();
        headers.append("Accept", b"*/*");
        headers.append(name, b"x");
        assert_eq!(has_context(&headers), want, "{name}");
    }
}

#[test]
fn names_of_instrumentations_are_kongs() {
    let all =
        ["request", "db_query", "router", "http_client", "dns_query", "balancer", "plugin_rewrite", "plugin_access"];
    let some =
        all.iter().filter_map(|name| Instrumentations::from_name(name)).fold(Instrumentations::NONE, BitOr::bitor);
    assert_eq!(some | Instrumentations::PLUGIN_HEADER_FILTER, Instrumentations::ALL);
    assert_eq!(Instrumentations::from_name("off"), Some(Instrumentations::NONE));
    assert_eq!(Instrumentations::from_name("x"), None);
    assert!(!some.contains(Instrumentations::PLUGIN_HEADER_FILTER));
}
