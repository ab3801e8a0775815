//! What services and routes say of time-outs and further tries beyond Kong.

use crate::backend::Backend;
use crate::client::{Answer, Client, get};
use crate::gateway::{Gateway, eventually, free_address};
use crate::http2::call;
use crate::script::Act::{Body, Send};
use crate::script::Script;
use crate::target::{Mood, Target};
use http::Request;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A kong.yml, JSON being YAML: a service on an upstream of these addresses, and a route to it at `/`.
fn kong_yml(targets: &[SocketAddr], service: Value, route: Value, upstream: Value) -> String {
    let targets: Vec<Value> = targets.iter().map(|at| json!({ "target": at.to_string() })).collect();
    let route = merged(json!({ "paths": ["/"], "strip_path": false }), route);
    let service = merged(json!({ "name": "up", "host": "pool", "routes": [route] }), service);
    let upstream = merged(json!({ "name": "pool", "targets": targets }), upstream);
    json!({ "_format_version": "3.0", "services": [service], "upstreams": [upstream] }).to_string()
}

fn merged(mut into: Value, more: Value) -> Value {
    if let (Value::Object(into), Value::Object(more)) = (&mut into, more) {
        into.extend(more);
    }
    into
}

fn ask(gateway: &Gateway, method: &str, body: &str) -> Answer {
    let mut client = Client::open(gateway.ports.proxy);
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.send(head.as_bytes()).unwrap();
    client.answer().unwrap()
}

/// A good and a bad target: what becomes of two requests with each method, of which the bad one gets every other first.
#[test]
fn a_policy_says_which_requests_are_tried_again_and_why() {
    let statuses = json!({ "retry_policy": { "http_statuses": [503] } });
    let posts = json!({ "retry_policy": { "http_statuses": [503], "methods": ["POST"] } });
    let nothing = json!({ "retry_policy": { "failures": [] } });
    let connections = json!({ "retry_policy": { "failures": ["connect"] } });
    let posts_that_fail = json!({ "retry_policy": { "methods": ["POST"] } });
    let no_retries = merged(statuses.clone(), json!({ "retries": 0 }));
    // The service's and the route's fields, the mood of the bad one, the method, and the status of who is not tried again.
    let cases = [
        (json!({}), json!({}), Mood::Status(503), "GET", Some(503)),
        (statuses.clone(), json!({}), Mood::Status(503), "GET", None),
        (statuses.clone(), json!({}), Mood::Status(502), "GET", Some(502)),
        (statuses.clone(), json!({}), Mood::Status(503), "POST", Some(503)),
        (posts.clone(), json!({}), Mood::Status(503), "POST", None),
        (posts, json!({}), Mood::Status(503), "GET", Some(503)),
        (json!({}), statuses.clone(), Mood::Status(503), "PUT", None),
        (statuses.clone(), json!({ "retry_policy": {} }), Mood::Status(503), "GET", Some(503)),
        (statuses, json!({ "retries": 0 }), Mood::Status(503), "GET", Some(503)),
        (no_retries, json!({ "retries": 1 }), Mood::Status(503), "GET", None),
        (json!({}), json!({}), Mood::Resets, "GET", None),
        (nothing.clone(), json!({}), Mood::Resets, "GET", Some(502)),
        (connections, json!({}), Mood::Resets, "GET", Some(502)),
        (posts_that_fail, json!({}), Mood::Resets, "POST", None),
        (json!({}), nothing, Mood::Resets, "GET", Some(502)),
    ];
    for (service, route, mood, method, failed) in cases {
        let what = format!("{service} {route} {mood:?} {method}");
        let (good, bad) = (Target::start(), Target::start());
        bad.mood(mood);
        let gateway = Gateway::start(&kong_yml(&[good.at, bad.at], service, route, json!({})));
        let answers = [ask(&gateway, method, ""), ask(&gateway, method, "")];
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, failed.unwrap_or(200)], "{what}");
        // Where one is tried again, the next may be the bad one's turn once more.
        let (seen, most) = if failed.is_some() { (1, 1) } else { (2, 2) };
        assert!(good.seen() == seen && (1..=most).contains(&bad.seen()), "{what}: {} {}", good.seen(), bad.seen());
    }
}

