//! Tests of `plugins`.

use super::*;

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
