//! What people are told of their configuration: which way a request would go, and what has no effect.

use crate::client::{Client, get};
use crate::gateway::{Gateway, Ports, configure};
use crate::program;
use crate::raw_paths::call;
use serde_json::{Value, json};

fn names(of: &Value, field: &str) -> Vec<String> {
    let name = |one: &Value| one.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    of.as_array().into_iter().flatten().map(name).collect()
}

#[test]
fn a_running_gateway_tells_which_way_a_request_would_go() {
    let kong_yml = json!({
        "_format_version": "3.0",
        "services": [{ "name": "up", "url": "http://127.0.0.1:9/base", "routes": [
            { "name": "orders", "hosts": ["*.shop.test"], "paths": [r"~/orders/(?<id>\d+)"], "methods": ["GET"],
              "plugins": [
                { "name": "request-termination", "config": { "status_code": 503, "message": "closed" } },
                { "name": "key-auth", "config": { "hide_credentials": true } },
              ] },
            { "name": "put", "hosts": ["a.shop.test"], "paths": ["/orders"], "methods": ["PUT"] },
            { "name": "secret", "paths": ["/orders"], "snis": ["inner.shop.test"], "protocols": ["https"] },
            { "name": "far", "hosts": ["else.test"], "paths": ["/nothing"], "methods": ["POST"] },
        ] }],
        "consumers": [{ "username": "ada", "plugins": [{ "name": "correlation-id" }] }],
        "plugins": [{ "name": "cors" }],
    });
    let gateway = Gateway::start(&kong_yml.to_string());
    let explain = |asked: Value| call(&gateway, "POST", "/debug/route", "application/json", &asked.to_string()).1;
    let explained =
        explain(json!({ "url": "https://a.shop.test/orders/17/x?a=b", "consumer": "ada", "sni": "a.shop.test" }));
    let matched = &explained["matched"];
    assert_eq!(matched["route"]["name"], "orders", "{explained}");
    assert_eq!(matched["captures"], json!({ "0": "/orders/17", "1": "17", "id": "17" }), "{explained}");
    assert_eq!(matched["upstream"], "http://127.0.0.1:9/base/x", "{explained}");
    // By priority, a consumer's among them; secrets and what else of their configs as the Admin API shows it.
    let plugins = names(&explained["plugins"], "/name");
    assert_eq!(plugins, ["correlation-id", "cors", "key-auth", "request-termination"], "{explained}");
    assert_eq!(explained["plugins"][3]["config"]["message"], "closed", "{explained}");
    assert_eq!(names(&explained["others"], "/route/name"), ["put", "secret", "far"], "{explained}");
    assert_eq!(explained["others"][0]["unmet"], json!(["methods"]), "{explained}");
    assert_eq!(explained["others"][1]["unmet"], json!(["snis"]), "{explained}");
    // By the name that the TLS connection is made with, another one comes first or at least matches, too.
    let explained =
        explain(json!({ "url": "https://a.shop.test/orders/17", "method": "POST", "sni": "INNER.shop.test" }));
    assert_eq!(explained["matched"]["route"]["name"], "secret", "{explained}");
    assert_eq!(explain(json!({ "url": "http://a.shop.test/none" }))["matched"], Value::Null);
    // Asking has sent nothing: the request itself is answered by its plugins.
    assert_eq!(get(gateway.ports.proxy, "/orders/17", &["Host: a.shop.test"]).status, 401);
}

