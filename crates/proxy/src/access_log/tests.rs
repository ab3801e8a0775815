//! Tests of the access log.

use super::escape::{Escape, escape};
use super::format::CustomFormat;
use super::variables::Facts;
use super::{Syslog, SyslogTarget, local_time};
use pdk::{
    Address, Attempt, Client, Context, Headers, Method, Request, Response, Scheme, Shared, Source, TlsInfo, Version,
};
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A request that was tried twice and has ended.
fn context() -> Context<'static> {
    let mut headers = Headers::new();
    let target = headers.store(b"/a%20b?q=1&Name=x+y");
    let host = headers.store(b"Shop.test:8000");
    for (name, value) in [
        ("Host", "Shop.test:8000"),
        ("User-Agent", "a\"b\\c\té"),
        ("Authorization", "Basic YWxpY2U6c2VjcmV0"),
        ("Cookie", "a=1; theme=dark"),
        ("X-Two", "1"),
        ("X-Two", "2"),
    ] {
        headers.append(name, value.as_bytes());
    }
    let request = Request::new(Method::Get, Version::Http11, headers, target, host);
    let client = Client {
        ip: "10.0.0.9".parse().unwrap(),
        port: 999,
        peer: "10.0.0.1:1234".parse().unwrap(),
        is_trusted: true,
        local: "10.0.0.2:8443".parse().unwrap(),
        public_port: 443,
        scheme: Scheme::Https,
        tls: Some(Rc::new(TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
            sni: Some("shop.test".to_owned()),
            client_certificates: Vec::new(),
        })),
        connection: 7,
        connection_requests: 3,
    };
    let shared = Rc::new(Shared {
        consumers: Default::default(),
        error_default: pdk::Format::Plain,
        error_templates: Default::default(),
        node: Default::default(),
        clock: Default::default(),
        storage: std::sync::Arc::new(pdk::NoStorage),
        upstreams: std::sync::Arc::new(crate::snapshot::NamedUpstreams::default()),
    });
    let start = Instant::now();
    let mut cx = Context::new(request, client, shared, 5, (start, Duration::ZERO));
    let mut response = Response::new(200);
    response.headers.append("Content-Type", b"text/plain");
    cx.respond(response, Source::Upstream);
    for (port, at) in [(81, 0), (82, 40)] {
        cx.attempts.push(Attempt {
            address: Address { ip: "10.1.0.1".parse().unwrap(), port },
            started_at: Duration::from_millis(1000 + at),
            balancer_latency: Duration::ZERO,
            failure: None,
        });
    }
    cx.upstream_statuses.extend([502, 200]);
    cx.timing.access_end = Some(start);
    cx.timing.upstream_head = Some(start + Duration::from_millis(60));
    cx.timing.upstream_end = Some(start + Duration::from_millis(100));
    cx.timing.end = Some(start + Duration::from_millis(1105));
    cx.received = 321;
    cx.sent = 654;
    cx
}

fn line(format: &str) -> String {
    let cx = context();
    let facts = Facts { cx: &cx, now: Duration::from_millis(1_795_255_199_042), body_sent: 5, hostname: "node-1" };
    let mut out = Vec::new();
    CustomFormat::compile(format).unwrap().write(&mut out, &facts);
    String::from_utf8(out).unwrap().trim_end().to_owned()
}

#[test]
fn a_client_cannot_forge_a_line() {
    let mut out = Vec::new();
    escape(&mut out, b"a\"b\\c\nd\x7f\xffe f");
    assert_eq!(out, b"a\\x22b\\x5Cc\\x0Ad\\x7F\\xFFe f");
    for (how, expected) in [
        (Escape::Json, "a\\\"b\\\\c\\nd\\t\\u0001"),
        (Escape::None, "a\"b\\c\\x0Ad\t\u{1}"),
        (Escape::Default, "a\\x22b\\x5Cc\\x0Ad\\x09\\x01"),
    ] {
        let mut out = Vec::new();
        how.write(&mut out, b"a\"b\\c\nd\t\x01");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{how:?}");
    }
}

#[test]
fn times_look_like_nginx_writes_them() {
    assert_eq!(local_time(1_795_255_199), "21/Nov/2026:09:59:59 +0000");
}

