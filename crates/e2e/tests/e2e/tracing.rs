//! Spans of a request's steps, as the whole gateway records them; and traces, logs and metrics on their way to a collector.

mod collector;

use crate::client::get;
use crate::gateway::{Gateway, eventually, free_address};
use crate::name_server::NameServer;
use crate::pki::Identity;
use crate::upstream::Upstream;
use collector::{Collector, Item, Protocol};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const SAMPLED: [(&str, &str); 2] = [("tracing_instrumentations", "all"), ("tracing_sampling_rate", "1")];

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
    let gateway = Gateway::start_with(&kong_yml(&upstream, &collector), &SAMPLED);
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

/// A service of this host and port, one that nobody answers for (`/dead`), and what tells a collector of requests.
fn observed(host: &str, port: u16, collector: &Collector, scheme: &str, config: serde_json::Value) -> String {
    let at = format!("{scheme}://{}", collector.at);
    let mut all = json!({ "queue": { "max_batch_size": 200, "max_coalescing_delay": 0.05 } });
    for (name, value) in config.as_object().unwrap() {
        all[name] = match value.as_str().and_then(|path| path.strip_prefix("at:")) {
            Some(path) => format!("{at}{path}").into(),
            None => value.clone(),
        };
    }
    let dead = free_address().port();
    let service = |name: &str, host: &str, port: u16, path: &str| json!({ "name": name, "host": host, "port": port, "retries": 1, "routes": [{ "name": name, "paths": [path] }] });
    json!({
        "_format_version": "3.0",
        "services": [service("up", host, port, "/"), service("dead", "127.0.0.1", dead, "/dead")],
        "plugins": [
            { "name": "correlation-id", "config": { "echo_downstream": true } },
            { "name": "opentelemetry", "config": all },
            { "name": "prometheus", "config": { "status_code_metrics": true, "latency_metrics": true } },
        ],
    })
    .to_string()
}

/// A span's name, kind, status and attributes.
fn span(item: &Item) -> (String, u64, u64, BTreeMap<String, String>) {
    let status = item.fields.messages(15).first().map_or(0, |status| status.number(3));
    (item.fields.text(5), item.fields.number(6), status, item.fields.attributes(9))
}

#[test]
fn tracing_instrumentations_choose_the_spans() {
    let upstream = Upstream::start();
    let access = "kong.access.plugin.correlation-id kong.access.plugin.opentelemetry";
    let filter = "kong.header_filter.plugin.correlation-id";
    for (chosen, wanted) in [
        ("request", "kong".to_owned()),
        ("router", "kong.router".to_owned()),
        ("plugin_access", access.to_owned()),
        ("plugin_header_filter", filter.to_owned()),
        ("dns_query", "kong.dns".to_owned()),
        ("balancer", "kong.balancer".to_owned()),
        ("request, router,balancer", "kong kong.balancer kong.router".to_owned()),
        ("request,plugin_rewrite,db_query,http_client", "kong".to_owned()),
        ("all", format!("kong {access} kong.balancer kong.dns {filter} kong.router")),
    ] {
        let collector = Collector::start(Protocol::Http, None);
        let kong_yml = observed(
            "localhost",
            upstream.at.port(),
            &collector,
            "http",
            json!({ "traces_endpoint": "at:/v1/traces" }),
        );
        let properties = [("tracing_instrumentations", chosen), ("tracing_sampling_rate", "1")];
        let gateway = Gateway::start_with(&kong_yml, &properties);
        assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
        // What waits is sent before the end.
        drop(gateway);
        let items = collector.items("traces");
        let names: BTreeSet<String> = items.iter().map(|item| span(item).0).collect();
        let wanted: BTreeSet<String> = wanted.split(' ').map(str::to_owned).collect();
        // The header_filter phase of opentelemetry has work only where a response field is asked for.
        let names: BTreeSet<String> =
            names.into_iter().filter(|name| name != "kong.header_filter.plugin.opentelemetry").collect();
        assert_eq!(names, wanted, "{chosen}");
        let traces: BTreeSet<&[u8]> = items.iter().map(|item| item.fields.bytes(1)).collect();
        assert_eq!(traces.len(), 1, "one request, one trace");
        for item in &items {
            assert_eq!(item.scope, ("kong-internal".to_owned(), "0.1.0".to_owned()));
            assert!(item.fields.number(7) > 0 && item.fields.number(8) >= item.fields.number(7), "{item:?}");
        }
    }
}