/// What `/debug/route` says is answered is what is answered.
#[test]
fn the_answers_that_the_gateway_gives_itself_are_told_too() {
    let kong_yml = json!({
        "_format_version": "3.0",
        "services": [{ "name": "up", "url": "http://127.0.0.1:9", "routes": [
            { "name": "secure", "paths": ["/secure"], "protocols": ["https"] },
            { "name": "moved", "paths": ["/moved"], "protocols": ["https"], "https_redirect_status_code": 301 },
            { "name": "open", "paths": ["/open"], "plugins": [{ "name": "key-auth" }] },
            { "name": "call", "paths": ["/call"], "protocols": ["grpc", "grpcs"] },
            { "name": "calls", "paths": ["/tls-call"], "protocols": ["grpcs"] },
        ] }],
        "plugins": [{ "name": "cors" }],
    });
    let grpc = ("content-type", "application/grpc");
    let other = ("x-other", "1");
    let https = ("x-forwarded-proto", "https");
    // Path, version, one field, from where and whom it is taken for; the route, the answer's status and one of its fields, and
    // how many plugins run.
    let cases = [
        ("/secure", "1.1", other, "127.0.0.1", "secure", 426, ("upgrade", "TLS/1.2, HTTP/1.1"), 1),
        ("/secure", "1.1", https, "192.0.2.1", "secure", 426, ("upgrade", "TLS/1.2, HTTP/1.1"), 1),
        ("/secure", "1.1", https, "127.0.0.1", "secure", 0, ("", ""), 1),
        ("/moved?a=b", "1.0", other, "127.0.0.1", "moved", 301, ("location", "https://a.test/moved?a=b"), 1),
        (
            "/moved?a",
            "1.1",
            ("x-forwarded-host", "b.test"),
            "127.0.0.1",
            "moved",
            301,
            ("location", "https://b.test/moved?a"),
            1,
        ),
        (
            "/moved?a",
            "1.1",
            ("x-forwarded-host", "b.test"),
            "192.0.2.1",
            "moved",
            301,
            ("location", "https://a.test/moved?a"),
            1,
        ),
        ("/call", "1.1", grpc, "127.0.0.1", "call", 426, ("upgrade", "HTTP/2"), 1),
        ("/call", "2", other, "127.0.0.1", "call", 415, ("content-type", "application/json; charset=utf-8"), 1),
        ("/call", "2", grpc, "127.0.0.1", "call", 0, ("", ""), 1),
        ("/tls-call", "2", grpc, "127.0.0.1", "calls", 200, ("grpc-message", "gRPC request matched gRPCs route"), 1),
        ("/open", "1.1", other, "127.0.0.1", "open", 0, ("", ""), 2),
        ("/none", "1.1", other, "127.0.0.1", "", 404, ("content-type", "application/json; charset=utf-8"), 1),
    ];
    let gateway = Gateway::start_with(&kong_yml.to_string(), &[("trusted_ips", "127.0.0.1,198.51.100.0/24")]);
    for (path, version, (name, value), from, route, status, (field, said), plugins) in cases {
        let asked = json!({
            "url": format!("http://a.test{path}"), "http_version": version, "headers": { name: value },
            "client": format!("{from}:1000"),
        });
        let explained = call(&gateway, "POST", "/debug/route", "application/json", &asked.to_string()).1;
        let case = format!("{asked}: {explained}");
        assert_eq!(explained["matched"]["route"]["name"].as_str().unwrap_or_default(), route, "{case}");
        assert_eq!(explained["answer"]["status"].as_u64().unwrap_or_default(), status, "{case}");
        if !field.is_empty() {
            assert_eq!(explained["answer"]["headers"][field], said, "{case}");
        }
        assert_eq!(explained["plugins"].as_array().unwrap().len(), plugins, "{case}");
        assert_eq!(explained["client"]["trusted"], json!(from == "127.0.0.1"), "{case}");
        assert_eq!(explained["client"]["ip"], from, "{case}");
        // The same by the gateway itself, from where the test can come.
        if from != "127.0.0.1" || version == "2" {
            continue;
        }
        let mut client = Client::open(gateway.ports.proxy);
        client
            .send(format!("GET {path} HTTP/{version}\r\nHost: a.test\r\n{name}: {value}\r\n\r\n").as_bytes())
            .unwrap();
        let answer = client.answer().unwrap();
        match status {
            // The plugin or the upstream that is not there.
            0 => assert!([401, 502].contains(&answer.status), "{case}: {answer:?}"),
            _ => assert_eq!(u64::from(answer.status), status, "{case}: {answer:?}"),
        }
        if !field.is_empty() {
            assert_eq!(answer.header(field), Some(said), "{case}: {answer:?}");
        }
    }
}

#[test]
fn who_a_trusted_peer_speaks_for_is_the_client_that_is_explained() {
    let properties = [
        ("trusted_ips", "127.0.0.1,198.51.100.0/24"),
        ("real_ip_header", "X-Forwarded-For"),
        ("real_ip_recursive", "on"),
    ];
    let gateway = Gateway::start_with("_format_version: \"3.0\"\n", &properties);
    let told = "203.0.113.9, 192.0.2.7, 198.51.100.8";
    for (from, ip, trusted) in [("198.51.100.7", "192.0.2.7", true), ("192.0.2.1", "192.0.2.1", false)] {
        let asked = json!({ "url": "http://a.test/", "headers": { "X-Forwarded-For": told }, "client": format!("{from}:1000") });
        let explained = call(&gateway, "POST", "/debug/route", "application/json", &asked.to_string()).1;
        let client = json!({ "ip": ip, "port": if trusted { 0 } else { 1000 }, "trusted": trusted });
        assert_eq!(explained["client"], client, "{explained}");
    }
}

#[test]
fn what_has_no_effect_is_told_by_the_command_and_by_the_running_gateway() {
    let kong_yml = json!({
        "_format_version": "3.0",
        "services": [
            { "name": "up", "url": "http://127.0.0.1:9", "routes": [
                { "name": "first", "paths": ["/a"], "methods": ["GET", "PUT"] },
                { "name": "second", "id": "ffffffff-0000-4000-8000-000000000000", "paths": ["/a"], "methods": ["GET"], "headers": { "x-kind": ["one", "two"] } },
                { "name": "third", "id": "00000000-0000-4000-8000-000000000001", "paths": ["/a"], "methods": ["GET"], "headers": { "x-kind": ["one"] },
                  "plugins": [{ "name": "cors", "protocols": ["grpc"] }] },
            ] },
            { "name": "unused", "url": "http://127.0.0.1:9", "plugins": [{ "name": "key-auth", "instance_name": "idle" }] },
        ],
    })
    .to_string();
    let gateway = Gateway::start(&kong_yml);
    let told = call(&gateway, "GET", "/lint", "application/json", "").1;
    let rules = names(&told["findings"], "/rule");
    let found: Vec<(String, String)> = rules.into_iter().zip(names(&told["findings"], "/name")).collect();
    let expected = [
        ("service-without-routes", "unused"),
        ("shadowed-route", "third"),
        ("unreachable-plugin", "cors"),
        ("unreachable-plugin", "idle"),
    ];
    let mut sorted: Vec<_> = found.iter().map(|(rule, name)| (rule.as_str(), name.as_str())).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{told}");

    let folder = tempfile::tempdir().unwrap();
    let conf = configure(&folder, Ports::free(), &kong_yml, &[]);
    let checked = program::run(&["check", "--lint", &conf]);
    let said = program::said(&checked);
    assert!(!checked.status.success(), "{said}");
    for (rule, name) in expected {
        let is_told = |line: &str| line.contains(&format!("({rule})")) && line.contains(name);
        assert!(said.lines().any(is_told), "{rule} {name}: {said}");
    }
    assert!(program::run(&["check", &conf]).status.success());
}
