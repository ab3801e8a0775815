//! Tests of `prometheus`.

use super::*;
use pdk::Node;
use pdk::testing::Harness;
use serde_json::json;

const ALL: Exports = Exports {
    has_series: true,
    has_upstream_health: true,
    has_balancing: false,
    has_exemplars: false,
    has_logs: false,
    has_mirrors: false,
};

fn whole(figures: &Figures, exports: Exports, accept: Option<&str>) -> (&'static str, String) {
    let (kind, pieces) = render(&Node::default(), figures, exports, accept);
    (kind, pieces.collect())
}

fn scrape(exports: Exports, wanted: &str) -> String {
    let figures = Figures {
        is_datastore_reachable: true,
        requests: 7,
        targets: vec![TargetHealth {
            upstream: "up.test".to_owned(),
            target: "a.test:80".to_owned(),
            address: "10.0.0.9:80".to_owned(),
            state: "healthy",
        }],
        ..Figures::default()
    };
    let text = whole(&figures, exports, None).1;
    text.lines().filter(|line| line.contains(wanted)).map(|line| format!("{line}\n")).collect()
}

fn everything() -> serde_json::Value {
    json!({
        "per_consumer": true, "status_code_metrics": true, "latency_metrics": true, "bandwidth_metrics": true,
    })
}

/// A harness whose service has a name of its own, for series outlive it.
fn harness(service: &str, config: serde_json::Value) -> Harness {
    Harness::new(&DEFINITION, config).with_service_name(service)
}

#[test]
fn counts_requests_by_status_and_source() {
    let h = harness("svc-status", json!({ "status_code_metrics": true })).with_upstream("404\n\n");
    h.send("GET /");
    h.send("GET /");
    let labels =
        "service=\"svc-status\",route=\"r\",code=\"404\",source=\"service\",workspace=\"default\",consumer=\"\"";
    assert_eq!(scrape(ALL, "svc-status"), format!("kong_http_requests_total{{{labels}}} 2\n"));
    assert_eq!(scrape(Exports::default(), "svc-status"), "");
}

#[test]
fn adds_up_what_threads_count_also_when_they_are_gone() {
    for _ in 0..3 {
        std::thread::spawn(|| harness("svc-threads", json!({ "bandwidth_metrics": true })).send("GET /").status)
            .join()
            .unwrap();
    }
    let shown = scrape(ALL, "svc-threads");
    let size = "GET /".len() * 3;
    let ingress = "service=\"svc-threads\",route=\"r\",direction=\"ingress\",workspace=\"default\",consumer=\"\"";
    assert!(shown.contains(&format!("kong_bandwidth_bytes{{{ingress}}} {size}\n")), "{shown}");
}

#[test]
fn observes_latencies_in_cumulative_buckets() {
    harness("svc-latency", everything()).send("GET /");
    let shown = scrape(ALL, "svc-latency");
    let labels = "service=\"svc-latency\",route=\"r\",workspace=\"default\"";
    for line in [
        format!("kong_kong_latency_ms_bucket{{{labels},le=\"1\"}} 1\n"),
        format!("kong_kong_latency_ms_bucket{{{labels},le=\"6000\"}} 1\n"),
        format!("kong_kong_latency_ms_bucket{{{labels},le=\"+Inf\"}} 1\n"),
        format!("kong_upstream_latency_ms_bucket{{{labels},le=\"25\"}} 1\n"),
        format!("kong_request_latency_ms_count{{{labels}}} 1\n"),
        format!("kong_request_latency_ms_sum{{{labels}}} 0\n"),
    ] {
        assert!(shown.contains(&line), "{line} in {shown}");
    }
    let histogram = series::KONG_LATENCY.register("x=\"observed\"".to_owned());
    for value in [0, 1, 2, 6000, 6001] {
        histogram.observe(value, None);
    }
    let shown = scrape(ALL, "x=\"observed\"");
    for (bound, count) in [("1", 2), ("2", 3), ("5", 3), ("3000", 3), ("6000", 4), ("+Inf", 5)] {
        let line = format!("kong_kong_latency_ms_bucket{{x=\"observed\",le=\"{bound}\"}} {count}\n");
        assert!(shown.contains(&line), "{line} in {shown}");
    }
}

#[test]
fn requests_without_a_route_do_not_count() {
    harness("svc-nowhere", everything()).without_route().send("GET /");
    assert_eq!(scrape(ALL, "svc-nowhere"), "");
}

