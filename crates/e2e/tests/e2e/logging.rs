//! The examples of docs/logging.md, with a receiver in the place of the servers; logs that wait, in memory and on disk, and
//! those that are lost.

mod hostile;
mod receiver;

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually, free_address, signal};
use crate::upstream::Upstream;
use receiver::{Expected, Protocol, Receiver};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const ELASTICSEARCH: Expected = Expected {
    protocol: Protocol::Elasticsearch,
    path: "/logs-gateway-default/_bulk",
    authorization: "ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw",
};
const SPLUNK: Expected = Expected {
    protocol: Protocol::Splunk,
    path: "/services/collector/event",
    authorization: "Splunk 12345678-1234-1234-1234-1234567890ab",
};
/// Needs care in JSON, and would break lines if it stood there as it is.
const ODD: &str = "X-Odd: a \"quote\", a \\ and an \u{fc}\t\u{2028}";

/// The kong.yml that the page shows for a server, sending to `to` instead.
fn example(server: &str, to: SocketAddr) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logging.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let block = blocks.map(|(block, _)| block).find(|block| block.contains(server)).unwrap();
    block.replace(&format!("https://{server}"), &format!("http://{to}"))
}

/// What a receiver got of the logs of two requests.
fn received(server: &str, expected: Expected) -> Vec<Value> {
    let (upstream, receiver) = (Upstream::start(), Receiver::start(expected));
    let services = upstream.kong_yml(&["{ name: r, paths: [/] }"]).replace("_format_version: \"3.0\"\n", "");
    let gateway = Gateway::start(&(example(server, receiver.at) + &services));
    let mut client = Client::open(gateway.ports.proxy);
    for path in ["/a", "/b"] {
        assert_eq!(client.get(path, &[ODD]).status, 200);
    }
    eventually("the logs are there", || receiver.entries().len() == 2);
    receiver.entries()
}

#[test]
fn elasticsearch_gets_lines_of_its_bulk_api() {
    let documents = received("elasticsearch.example:9200", ELASTICSEARCH);
    for (document, uri) in documents.iter().zip(["/a", "/b"]) {
        assert_eq!(document["request"]["uri"], uri);
        assert_eq!(document["@timestamp"], document["started_at"]);
        assert_eq!(document["request"]["headers"]["x-odd"], ODD.strip_prefix("X-Odd: ").unwrap());
    }
}

#[test]
fn splunk_gets_events_of_its_collector() {
    let events = received("splunk.example:8088", SPLUNK);
    for (event, uri) in events.iter().zip(["/a", "/b"]) {
        assert_eq!((&event["source"], &event["sourcetype"]), (&json!("http-log"), &json!("_json")));
        let document = &event["event"];
        assert_eq!(document["request"]["uri"], uri);
        assert_eq!(event["time"].as_f64().map(|s| (s * 1000.0).round()), document["started_at"].as_f64());
        assert_eq!(document["request"]["headers"]["x-odd"], ODD.strip_prefix("X-Odd: ").unwrap());
    }
}

#[test]
fn the_receiver_takes_nothing_but_the_formats() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let document = format!("{{\"create\":{{}}}}\n{{\"@timestamp\":{now}}}\n");
    let event = format!(
        "{{\"time\":{},\"host\":\"h\",\"source\":\"s\",\"sourcetype\":\"t\",\"event\":{{}}}}",
        now as f64 / 1000.0
    );
    type Change = fn(String) -> String;
    let keep: Change = |text| text;
    // What is made of a right head and a right body, and whether that is taken.
    let of_heads: [(Change, bool); 7] = [
        (keep, true),
        (|head| head.replace("POST", "PUT"), false),
        (|head| head.replacen('/', "/x/", 1), false),
        (|head| head.replace("application/", "application/vnd."), false),
        (|head| head.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"), false),
        (|head| head.replace("Authorization: ", "Authorization: x"), false),
        (|head| head.replace("Host: a\r\n", ""), false),
    ];
    let of_documents: [(Change, bool); 7] = [
        (|body| body.clone() + &body, true),
        (|body| body.trim_end().to_owned(), false),
        (|body| body + "\n", false),
        (|body| body.replace("create", "index"), false),
        (|body| body.replace('\n', "\r\n"), false),
        (|body| body.replace("@timestamp", "time"), false),
        (|body| format!("[{body}]\n"), false),
    ];
    let of_events: [(Change, bool); 7] = [
        (|body| body.clone() + "\n" + &body, true),
        (|body| body.clone() + &body, true),
        (|_| String::new(), false),
        (|body| format!("[{body}]"), false),
        (|body| body.clone() + "," + &body, false),
        (|body| body.replace("event", "message"), false),
        (|body| body.replace("\"time\":", "\"time\":1"), false),
    ];
    for (expected, body, of_bodies) in [(ELASTICSEARCH, document, of_documents), (SPLUNK, event, of_events)] {
        let kind = if matches!(expected.protocol, Protocol::Splunk) { "json" } else { "x-ndjson" };
        let heads = of_heads.iter().map(|(change, is_taken)| (*change, keep, *is_taken));
        let bodies = of_bodies.iter().map(|(change, is_taken)| (keep, *change, *is_taken));
        for (at, (of_head, of_body, is_taken)) in heads.chain(bodies).enumerate() {
            let body = of_body(body.clone());
            let head = of_head(format!(
                "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: application/{kind}\r\nAuthorization: {}\r\n\
                 Content-Length: {}\r\n\r\n",
                expected.path,
                expected.authorization,
                body.len()
            ));
            let outcome = receiver::check(expected, &head, body.as_bytes());
            assert_eq!(outcome.is_ok(), is_taken, "{at}: {head}{body}: {outcome:?}");
        }
    }
}