#[test]
fn spans_of_names_and_tries_tell_what_was_found() {
    let (server, upstream) = (NameServer::start(), Upstream::start());
    server.set("up.test", &["127.0.0.1"], 60);
    let port = upstream.at.port();
    for (name, is_known) in [("up.test", true), ("nowhere.test", false)] {
        let collector = Collector::start(Protocol::Grpc, None);
        let config = json!({ "traces_endpoint": "at:", "protocol": "grpc" });
        let kong_yml = observed(name, port, &collector, "http", config);
        let resolver = server.at.to_string();
        let properties = [SAMPLED.as_slice(), &[("dns_resolver", &*resolver), ("dns_order", "A")]].concat();
        let gateway = Gateway::start_with(&kong_yml, &properties);
        assert_eq!(get(gateway.ports.proxy, "/a?b=1", &["Host: h.test"]).status, if is_known { 200 } else { 503 });
        drop(gateway);
        let items = collector.items("traces");
        let spans: Vec<_> = items.iter().map(span).collect();
        let of = |name: &str| spans.iter().filter(|span| span.0 == name).collect::<Vec<_>>();
        let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let port = &*port.to_string();
        let mut dns = vec![("dns.record.domain", name), ("dns.record.port", port)];
        if is_known {
            dns.push(("dns.record.ip", "127.0.0.1"));
        }
        let [(_, kind, status, attributes)] = &*of("kong.dns") else { panic!("{spans:#?}") };
        // A client's, and failed where no address was found.
        assert_eq!((*kind, *status), (3, if is_known { 0 } else { 2 }), "{name}");
        assert_eq!(*attributes, expected(&dns));
        let tries = of("kong.balancer");
        assert_eq!(tries.len(), usize::from(is_known));
        for (_, kind, status, attributes) in tries {
            assert_eq!((*kind, *status), (3, 0));
            let peer =
                [("try_count", "1"), ("net.peer.ip", "127.0.0.1"), ("net.peer.port", port), ("net.peer.name", name)];
            assert_eq!(*attributes, expected(&peer));
        }
        let [(_, kind, status, attributes)] = &*of("kong") else { panic!("{spans:#?}") };
        assert_eq!((*kind, *status), (2, if is_known { 0 } else { 2 }));
        let code = if is_known { "200" } else { "503" };
        for (name, value) in [
            ("http.method", "GET"),
            ("http.url", "http://h.test/a?b=1"),
            ("http.host", "h.test"),
            ("http.scheme", "http"),
            ("http.flavor", "1.1"),
            ("http.client_ip", "127.0.0.1"),
            ("net.peer.ip", "127.0.0.1"),
            ("http.status_code", code),
            ("http.route", "/"),
        ] {
            assert_eq!(attributes.get(name).map(String::as_str), Some(value), "{name} in {attributes:#?}");
        }
        assert_eq!(attributes.get("kong.request.id").map(String::len), Some(32));
    }
}