#[test]
fn shows_the_nodes_figures() {
    let node = format!("node_id=\"{}\"", Uuid::nil());
    assert_eq!(
        scrape(Exports::default(), "kong_datastore_reachable "),
        "# HELP kong_datastore_reachable Datastore reachable \
        from Kong, 0 is unreachable\n# TYPE kong_datastore_reachable gauge\nkong_datastore_reachable 1\n"
            .replace("        ", "")
    );
    assert_eq!(
        scrape(Exports::default(), "kong_nginx_requests_total{"),
        format!("kong_nginx_requests_total{{{node},subsystem=\"http\"}} 7\n")
    );
    let health =
        "upstream=\"up.test\",target=\"a.test:80\",address=\"10.0.0.9:80\",state=\"healthy\",subsystem=\"http\"";
    assert!(scrape(ALL, "target_health{").contains(&format!("kong_upstream_target_health{{{health}}} 1\n")));
    assert_eq!(scrape(Exports::default(), "target_health"), "");
}

#[test]
fn shows_circuits_and_the_resolver_where_it_is_asked_to() {
    let circuit = Circuit {
        upstream: "up.test".to_owned(),
        state: Some("half_open"),
        requests: Some((2, 1, 9)),
        retries: Some((4, 5)),
    };
    let resolver =
        Resolver { lookups: [("succeeded", 3), ("unknown", 1), ("failed", 2)], stale: 2, seconds: 0.5, names: 6 };
    let figures = Figures { circuits: vec![circuit], resolver, ..Figures::default() };
    let (_, text) = whole(&figures, Exports { has_balancing: true, ..ALL }, None);
    for line in [
        "silverback_upstream_circuit{upstream=\"up.test\",state=\"closed\"} 0",
        "silverback_upstream_circuit{upstream=\"up.test\",state=\"half_open\"} 1",
        "silverback_upstream_requests{upstream=\"up.test\",state=\"active\"} 2",
        "silverback_upstream_requests{upstream=\"up.test\",state=\"pending\"} 1",
        "silverback_upstream_requests_refused_total{upstream=\"up.test\"} 9",
        "silverback_upstream_retries_total{upstream=\"up.test\",outcome=\"refused\"} 5",
        "silverback_dns_lookups_total{result=\"failed\"} 2",
        "silverback_dns_lookup_seconds_total 0.5",
        "silverback_dns_stale_total 2",
        "silverback_dns_names 6",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
    let (_, nothing) = whole(&figures, ALL, None);
    assert!(!nothing.contains("silverback_"), "{nothing}");
}

#[test]
fn exports_follow_the_enabled_instances() {
    let plugin = |name: &str, enabled: bool, config| {
        let mut plugin = pdk::testing::plugin_entity(name, &config);
        plugin.enabled = enabled;
        plugin
    };
    let health = json!({ "upstream_health_metrics": true });
    for (plugins, want) in [
        (vec![], (false, false)),
        (vec![plugin("cors", true, health.clone())], (false, false)),
        (vec![plugin("prometheus", false, health.clone())], (false, false)),
        (vec![plugin("prometheus", true, json!({}))], (true, false)),
        (vec![plugin("prometheus", true, json!({})), plugin("prometheus", true, health)], (true, true)),
    ] {
        let exports = Exports::of(&plugins);
        assert_eq!((exports.has_series, exports.has_upstream_health), want);
    }
}

#[test]
fn exemplars_are_for_those_who_ask_for_open_metrics() {
    let config = json!({ "latency_metrics": true, "bandwidth_metrics": true, "exemplars": true });
    let h = harness("svc-exemplars", config);
    h.send("GET /");
    h.send_with("GET /", |cx| crate::opentelemetry::note_sampled(cx, 0xfeed));
    let exports = Exports { has_exemplars: true, has_logs: true, ..ALL };
    let scrape = |exports, accept| whole(&Figures::default(), exports, accept);
    let asked = Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let (kind, text) = scrape(exports, asked);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let exemplar = " # {trace_id=\"0000000000000000000000000000feed\"} 0 ";
    let lines = |name: &str| -> Vec<&str> {
        text.lines().filter(|line| line.contains("svc-exemplars") && line.contains(name)).collect()
    };
    let with = lines("kong_request_latency_ms_bucket").into_iter().filter(|line| line.contains(exemplar)).count();
    assert_eq!(with, 1, "one bucket has it: {text}");
    assert!(lines("_count").iter().all(|line| line.ends_with(" 2")), "{text}");
    assert!(text.contains("silverback_log_messages_dropped_total{plugin=\"file-log\"} "), "{text}");
    // Names stay those of the dashboards.
    assert_eq!(lines("kong_bandwidth_bytes{").len(), 1);
    for head in [
        "# TYPE kong_bandwidth_bytes unknown",
        "# TYPE silverback_log_messages_dropped counter",
        "# TYPE kong_nginx_metric_errors counter",
    ] {
        assert!(text.contains(&format!("{head}\n")), "{head}: {text}");
    }
    for (exports, accept) in [(exports, None), (exports, Some("text/plain")), (ALL, asked)] {
        let (kind, text) = scrape(exports, accept);
        assert_eq!(kind, "text/plain; charset=UTF-8");
        assert!(!text.contains("trace_id") && !text.contains("# EOF"), "{accept:?}");
    }
}
