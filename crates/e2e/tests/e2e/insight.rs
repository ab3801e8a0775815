//! What people are told of their configuration: which way a request would go, and what has no effect.

use crate::client::get;
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
