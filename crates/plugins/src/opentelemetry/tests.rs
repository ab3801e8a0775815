//! Tests of `opentelemetry`.

use super::otlp::{AnyValue, Attribute, Export, LogRecord, Span, Value as Otlp};
use super::*;
use crate::post::tests::server;
use pdk::testing::{Exchange, Harness, complete};
use pdk::trace::{Part, Trace};
use std::sync::{Mutex, MutexGuard, PoisonError};

const RECORDED: Tracing = Tracing { instrumentations: Instrumentations::ALL, sampling_rate: 0.5 };

/// Sends a request that is recorded, as if this chance had been drawn for it.
pub(super) fn send(h: &Harness, chance: f64, request: &str) -> Exchange {
    h.send_with(request, |cx| cx.trace = Some(Box::new(Trace::new(RECORDED, chance))))
}

pub(super) fn harness(config: Value) -> Harness {
    let mut all = json!({ "traces_endpoint": "http://127.0.0.1:1/v1/traces" });
    for (name, value) in config.as_object().unwrap() {
        all[name] = value.clone();
    }
    Harness::new(&DEFINITION, all)
}

pub(super) fn traceparent(exchange: &Exchange) -> &str {
    let upstream = exchange.upstream.as_deref().unwrap_or_default();
    upstream.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap_or_default()
}

const SAMPLED: &str = "GET /\ntraceparent: 00-feed0123456789abcdef0123456789ab-feed000011112222-01";

/// Instances of all tests have the same id, and so one queue: tests take turns at it.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn only_recorded_requests_are_sampled_by_the_parent_or_the_rate() {
    let _turn = turn();
    let unsampled = SAMPLED.replace("-01", "-00");
    for (config, chance, request, want) in [
        (json!({}), None, "GET /", false),
        (json!({}), None, SAMPLED, false),
        (json!({}), Some(0.4), "GET /", true),
        (json!({}), Some(0.6), "GET /", false),
        (json!({}), Some(0.9), SAMPLED, true),
        (json!({}), Some(0.1), &unsampled, false),
        (json!({ "sampling_rate": 0.7 }), Some(0.6), "GET /", true),
        (json!({ "sampling_rate": 0 }), Some(0.0), "GET /", false),
        (json!({ "sampling_rate": 0 }), Some(0.9), SAMPLED, true),
    ] {
        let h = harness(config.clone());
        let exchange = match chance {
            Some(chance) => send(&h, chance, request),
            None => h.send(request),
        };
        let told = traceparent(&exchange).to_owned();
        assert_eq!(told.ends_with("-01"), want, "{config} {chance:?} {request}: {told}");
        assert_eq!(told.contains("feed0123456789abcdef0123456789ab"), request != "GET /", "{told}");
        assert!(!told.contains("feed000011112222"), "the gateway's span calls the upstream: {told}");
    }
}

#[test]
fn the_response_names_the_trace() {
    let _turn = turn();
    let h = harness(json!({ "http_response_header_for_traceid": "X-Trace" }));
    assert_eq!(h.send(SAMPLED).header("x-trace"), "feed0123456789abcdef0123456789ab");
    let h = h.with_upstream("200\nX-Trace: own\n\n");
    let exchange = h.send(SAMPLED);
    let values: Vec<_> = exchange.headers.get_all("x-trace").collect();
    assert_eq!(values.len(), 2, "beside what the upstream says: {values:?}");
    let h = h.with_upstream("200\n\n").without_route();
    assert_eq!(h.send("GET /").header("x-trace").len(), 32);
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Otlp> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let Some(AnyValue { value }) = &found.value else { return None };
    value.as_ref()
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Otlp::Text(text)) => text,
        _ => "",
    }
}