/// The paths of the requests in lines of JSON that come over connections to here.
fn lines_sent_to(listener: TcpListener) -> Arc<Mutex<Vec<String>>> {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let paths = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let paths = Arc::clone(&paths);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let document: Value = serde_json::from_str(&line).unwrap();
                    paths.lock().unwrap().push(document["request"]["uri"].as_str().unwrap_or_default().to_owned());
                }
            });
        }
    });
    seen
}

#[test]
fn logs_that_wait_are_sent_at_the_end_of_a_worker() {
    let (upstream, sink) = (Upstream::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = sink.local_addr().unwrap().port();
    // No batch is sent of itself while the test runs.
    let kong_yml = upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - name: tcp-log\n    config:\n      host: 127.0.0.1\n      port: {port}\n")
        + "      queue: { max_batch_size: 100, max_coalescing_delay: 3600 }\n";
    let seen = lines_sent_to(sink);
    let mut gateway = Gateway::start(&kong_yml);
    for (end, paths) in [("reload", ["/a", "/b", "/last"]), ("stop", ["/c", "/d", "/last"])] {
        // Over one connection: each log is there before the next request is read.
        let mut client = Client::open(gateway.ports.proxy);
        paths.iter().for_each(|path| assert_eq!(client.get(path, &[]).status, 200));
        drop(client);
        match end {
            "reload" => assert!(gateway.reload_with(&kong_yml).status.success()),
            _ => {
                gateway.signal("TERM");
                assert!(gateway.wait().success());
            }
        }
        eventually("the logs are there", || {
            let seen = seen.lock().unwrap();
            paths.iter().take(2).all(|path| seen.iter().any(|seen| seen == path))
        });
    }
}

#[test]
fn a_file_that_takes_nothing_does_not_hold_up_the_end() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    // A pipe that nobody reads cannot be opened.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let config = format!("plugins:\n  - {{ name: file-log, config: {{ path: {} }} }}\n", pipe.display());
    let mut gateway = Gateway::start(&(upstream.kong_yml(&["{ name: r, paths: [/] }"]) + &config));
    let mut client = Client::open(gateway.ports.proxy);
    (0..2).for_each(|_| assert_eq!(client.get("/", &[]).status, 200));
    drop(client);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(gateway.output().contains("bytes could not be written before the end"), "{}", gateway.output());
}

#[test]
fn dropped_messages_are_told_by_the_error_log_and_counted_by_plugin() {
    let (upstream, closed) = (Upstream::start(), free_address());
    let gateway = Gateway::start(
        &(upstream.kong_yml(&["{ name: r, paths: [/] }"])
            + "plugins:\n  - { name: prometheus }\n  - { name: file-log, config: { path: /nonexistent/x.log } }\n"
            + &format!("  - name: tcp-log\n    config:\n      host: 127.0.0.1\n      port: {}\n", closed.port())
            + "      queue: { max_retry_time: 0 }\n"),
    );
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    for plugin in ["file-log", "tcp-log"] {
        let series = format!("silverback_log_messages_dropped_total{{plugin=\"{plugin}\"}} 1\n");
        eventually(plugin, || get(gateway.ports.status, "/metrics", &[]).body.contains(&series));
    }
    for line in [
        "file-log dropped 1 of its lines: /nonexistent/x.log: ".to_owned(),
        format!("queue tcp-log to {closed} dropped 1 of its entries: after 0 retries: "),
    ] {
        eventually(&line, || gateway.output().contains(&line));
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