#[test]
fn the_last_answer_is_passed_on_where_nobody_is_left_to_ask() {
    let targets: Vec<Target> = (0..3).map(|_| Target::start()).collect();
    targets.iter().for_each(|target| target.mood(Mood::Status(503)));
    let at: Vec<SocketAddr> = targets.iter().map(|target| target.at).collect();
    let policy = json!({ "http_statuses": [503] });
    let headers = [("headers", "server_tokens, latency_tokens, X-Kong-Upstream-Status")];
    let yml = |retries: u8, upstream: Value| {
        kong_yml(&at, json!({ "retries": retries, "retry_policy": policy }), json!({}), upstream)
    };
    let gateway = Gateway::start_with(&yml(2, json!({})), &headers);
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!((answer.status, answer.body.as_str()), (503, "no"), "{answer:?}");
    assert_eq!(answer.header("x-kong-upstream-status"), Some("503, 503, 503"));
    assert_eq!(targets.iter().map(Target::seen).collect::<Vec<_>>(), [1; 3], "each is asked once before any twice");
    // The budget is spent at once: one retry, and the answer of that.
    let budget = json!({ "retry_budget": { "percent": 0, "min_per_second": 0.1 } });
    let gateway = Gateway::start_with(&yml(5, budget), &headers);
    let answers = [get(gateway.ports.proxy, "/", &[]), get(gateway.ports.proxy, "/", &[])];
    let tried = answers.each_ref().map(|answer| (answer.body.as_str(), answer.header("x-kong-upstream-status")));
    assert_eq!(tried, [("no", Some("503, 503")), ("no", Some("503"))]);
    // Health checks take out who has answered badly, so that there is nobody to try again.
    let checks = json!({ "healthchecks": { "passive": { "unhealthy": { "http_failures": 1 } } } });
    let gateway = Gateway::start_with(&yml(5, checks), &headers);
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!((answer.status, answer.body.as_str()), (503, "no"), "{answer:?}");
    assert_eq!(answer.header("x-kong-upstream-status"), Some("503, 503, 503"));
}

#[test]
fn what_was_given_up_is_in_the_log() {
    let (good, bad) = (Target::start(), Target::start());
    bad.mood(Mood::Status(500));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let plugin = json!({ "name": "file-log", "config": { "path": log.display().to_string() } });
    let service = json!({ "retry_policy": { "http_statuses": [500] }, "plugins": [plugin] });
    let gateway = Gateway::start(&kong_yml(&[good.at, bad.at], service, json!({}), json!({})));
    for _ in 0..2 {
        assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    }
    let mut lines = Vec::new();
    eventually("both requests are in the log", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
        lines.len() == 2
    });
    lines.sort_by_key(|line| line["tries"].as_array().map(Vec::len));
    let state = |at: usize| (lines[1]["tries"][at]["state"].clone(), lines[1]["tries"][at]["code"].clone());
    assert_eq!((state(0), state(1)), ((json!("next"), json!(500)), (json!(null), json!(null))));
    assert_eq!(lines[1]["upstream_status"], "500, 200");
}

#[test]
fn a_body_is_sent_again_as_it_was() {
    const NO: &[crate::script::Act] = &[Body, Send("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")];
    let (bad, good) = (Script::start(vec![("/".to_owned(), NO)]), Script::start(Vec::new()));
    let service = json!({ "retry_policy": { "http_statuses": [503] } });
    let gateway = Gateway::start(&kong_yml(&[bad.at, good.at], service, json!({}), json!({})));
    // In memory, and in a file.
    let lengths = [10, 10, 10, 3 << 20, 3 << 20, 3 << 20];
    for length in lengths {
        let body: String = (0..length).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        let answer = ask(&gateway, "PUT", &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, "fresh"), "{length}");
        let seen = good.seen("/");
        assert!(seen.last().is_some_and(|seen| seen.is_whole && seen.body == body), "{length}");
    }
    let tried: Vec<(usize, bool)> = bad.seen("/").iter().map(|seen| (seen.body.len(), seen.is_whole)).collect();
    assert!(lengths.iter().all(|length| tried.contains(&(*length, true))), "{tried:?}");
    assert_eq!(good.seen("/").len(), lengths.len(), "{tried:?}");
}

#[test]
fn a_body_that_streams_is_not_lost_with_a_connection_that_was_refused() {
    let good = Script::start(Vec::new());
    let route = json!({ "request_buffering": false });
    let gateway = Gateway::start(&kong_yml(&[free_address(), good.at], json!({}), route, json!({})));
    for turn in 0..2 {
        let path = format!("/{turn}");
        let mut client = Client::open(gateway.ports.proxy);
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
        client.send(head.as_bytes()).unwrap();
        eventually("the request is on its way", || !good.seen(&path).is_empty());
        client.send(b"3\r\nllo\r\n0\r\n\r\n").unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = good.seen(&path);
        assert!(seen.len() == 1 && seen[0].is_whole && seen[0].body == "hello", "{seen:?}");
    }
}

