//! Tests of what `opentelemetry` does beyond Kong: gRPC, metrics, sampling rules.

use super::metrics::{Metric, metric};
use super::otlp::{Attribute, Export, Span, attribute};
use super::tests::{harness, send, traceparent, turn};
use super::*;
use crate::post::tests::server;
use crate::prometheus::{Point, Points};
use bytes::Bytes;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

const WAIT: Duration = Duration::from_secs(20);

#[test]
fn rules_sample_some_requests_otherwise() {
    let _turn = turn();
    let rules = json!([
        { "method": "GET", "path": "/health", "rate": 0 }, { "route": "r", "path": "/pay", "rate": 1 },
        { "service": "other", "rate": 1 },
    ]);
    let h = harness(json!({ "sampling_rate": 0.5, "sampling_rules": rules }));
    for (chance, request, want) in [
        (0.0, "GET /health", false),
        (0.0, "POST /health", true),
        (0.99, "GET /pay/now", true),
        (0.99, "GET /", false),
        (0.4, "GET /", true),
    ] {
        let told = traceparent(&send(&h, chance, request)).to_owned();
        assert_eq!(told.ends_with("-01"), want, "{chance} {request}: {told}");
    }
    let config = json!({ "traces_endpoint": "http://a.test", "sampling_rules": [{ "path": "/" }] });
    let error = pdk::testing::complete(&DEFINITION, config).unwrap_err();
    assert!(error.to_string().contains("required field missing"), "{error}");
}

/// A collector that speaks gRPC: each call's path, fields and message. The first is answered with this status.
fn collector(first: &'static str) -> (u16, Receiver<(String, http::HeaderMap, Vec<u8>)>) {
    let (port_known, port) = sync_channel(16);
    let (calls, received) = sync_channel(16);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            port_known.send(listener.local_addr().unwrap().port()).unwrap();
            let mut next = first;
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let status = std::mem::replace(&mut next, "0");
                    let calls = calls.clone();
                    tokio::spawn(async move {
                        let (head, mut body) = request.into_parts();
                        let mut message = Vec::new();
                        while let Some(Ok(data)) = body.data().await {
                            let _ = body.flow_control().release_capacity(data.len());
                            message.extend_from_slice(&data);
                        }
                        let answer = http::Response::builder().header("content-type", "application/grpc").body(());
                        let mut stream = respond.send_response(answer.unwrap(), false).unwrap();
                        stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", http::HeaderValue::from_static(status));
                        stream.send_trailers(trailers).unwrap();
                        let _ = calls.send((head.uri.path().to_owned(), head.headers, message));
                    });
                }
            }
        });
    });
    (port.recv_timeout(WAIT).unwrap(), received)
}

#[test]
fn spans_go_over_grpc_and_a_failed_call_is_tried_again() {
    let _turn = turn();
    // 14: unavailable.
    let (port, received) = collector("14");
    let h = harness(json!({
        "traces_endpoint": format!("http://127.0.0.1:{port}"), "protocol": "grpc", "headers": { "x-token": "t" },
        "queue": { "max_batch_size": 1 },
    }));
    send(&h, 0.1, "GET /");
    let mut messages = Vec::new();
    for _ in 0..2 {
        let (path, headers, message) = received.recv_timeout(WAIT).unwrap();
        assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-token"], "t");
        messages.push(message);
    }
    let spans = |message: &[u8]| Export::decode(&message[5..]).unwrap().resources[0].scopes[0].items.clone();
    assert_eq!(spans(&messages[0]), spans(&messages[1]), "the same again");
    let message = &messages[0];
    assert_eq!(message[0], 0);
    assert_eq!(u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize, message.len() - 5);
    let export = Export::decode(&message[5..]).unwrap();
    let span = Span::decode(&*export.resources[0].scopes[0].items[0]).unwrap();
    assert_eq!(span.name, "kong");
}

