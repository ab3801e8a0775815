//! Hostile input to the plugins of traffic, transformation, cache, logs, metrics and traces: what clients, upstreams and sinks may
//! try, and what comes of it. More such tests stand beside the plugins.

use crate::{
    bot_detection, correlation_id, cors, datadog, file_log, http_log, loggly, prometheus, proxy_cache, rate_limiting,
    redirect, request_transformer, response_ratelimiting, response_transformer, statsd, tcp_log, udp_log, zipkin,
};
use pdk::Definition;
use pdk::testing::Harness;
use serde_json::{Value, json};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);

/// Bytes that would end a line or a record somewhere, in a request's path, fields and body.
const CONTROL: &str =
    "GET /a%0d%0ab?x=%0a%00\nUser-Agent: a\u{1b}[31m\u{85}\u{2028}b\nX-A: \"}\\n{\"fake\":1\nReferer: \u{7f}\u{8}<0>";

fn is_one_clean_line(message: &[u8]) -> bool {
    message.iter().all(|byte| *byte >= b' ')
}

#[test]
fn control_characters_end_no_record_of_a_log() {
    let file = std::env::temp_dir().join(format!("silverback-hostile-{}", std::process::id()));
    Harness::new(&file_log::DEFINITION, json!({ "path": file.to_str().unwrap() })).send(CONTROL);
    file_log::flush();
    let written = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let (last, line) = written.split_last().unwrap();
    assert!(*last == b'\n' && is_one_clean_line(line), "{}", String::from_utf8_lossy(line));
    let document: Value = serde_json::from_slice(line).unwrap();
    assert!(document.get("fake").is_none() && document["request"]["headers"]["user-agent"].is_string());

    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(WAIT)).unwrap();
    let port = sink.local_addr().unwrap().port();
    let datagram = |definition: &'static Definition, config: Value| {
        Harness::new(definition, config).send(CONTROL);
        let mut room = vec![0; 64 * 1024];
        let length = sink.recv(&mut room).unwrap();
        room.truncate(length);
        room
    };
    for (definition, config) in [
        (&udp_log::DEFINITION, json!({ "host": "127.0.0.1", "port": port })),
        (&loggly::DEFINITION, json!({ "host": "127.0.0.1", "port": port, "key": "k" })),
    ] {
        let message = datagram(definition, config);
        assert!(is_one_clean_line(&message), "{}", String::from_utf8_lossy(&message));
    }
}

#[test]
fn names_end_no_line_and_no_field_of_a_metric() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(WAIT)).unwrap();
    let to = json!({ "host": "127.0.0.1", "port": sink.local_addr().unwrap().port(), "consumer_identifier_default": "username" });
    let consumer = json!({
        "id": uuid::Uuid::from_u128(9), "username": "a\nfake:1|c\r\nb", "custom_id": "c\nfake:1|c", "created_at": 0, "updated_at": 0,
    });
    let consumer: Arc<entities::Consumer> = Arc::new(serde_json::from_value(consumer).unwrap());
    for definition in [&statsd::DEFINITION, &datadog::DEFINITION] {
        let mut config = to.clone();
        if definition.name == "datadog" {
            config.as_object_mut().unwrap().remove("consumer_identifier_default");
        }
        let h = Harness::new(definition, config).with_service_name("s\nfake:1|c");
        h.send_with("GET /", |cx| cx.consumer = Some(consumer.clone()));
        let mut room = [0; 64 * 1024];
        let mut seen = 0;
        // One datagram, or one a metric.
        while seen < 6 {
            let length = sink.recv(&mut room).unwrap();
            let text = String::from_utf8_lossy(&room[..length]).into_owned();
            seen += text.lines().count();
            assert!(text.lines().all(|line| line.starts_with("kong.")), "{}: {text:?}", definition.name);
        }
    }
}

