//! Canary releases with real upstreams: which of them a client gets to, and that it stays there.

use crate::client::get;
use crate::gateway::Gateway;
use crate::upstream::Upstream;
use serde_json::{Value, json};

/// A kong.yml, JSON being YAML, with a service and a canary of it.
fn kong_yml(service: &Upstream, config: &Value, more: &Value) -> String {
    let plugins = json!([{ "name": "canary", "config": config }]);
    let routes = json!([{ "paths": ["/"], "strip_path": false }]);
    let service =
        json!({ "name": "up", "url": format!("http://{}", service.at), "routes": routes, "plugins": plugins });
    let mut all = json!({ "_format_version": "3.0", "services": [service] });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more.clone()) {
        all.extend(more);
    }
    all.to_string()
}

#[test]
fn clients_are_shared_between_the_service_and_its_canary() {
    let (old, new) = (Upstream::start(), Upstream::start());
    let config = json!({
        "percentage": 30, "hash": "header", "hash_header": "X-User", "canary_by_header_name": "X-Canary",
        "upstream_host": "localhost", "upstream_port": new.at.port(), "upstream_uri": "/v2",
    });
    let gateway = Gateway::start(&kong_yml(&old, &config, &json!({})));
    let is_new = |headers: &[&str]| {
        let (before, answer) = (new.seen().len(), get(gateway.ports.proxy, "/v1?q=1", headers));
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        new.seen().len() > before
    };
    let users = || (0..100).map(|user| is_new(&[&format!("X-User: {user}")])).collect::<Vec<_>>();
    let first = users();
    let count = first.iter().filter(|is_new| **is_new).count();
    assert!((10..50).contains(&count), "{count} of 100");
    assert_eq!(users(), first, "everybody stays on the same side");
    assert_eq!((old.seen().len(), new.seen().len()), (200 - 2 * count, 2 * count));
    for user in 0..10 {
        let user = format!("X-User: {user}");
        assert!(is_new(&[&user, "X-Canary: always"]) && !is_new(&[&user, "X-Canary: never"]));
    }
    let host = format!("\r\nHost: localhost:{}\r\n", new.at.port());
    let seen = new.seen();
    assert!(seen.iter().all(|request| request.starts_with("GET /v2?q=1 ") && request.contains(&host)), "{seen:#?}");
    assert!(old.seen().iter().all(|request| request.starts_with("GET /v1?q=1 ")));
}

#[test]
fn a_canary_may_be_an_upstream_entity_which_may_be_down() {
    let (old, new) = (Upstream::start(), Upstream::start());
    let target = json!([{ "target": new.at.to_string() }]);
    for (targets, falls_back, want) in
        [(target.clone(), true, Some("new")), (json!([]), true, Some("old")), (json!([]), false, None)]
    {
        let config = json!({ "percentage": 100, "upstream_host": "v2", "upstream_fallback": falls_back });
        let upstreams = json!({ "upstreams": [{ "name": "v2", "targets": targets }] });
        let gateway = Gateway::start(&kong_yml(&old, &config, &upstreams));
        let (before_old, before_new) = (old.seen().len(), new.seen().len());
        let answer = get(gateway.ports.proxy, "/", &[]);
        let got = match (old.seen().len() - before_old, new.seen().len() - before_new) {
            (1, 0) => Some("old"),
            (0, 1) => Some("new"),
            _ => None,
        };
        assert_eq!(got, want, "{targets} {falls_back}: {answer:?}");
        assert_eq!(answer.status, if want.is_some() { 200 } else { 503 }, "{targets} {falls_back}: {answer:?}");
    }
}

#[test]
fn a_growing_share_is_everybody_in_the_end_and_schemas_tell_of_both_plugins() {
    let (old, new) = (Upstream::start(), Upstream::start());
    let config = json!({
        "start": 1_000_000_000, "duration": 60, "upstream_host": "127.0.0.1", "upstream_port": new.at.port(),
    });
    let gateway = Gateway::start(&kong_yml(&old, &config, &json!({})));
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    assert_eq!((old.seen().len(), new.seen().len()), (0, 1));
    for (name, fields) in [("canary", ["upstream_host", "percentage"]), ("request-mirror", ["targets", "percentage"])] {
        let schema = get(gateway.ports.admin, &format!("/schemas/plugins/{name}"), &[]);
        assert_eq!(schema.status, 200);
        assert!(fields.iter().all(|field| schema.body.contains(&format!("\"{field}\""))), "{}", schema.body);
        let plugins = get(gateway.ports.admin, "/", &[]);
        assert!(plugins.body.contains(&format!("\"{name}\"")), "{}", plugins.body);
    }
}