#[test]
fn what_prometheus_counts_is_sent_as_metrics() {
    let _turn = turn();
    let (port, received) = server(200);
    let counting = json!({ "status_code_metrics": true, "latency_metrics": true });
    let sending = json!({
        "metrics_endpoint": format!("http://127.0.0.1:{port}/v1/metrics"),
        "metrics_interval": 1, "queue": { "max_batch_size": 200 },
    });
    let plugins = vec![(&DEFINITION, sending), (&crate::prometheus::DEFINITION, counting)];
    let h = pdk::testing::Harness::of(plugins).with_service_name("svc-otlp");
    for exchange in [h.send("GET /"), h.send("GET /")] {
        assert!(traceparent(&exchange).is_empty(), "metrics alone pass no trace on");
    }
    let (head, body) = received.recv_timeout(WAIT).unwrap();
    assert!(head.starts_with("post /v1/metrics http/1.1"), "{head}");
    let export = Export::decode(&*body).unwrap();
    let items = export.resources.iter().flat_map(|r| &r.scopes).flat_map(|s| &s.items);
    let metrics: Vec<Metric> = items.map(|item| Metric::decode(&**item).unwrap()).collect();
    let metric = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
    let is_own = |attributes: &[Attribute]| attributes.contains(&attribute("service", "svc-otlp"));
    let sum = metric("kong_http_requests_total").sum.as_ref().unwrap();
    let point = sum.points.iter().find(|point| is_own(&point.attributes)).unwrap();
    assert_eq!(point.as_int, Some(2));
    assert!(point.attributes.contains(&attribute("code", "200")), "{point:?}");
    let latency = metric("kong_request_latency_ms");
    let point = latency.histogram.as_ref().unwrap().points.iter().find(|point| is_own(&point.attributes)).unwrap();
    assert_eq!((point.count, point.buckets.len(), point.bounds.len()), (2, 14, 13));
    assert_eq!((latency.unit.as_str(), point.bounds[0]), ("ms", 25.0));
}

#[test]
fn many_series_are_sent_in_requests_of_a_bounded_size() {
    let labels = |n: u64| vec![("route".to_owned(), format!("{n}-{}", "r".repeat(100)))];
    let counts = (0..20_000).map(|n| Point { labels: labels(n), value: n }).collect();
    let latencies = (0..5_000).map(|n| Point { labels: labels(n), value: (vec![1, 2], n) }).collect();
    let metrics = [
        metric("kong_http_requests_total", "help", Points::Counts(counts), (1, 2)),
        metric("kong_request_latency_ms", "help", Points::Histograms(&[5], latencies), (1, 2)),
        metric("kong_none_total", "help", Points::Counts(Vec::new()), (1, 2)),
    ]
    .concat();
    let (port, received) = server(200);
    let url = &format!("http://127.0.0.1:{port}");
    let post = Post::new(&Settings { url, connect_timeout: WAIT, timeout: WAIT, ..Settings::default() }).unwrap();
    let attributes =
        [("zone", "z"), ("tenant", "$(headers.x)")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let attributes = Arc::new(Attributes::new(Some(&attributes.into_iter().collect())));
    let collector = Collector { way: Way::Http(Box::new(post)), attributes };
    let batch: Entries = metrics.iter().map(Message::encode_to_vec).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(collector.send(&batch)).unwrap();
    let (mut requests, mut values, mut sums) = (0, Vec::new(), Vec::new());
    for (_, body) in received.try_iter() {
        assert!(body.len() < LARGEST + 1024, "{} bytes", body.len());
        requests += 1;
        let export = Export::decode(&*body).unwrap();
        let [of_resource] = &*export.resources else { panic!("{} resources", export.resources.len()) };
        let resource = &of_resource.resource.as_ref().unwrap().attributes;
        assert!(resource.contains(&attribute("zone", "z")) && !resource.iter().any(|a| a.key == "tenant"));
        for item in &of_resource.scopes[0].items {
            let metric = Metric::decode(&**item).unwrap();
            assert_eq!(metric.description, "help");
            values.extend(metric.sum.into_iter().flat_map(|sum| sum.points).filter_map(|point| point.as_int));
            let points = metric.histogram.into_iter().flat_map(|histogram| histogram.points);
            sums.extend(points.filter_map(|point| point.sum));
        }
    }
    assert!(requests > 2, "{requests}");
    assert!(values.iter().copied().eq(0..20_000), "{} counts", values.len());
    assert!(sums.iter().copied().eq((0..5_000).map(f64::from)), "{} histograms", sums.len());
}

#[test]
fn what_has_come_of_a_large_batch_does_not_come_again() {
    // Takes one request and is gone.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = &format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        drop(listener);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).unwrap() > 2 {
            let told = line.to_ascii_lowercase();
            length = told.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        body
    });
    let post = Post::new(&Settings { url, connect_timeout: WAIT, timeout: WAIT, ..Settings::default() }).unwrap();
    let collector = Collector { way: Way::Http(Box::new(post)), attributes: Arc::default() };
    let span = |name: &str| Span { name: name.repeat(LARGEST / 2), ..Span::default() }.encode_to_vec();
    let all = ["a", "b", "c"].map(span);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failure = runtime.block_on(collector.send(&all.iter().collect())).unwrap_err();
    let left = all[1..].iter().collect();
    assert_eq!(failure, Failure::partial(failure.reason.clone(), left, 0));
    let export = Export::decode(&*served.join().unwrap()).unwrap();
    assert_eq!(export.resources[0].scopes[0].items, &all[..1]);
}

