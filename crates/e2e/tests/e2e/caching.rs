//! proxy-cache behind the real thing: responses that end too early.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[test]
fn a_response_that_ends_too_early_is_not_kept() {
    const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nwords";
    for early in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 500\r\n\r\nwor",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwor",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let answered = Arc::new(AtomicUsize::new(0));
        let count = answered.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let answer = if count.fetch_add(1, Relaxed) == 0 { early } else { WHOLE };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let kong_yml = format!(
            "_format_version: \"3.0\"\nservices:\n  - {{ name: s, url: \"http://{at}\", retries: 0, routes: [{{ name: r, paths: [/] }}] }}\n\
             plugins:\n  - {{ name: proxy-cache, config: {{ strategy: memory, collapse_requests: true }} }}\n"
        );
        let gateway = Gateway::start(&kong_yml);
        let mut client = Client::open(gateway.ports.proxy);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(client.answer().is_err(), "the client learns that it is not whole: {early}");
        let send = || get(gateway.ports.proxy, "/", &[]);
        let second = send();
        assert_eq!((second.header("x-cache-status"), second.body.as_str()), (Some("Miss"), "words"), "{early}");
        assert_eq!((send().header("x-cache-status"), answered.load(Relaxed)), (Some("Hit"), 2), "{early}");
    }
}

#[test]
fn a_write_makes_invalid_what_is_kept_across_threads() {
    let upstream = Upstream::start();
    let plugin = "plugins:\n  - { name: proxy-cache, config: { strategy: memory, invalidate: true } }\n";
    let kong_yml = upstream.kong_yml(&["{ name: reads, paths: [/], methods: [GET] }", "{ name: writes, paths: [/] }"]);
    let threads = [("nginx_worker_processes", "2")];
    let gateway = Gateway::start_with(&(kong_yml + plugin), &threads);
    let status = || {
        let answer = get(gateway.ports.proxy, "/a?b=1", &["X-Answer: Content-Type: text/plain"]);
        answer.header("x-cache-status").unwrap_or_default().to_owned()
    };
    for round in 0..10 {
        assert_eq!(status(), "Miss", "{round}");
        eventually("it is kept", || status() == "Hit");
        let mut client = Client::open(gateway.ports.proxy);
        client.send(b"PUT /a?b=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").unwrap();
        assert_eq!(client.answer().unwrap().status, 200);
    }
}

#[test]
fn what_is_kept_is_shown_while_an_instance_of_the_plugin_is_there() {
    let upstream = Upstream::start();
    let plugin = "plugins:\n  - { name: proxy-cache, config: { strategy: memory } }\n";
    let without = upstream.kong_yml(&["{ name: r, paths: [/] }"]);
    let gateway = Gateway::start(&(without.clone() + plugin));
    let kept = get(gateway.ports.proxy, "/", &["X-Answer: Content-Type: text/plain"]);
    let path = format!("/proxy-cache/{}", kept.header("x-cache-key").unwrap_or_default());
    let ask = |method: &str, path: &str, body: &str| {
        let mut client = Client::open(gateway.ports.admin);
        let head = format!("Host: a\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        client.send(format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
        client.answer().unwrap().status
    };
    assert_eq!(ask("GET", &path, ""), 200);
    let body = serde_json::json!({ "config": without }).to_string();
    assert_eq!(ask("POST", "/config", &body), 201);
    assert_eq!([ask("GET", &path, ""), ask("DELETE", &path, ""), ask("DELETE", "/proxy-cache", "")], [404, 404, 204]);
}
