//! Tests of `zipkin`.

use super::*;
use crate::post::tests::server;
use pdk::testing::{Exchange, Harness, complete};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The spans that a Zipkin of a test gets next.
fn spans(received: &Receiver<(String, Vec<u8>)>) -> Value {
    let (head, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        head.starts_with("post /spans http/1.1\r\n") && head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    serde_json::from_slice(&body).unwrap()
}

fn marks(span: &Value) -> Vec<&str> {
    span["annotations"].as_array().unwrap().iter().filter_map(|mark| mark["value"].as_str()).collect()
}

fn config(changes: Value) -> Value {
    let mut config = json!({ "sample_ratio": 1 });
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

/// What the upstream was told of the trace; ids that the client did not send are masked.
fn told(exchange: &Exchange) -> String {
    let upstream = exchange.upstream.as_deref().unwrap_or_default();
    let lines = upstream.lines().skip(1).map(str::to_ascii_lowercase);
    let mut lines: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            let parts = value.split_inclusive(['-', ':', '/', ';', '=']);
            let masked = parts.map(|part| {
                let id = part.trim_end_matches(['-', ':', '/', ';', '=']);
                let is_id = id.len() >= 16 && !id.starts_with("feed");
                if is_id { part.replace(id, &format!("<{}>", id.len())) } else { part.to_owned() }
            });
            format!("{name}: {}", masked.collect::<String>())
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

const B3: &str = "GET /\nX-B3-TraceId: feed0123456789abcdef0123456789ab\nX-B3-SpanId: feed000011112222\n\
                  X-B3-ParentSpanId: feed333344445555\nX-B3-Sampled: 1";
const W3C: &str = "GET /\ntraceparent: 00-feed0123456789abcdef0123456789ab-feed000011112222-01";

/// Instances of all tests have the same id, and so one queue: tests take turns at it.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn tells_the_upstream_in_the_formats_that_the_config_says() {
    let _turn = turn();
    let new_b3 = "x-b3-parentspanid: <16>\nx-b3-sampled: 1\nx-b3-spanid: <16>\nx-b3-traceid: <32>";
    let b3 = "x-b3-parentspanid: feed000011112222\nx-b3-sampled: 1\nx-b3-spanid: <16>\n\
              x-b3-traceid: feed0123456789abcdef0123456789ab";
    let w3c = "traceparent: 00-feed0123456789abcdef0123456789ab-<16>-01";
    let as_it_came = W3C.split_once('\n').unwrap().1;
    let only_clear = json!({ "propagation": { "default_format": "b3", "clear": ["traceparent"] } });
    let only_write = json!({ "propagation": { "default_format": "b3", "inject": ["w3c"] } });
    let only_read = json!({ "propagation": { "default_format": "b3", "extract": ["w3c"] } });
    for (config, request, want) in [
        (json!({}), "GET /", new_b3.to_owned()),
        (json!({}), B3, b3.to_owned()),
        (json!({}), W3C, w3c.to_owned()),
        (json!({ "header_type": "w3c" }), W3C, w3c.to_owned()),
        (json!({ "header_type": "w3c" }), "GET /", format!("traceparent: 00-<32>-<16>-01\n{new_b3}")),
        (json!({ "header_type": "ignore" }), W3C, format!("{as_it_came}\n{new_b3}")),
        (json!({ "default_header_type": "w3c" }), "GET /", "traceparent: 00-<32>-<16>-01".to_owned()),
        (json!({ "propagation": { "default_format": "w3c" } }), "GET /", new_b3.to_owned()),
        (
            json!({ "propagation": { "default_format": "w3c", "extract": [], "inject": [] } }),
            W3C,
            as_it_came.to_owned(),
        ),
        (json!({ "traceid_byte_count": 8 }), "GET /", new_b3.to_owned()),
        (only_clear, W3C, String::new()),
        (only_write, W3C, "traceparent: 00-<32>-<16>-01".to_owned()),
        (only_read, W3C, as_it_came.to_owned()),
        (json!({}), "GET /\nb3: 0", "b3: <32>-<16>-0-<16>".to_owned()),
    ] {
        let h = Harness::new(&DEFINITION, self::config(config.clone()));
        assert_eq!(told(&h.send(request)), want, "{config} {request}");
    }
}

#[test]
fn the_requests_own_decision_counts_before_the_ratio() {
    let _turn = turn();
    for (ratio, request, want) in [
        (0, "GET /", "x-b3-sampled: 0"),
        (1, "GET /", "x-b3-sampled: 1"),
        (0, B3, "x-b3-sampled: 1"),
        (1, "GET /\nX-B3-Sampled: 0", "x-b3-sampled: 0"),
        (0, "GET /\nX-B3-Flags: 1", "x-b3-flags: 1"),
    ] {
        let h = Harness::new(&DEFINITION, json!({ "sample_ratio": ratio }));
        let told = told(&h.send(request));
        assert!(told.contains(want), "{request}: {told}");
    }
}

fn values(exchange: &Exchange, name: &str) -> Vec<String> {
    exchange.headers.get_all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn ids_are_reported_as_long_as_they_were_made_and_in_full_where_they_came() {
    let _turn = turn();
    let (port, received) = server(202);
    let url = format!("http://127.0.0.1:{port}/spans");
    let settings = json!({
        "http_endpoint": url, "queue": { "max_batch_size": 2 }, "http_response_header_for_traceid": "X-Trace",
        "traceid_byte_count": 8,
    });
    let h = Harness::new(&DEFINITION, config(settings));
    for (request, want) in [
        ("GET /", None),
        ("GET /\nb3: feed0123456789ab-feed000011112222-1", Some("0000000000000000feed0123456789ab")),
        ("GET /\nX-B3-TraceId: feed0123456789ab\nX-B3-Sampled: 1", Some("0000000000000000feed0123456789ab")),
        ("GET /\nx-datadog-trace-id: 10\nx-datadog-sampling-priority: 1", Some("0000000000000000000000000000000a")),
        ("GET /\not-tracer-sampled: 1", None),
    ] {
        let exchange = h.send(request);
        let told = exchange.header("x-trace").to_owned();
        let spans = spans(&received);
        let ids = [&spans[0]["traceId"], &spans[1]["traceId"]];
        assert_eq!(ids, [&json!(told), &json!(told)], "{request}");
        match want {
            Some(want) => assert_eq!(told, want, "{request}"),
            None => assert_eq!(told.len(), 16, "{request}"),
        }
    }
    let exchange = h.send("GET /");
    let b3 = told(&exchange);
    // What is left in the queue would be the next test's.
    assert!(spans(&received).is_array());
    assert!(b3.contains("x-b3-traceid: <32>"), "the upstream gets it in full: {b3}");
}

#[test]
fn tags_of_clients_are_read_as_kong_reads_them() {
    for (item, want) in [
        ("a=1", Some(("a", "1"))),
        (" b = 2 3 ", Some(("b", "2 3"))),
        ("c=", None),
        ("=x", None),
        ("x", None),
        ("d=e=f", Some(("d=e", "f"))),
        ("d=e = f", Some(("d=e", "f"))),
        ("a=b c=d", Some(("a", "b c=d"))),
        ("a==", Some(("a", "="))),
        ("a b=c", None),
        ("", None),
    ] {
        assert_eq!(report::tag_of_client(item), want, "{item:?}");
    }
}

#[test]
fn logs_and_the_response_name_the_trace() {
    let _turn = turn();
    let h = Harness::new(
        &DEFINITION,
        config(json!({ "http_response_header_for_traceid": "X-Trace", "header_type": "w3c" })),
    );
    let exchange = h.send("GET /\nb3: feed0123456789ab-feed000011112222-1");
    assert_eq!(exchange.header("x-trace"), "0000000000000000feed0123456789ab");
    let of_upstream = h.with_upstream("200\nX-Trace: own\n\n").send("GET /\nb3: feed0123456789ab-feed000011112222-1");
    assert_eq!(values(&of_upstream, "x-trace"), ["own", "0000000000000000feed0123456789ab"]);
    let want = json!({ "b3": "feed0123456789ab", "w3c": "0000000000000000feed0123456789ab" });
    assert_eq!(exchange.log["trace_id"], want);
}

#[test]
fn reports_the_request_the_proxying_and_the_tries() {
    let _turn = turn();
    let (port, received) = server(202);
    let url = format!("http://127.0.0.1:{port}/spans");
    let h = Harness::new(
        &DEFINITION,
        config(json!({
            "http_endpoint": url, "queue": { "max_batch_size": 2 }, "http_span_name": "method_path",
            "static_tags": [{ "name": "env", "value": "t" }, { "name": "http.host", "value": "o" }],
            "default_service_name": "d",
        })),
    );
    h.send(&format!(
        "{}\nHost: H.test:80\nZipkin-Tags: fg=blue; bg = red;bad;lc=x;=y;fg=\nZipkin-Tags: c=d=e; bg=green",
        B3.replace("GET /", "GET /a?b=1")
    ));
    let spans = spans(&received);
    let (proxy, request) = (&spans[0], &spans[1]);
    assert_eq!((&proxy["name"], &proxy["kind"]), (&json!("GET /a (proxy)"), &json!("CLIENT")));
    assert_eq!(proxy["parentId"], request["id"]);
    assert_eq!(request["id"], "feed000011112222");
    assert_eq!(request["parentId"], "feed333344445555");
    assert_eq!(request["traceId"], "feed0123456789abcdef0123456789ab");
    assert_eq!(request["remoteEndpoint"], json!({ "ipv4": "10.0.0.1", "port": 40000, "serviceName": "d" }));
    let tags = json!({
        "lc": "kong", "http.method": "GET", "http.host": "o", "http.path": "/a", "http.protocol": "HTTP/1.1",
        "http.status_code": "200", "kong.node.id": uuid::Uuid::from_u128(0xe), "env": "t", "fg": "blue", "bg": "green", "c=d": "e",
    });
    assert_eq!(request["tags"], tags);
    assert_eq!(marks(proxy), ["khs", "khf", "kbs", "kas", "kaf", "kbf"]);
    assert_eq!(marks(request), ["krf", "krs"]);
}

#[test]
fn a_request_without_a_route_is_reported_too_and_an_unsampled_one_is_not() {
    let _turn = turn();
    let (port, received) = server(202);
    let url = format!("http://127.0.0.1:{port}/spans");
    let settings = json!({ "http_endpoint": url, "queue": { "max_batch_size": 2 } });
    let h = Harness::new(&DEFINITION, config(settings)).without_route();
    h.send("GET /x\nX-B3-Sampled: 0");
    h.send("GET /y");
    let spans = spans(&received);
    let (proxy, request) = (&spans[0], &spans[1]);
    assert_eq!(request["tags"]["http.path"], "/y");
    assert_eq!((proxy.get("remoteEndpoint"), proxy.get("tags")), (Some(&Value::Null), None));
    assert_eq!(marks(proxy), ["khs", "khf", "kbs", "kas", "kaf", "kbf"]);
    assert_eq!(marks(request), ["krf", "krs"]);
}

#[test]
fn refuses_tags_that_are_its_own_or_repeated() {
    let _turn = turn();
    let refused = |tags: Value| {
        complete(&DEFINITION, json!({ "static_tags": tags })).unwrap_err()["config"]["static_tags"].clone()
    };
    assert_eq!(
        refused(json!([{ "name": "a", "value": "x" }, { "name": "a", "value": "y" }])),
        "repeated tags are not allowed: a"
    );
    let own = refused(json!([{ "name": "lc", "value": "x" }]));
    assert!(own[0]["name"].as_str().unwrap().starts_with("must not be one of: error, http.method"), "{own}");
}
