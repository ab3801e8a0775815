//! What the derive makes of structs.

use super::entities::{Policy, RateLimiting, Route, Service, catalog, service};
use super::{context, entities};
use crate::{Entity, Record, Uuid, Value, json};

#[test]
fn service_renders_as_kong_shows_it() {
    let shown = Service::schema().to_json();
    assert_eq!(shown["fields"][0], json!({ "id": { "type": "string", "uuid": true, "auto": true } }));
    assert_eq!(shown["fields"][1], json!({ "created_at": { "type": "integer", "timestamp": true, "auto": true } }));
    assert_eq!(shown["fields"][3], json!({ "name": { "type": "string", "unique": true, "description": "Its name." } }));
    assert_eq!(shown["fields"][4], json!({ "retries": { "type": "integer", "default": 5, "between": [0, 32767] } }));
    assert_eq!(shown["fields"][6], json!({ "host": { "type": "string", "required": true } }));
    assert_eq!(
        shown["fields"][11],
        json!({ "client_certificate": { "type": "foreign", "reference": "certificates" } })
    );
    assert_eq!(
        shown["fields"][12],
        json!({ "tls_verify_depth": { "type": "integer", "default": null, "between": [0, 64] } })
    );
    assert_eq!(
        shown["entity_checks"][0],
        json!({ "conditional": {
            "if_field": "protocol", "if_match": { "one_of": ["tcp", "tls", "udp", "grpc", "grpcs"] },
            "then_field": "path", "then_match": { "eq": null },
        } })
    );
    let route = Route::schema().to_json();
    assert_eq!(
        route["entity_checks"][0]["conditional"]["if_match"],
        json!({ "elements": { "type": "string", "not_one_of": ["grpcs", "https", "tls", "tls_passthrough"] } })
    );
}

#[test]
fn defaults_and_generated_values_make_a_typed_service() {
    let catalog = catalog();
    let entity = Service::schema().insert(service(), &context(&catalog), &mut ()).unwrap();
    let typed = Service::from_value(&entity).unwrap();
    assert_eq!((typed.port, typed.retries, typed.enabled), (80, Some(5), true));
    assert_eq!((typed.created_at, typed.updated_at), (1_700_000_000, 1_700_000_000));
    assert_ne!(typed.id, Uuid::nil());
    assert_eq!(entity["name"], Value::Null);
    let keys: Vec<&String> = entity.as_object().unwrap().keys().collect();
    assert_eq!(keys.first().map(|key| key.as_str()), Some("id"));
    assert_eq!(keys.last().map(|key| key.as_str()), Some("enabled"));
}

#[test]
fn plugin_configuration_becomes_its_struct() {
    let catalog = catalog();
    let cx = context(&catalog);
    let config = RateLimiting::record().process(json!({ "minute": 5, "redis_host": "r.test" }), &cx).unwrap();
    let typed = RateLimiting::from_value(&config).unwrap();
    assert_eq!(typed.policy, Some(Policy::Local));
    assert_eq!((typed.minute, typed.hour, typed.fault_tolerant), (Some(5.0), None, true));
    assert_eq!(typed.redis["host"], "r.test");
    assert_eq!(typed.redis["port"], 6379);
    let shown = RateLimiting::record().to_json();
    assert_eq!(
        shown["fields"][2],
        json!({ "policy": { "type": "string", "default": "local", "one_of": ["local", "cluster", "redis"] } })
    );
    assert_eq!(
        shown["shorthand_fields"][0]["redis_host"]["deprecation"]["replaced_with"],
        json!([{ "path": ["redis", "host"] }])
    );
    let acl = entities::Acl::record().process(json!({ "allow": ["a"] }), &cx).unwrap();
    let acl = entities::Acl::from_value(&acl).unwrap();
    assert_eq!((acl.allow, acl.deny, acl.hide_groups_header), (Some(vec!["a".to_owned()]), None, false));
}
