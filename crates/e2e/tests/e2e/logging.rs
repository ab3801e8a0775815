//! The examples of docs/logging.md, with a receiver in the place of the servers.

use crate::client::get;
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::Value;
use std::path::Path;

/// The kong.yml that the page shows for a server, sending to `to` instead.
fn example(server: &str, to: &Upstream) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logging.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let block = blocks.map(|(block, _)| block).find(|block| block.contains(server)).unwrap();
    block.replace(&format!("https://{server}"), &format!("http://{}", to.at))
}

/// Head and body of the one request with which the logs of two requests came.
fn received(server: &str) -> (String, String) {
    let (upstream, receiver) = (Upstream::start(), Upstream::start());
    let services = upstream.kong_yml(&["{ name: r, paths: [/] }"]).replace("_format_version: \"3.0\"\n", "");
    let gateway = Gateway::start(&(example(server, &receiver) + &services));
    for path in ["/a", "/b"] {
        assert_eq!(get(gateway.ports.proxy, path, &[]).status, 200);
    }
    eventually("the logs are there", || {
        receiver.seen().iter().map(|seen| seen.matches("\"started_at\"").count()).sum::<usize>() == 2
    });
    let seen = receiver.seen().concat();
    let (head, body) = seen.split_once("\r\n").map(|(line, rest)| (line.to_owned(), rest)).unwrap();
    let at = body.find('{').unwrap();
    (format!("{head}\n{}", body.get(..at).unwrap()), body.get(at..).unwrap().to_owned())
}

#[test]
fn elasticsearch_gets_lines_of_its_bulk_api() {
    let (head, body) = received("elasticsearch.example:9200");
    assert!(head.starts_with("POST /logs-gateway-default/_bulk HTTP/1.1\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/x-ndjson"), "{head}");
    assert!(head.contains("ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw"), "{head}");
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{body}");
    for (pair, uri) in lines.chunks(2).zip(["/a", "/b"]) {
        assert_eq!(pair[0], serde_json::json!({ "create": {} }));
        assert_eq!(pair[1]["request"]["uri"], uri);
        assert!(pair[1]["@timestamp"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{}", pair[1]);
    }
    assert!(body.ends_with("}\n"));
}

#[test]
fn splunk_gets_events_of_its_collector() {
    let (head, body) = received("splunk.example:8088");
    assert!(head.starts_with("POST /services/collector/event HTTP/1.1\n"), "{head}");
    assert!(head.contains("Splunk 12345678-1234-1234-1234-1234567890ab"), "{head}");
    let events = serde_json::Deserializer::from_str(&body).into_iter::<Value>();
    let events: Vec<Value> = events.map(Result::unwrap).collect();
    assert_eq!(events.len(), 2, "{body}");
    for (event, uri) in events.iter().zip(["/a", "/b"]) {
        assert_eq!((&event["event"]["request"]["uri"], &event["sourcetype"]), (&uri.into(), &"_json".into()));
        assert!(event["time"].as_f64().is_some_and(|seconds| seconds > 1.7e9), "{event}");
        assert!(event["host"].as_str().is_some_and(|host| !host.is_empty()), "{event}");
    }
}
