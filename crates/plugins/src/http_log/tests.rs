//! Tests of `http-log`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// Answers requests with these statuses, over as many connections as come, and tells the requests.
fn server(statuses: &[u16]) -> (u16, JoinHandle<Vec<(String, String)>>) {
    server_that_answers(statuses.iter().map(|status| (*status, json!({}))).collect())
}

/// As [`server`], with bodies.
fn server_that_answers(answers: Vec<(u16, Value)>) -> (u16, JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < answers.len() {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            while let Some((status, answer)) = answers.get(seen.len()) {
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                        break;
                    }
                    let line = line.trim_end().to_ascii_lowercase();
                    length = line.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
                    head += &format!("{line}\n");
                }
                if head.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                seen.push((head, String::from_utf8(body).unwrap()));
                let answer = answer.to_string();
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
        seen
    });
    (port, thread)
}

#[test]
fn sends_one_document_a_request_and_tries_again() {
    let (port, server) = server(&[500, 204, 200]);
    let h = Harness::new(&DEFINITION, json!({ "http_endpoint": format!("http://127.0.0.1:{port}/log?x=1") }));
    h.send("GET /a");
    h.send("GET /b");
    let seen = server.join().unwrap();
    let uris: Vec<String> = seen.iter().map(|(_, body)| document_of(body)["request"]["uri"].to_string()).collect();
    assert_eq!(uris, ["\"/a\"", "\"/a\"", "\"/b\""]);
    let head = &seen[0].0;
    assert!(head.starts_with("post /log http/1.1\n"), "{head}");
    for line in [&format!("host: 127.0.0.1:{port}\n"), "content-type: application/json\n", "user-agent: lua-resty-"] {
        assert!(head.contains(line), "{head}");
    }
}

fn document_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_document_shows_the_request_as_plugins_have_changed_it_and_the_framing_of_the_answer() {
    let config = json!({ "add": { "querystring": ["q:2"] }, "remove": { "querystring": ["x"] }, "http_method": "PUT" });
    let h = Harness::new(&crate::request_transformer::DEFINITION, config);
    let log = h.send("GET /a?x=1&y=2").log;
    assert_eq!((&log["request"]["method"], &log["request"]["uri"]), (&json!("PUT"), &json!("/a?x=1&y=2")));
    assert_eq!(log["request"]["querystring"], json!({ "y": "2", "q": "2" }));
    for (upstream, want) in
        [("200\n\nbody", json!("chunked")), ("200\nContent-Length: 4\n\nbody", Value::Null), ("204\n\n", Value::Null)]
    {
        let h = Harness::new(&crate::request_transformer::DEFINITION, json!({})).with_upstream(upstream);
        assert_eq!(h.send("GET /").log["response"]["headers"]["transfer-encoding"], want, "{upstream}");
    }
}

