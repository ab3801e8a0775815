//! A kong.yml in, proxied traffic out.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::Value;
use std::fs;

#[test]
fn a_kong_yml_in_proxied_traffic_out() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&[
        "{ name: stripped, paths: [/api] }",
        "{ name: kept, paths: [/kept], strip_path: false }",
        "{ name: by-host, hosts: [shop.test], preserve_host: true }",
        "{ name: by-header, paths: [/beta], headers: { X-Channel: [beta] } }",
    ]));
    let proxy = gateway.ports.proxy;
    for (path, headers, expected) in [
        ("/api/users?id=7", &[][..], "GET /users?id=7 HTTP/1.1"),
        ("/kept/users", &[], "GET /kept/users HTTP/1.1"),
        ("/anything", &["Host: shop.test"], "GET /anything HTTP/1.1"),
        ("/beta/x", &["X-Channel: beta"], "GET /x HTTP/1.1"),
    ] {
        let answer = get(proxy, path, headers);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.body.lines().next(), Some(expected), "{path}");
    }
    let answer = get(proxy, "/api/x", &[]);
    let sent = answer.body.to_ascii_lowercase();
    for expected in [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: test",
        "x-forwarded-path: /api/x",
        "x-forwarded-prefix: /api",
    ] {
        assert!(sent.contains(expected), "{expected}: {sent}");
    }
    assert!(answer.header("x-kong-upstream-latency").is_some(), "{answer:?}");
    assert!(get(proxy, "/x", &["Host: shop.test"]).body.to_ascii_lowercase().contains("host: shop.test\r\n"));
}

#[test]
fn what_no_route_takes_is_answered_404_as_kong_does() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/api] }"]));
    let answer = get(gateway.ports.proxy, "/other", &[]);
    assert_eq!(answer.status, 404);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["message"], "no Route matched with those values");
    assert_eq!(body["request_id"].as_str(), answer.header("x-kong-request-id"));
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn a_request_behind_a_body_that_nobody_reads_is_answered() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/r] }"]));
    let mut client = Client::open(gateway.ports.proxy);
    let refused = "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(format!("{refused}GET /r HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    assert_eq!([(); 2].map(|()| client.answer().unwrap().status), [404, 200]);
}

#[test]
fn one_connection_serves_many_requests_one_after_another_and_at_once() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let mut client = Client::open(gateway.ports.proxy);
    for n in 0..20 {
        assert!(client.get(&format!("/{n}"), &[]).body.starts_with(&format!("GET /{n} ")));
    }
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(client.answer().unwrap().body.starts_with("GET /a "));
    assert!(client.answer().unwrap().body.starts_with("GET /b "));
}

#[test]
fn a_body_reaches_the_upstream_whichever_way_it_is_framed() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert!(client.answer().unwrap().body.ends_with("hello"));
    client
        .send(b"POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        .unwrap();
    assert!(client.answer().unwrap().body.ends_with("hello"));
    client.send(b"POST /waits HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(client.interim().unwrap(), "HTTP/1.1 100 Continue");
    client.send(b"hello").unwrap();
    assert!(client.answer().unwrap().body.ends_with("hello"));
}

#[test]
fn a_dead_upstream_is_answered_502() {
    let gateway = Gateway::start(
        "_format_version: \"3.0\"\nservices:\n  - url: http://127.0.0.1:1\n    routes:\n      - paths: [/]\n",
    );
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.contains("An invalid response was received from the upstream server"), "{answer:?}");
}

#[test]
fn requests_are_in_the_access_log() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    get(gateway.ports.proxy, "/logged?x=1", &["User-Agent: e2e"]);
    let log = gateway.prefix().join("logs/access.log");
    let mut text = String::new();
    eventually("the request is in the access log", || {
        text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("\"GET /logged?x=1 HTTP/1.1\" 200 ")
    });
    assert!(text.starts_with("127.0.0.1 - - [") && text.contains("\"e2e\""), "{text}");
}

#[test]
fn a_plugin_of_the_kong_yml_is_in_force() {
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"])
        + "plugins:\n  - name: key-auth\nconsumers:\n  - username: alice\n    keyauth_credentials:\n      - key: secret\n";
    let gateway = Gateway::start(&kong_yml);
    let refused = get(gateway.ports.proxy, "/", &[]);
    assert_eq!((refused.status, upstream.seen().len()), (401, 0), "{refused:?}");
    let answer = get(gateway.ports.proxy, "/", &["apikey: secret"]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.to_ascii_lowercase().contains("x-consumer-username: alice"), "{answer:?}");
}

#[test]
fn the_access_log_has_the_format_that_is_asked_for() {
    let upstream = Upstream::start();
    let format = r#"mine escape=json '{"way":"$request_method $uri","status":$status,"agent":"$http_user_agent"}'"#;
    let properties = [("nginx_http_log_format", format), ("proxy_access_log", "logs/mine.log mine")];
    let gateway = Gateway::start_with(&upstream.kong_yml(&["{ paths: [/] }"]), &properties);
    get(gateway.ports.proxy, "/logged?x=1", &["User-Agent: say \"hi\""]);
    let log = gateway.prefix().join("logs/mine.log");
    let mut text = String::new();
    eventually("the request is in the access log", || {
        text = fs::read_to_string(&log).unwrap_or_default();
        text.ends_with('\n')
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line, serde_json::json!({ "way": "GET /logged", "status": 200, "agent": "say \"hi\"" }));
}

#[test]
fn both_logs_can_go_to_a_syslog_server() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let target = |tag: &str| format!("syslog:server={},tag={tag}", server.local_addr().unwrap());
    let (access, error) = (target("access"), target("error"));
    let upstream = Upstream::start();
    let properties = [("proxy_access_log", &*access), ("proxy_error_log", &*error)];
    let gateway = Gateway::start_with(&upstream.kong_yml(&["{ paths: [/] }"]), &properties);
    get(gateway.ports.proxy, "/logged", &[]);
    let mut wanted = vec![("access: ", "GET /logged"), ("error: ", "[notice]")];
    while !wanted.is_empty() {
        let mut datagram = [0; 4096];
        let length = server.recv(&mut datagram).unwrap();
        let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
        wanted.retain(|(tag, words)| !(said.contains(tag) && said.contains(words)));
    }
}