#[test]
fn expressions_of_the_configuration_take_no_time_that_grows_with_the_clients_text() {
    // Each of them takes a backtracking engine twice as long with each further letter.
    let text = format!("{}!", "a".repeat(4000));
    let start = Instant::now();
    let agents =
        [json!({ "deny": ["^(a+)+$"] }), json!({ "deny": ["^(?=a)(a+)+$"] }), json!({ "allow": ["^(a|aa)+$"] })];
    for config in agents {
        let h = Harness::new(&bot_detection::DEFINITION, config.clone());
        assert!(matches!(h.send(&format!("GET /\nUser-Agent: {text}")).status, 200 | 403), "{config}");
    }
    for origin in ["(a+)+", "(a|aa)+", "([a-z]+)*[.]test"] {
        let h = Harness::new(&cors::DEFINITION, json!({ "origins": [origin, "http://other.test"] }));
        let exchange = h.send(&format!("GET /\nOrigin: http://{text}"));
        assert_ne!(exchange.header("Access-Control-Allow-Origin"), format!("http://{text}"), "{origin}");
    }
    assert!(start.elapsed() < WAIT, "{:?}", start.elapsed());
}

#[test]
fn a_client_cannot_break_out_of_a_label() {
    let config = json!({ "status_code_metrics": true, "per_consumer": true });
    let name = "a\"} 1\nfake_metric{x=\"\\";
    let h = Harness::new(&prometheus::DEFINITION, config).with_service_name("svc-hostile");
    let consumer = json!({ "id": uuid::Uuid::from_u128(9), "username": name, "created_at": 0, "updated_at": 0 });
    let consumer: entities::Consumer = serde_json::from_value(consumer).unwrap();
    h.send_with("GET /", |cx| cx.consumer = Some(Arc::new(consumer)));
    let exports = prometheus::Exports { has_series: true, ..prometheus::Exports::default() };
    let text: String =
        prometheus::render(&pdk::Node::default(), &prometheus::Figures::default(), exports, None).1.collect();
    assert!(!text.lines().any(|line| line.starts_with("fake_metric")), "{text}");
    let line = text.lines().find(|line| line.contains("svc-hostile")).unwrap();
    assert!(line.contains("consumer=\"a\\\"} 1\\nfake_metric{x=\\\"\\\\\""), "{line}");
}

#[test]
fn what_a_client_sends_makes_no_labels() {
    let h = Harness::new(&prometheus::DEFINITION, json!({ "status_code_metrics": true, "bandwidth_metrics": true }));
    let h = h.with_service_name("svc-flood");
    for n in 0..500 {
        h.send(&format!(
            "GET /{n}?q={n}\nHost: h{n}.test\nUser-Agent: u{n}\nX-Forwarded-For: 10.0.{}.{}",
            n / 250,
            n % 250
        ));
    }
    let exports = prometheus::Exports { has_series: true, ..prometheus::Exports::default() };
    let text: String =
        prometheus::render(&pdk::Node::default(), &prometheus::Figures::default(), exports, None).1.collect();
    let series = text.lines().filter(|line| line.contains("svc-flood")).count();
    assert!(series <= 3, "{series} series");
}

#[test]
fn templates_and_ids_put_no_line_breaks_into_header_fields() {
    let transform = json!({
        "add": { "headers": ["X-Q:$(query_params.q)", "X-P:$(uri_captures[1])"] },
        "rename": { "headers": ["X-Old:X-New"] },
    });
    let plugins = vec![
        (&request_transformer::DEFINITION, transform),
        (&correlation_id::DEFINITION, json!({ "echo_downstream": true })),
    ];
    let h = Harness::of(plugins);
    for request in [
        "GET /?q=a%0d%0aX-Admin:%201",
        "GET /?q=%0aX-Admin:1",
        "GET /?q=a\nX-Old: b%0d%0aX-Admin: 1",
        "GET /?q=a\nKong-Request-ID: c%0aX-Admin: 1",
    ] {
        let exchange = h.send(request);
        let upstream = exchange.upstream.as_deref().unwrap_or_default();
        assert!(!upstream.lines().any(|line| line.starts_with("X-Admin")), "{request}: {upstream}");
        assert!(!exchange.answer().lines().any(|line| line.starts_with("X-Admin")), "{request}");
    }
}