#[test]
fn a_connection_that_nothing_comes_back_on_is_given_up() {
    let patience = Duration::from_secs(3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let grpc = Grpc::new(&url, "traces", std::iter::empty(), patience, patience).unwrap();
        let served = tokio::spawn(async move {
            let (mut silent, _) = listener.accept().await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let answer = http::Response::builder().header("grpc-status", "0").body(()).unwrap();
            respond.send_response(answer, true).unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            // The other one has ended: there is an end of what it sent.
            tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut Vec::new()).await
        });
        let failure = grpc.call(Bytes::from_static(b"one")).await.unwrap_err();
        assert_eq!(failure.reason, "timeout");
        grpc.call(Bytes::from_static(b"two")).await.unwrap();
        let ended = tokio::time::timeout(WAIT, served).await.unwrap().unwrap();
        assert!(ended.is_ok_and(|sent| sent > 0), "the request had been sent");
    });
}

#[test]
fn the_scheme_of_an_endpoint_says_how_it_is_spoken_to() {
    let _turn = turn();
    for (url, protocol, is_grpc) in [
        ("http://a.test", json!(null), Some(false)),
        ("https://a.test", json!("http/protobuf"), Some(false)),
        ("http://a.test", json!("grpc"), Some(true)),
        ("https://a.test:4317", json!("grpc"), Some(true)),
        ("grpc://a.test", json!(null), Some(true)),
        ("grpcs://a.test", json!("http/protobuf"), Some(true)),
        ("ftp://a.test", json!("grpc"), None),
        ("ftp://a.test", json!(null), None),
    ] {
        let config = json!({ "traces_endpoint": url, "protocol": protocol });
        let config = pdk::testing::complete(&DEFINITION, config).unwrap();
        let entity = pdk::testing::plugin_entity("opentelemetry", &config);
        let instance = Instance { entity: &entity, config: &config, authorities: &[], groups: &[] };
        let config: Config = instance.config().unwrap();
        let way = Way::new(&config, "traces", url);
        assert_eq!(way.ok().map(|way| matches!(way, Way::Grpc(_))), is_grpc, "{url} {protocol}");
    }
}

#[test]
fn there_is_something_to_send_and_a_place_for_it() {
    let url = "http://a.test";
    for (config, is_valid) in [
        (json!({}), false),
        (json!({ "metrics_interval": 5 }), false),
        (json!({ "metrics_endpoint": null }), false),
        (json!({ "metrics_endpoint": url }), true),
        (json!({ "logs_endpoint": url }), true),
        (json!({ "traces_endpoint": url }), true),
    ] {
        let outcome = pdk::testing::complete(&DEFINITION, config.clone());
        let message = "at least one of these fields must be non-empty: 'traces_endpoint', 'logs_endpoint'";
        let error = (!is_valid).then(|| json!({ "config": { "@entity": [message] } }));
        assert_eq!(outcome.err(), error, "{config}");
    }
}
