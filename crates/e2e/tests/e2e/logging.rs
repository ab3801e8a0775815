//! The examples of docs/logging.md, with a receiver in the place of the servers; and logs that wait on disk for theirs.

use crate::client::Client;
use crate::gateway::{Gateway, eventually, free_address, signal};
use crate::upstream::Upstream;
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    // Over one connection: each log is there before the next request is read.
    let mut client = Client::open(gateway.ports.proxy);
    for path in ["/a", "/b"] {
        assert_eq!(client.get(path, &[]).status, 200);
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

/// A kong.yml whose logs go there, with little memory for them and the disk beside it.
fn spilling(upstream: &Upstream, sink: SocketAddr) -> String {
    upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - name: http-log\n    config:\n      http_endpoint: http://u:secret@{sink}/logs\n")
        + "      queue: { max_entries: 8, max_spill_bytes: 1000000, max_retry_time: 1, max_retry_delay: 0.1 }\n"
}

/// The files in which logs wait.
fn waiting(gateway: &Gateway) -> Vec<PathBuf> {
    let folders = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = folders(gateway.prefix().join("log-queues")).flat_map(folders).flat_map(folders);
    files.filter(|path| !path.ends_with("lock")).collect()
}

/// Sends requests whose logs the memory cannot hold; says their paths.
fn log_to_disk(gateway: &Gateway) -> Vec<String> {
    let paths: Vec<String> = (0..40).map(|number| format!("/{number}")).collect();
    // Over one connection: each log is there before the next request is read.
    let mut client = Client::open(gateway.ports.proxy);
    for (number, path) in paths.iter().enumerate() {
        assert_eq!(client.get(path, &[]).status, 200);
        // Half of the eight that the memory holds wait there, and one is being sent; of the others two may be on their way.
        if number > 4 {
            let is_there = |file: PathBuf| {
                let content = std::fs::read(file).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(&format!("\"{path}\""))
            };
            eventually("the log is on disk", || waiting(gateway).into_iter().any(is_there));
        }
    }
    paths
}

/// The paths whose logs a receiver got, each once, in the order in which they came.
fn logged(receiver: &Upstream) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for seen in receiver.seen() {
        let body = seen.get(seen.find('{').unwrap_or_default()..).unwrap_or_default();
        let document: Value = serde_json::from_str(body).unwrap();
        let path = document["request"]["uri"].as_str().unwrap_or_default().to_owned();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn logs_wait_on_disk_for_their_sink_also_over_a_reload() {
    let (upstream, sink) = (Upstream::start(), free_address());
    let kong_yml = spilling(&upstream, sink);
    let gateway = Gateway::start(&kong_yml);
    let paths = log_to_disk(&gateway);
    for file in waiting(&gateway) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert!(mode == 0o600 && !file.display().to_string().contains("secret"), "{} {mode:o}", file.display());
    }
    let workers = gateway.workers();
    assert!(gateway.reload_with(&kong_yml).status.success());
    eventually("the old worker has ended", || gateway.workers().iter().all(|worker| !workers.contains(worker)));
    let receiver = Upstream::start_at(sink);
    eventually("all logs are there", || logged(&receiver).len() == paths.len());
    assert_eq!(logged(&receiver), paths);
    eventually("nothing is left on disk", || waiting(&gateway).is_empty());
}

#[test]
fn logs_on_disk_outlive_a_worker_that_is_killed() {
    let (upstream, sink) = (Upstream::start(), free_address());
    let gateway = Gateway::start(&spilling(&upstream, sink));
    let paths = log_to_disk(&gateway);
    let workers = gateway.workers();
    workers.iter().for_each(|worker| signal(*worker, "KILL"));
    eventually("there is another worker", || {
        let now = gateway.workers();
        !now.is_empty() && now.iter().all(|worker| !workers.contains(worker))
    });
    let receiver = Upstream::start_at(sink);
    // What was in the memory is lost with it: no more than that holds.
    eventually("the logs are there", || logged(&receiver).last().is_some_and(|path| path == "/39"));
    let logged = logged(&receiver);
    assert!(logged.len() >= 40 - 8 && paths.ends_with(&logged), "{logged:?}");
}