#[test]
fn a_path_puts_no_line_break_into_a_redirection() {
    let h = Harness::new(&redirect::DEFINITION, json!({ "location": "https://new.test", "keep_incoming_path": true }));
    for path in ["/a%0d%0aX-Admin:1", "/a?b=%0d%0aX-Admin:1", "//evil.test/%0a", "/\\evil.test"] {
        let exchange = h.send(&format!("GET {path}"));
        let location = exchange.header("Location");
        assert!(
            location.starts_with("https://new.test/") && location.bytes().all(|byte| byte > b' '),
            "{path}: {location}"
        );
        assert!(exchange.headers.get("x-admin").is_none(), "{path}");
    }
}

#[test]
fn bodies_that_lie_about_their_type_pass_as_they_are() {
    let config = json!({ "add": { "body": ["a:1"] }, "remove": { "body": ["b"] } });
    let h = Harness::new(&request_transformer::DEFINITION, config);
    for (media, body) in [
        ("application/json", "b=1&c=2"),
        ("application/json", "{\"b\":1"),
        ("application/json", "\u{1f}\u{8b}\u{8}binary"),
        ("text/plain", "b=1"),
    ] {
        let request = format!("POST /\nContent-Type: {media}\nContent-Length: {}\n\n{body}", body.len());
        let upstream = h.send(&request).upstream.unwrap();
        assert!(upstream.ends_with(body), "{media} {body:?}: {upstream}");
    }
    let config = json!({ "add": { "json": ["a:1"] } });
    for body in ["{\"a\":", "[[[[", "words", "\u{feff}{}"] {
        let answer = format!("200\nContent-Type: application/json\n\n{body}");
        let h = Harness::new(&response_transformer::DEFINITION, config.clone()).with_upstream(&answer);
        assert_eq!(h.send("GET /").body, body);
    }
}

#[test]
fn deeply_nested_json_costs_no_stack() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let answer = format!("200\nContent-Type: application/json\n\n{deep}");
    let h = Harness::new(&response_transformer::DEFINITION, json!({ "remove": { "json": ["b"] } }));
    // Whether it is read as it is or left alone, it comes out, and the gateway lives.
    assert_eq!(h.with_upstream(&answer).send("GET /").body, deep);
    let h = Harness::new(&request_transformer::DEFINITION, json!({ "remove": { "body": ["b"] } }));
    let request = format!("POST /\nContent-Type: application/json\nContent-Length: {}\n\n{deep}", deep.len());
    assert!(h.send(&request).upstream.unwrap().ends_with(&deep));
}

#[test]
fn encoded_bodies_are_never_decoded() {
    // A bomb stays what it is: nothing here unpacks.
    let bomb = "x".repeat(1000);
    let answer = format!("200\nContent-Type: application/json\nContent-Encoding: gzip\n\n{bomb}");
    let config = json!({ "add": { "json": ["a:1"] } });
    let h = Harness::new(&response_transformer::DEFINITION, config).with_upstream(&answer);
    assert_eq!(h.send("GET /").body, bomb);
    let h = Harness::new(&proxy_cache::DEFINITION, json!({ "strategy": "memory" })).with_upstream(&answer);
    assert_eq!((h.send("GET /bomb").body, h.send("GET /bomb").body), (bomb.clone(), bomb));
}

