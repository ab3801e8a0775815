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
fn every_plugin_is_found_by_its_name_and_has_phases() {
    for definition in TABLE {
        assert_eq!(find(definition.name).map(|d| d.priority), Some(definition.priority));
        assert_ne!(definition.phases, pdk::Phases::NONE, "{}", definition.name);
        assert_eq!((definition.schema)().name, definition.name);
    }
}
