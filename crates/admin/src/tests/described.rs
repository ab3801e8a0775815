//! The OpenAPI document and the reference say what there is.
use super::api::world;
use crate::{Settings, openapi};
use serde_json::Value;
use std::collections::HashSet;

/// Every `$ref` within a value.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => found.push(reference),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_describes_every_endpoint_and_refers_to_what_is_there() {
    let world = world();
    let (status, document) = world.get("/openapi.json");
    assert_eq!((status, &document["openapi"]), (200, &Value::from("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    let mut ids = HashSet::new();
    for (path, item) in paths {
        let declared: Vec<&str> = match item["parameters"].as_array() {
            Some(parameters) => parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect(),
            None => Vec::new(),
        };
        let in_path: Vec<&str> =
            path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, in_path, "{path}");
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            assert!(
                !operation["summary"].as_str().unwrap().is_empty() || path.starts_with("/things"),
                "{method} {path}"
            );
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
        }
    }
    for path in
        ["/services/{services}/routes", "/batch", "/audit", "/consumer_groups/{consumer_groups}", "/things/{thing}"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    assert!(!paths.contains_key("/targets"));
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let protocol = &document["components"]["schemas"]["services"]["properties"]["protocol"];
    assert_eq!(protocol["default"], "http");
    assert!(protocol["enum"].as_array().unwrap().contains(&Value::from("grpcs")));
}

#[test]
fn the_reference_lists_endpoints_and_fields() {
    let world = world();
    let text = openapi::reference(&world.api.catalog, &[], &Settings::default());
    for line in ["| `/services/{services}/routes` | GET, HEAD, OPTIONS, POST | routes |", "### upstreams", "`slots`"] {
        assert!(text.contains(line), "{line}");
    }
}