#[test]
fn unkeyed_fields_change_no_kept_response() {
    let h = Harness::new(&proxy_cache::DEFINITION, json!({ "strategy": "memory" }))
        .with_upstream("200\nContent-Type: text/plain\n\nclean");
    let path = format!("/unkeyed-{}", std::process::id());
    h.send(&format!("GET {path}"));
    let h = h.with_upstream("200\nContent-Type: text/plain\n\npoisoned");
    for field in
        ["X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil", "Host: evil.test"]
    {
        assert_eq!(h.send(&format!("GET {path}\n{field}")).body, "clean", "{field}");
    }
    // A body, another method or a range get nothing into the cache, and nothing out of it.
    for request in [format!("GET {path}\nContent-Length: 1\n\nx"), format!("HEAD {path}"), format!("POST {path}")] {
        assert_ne!(h.send(&request).body, "clean", "{request}");
    }
    assert_eq!(h.send(&format!("GET {path}")).body, "clean");
}

#[test]
fn fields_that_ask_for_something_else_leave_nothing_in_the_cache() {
    // The upstream heeds the field: what it answers first is what the client smuggled in.
    for field in [
        "X-Original-URL: /admin",
        "x-rewrite-url: /admin",
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
    ] {
        let h = Harness::new(&proxy_cache::DEFINITION, json!({ "strategy": "memory" }));
        let path = format!("/smuggled-{}", fastrand::u64(..));
        let h = h.with_upstream("200\nContent-Type: text/plain\n\npoisoned");
        let attack = h.send(&format!("GET {path}\n{field}"));
        assert_eq!((attack.body.as_str(), attack.header("X-Cache-Status")), ("poisoned", "Bypass"), "{field}");
        let h = h.with_upstream("200\nContent-Type: text/plain\n\nclean");
        assert_eq!(h.send(&format!("GET {path}")).body, "clean", "{field}");
        // Where it is part of the key, who asks with it gets what was asked for with it, and nobody else does.
        let (name, _) = field.split_once(':').unwrap();
        let config = json!({ "strategy": "memory", "vary_headers": [name] });
        let h = Harness::new(&proxy_cache::DEFINITION, config).with_upstream("200\nContent-Type: text/plain\n\nkeyed");
        let told = [0; 2].map(|_| h.send(&format!("GET {path}-keyed\n{field}")).header("X-Cache-Status").to_owned());
        assert_eq!(told, ["Miss", "Hit"], "{field}");
        assert_eq!(h.send(&format!("GET {path}-keyed")).header("X-Cache-Status"), "Miss", "{field}");
    }
}

#[test]
fn what_plugins_make_of_a_field_tells_kept_responses_apart() {
    for changes in [
        json!({ "replace": { "uri": "/t/$(headers.x_tenant)" } }),
        json!({ "replace": { "headers": ["Host:$(headers.x_tenant).test"] } }),
        json!({ "rename": { "headers": ["X-Tenant:Host"] } }),
        json!({ "add": { "querystring": ["tenant:$(headers.x_tenant)"] } }),
    ] {
        let plugins = vec![
            (&request_transformer::DEFINITION, changes.clone()),
            (&proxy_cache::DEFINITION, json!({ "strategy": "memory", "ignore_uri_case": true })),
        ];
        let mut h = Harness::of(plugins);
        let path = format!("/tenants-{}", fastrand::u64(..));
        for (tenant, answer, want) in
            [("a", "of a", "of a"), ("b", "of b", "of b"), ("A", "of A", "of A"), ("a", "-", "of a")]
        {
            h = h.with_upstream(&format!("200\nContent-Type: text/plain\n\n{answer}"));
            assert_eq!(h.send(&format!("GET {path}\nX-Tenant: {tenant}")).body, want, "{changes} {tenant}");
        }
    }
    // A plugin that changes nothing of this leaves the key as it is.
    let path = format!("/plain-{}", fastrand::u64(..));
    let key = |plugins| Harness::of(plugins).send(&format!("GET {path}\nX-Tenant: a")).header("X-Cache-Key").to_owned();
    let cache = || (&proxy_cache::DEFINITION, json!({ "strategy": "memory" }));
    let transformer = (&request_transformer::DEFINITION, json!({ "add": { "headers": ["X-A:b"] } }));
    assert_eq!(key(vec![cache()]), key(vec![transformer, cache()]));
}