#[test]
fn sends_batches_as_arrays_with_the_configured_fields() {
    let (port, server) = server(&[200]);
    let h = Harness::new(
        &DEFINITION,
        json!({
            "http_endpoint": format!("http://us%20er:p%2Bw@127.0.0.1:{port}"), "method": "PUT",
            "headers": { "X-Token": "t", "User-Agent": "me" }, "queue_size": 2, "queue": { "max_coalescing_delay": 60 },
        }),
    );
    h.send("GET /a");
    h.send("GET /b");
    let seen = server.join().unwrap();
    let batch = document_of(&seen[0].1);
    assert_eq!((&batch[0]["request"]["uri"], &batch[1]["request"]["uri"]), (&json!("/a"), &json!("/b")));
    let head = &seen[0].0;
    assert!(head.starts_with("put / http/1.1\n"), "{head}");
    let authorization = format!("authorization: basic {}\n", "dXMgZXI6cCt3".to_ascii_lowercase());
    for line in ["x-token: t\n", "user-agent: me\n", &authorization] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[test]
fn errors_and_labels_tell_no_password() {
    let authority = |config: &Value| {
        let config = complete(&DEFINITION, config.clone()).unwrap();
        let config: Config = serde_json::from_value(config).unwrap();
        Endpoint::new(&config, Shape::Object).map(|endpoint| endpoint.authority().to_owned())
    };
    assert_eq!(authority(&json!({ "http_endpoint": "http://u:secret@h.test:1/" })), Ok("h.test:1".to_owned()));
    assert_eq!(authority(&json!({ "http_endpoint": "https://[::1]/" })), Ok("[::1]".to_owned()));
    let error = authority(&json!({ "http_endpoint": "ftp://u:secret@h.test/" })).unwrap_err();
    assert_eq!(error, "scheme 'ftp' is neither http nor https");
    let error = authority(&json!({ "http_endpoint": "http://u:secret@h.test/a b" })).unwrap_err();
    assert_eq!(error, "not a valid URL");
}

#[test]
fn refuses_two_authorizations_and_headers_of_its_own() {
    let cases = [
        (json!({ "Authorization": "x" }), false),
        (json!({ "X": "x" }), true),
        (json!({ "host": "x" }), false),
        (json!({ "Content-Type": "x" }), false),
        (json!({ "content-length": "x" }), false),
    ];
    for (headers, is_valid) in cases {
        let config = json!({ "http_endpoint": "http://u:p@h.test/", "headers": headers });
        assert_eq!(complete(&DEFINITION, config).is_ok(), is_valid, "{headers}");
    }
}

#[test]
fn the_path_tells_servers_that_want_another_shape() {
    for (url, want) in [
        ("http://h.test/", Shape::Object),
        ("http://h.test/logs/_bulk", Shape::Bulk),
        ("https://u:p@h.test:9200/_bulk/", Shape::Bulk),
        ("http://h.test/services/collector", Shape::Hec),
        ("http://h.test/services/collector/event", Shape::Hec),
        ("http://h.test/services/collector/raw", Shape::Object),
        ("http://h.test/bulk", Shape::Object),
    ] {
        assert_eq!(Shape::of(url, false), want, "{url}");
    }
    assert_eq!(Shape::of("http://h.test/logs", true), Shape::Array);
}

#[test]
fn documents_that_elasticsearch_has_no_time_for_are_sent_again_and_refused_ones_are_not() {
    let item = |status: u16| json!({ "create": { "status": status, "error": { "type": "t", "reason": "r" } } });
    let (port, server) = server_that_answers(vec![
        (200, json!({ "errors": true, "items": [item(201), item(429), item(400), item(503)] })),
        (503, json!({})),
        (200, json!({ "errors": true, "items": [item(201), item(429)] })),
        (200, json!({ "errors": false, "items": [item(201)] })),
    ]);
    let lost = || crate::dropped_log_messages().find(|(plugin, _)| plugin == "http-log").map_or(0, |(_, count)| count);
    let before = lost();
    let queue = json!({ "max_batch_size": 4, "max_coalescing_delay": 60 });
    let config = json!({ "http_endpoint": format!("http://127.0.0.1:{port}/_bulk"), "queue": queue });
    let h = Harness::new(&DEFINITION, config);
    for path in ["/a", "/b", "/c", "/d"] {
        h.send(&format!("GET {path}"));
    }
    let seen = server.join().unwrap();
    let sent = seen.iter().map(|(_, body)| {
        let lines: Vec<Value> = body.lines().map(document_of).collect();
        lines.chunks(2).map(|pair| pair[1]["request"]["uri"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(sent.collect::<Vec<_>>(), ["/a /b /c /d", "/b /d", "/b /d", "/d"]);
    assert!(lost() > before, "what is refused is counted");
}

#[test]
fn writes_lines_of_the_bulk_api_and_events_of_splunk() {
    let bodies = [("/logs/_bulk", "application/x-ndjson"), ("/services/collector/event", "application/json")].map(
        |(path, kind)| {
            let (port, server) = server(&[200]);
            let queue = json!({ "max_batch_size": 2, "max_coalescing_delay": 60 });
            let h = Harness::new(
                &DEFINITION,
                json!({ "http_endpoint": format!("http://127.0.0.1:{port}{path}"), "queue": queue }),
            );
            h.send("GET /a");
            h.send("GET /b");
            let (head, body) = server.join().unwrap().remove(0);
            assert!(head.contains(&format!("content-type: {kind}\n")), "{head}");
            body
        },
    );
    assert!(bodies[0].ends_with('\n'), "the bulk API wants a line break at the end");
    let lines: Vec<Value> = bodies[0].lines().map(document_of).collect();
    assert_eq!((lines.len(), &lines[0], &lines[2]), (4, &json!({ "create": {} }), &json!({ "create": {} })));
    for (document, uri) in [(&lines[1], "/a"), (&lines[3], "/b")] {
        assert_eq!(document["request"]["uri"], uri);
        assert!(document["@timestamp"].is_u64() && document["@timestamp"] == document["started_at"], "{document}");
    }
    let events: Vec<Value> = serde_json::Deserializer::from_str(&bodies[1]).into_iter().map(Result::unwrap).collect();
    assert_eq!(events.len(), 2);
    for (event, uri) in events.iter().zip(["/a", "/b"]) {
        assert_eq!(event["event"]["request"]["uri"], uri);
        let members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["time", "host", "source", "sourcetype", "event"]);
        assert_eq!(event["host"], "node.test");
        let ms = (event["time"].as_f64().unwrap() * 1000.0).round();
        assert_eq!(Some(ms), event["event"]["started_at"].as_f64());
    }
}
