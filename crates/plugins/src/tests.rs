//! Tests of `plugins`.

use super::*;
use std::sync::Arc;

#[test]
fn the_table_is_in_execution_order() {
    for pair in TABLE.windows(2) {
        let key = |d: &Definition| (d.priority, d.name);
        assert!(key(&pair[0]) > key(&pair[1]), "{} before {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn without_a_database_nothing_is_counted_there() {
    for (name, config, want) in [
        (
            "rate-limiting",
            serde_json::json!({ "minute": 1, "policy": "cluster" }),
            Some("expected one of: local, redis"),
        ),
        ("rate-limiting", serde_json::json!({ "minute": 1 }), None),
        ("key-auth", serde_json::json!({}), None),
    ] {
        let cx = schema::Context { now: Duration::ZERO, random: &|bytes| bytes.fill(7), schemas: &() };
        let checked = without_database((find(name).unwrap().schema)()).process_config(config, &cx);
        let error = checked.err().map(|error| error["config"]["policy"].as_str().unwrap_or_default().to_owned());
        assert_eq!(error.as_deref(), want, "{name}");
    }
}

#[test]
fn every_plugin_is_found_by_its_name_and_has_phases() {
    for definition in TABLE {
        assert_eq!(find(definition.name).map(|d| d.priority), Some(definition.priority));
        assert_ne!(definition.phases, pdk::Phases::NONE, "{}", definition.name);
        assert_eq!((definition.schema)().name, definition.name);
    }
}

/// Configurations of the plugins that need one.
fn smallest(name: &str) -> serde_json::Value {
    use serde_json::json;
    match name {
        "acl" | "ip-restriction" => json!({ "allow": ["10.0.0.0"] }),
        "canary" => json!({ "upstream_host": "127.0.0.1" }),
        "file-log" => json!({ "path": "/dev/null" }),
        "http-log" | "zipkin" => json!({ "http_endpoint": "http://127.0.0.1:1/" }),
        "ldap-auth" => json!({ "ldap_host": "127.0.0.1", "base_dn": "dc=x", "attribute": "uid" }),
        "loggly" => json!({ "key": "k" }),
        "mtls-auth" => json!({ "ca_certificates": [uuid::Uuid::nil()] }),
        "oauth2" => json!({ "enable_client_credentials": true }),
        "opentelemetry" => json!({ "traces_endpoint": "http://127.0.0.1:1/" }),
        "proxy-cache" => json!({ "strategy": "memory" }),
        "rate-limiting" => json!({ "minute": 1 }),
        "rate-limiting-advanced" => json!({ "limit": [1], "window_size": [60] }),
        "redirect" => json!({ "location": "http://127.0.0.1:1/" }),
        "request-mirror" => json!({ "targets": ["http://127.0.0.1:1"] }),
        "response-ratelimiting" => json!({ "limits": { "sms": { "minute": 1 } } }),
        "standard-webhooks" => json!({ "secret_v1": "c2VjcmV0" }),
        "tcp-log" | "udp-log" => json!({ "host": "127.0.0.1", "port": 1 }),
        _ => json!({}),
    }
}

/// Pointers to all values within a value.
fn places(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &serde_json::Value)> = match value {
        serde_json::Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        serde_json::Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in inner {
        let at = format!("{at}/{name}");
        places(value, &at, found);
        found.push(at);
    }
}

/// Nothing can stand in for these: the plugin says which it misses.
const MISSED: [&str; 3] = ["session/secret", "datadog/host", "datadog/port"];

#[test]
fn what_a_schema_accepts_with_a_null_in_it_can_run() {
    let mut broken = Vec::new();
    let cert = include_str!("tls_metadata_headers/client.pem").to_owned();
    let authorities = [Arc::new(entities::CaCertificate { cert, ..Default::default() })];
    for definition in TABLE {
        let whole = pdk::testing::complete(definition, smallest(definition.name)).unwrap();
        let mut found = Vec::new();
        places(&whole, "", &mut found);
        found.retain(|place| !MISSED.contains(&format!("{}{place}", definition.name).as_str()));
        for place in found {
            let mut config = whole.clone();
            *config.pointer_mut(&place).unwrap() = serde_json::Value::Null;
            let Ok(config) = pdk::testing::complete(definition, config) else { continue };
            let entity = pdk::testing::plugin_entity(definition.name, &config);
            if let Err(error) = (definition.build)(&pdk::Instance {
                entity: &entity,
                config: &config,
                authorities: &authorities,
                groups: &[],
            }) {
                broken.push(format!("{}{place}: {error}", definition.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn logging_plugins_that_have_no_queue_in_kong_show_none_unless_it_is_set() {
    for name in ["tcp-log", "udp-log", "syslog", "loggly"] {
        let definition = find(name).unwrap();
        assert!(!(definition.schema)().to_json().to_string().contains("max_batch_size"), "{name}");
        let mut config = smallest(name);
        assert_eq!(pdk::testing::complete(definition, config.clone()).unwrap().get("queue"), None, "{name}");
        config["queue"] = serde_json::json!({ "max_entries": 5 });
        let queue = &pdk::testing::complete(definition, config.clone()).unwrap()["queue"];
        assert_eq!((&queue["max_entries"], &queue["max_batch_size"]), (&5.into(), &1.into()), "{name}");
        config["queue"]["max_entries"] = 0.into();
        let error = pdk::testing::complete(definition, config).unwrap_err();
        assert_eq!(error["config"]["queue"]["max_entries"], "value should be between 1 and 1000000", "{name}");
    }
}

#[test]
fn what_logging_plugins_drop_is_told_of_each() {
    for (name, config) in [
        ("tcp-log", serde_json::json!({ "host": "127.0.0.1", "port": 1, "queue": { "max_bytes": 1 } })),
        ("udp-log", serde_json::json!({ "host": "127.0.0.1", "port": 1, "queue": { "max_bytes": 1 } })),
        ("loggly", serde_json::json!({ "key": "k", "host": "127.0.0.1", "queue": { "max_bytes": 1 } })),
        ("syslog", serde_json::json!({ "queue": { "max_bytes": 1 } })),
    ] {
        let count = || dropped_log_messages().find(|(plugin, _)| plugin == name).map_or(0, |(_, count)| count);
        let before = count();
        pdk::testing::Harness::new(find(name).unwrap(), config).send("GET /");
        assert!(count() > before, "{name}");
    }
}