#[test]
fn secrets_come_from_vault_entities_by_their_own_prefix() {
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"])
        + "vaults:\n  - { prefix: my-env, name: env, config: { prefix: GW_ } }\n\
           plugins:\n  - { name: request-termination, config: { message: \"{vault://my-env/the-word}\" } }\n";
    let gateway = Gateway::start_in(&kong_yml, &[], &[("GW_THE_WORD", "mellon"), ("THE_WORD", "other")]);
    let answer = get(gateway.ports.proxy, "/", &[]);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("mellon"), "{answer:?}");
}

#[test]
fn who_asks_and_may_is_told_where_the_time_went() {
    let upstream = Upstream::start();
    let plugin = "plugins:\n  - { name: correlation-id, id: 0c5c6d6e-6a4f-4d0c-9f0e-0c9bba1b4b9d }\n";
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"]) + plugin;
    // Clients of a trusted peer are elsewhere; here the peer itself is always on this machine.
    let gateway = Gateway::start_with(&kong_yml, &[("request_debug_token", "sesame")]);
    let ask = ["X-Kong-Request-Debug: *", "X-Kong-Request-Debug-Log: true", "X-Kong-Request-Debug-Token: x"];
    let answer = get(gateway.ports.proxy, "/", &ask);
    let output: Value = serde_json::from_str(answer.header("x-kong-request-debug-output").unwrap()).unwrap();
    assert_eq!(output["request_id"].as_str(), answer.header("x-kong-request-id"));
    for phase in ["rewrite", "access", "balancer", "upstream", "header_filter"] {
        assert!(output["child"][phase]["total_time"].is_number(), "{phase}: {output}");
    }
    assert!(output["child"]["upstream"]["child"]["time_to_first_byte"]["total_time"].is_number(), "{output}");
    assert!(output["child"]["access"]["child"]["router"]["total_time"].is_number(), "{output}");
    let plugins = &output["child"]["access"]["child"]["plugins"]["child"]["correlation-id"]["child"];
    assert!(plugins["0c5c6d6e-6a4f-4d0c-9f0e-0c9bba1b4b9d"]["total_time"].is_number(), "{output}");
    assert!(output["total_time"].as_f64() >= output["total_time_without_upstream"].as_f64(), "{output}");
    assert!(!answer.body.to_ascii_lowercase().contains("x-kong-request-debug"), "it goes no further: {answer:?}");
    eventually("the whole of it is in the error log", || {
        let log = gateway.output();
        log.contains("[request-debug] output: {") && log.contains("streaming") && !log.contains("sesame")
    });
    assert_eq!(fs::read_to_string(gateway.prefix().join(".request_debug_token")).unwrap(), "sesame");
    for asked in [&[][..], &["X-Kong-Request-Debug: 1"]] {
        assert_eq!(get(gateway.ports.proxy, "/", asked).header("x-kong-request-debug-output"), None, "{asked:?}");
    }
    let silent = Gateway::start_with(&kong_yml, &[("request_debug", "off")]);
    assert_eq!(get(silent.ports.proxy, "/", &ask).header("x-kong-request-debug-output"), None);
}

#[test]
fn a_long_body_is_held_whole_before_it_goes_out_with_its_length() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let mut client = Client::open(gateway.ports.proxy);
    client.send(b"POST /long HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    // Three times what memory holds of it.
    let piece = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    for _ in 0..48 {
        client.send(piece.as_bytes()).unwrap();
    }
    client.send(b"0\r\n\r\n").unwrap();
    let answer = client.answer().unwrap();
    let (head, body) = answer.body.split_once("\r\nContent-Length: 3145728\r\n").unwrap();
    assert!(head.starts_with("POST /long HTTP/1.1"), "{head}");
    assert_eq!(body.matches("xxxxxxxx").count() * 8, 48 * 64 * 1024);
    let left = fs::read_dir(gateway.prefix().join("client_body_temp")).unwrap().count();
    assert_eq!(left, 0, "files stay behind");
}

#[test]
fn the_method_that_the_upstream_gets_decides_on_the_body_of_its_answer() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(
        &upstream.kong_yml(&["{ paths: [/], plugins: [{ name: request-transformer, config: { http_method: GET } }] }"]),
    );
    let mut client = Client::open(gateway.ports.proxy);
    for n in 0..3 {
        client.send(format!("HEAD /head{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(client.interim().unwrap(), "HTTP/1.1 200 OK");
        assert!(client.get(&format!("/get{n}"), &[]).body.starts_with(&format!("GET /get{n} ")));
    }
    assert!(upstream.seen().iter().all(|request| request.starts_with("GET ")), "{:?}", upstream.seen());
}