#[test]
fn a_call_by_grpc_is_not_lost_with_a_connection_that_was_refused() {
    let good = Backend::plain();
    let (service, route) = (json!({ "protocol": "grpc" }), json!({ "protocols": ["grpc"] }));
    let gateway = Gateway::start(&kong_yml(&[free_address(), good.at], service, route, json!({})));
    for _ in 0..2 {
        let request = Request::builder().method("POST").uri("http://a.test/pkg.Service/Method");
        let request = request.version(http::Version::HTTP_2).header("content-type", "application/grpc");
        let got =
            call(gateway.ports.proxy, None, request.header("te", "trailers").body(()).unwrap(), &["one", "two"], None);
        assert_eq!((got.status, got.body.as_str()), (200, "onetwo"), "{got:?}");
    }
}

#[test]
fn tries_are_apart_as_the_policy_says() {
    let bad = Target::start();
    bad.mood(Mood::Status(503));
    let policy = json!({ "http_statuses": [503], "backoff": 100 });
    let yml = kong_yml(&[bad.at], json!({ "retries": 2, "retry_policy": policy }), json!({}), json!({}));
    let gateway = Gateway::start(&yml);
    let started = Instant::now();
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 503);
    // Half of 100 ms and of 200 ms at least.
    assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
    assert_eq!(bad.seen(), 3);
}

#[test]
fn a_route_has_time_outs_of_its_own() {
    let target = Target::start();
    target.mood(Mood::Silent);
    let short = json!({ "read_timeout": 200, "retries": 0 });
    // The service's fields, the route's, and how often the target is asked at most.
    let cases = [
        (json!({}), short.clone(), 1),
        (json!({ "read_timeout": 50_000 }), short.clone(), 1),
        (json!({}), json!({ "request_timeout": 300 }), 1),
        (json!({ "request_timeout": 300 }), json!({}), 1),
        (json!({ "request_timeout": 50_000 }), json!({ "request_timeout": 300 }), 1),
        // A fourth try cannot begin before the time is over.
        (json!({ "read_timeout": 500 }), json!({ "request_timeout": 1500 }), 3),
    ];
    for (service, route, most) in cases {
        let what = format!("{service} {route}");
        let before = target.seen();
        let gateway = Gateway::start(&kong_yml(&[target.at], service, route, json!({})));
        let answer = get(gateway.ports.proxy, "/", &[]);
        assert_eq!(answer.status, 504, "{what}: {answer:?}");
        assert!(answer.body.contains("The upstream server is timing out"), "{what}: {answer:?}");
        eventually("the target has been asked", || target.seen() > before);
        let seen = target.seen() - before;
        assert!((1..=most).contains(&seen), "{what}: {seen} tries");
    }
    // The body of the request counts too: the client is told before it has sent it.
    let yml = kong_yml(&[target.at], json!({}), json!({ "request_timeout": 300 }), json!({}));
    let (gateway, before) = (Gateway::start(&yml), target.seen());
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").unwrap();
    assert_eq!((client.answer().unwrap().status, target.seen()), (504, before));
}

#[test]
fn an_answer_is_passed_on_where_there_is_no_time_for_another_try() {
    let bad = Target::start();
    bad.mood(Mood::Status(503));
    let policy = json!({ "http_statuses": [503], "backoff": 10_000 });
    let route = json!({ "request_timeout": 4000, "retry_policy": policy });
    let gateway = Gateway::start(&kong_yml(&[bad.at], json!({}), route, json!({})));
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!((answer.status, answer.body.as_str(), bad.seen()), (503, "no", 1), "{answer:?}");
}

#[test]
fn a_long_answer_may_take_longer_than_the_request_for_its_head() {
    const SLOWLY: &[crate::script::Act] =
        &[Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"), crate::script::Act::Body, Send("llo")];
    let script = Script::start(vec![("/".to_owned(), SLOWLY)]);
    let route = json!({ "request_timeout": 2000, "request_buffering": false });
    let gateway = Gateway::start(&kong_yml(&[script.at], json!({}), route, json!({})));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").unwrap();
    let head = client.answer_to_head().unwrap();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(client.bytes(2).unwrap(), b"he");
    // Longer than the limit, which is over with the head; the rest of the answer comes once the request's body has ended.
    std::thread::sleep(Duration::from_millis(2100));
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.bytes(3).unwrap(), b"llo");
}