#[test]
fn reports_spans_of_the_request_and_its_steps_as_otlp() {
    let _turn = turn();
    let (port, received) = server(200);
    let h = harness(json!({
        "traces_endpoint": format!("http://127.0.0.1:{port}/v1/traces?tenant=a"), "queue": { "max_batch_size": 2 },
        "headers": { "X-Token": "t" }, "resource_attributes": { "service.name": "edge", "zone": "z" },
    }));
    let exchange = h.send_with(&format!("{}\nHost: h.test:8000", SAMPLED.replace("GET /", "GET /a?b=1")), |cx| {
        let mut trace = Trace::new(RECORDED, 0.9);
        let now = cx.timing.start;
        trace.spans.push(pdk::trace::Span { part: Part::Access("key-auth"), start: now, end: now });
        cx.trace = Some(Box::new(trace));
    });
    let (head, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(head.starts_with("post /v1/traces?tenant=a http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf") && head.contains("x-token: t"), "{head}");
    let export = Export::decode(&*body).unwrap();
    assert_eq!(export.encode_to_vec(), body, "what is written by hand is what prost writes");
    let [of_resource] = &*export.resources else { panic!("{} resources", export.resources.len()) };
    let resource = &of_resource.resource.as_ref().unwrap().attributes;
    assert_eq!((text(resource, "service.name"), text(resource, "zone")), ("edge", "z"));
    assert_eq!(text(resource, "service.instance.id"), uuid::Uuid::from_u128(0xe).to_string());
    assert_eq!(text(resource, "service.version"), "1.2.3");
    assert_eq!(resource.iter().filter(|a| a.key == "service.name").count(), 1);
    let scope = of_resource.scopes[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), SCOPE);
    let of = |export: &Export| -> Vec<Span> {
        let items = export.resources.iter().flat_map(|r| &r.scopes).flat_map(|s| &s.items);
        let span = |item: &Vec<u8>| {
            let span = Span::decode(&**item).unwrap();
            assert_eq!(span.encode_to_vec(), *item, "what is written by hand is what prost writes");
            span
        };
        items.map(span).collect()
    };
    // Tests share the queue: what another one has left in it may come first, and a slow machine may send spans one by one.
    let mut spans = of(&export);
    let (root, access) = loop {
        let root = spans.iter().find(|s| text(&s.attributes, "http.url") == "http://h.test/a?b=1");
        let access = root.and_then(|root| spans.iter().find(|s| s.parent_span_id == root.span_id));
        if let (Some(root), Some(access)) = (root, access) {
            break (root.clone(), access.clone());
        }
        let (_, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
        spans.extend(of(&Export::decode(&*body).unwrap()));
    };
    assert_eq!((root.name.as_str(), root.kind), ("kong", 2));
    assert_eq!(root.trace_id, 0xfeed_0123_4567_89ab_cdef_0123_4567_89ab_u128.to_be_bytes());
    assert_eq!(root.parent_span_id, 0xfeed_0000_1111_2222_u64.to_be_bytes());
    assert!(root.start_time_unix_nano > 0 && root.end_time_unix_nano >= root.start_time_unix_nano);
    for (key, want) in [
        ("http.method", "GET"),
        ("http.url", "http://h.test/a?b=1"),
        ("http.host", "h.test"),
        ("http.scheme", "http"),
        ("http.flavor", "1.1"),
        ("http.client_ip", "10.0.0.1"),
        ("net.peer.ip", "10.0.0.1"),
        ("http.route", "/"),
    ] {
        assert_eq!(text(&root.attributes, key), want, "{key}");
    }
    assert_eq!(value(&root.attributes, "http.status_code"), Some(&Otlp::Number(200)));
    assert_eq!((access.name.as_str(), access.kind), ("kong.access.plugin.key-auth", 1));
    assert_eq!(access.parent_span_id, root.span_id);
    assert_eq!(access.trace_id, root.trace_id);
    assert_eq!(exchange.status, 200);
}

#[test]
fn endpoint_is_an_older_name_and_one_endpoint_must_be_there() {
    let _turn = turn();
    let config = complete(&DEFINITION, json!({ "endpoint": "http://a.test/v1" })).unwrap();
    assert_eq!(config["traces_endpoint"], "http://a.test/v1");
    for endpoint in [json!("http://old.test"), json!(null)] {
        let config = json!({ "endpoint": endpoint, "traces_endpoint": "http://new.test" });
        let config = complete(&DEFINITION, config).unwrap();
        assert_eq!(config["traces_endpoint"], "http://new.test", "the new field has the say over {endpoint}");
    }
    let error = complete(&DEFINITION, json!({})).unwrap_err();
    assert!(error.to_string().contains("at least one of these fields must be non-empty"), "{error}");
    let error =
        complete(&DEFINITION, json!({ "traces_endpoint": "http://a.test", "resource_attributes": { "": "x" } }));
    assert_eq!(error.unwrap_err()["config"]["resource_attributes"], "length must be at least 1");
    let config = json!({ "traces_endpoint": "http://a.test", "resource_attributes": { "x": "" } });
    assert_eq!(
        complete(&DEFINITION, config).unwrap_err()["config"]["resource_attributes"],
        "length must be at least 1"
    );
}

#[test]
fn resource_attributes_are_templates_and_requests_have_resources_of_their_own() {
    let _turn = turn();
    let (traces, spans) = server(200);
    let (logs, records) = server(200);
    let h = harness(json!({
        "traces_endpoint": format!("http://127.0.0.1:{traces}"), "logs_endpoint": format!("http://127.0.0.1:{logs}"),
        "resource_attributes": {
            "service.name": "$(headers.host)", "tenant": "t-$(headers['x-tenant'])", "zone": "z", "price": "5 $",
            "no.lua": "$(1 +)", "fails": "$(headers.a.b.c)",
        },
    }));
    let sent = ["a", "b", "a"].map(|tenant| {
        let note = |cx: &mut Context| {
            cx.trace = Some(Box::new(Trace::new(RECORDED, 0.1)));
            let fields = [("request_id", cx.request_id())];
            note_log("warn", &log::Record::builder().args(format_args!("{tenant}")).key_values(&fields).build());
        };
        h.send_with(&format!("GET /own-{tenant}\nHost: {tenant}.test\nX-Tenant: {tenant}"), note);
        tenant
    });
    for received in [spans, records] {
        let mut found = Vec::new();
        // Tests share the queue: what another one has left in it may come too.
        while found.len() < sent.len() {
            let (_, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
            let export = Export::decode(&*body).unwrap();
            assert_eq!(export.encode_to_vec(), body, "what is written by hand is what prost writes");
            for of_resource in &export.resources {
                let attributes = &of_resource.resource.as_ref().unwrap().attributes;
                let tenant = text(attributes, "tenant").to_owned();
                if tenant.is_empty() {
                    continue;
                }
                let told = ["zone", "price", "no.lua", "service.version"].map(|key| text(attributes, key));
                assert_eq!(told, ["z", "5 $", "$(1 +)", "1.2.3"]);
                assert_eq!(value(attributes, "fails"), None);
                let letter = tenant.trim_start_matches("t-");
                assert_eq!(text(attributes, "service.name"), format!("{letter}.test"));
                for item in &of_resource.scopes[0].items {
                    // Both the span's URL and the message end with the tenant.
                    let known = Span::decode(&**item).ok().map(|span| text(&span.attributes, "http.url").to_owned());
                    let known = known.filter(|url| !url.is_empty()).unwrap_or_else(|| letter.to_owned());
                    assert!(known.ends_with(letter), "{known} {tenant}");
                    found.push(letter.to_owned());
                }
            }
        }
        found.sort_unstable();
        assert_eq!(found, ["a", "a", "b"]);
    }
}

#[test]
fn messages_about_a_request_are_sent_with_its_trace() {
    let _turn = turn();
    let (port, received) = server(200);
    let h = harness(
        json!({ "logs_endpoint": format!("http://127.0.0.1:{port}/v1/logs"), "queue": { "max_batch_size": 1 } }),
    );
    let note = |request_id: &str, text: &str| {
        let fields = [("request_id", request_id)];
        note_log("warn", &log::Record::builder().args(format_args!("{text}")).key_values(&fields).build());
    };
    h.send_with(SAMPLED, |cx| {
        cx.trace = Some(Box::new(Trace::new(RECORDED, 0.9)));
        note("00000000000000000000000000000099", "of another request");
        note(pdk::testing::REQUEST_ID, "upstream failed");
        note_log("warn", &log::Record::builder().args(format_args!("of no request")).build());
    });
    let (head, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(head.starts_with("post /v1/logs http/1.1"), "{head}");
    let export = Export::decode(&*body).unwrap();
    let items = &export.resources[0].scopes[0].items;
    assert_eq!(items.len(), 1);
    let record = LogRecord::decode(&*items[0]).unwrap();
    assert_eq!(record.body.unwrap().value, Some(Otlp::Text("upstream failed".to_owned())));
    assert_eq!((record.severity_number, record.severity_text.as_str(), record.flags), (13, "WARN", 1));
    assert_eq!(record.trace_id, 0xfeed_0123_4567_89ab_cdef_0123_4567_89ab_u128.to_be_bytes());
    assert_eq!(record.span_id.len(), 8);
    assert_eq!(text(&record.attributes, "request.id"), pdk::testing::REQUEST_ID);
}