#[test]
fn variables_say_what_nginx_says() {
    for (format, expected) in [
        ("$remote_addr:$remote_port $remote_user", "10.0.0.9:999 alice"),
        ("$realip_remote_addr:$realip_remote_port", "10.0.0.1:1234"),
        ("[$time_local] $time_iso8601 $msec", "[21/Nov/2026:09:59:59 +0000] 2026-11-21T09:59:59+00:00 1795255199.042"),
        ("'\"$request\" $status'", "\"GET /a%20b?q=1&Name=x+y HTTP/1.1\" 200"),
        ("$request_method $uri$is_args$args $request_uri", "GET /a b?q=1&Name=x+y /a%20b?q=1&Name=x+y"),
        ("$host $http_host $hostname", "shop.test Shop.test:8000 node-1"),
        ("$scheme $https $server_protocol $server_addr $server_port", "https on HTTP/1.1 10.0.0.2 8443"),
        ("$ssl_protocol $ssl_cipher $ssl_server_name", "TLSv1.3 TLS_AES_128_GCM_SHA256 shop.test"),
        ("$body_bytes_sent $bytes_sent $request_length $request_time", "5 654 321 1.105"),
        ("$connection $connection_requests $request_completion", "7 3 OK"),
        ("$upstream_addr $upstream_status", "10.1.0.1:81, 10.1.0.1:82 502, 200"),
        ("$upstream_response_time $upstream_header_time", "0.040, 0.060 0.040, 0.020"),
        ("$kong_request_id", "00000000000000000000000000000005"),
        ("$cookie_theme $cookie_none $arg_name $arg_none", "dark - x+y -"),
        ("$http_x_two $sent_http_content_type $upstream_http_content_type", "1, 2 text/plain text/plain"),
        ("${status}ms", "200ms"),
        ("$http_referer $upstream_connect_time", "- -"),
        ("'$status' ' and ' \"$body_bytes_sent\"", "200 and 5"),
        ("$http_user_agent", "a\\x22b\\x5Cc\\x09\\xC3\\xA9"),
        ("escape=none [$http_referer]", "[]"),
    ] {
        assert_eq!(line(format), expected, "{format}");
    }
    let json = line(r#"escape=json '{"agent":"$http_user_agent","referer":"$http_referer","status":$status}'"#);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::json!({ "agent": "a\"b\\c\té", "referer": "", "status": 200 }));
}

#[test]
fn a_format_that_cannot_be_is_refused() {
    for (format, expected) in [
        ("$nothing_of_the_kind", "'$nothing_of_the_kind' is no variable that can be logged"),
        ("$http_", "'$http_' is no variable"),
        ("50$", "a $ is followed by a variable's name"),
        ("${status", "a $ is followed by a variable's name"),
        ("escape=xml $status", "escape=xml is not default, json or none"),
    ] {
        let error = CustomFormat::compile(format).unwrap_err();
        assert!(error.contains(expected), "{format}: {error}");
    }
}

#[test]
fn lines_go_to_a_syslog_server_one_by_one() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let text = format!("syslog:server={},facility=local0,tag=gw,severity=notice", server.local_addr().unwrap());
    let mut syslog = Syslog::open(&SyslogTarget::parse(&text).unwrap(), "node-1").unwrap();
    let lost = syslog.send(b"first\nsecond [error] x\n", |line| line.ends_with(b"x").then_some("error"));
    assert_eq!(lost, 0);
    // local0 is 16; notice 5, error 3.
    for (priority, end) in [("<133>", " node-1 gw: first"), ("<131>", " node-1 gw: second [error] x")] {
        let mut datagram = [0; 256];
        let length = server.recv(&mut datagram).unwrap();
        let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
        assert!(said.starts_with(priority) && said.ends_with(end), "{said}");
        assert_eq!(said.len(), priority.len() + "Nov 21 09:59:59".len() + end.len(), "{said}");
    }
}

#[test]
fn a_syslog_target_that_cannot_be_is_refused() {
    for (text, expected) in [
        ("syslog:", "'' is not server="),
        ("syslog:tag=x", "it needs server="),
        ("syslog:server=", "needs an address"),
        ("syslog:server=unix:log", "must be absolute"),
        ("syslog:server=a,facility=local9", "'facility=local9' is not one of kern"),
        ("syslog:server=a,severity=loud", "'severity=loud' is not one of emerg"),
        ("syslog:server=a,tag=a/b", "'tag=a/b' is not 1 to 32 letters"),
        ("syslog:server=a,other", "'other' is not server="),
    ] {
        let error = SyslogTarget::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for good in ["syslog:server=unix:/dev/log,nohostname", "syslog:server=10.0.0.1", "syslog:server=[::1]:5514"] {
        assert!(SyslogTarget::parse(good).is_ok(), "{good}");
    }
}