#[test]
fn traces_logs_and_metrics_arrive_by_every_protocol() {
    let upstream = Upstream::start();
    let authority = Identity::authority("collectors");
    let identity = authority.issue(&["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    fs::write(&trusted, authority.pem()).unwrap();
    let trusted = trusted.display().to_string();
    for (protocol, name) in [(Protocol::Http, "http/protobuf"), (Protocol::Grpc, "grpc")] {
        for tls in [None, Some(&identity)] {
            let about = format!("{name}, by TLS: {}", tls.is_some());
            let collector = Collector::start(protocol, tls);
            // Either says that it is gRPC: the protocol, or the scheme.
            let scheme = match (protocol, tls) {
                (_, None) => "http",
                (Protocol::Http, Some(_)) => "https",
                (Protocol::Grpc, Some(_)) => "grpcs",
            };
            let config = json!({
                "traces_endpoint": "at:/v1/traces", "logs_endpoint": "at:/v1/logs", "metrics_endpoint": "at:/v1/metrics",
                "metrics_interval": 1, "protocol": if scheme == "grpcs" { "http/protobuf" } else { name }, "resource_attributes": { "service.name": "edge", "zone": "z" },
            });
            let kong_yml = observed("127.0.0.1", upstream.at.port(), &collector, scheme, config);
            let properties = [SAMPLED.as_slice(), &[("lua_ssl_trusted_certificate", &*trusted)]].concat();
            let gateway = Gateway::start_with(&kong_yml, &properties);
            assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
            assert_eq!(get(gateway.ports.proxy, "/dead", &[]).status, 502);
            for what in ["traces", "logs", "metrics"] {
                eventually(&format!("{about}: there are {what}"), || !collector.items(what).is_empty());
            }
            let has_counted = |item: &Item| {
                item.fields.text(1) == "kong_http_requests_total"
                    && item.fields.messages(7)[0].messages(1).iter().any(|point| {
                        let attributes = point.attributes(7);
                        attributes["service"] == "up" && attributes["code"] == "200" && point.number(6) == 1
                    })
            };
            eventually(&format!("{about}: the request is counted"), || {
                collector.items("metrics").iter().any(has_counted)
            });
            drop(gateway);
            for what in ["traces", "logs", "metrics"] {
                for item in collector.items(what) {
                    let resource = |name: &str| item.resource.get(name).map(String::as_str).unwrap_or_default();
                    assert_eq!((resource("service.name"), resource("zone")), ("edge", "z"), "{about}: {what}");
                    assert!(!resource("service.instance.id").is_empty() && !resource("service.version").is_empty());
                }
            }
            let latencies = collector.items("metrics");
            let latency = latencies.iter().find(|item| item.fields.text(1) == "kong_request_latency_ms").unwrap();
            let histogram = &latency.fields.messages(9)[0];
            assert_eq!((latency.fields.text(3).as_str(), histogram.number(2)), ("ms", 2), "cumulative");
            let traces = collector.items("traces");
            let roots: Vec<&Item> = traces.iter().filter(|item| item.fields.text(5) == "kong").collect();
            assert_eq!(roots.len(), 2, "{about}");
            // The log of the request that failed, with the trace that it is part of.
            let failed = roots.iter().find(|item| span(item).3["http.status_code"] == "502").unwrap();
            let logs = collector.items("logs");
            let log = logs.iter().find(|item| item.fields.messages(5)[0].text(1).contains("failed")).unwrap();
            assert_eq!((log.fields.number(2), log.fields.text(3).as_str()), (13, "WARN"), "{about}");
            assert_eq!(log.fields.bytes(9), failed.fields.bytes(1), "{about}: the trace");
            assert_eq!(log.fields.attributes(6)["request.id"], span(failed).3["kong.request.id"], "{about}");
        }
    }
}

#[test]
fn a_collector_that_is_not_trusted_gets_nothing() {
    let upstream = Upstream::start();
    let authority = Identity::authority("collectors");
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    fs::write(&trusted, authority.pem()).unwrap();
    let trusted = trusted.display().to_string();
    let stranger = Identity::authority("collectors").issue(&["127.0.0.1"]);
    let misnamed = authority.issue(&["127.0.0.2"]);
    for (protocol, name) in [(Protocol::Http, "http/protobuf"), (Protocol::Grpc, "grpc")] {
        for (what, identity) in [("another authority's", &stranger), ("another name's", &misnamed)] {
            let collector = Collector::start(protocol, Some(identity));
            let config = json!({
                "traces_endpoint": "at:/v1/traces", "protocol": name,
                "queue": { "max_retry_time": 0, "max_batch_size": 200, "max_coalescing_delay": 0.05 },
            });
            let kong_yml = observed("127.0.0.1", upstream.at.port(), &collector, "https", config);
            let properties = [SAMPLED.as_slice(), &[("lua_ssl_trusted_certificate", &*trusted)]].concat();
            let gateway = Gateway::start_with(&kong_yml, &properties);
            assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
            let told = format!("queue opentelemetry to {} dropped ", collector.at);
            eventually(&format!("{name}: the spans are dropped"), || gateway.output().contains(&told));
            let output = gateway.output();
            let line = output.lines().find(|line| line.contains(&told)).unwrap();
            assert!(line.contains("certificate"), "{name}, {what}: {line}");
            let counted = "silverback_log_messages_dropped_total{plugin=\"opentelemetry\"} ";
            let scrape = get(gateway.ports.status, "/metrics", &[]).body;
            let count = scrape.lines().find_map(|line| line.strip_prefix(counted)).unwrap();
            assert!(count.parse::<u64>().unwrap() > 0, "{count}");
            assert!(collector.connections() > 0, "{name}, {what}: it was spoken to");
            assert_eq!(collector.calls(), 0, "{name}, {what}");
        }
    }
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