#[test]
fn absurd_numbers_and_names_are_nothing() {
    let limits = json!({ "limits": { "v": { "hour": 10 } }, "limit_by": "ip" });
    for cost in ["v=1e308", "v=-1e308", "v=NaN", "v=0x10", "v==1", &"v=1,".repeat(5000), "\u{fe}=1"] {
        let answer = format!("200\nX-Kong-Limit: {cost}\n\n");
        let h = Harness::new(&response_ratelimiting::DEFINITION, limits.clone())
            .with_client(|client| client.ip = std::net::Ipv4Addr::from(fastrand::u32(..)).into())
            .with_upstream(&answer);
        assert!(matches!(h.send("GET /").status, 200 | 429), "{cost}");
    }
    let config = json!({ "minute": 1, "limit_by": "header", "header_name": "X-Id" });
    let h = Harness::new(&rate_limiting::DEFINITION, config);
    let long = format!("GET /\nX-Id: {}", "k".repeat(60_000) + &fastrand::u64(..).to_string());
    assert_eq!((h.send(&long).status, h.send(&long).status), (200, 429));
}

#[test]
fn trace_contexts_that_are_none_begin_a_new_trace() {
    // Without an endpoint: all tests of the plugin share one queue.
    let config = json!({ "sample_ratio": 0, "header_type": "preserve" });
    let h = Harness::new(&zipkin::DEFINITION, config);
    for field in [
        format!("traceparent: 00-{}-{}-01", "0".repeat(32), "1".repeat(16)),
        "traceparent: 00-xyz-1-01".to_owned(),
        format!("traceparent: {}", "a".repeat(8000)),
        format!("b3: {}", "f".repeat(8000)),
        format!("uber-trace-id: {}:1:0:zz", "f".repeat(4000)),
        "x-datadog-trace-id: 99999999999999999999999999".to_owned(),
        "x-amzn-trace-id: Root=1-;Parent=;Sampled=".to_owned(),
        "x-cloud-trace-context: /;o=".to_owned(),
        "x-b3-traceid: \u{fe}\u{fe}".to_owned(),
    ] {
        let exchange = h.send(&format!("GET /\n{field}"));
        assert_eq!(exchange.status, 200, "{field}");
        let upstream = exchange.upstream.unwrap();
        let mut told = upstream.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-b3-traceid: "));
        assert!(told.all(|line| line.len() < 100), "{field}: {upstream}");
    }
}

/// How long requests took whose log goes there.
fn logged(definition: &'static Definition, config: Value, requests: usize) -> Duration {
    let h = Harness::new(definition, config);
    let start = Instant::now();
    for _ in 0..requests {
        assert_eq!(h.send("GET /").status, 200);
    }
    start.elapsed()
}

#[test]
fn sinks_that_hang_or_answer_without_end_delay_no_request() {
    // Takes connections and never reads or answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    // Answers slowly and without end.
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let endless_port = endless.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in endless.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::Write;
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    let hanging_port = hanging.local_addr().unwrap().port();
    for port in [hanging_port, endless_port] {
        let queue = json!({ "max_entries": 10, "max_retry_time": 0 });
        let http =
            json!({ "http_endpoint": format!("http://127.0.0.1:{port}/{port}"), "timeout": 300, "queue": queue });
        let tcp = json!({ "host": "127.0.0.1", "port": port, "timeout": 300 });
        for (definition, config) in [(&http_log::DEFINITION, http), (&tcp_log::DEFINITION, tcp)] {
            let took = logged(definition, config, 200);
            assert!(took < WAIT, "{}: {took:?}", definition.name);
        }
    }
    // What does not fit is dropped, and counted.
    let end = Instant::now() + WAIT;
    let dropped = || crate::dropped_log_messages().map(|(_, count)| count).sum::<u64>();
    while dropped() < 150 {
        assert!(Instant::now() < end, "{} dropped", dropped());
        std::thread::sleep(Duration::from_millis(10));
    }
}
