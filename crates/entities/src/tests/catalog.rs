//! The catalog of entities, plugins and vaults.

use schema::{Value, json};
use std::collections::HashSet;

use super::catalog;
use crate::RouterFlavor;

#[test]
fn parents_come_before_their_children() {
    let catalog = catalog(RouterFlavor::default());
    let mut seen = HashSet::new();
    for schema in catalog.entities() {
        for (field, parent) in schema.foreign_fields() {
            assert!(seen.contains(parent), "{}.{field}", schema.name);
        }
        seen.insert(schema.name.as_str());
    }
    assert_eq!(seen.len(), 32);
}

#[test]
fn children_are_found_by_their_parent() {
    let catalog = catalog(RouterFlavor::default());
    let children: Vec<_> = catalog.children("services").map(|(child, field)| (child.name.as_str(), field)).collect();
    let wanted = [
        ("routes", "service"),
        ("plugins", "service"),
        ("filter_chains", "service"),
        ("oauth2_authorization_codes", "service"),
        ("oauth2_tokens", "service"),
    ];
    assert_eq!(children, wanted);
}

#[test]
fn plugins_run_by_priority_and_are_found_by_name() {
    let catalog = catalog(RouterFlavor::default());
    assert_eq!(catalog.plugins().map(|plugin| plugin.name()).collect::<Vec<_>>(), ["key-auth", "limits"]);
    assert_eq!(catalog.plugin("limits").map(|plugin| plugin.priority), Some(910));
    assert!(catalog.plugin("nope").is_none());
    assert!(catalog.vault("env").is_some());
}

#[test]
fn a_plugins_protocols_meet_those_of_its_scope() {
    let catalog = catalog(RouterFlavor::default());
    let (http, tcp) = (json!({"protocols": ["http", "https"]}), json!({"protocols": ["tcp"]}));
    let plugin = json!({"protocols": ["http"]});
    let of_route = |route: &Value| catalog.protocols_mismatch(&plugin, Some(route), &mut std::iter::empty());
    let of_service = |routes: &[Value]| catalog.protocols_mismatch(&plugin, None, &mut routes.iter());
    assert_eq!(of_route(&http), None);
    assert_eq!(of_route(&tcp), Some(json!({"protocols": "must match the associated route's protocols"})));
    assert_eq!(of_service(&[]), None);
    assert_eq!(of_service(&[tcp.clone(), http]), None);
    let text = "must match the protocols of at least one route pointing to this Plugin's service";
    assert_eq!(of_service(&[tcp]), Some(json!({"protocols": text})));
}

#[test]
fn fields_that_only_the_flavor_expressions_has_are_shown_there_alone() {
    for (flavor, has) in [(RouterFlavor::TraditionalCompatible, false), (RouterFlavor::Expressions, true)] {
        let catalog = catalog(flavor);
        let routes = catalog.entity("routes").unwrap();
        assert_eq!(routes.field("expression").is_some(), has);
        let shown = routes.to_json().to_string();
        assert_eq!(shown.contains(r#""priority":{"#), has);
    }
}

#[test]
fn schemas_are_shown_as_kong_shows_them() {
    let catalog = catalog(RouterFlavor::default());
    let consumers = json!({
        "entity_checks": [{"at_least_one_of": ["custom_id", "username"]}],
        "fields": [
            {"id": {"type": "string", "uuid": true, "auto": true}},
            {"created_at": {"type": "integer", "timestamp": true, "auto": true}},
            {"updated_at": {"type": "integer", "timestamp": true, "auto": true}},
            {"username": {"type": "string", "unique": true}},
            {"custom_id": {"type": "string", "unique": true}},
            {"tags": {"type": "set", "elements": {"type": "string", "required": true}}},
        ],
    });
    let mut shown = catalog.entity("consumers").unwrap().to_json();
    without_descriptions(&mut shown);
    assert_eq!(shown, consumers);
    let plugins = catalog.entity("plugins").unwrap().to_json().to_string();
    assert!(!plugins.contains("consumer_group"), "{plugins}");
}

fn without_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("description");
            map.values_mut().for_each(without_descriptions);
        }
        Value::Array(list) => list.iter_mut().for_each(without_descriptions),
        _ => {}
    }
}

#[test]
fn flavors_are_named_as_in_the_configuration() {
    for name in ["traditional", "traditional_compatible", "expressions"] {
        assert_eq!(name.parse::<RouterFlavor>().unwrap().to_string(), name);
    }
    assert!("atc".parse::<RouterFlavor>().is_err());
}

#[test]
fn schemas_show_what_kongs_say_without_effect() {
    let catalog = catalog(RouterFlavor::default());
    let field = |entity: &str, path: &[&str]| {
        let mut at = catalog.described(entity).unwrap().to_json();
        for name in path {
            let fields = if at["elements"].is_object() { &at["elements"]["fields"] } else { &at["fields"] };
            at = fields.as_array().unwrap().iter().find_map(|field| field.get(*name)).unwrap().clone();
        }
        at
    };
    let cases: [(&str, &[&str], &str, Value); 9] = [
        ("certificates", &["cert_alt"], "required", json!(false)),
        ("certificates", &["key_alt"], "required", json!(false)),
        ("certificates", &["snis"], "required", json!(false)),
        ("keys", &["kid"], "unique", json!(false)),
        ("keys", &["pem", "private_key"], "required", json!(false)),
        ("keys", &["pem", "public_key"], "required", json!(false)),
        ("clustering_data_planes", &["cert_details"], "required", json!(true)),
        ("filter_chains", &["filters", "config"], "required", json!(false)),
        ("ratelimiting_metrics", &["identifier"], "len_min", json!(0)),
    ];
    for (entity, path, member, wanted) in cases {
        assert_eq!(field(entity, path)[member], wanted, "{entity} {path:?} {member}");
    }
    let of_filters = field("filter_chains", &["filters", "config"]);
    assert_eq!(of_filters["json_schema"]["default"]["type"], json!(["string", "null"]));
    let checks = catalog.described("filter_chains").unwrap().to_json()["entity_checks"].clone();
    assert_eq!(checks[2]["custom_entity_check"]["run_with_invalid_fields"], true);
    // Nothing else has to do with it.
    assert!(catalog.entity("ratelimiting_metrics").is_none());
}
