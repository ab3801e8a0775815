//! Spans of a request's steps, as the whole gateway records them.

use crate::client::get;
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;

fn kong_yml(upstream: &Upstream, collector: &Upstream) -> String {
    let plugins = format!(
        "plugins:\n  - {{ name: correlation-id, config: {{ echo_downstream: true }} }}\n  - name: opentelemetry\n    \
         config: {{ traces_endpoint: \"http://{}/v1/traces\", queue: {{ max_batch_size: 200, max_coalescing_delay: 0.05 }} }}\n",
        collector.at
    );
    // A name, which has to be resolved.
    let named = upstream.kong_yml(&["{ name: r, paths: [/] }"]).replace("http://127.0.0.1:", "http://localhost:");
    named + &plugins
}

fn traceparent(upstream: &Upstream) -> String {
    let seen = upstream.seen().concat().to_ascii_lowercase();
    seen.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap_or_default().to_owned()
}

#[test]
fn every_step_of_a_sampled_request_has_a_span() {
    let (upstream, collector) = (Upstream::start(), Upstream::start());
    let properties = [("tracing_instrumentations", "all"), ("tracing_sampling_rate", "1")];
    let gateway = Gateway::start_with(&kong_yml(&upstream, &collector), &properties);
    assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
    assert!(traceparent(&upstream).ends_with("-01"), "{}", traceparent(&upstream));
    eventually("the collector has the spans", || !collector.seen().is_empty());
    let seen = collector.seen().concat();
    for name in [
        "kong.router",
        "kong.dns",
        "kong.access.plugin.correlation-id",
        "kong.access.plugin.opentelemetry",
        "kong.header_filter.plugin.correlation-id",
        "kong.balancer",
        "http.status_code",
        "net.peer.name",
    ] {
        assert!(seen.contains(name), "{name} is not in {seen:?}");
    }
    // A decision that the request brings counts before any rate.
    let unsampled = "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-00";
    assert_eq!(get(gateway.ports.proxy, "/b", &[unsampled]).status, 200);
    assert!(upstream.seen().concat().contains("00-0123456789abcdef0123456789abcdef-"), "the trace goes on");
}

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let (upstream, collector) = (Upstream::start(), Upstream::start());
    let gateway = Gateway::start(&kong_yml(&upstream, &collector));
    assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
    assert!(traceparent(&upstream).ends_with("-00"), "{}", traceparent(&upstream));
    drop(gateway);
    // What waited was sent before the end.
    assert_eq!(collector.seen(), Vec::<String>::new());
}

#[test]
fn a_name_that_is_no_instrumentation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ports = crate::gateway::Ports::free();
    let properties = [("tracing_instrumentations", "everything")];
    let conf = crate::gateway::configure(&folder, ports, "_format_version: \"3.0\"\n", &properties);
    let output = crate::program::run(&["run", "-c", &conf]);
    let said = crate::program::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tracing_instrumentations") && said.contains("everything"), "{said}");
}
