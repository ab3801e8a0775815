//! Files that Kong reads twice, and what it says of them then.

use schema::{Value, json};

use super::{errors, load_value, only};

const ID: &str = "00000000-0000-4000-8000-000000000001";

fn file(mut config: Value) -> Value {
    config["_format_version"] = "3.0".into();
    config
}

#[test]
fn nested_entities_may_name_others_and_their_parent() {
    let named = [
        json!({"services": [{"name": "s", "host": "h", "routes": [{"paths": ["/a"], "service": "s"}]}]}),
        json!({"services": [
            {"name": "s", "host": "h", "routes": [{"paths": ["/a"], "service": "other"}]}, {"name": "other", "host": "h"},
        ]}),
        json!({"services": [{"name": "s", "host": "h", "routes": [{"paths": ["/a"], "service": {"id": ID}}]},
                            {"name": "other", "host": "h", "id": ID}]}),
    ];
    for config in named {
        let declarative = load_value(file(config.clone())).unwrap();
        let service = declarative.entities["services"].values().find(|service| service["name"] == "s").unwrap();
        assert_eq!(only(&declarative, "routes")["service"], json!({"id": service["id"]}), "{config}");
    }
    let declarative = load_value(file(json!({
        "consumers": [{"username": "u"}],
        "services": [{"name": "s", "host": "h", "plugins": [{"name": "limits", "consumer": "u"}]}],
        "upstreams": [{"name": "up", "targets": [{"target": "a:1", "upstream": "up"}]}],
    })))
    .unwrap();
    let plugin = only(&declarative, "plugins");
    assert_eq!(plugin["consumer"], json!({"id": only(&declarative, "consumers")["id"]}));
    assert_eq!(plugin["service"], json!({"id": only(&declarative, "services")["id"]}));
    assert_eq!(only(&declarative, "targets")["upstream"], json!({"id": only(&declarative, "upstreams")["id"]}));
}

#[test]
fn names_that_mean_nothing_are_told_as_kong_tells_them() {
    let missing = json!({"id": "missing primary key"});
    let reference = |what: &str| format!("invalid reference '{what}' (no such entry in 'services')");
    let cases = [
        // Nested, and nobody is called so.
        (
            json!({"services": [{"name": "s", "host": "h", "routes": [{"paths": ["/a"], "service": "nope"}]}]}),
            json!({"services": [{"routes": [{"service": "value must be null"}]}]}),
        ),
        (
            json!({"services": [{"name": "s", "host": "h", "routes": [{"name": "r", "paths": ["/a"], "service": {"id": ID}}]}]}),
            json!({"routes": {"r": [reference(&format!("service: {{\"id\":\"{ID}\"}}"))]}}),
        ),
        // What would be fine alone is told beside another error.
        (
            json!({"foo": 1, "services": [{"name": "s", "host": "h", "routes": [{"paths": ["/a"], "service": "s"}]}]}),
            json!({"foo": "unknown field", "services": [{"routes": [{"service": "value must be null"}]}]}),
        ),
        (
            json!({"foo": 1, "services": [{"name": "s", "host": "h"}],
                   "routes": [{"name": "r", "paths": ["/x"], "service": "nope"}]}),
            json!({"foo": "unknown field", "routes": [{"service": missing}]}),
        ),
        (
            json!({"services": [{"name": "s", "host": "a b"}], "routes": [{"name": "r", "paths": ["/x"], "service": "s"}]}),
            json!({"services": [{"host": "invalid value: a b"}]}),
        ),
        (
            json!({"basicauth_credentials": [{"username": "u", "password": "p", "consumer": "nope"}]}),
            json!({"basicauth_credentials": [{
                "@entity": ["all or none of these fields must be set: 'password', 'consumer.id'"], "consumer": missing,
            }]}),
        ),
        (
            json!({"basicauth_credentials": [{"username": "u", "password": "p", "consumer": {"id": ID}}]}),
            json!({"basicauth_credentials": {"u": [format!(
                "invalid reference 'consumer: {{\"id\":\"{ID}\"}}' (no such entry in 'consumers')"
            )]}}),
        ),
        (
            json!({"keyauth_credentials": [{"key": "k", "consumer": {"id": ID}}], "routes": [{"paths": ["/x"], "service": "nope"}]}),
            json!({"routes": [{"service": missing}]}),
        ),
        (
            json!({"routes": [{"paths": ["/x"], "plugins": [{"name": "none", "consumer": "u"}, {"consumer": "u"}]}]}),
            json!({"routes": [{"plugins": [
                {"name": "plugin 'none' not enabled; add it to the 'plugins' configuration property"},
                {"name": "required field missing"},
            ]}]}),
        ),
        // A plugin that has no consumer, in one.
        (
            json!({"foo": 1, "consumers": [{"username": "u", "plugins": [{"name": "key-auth"}]}]}),
            json!({"foo": "unknown field", "consumers": [{"plugins": [{"consumer": "value must be null"}]}]}),
        ),
        // Parents with ids that are none.
        (
            json!({"services": [{"name": "s", "host": "h", "id": 1, "routes": [{"paths": ["/a"]}]}]}),
            json!({"services": [{"id": "expected a string", "routes": [{"service": {"id": "expected a string"}}]}]}),
        ),
    ];
    for (config, wanted) in cases {
        assert_eq!(errors(file(config.clone())), wanted, "{config}");
    }
}

#[test]
fn what_is_there_twice_and_what_is_not_there_are_told_together() {
    let twice = |entity: &str, field: &str, value: &str| {
        format!("uniqueness violation: '{entity}' entity with {field} set to '{value}' already declared")
    };
    let nope = "invalid reference 'service: nope' (no such entry in 'services')";
    let route = |name: &str| json!({"name": name, "paths": ["/x"], "service": "nope"});
    let cases = [
        (
            json!({"consumers": [{"username": "u"}, {"username": "u"}], "routes": [route("r")]}),
            json!({"consumers": [null, twice("consumers", "username", "u")], "routes": {"r": [nope]}}),
        ),
        (
            json!({"routes": [route("r"), route("r")]}),
            json!({"routes": {"2": twice("routes", "name", "r"), "r": [nope, nope]}}),
        ),
        (
            json!({"consumers": [
                {"username": "a", "custom_id": "c"}, {"username": "b", "custom_id": "c"}, {"username": "d", "custom_id": "c"},
            ]}),
            json!({"consumers": {"d": twice("consumers", "custom_id", "c")}}),
        ),
    ];
    for (config, wanted) in cases {
        assert_eq!(errors(file(config.clone())), wanted, "{config}");
    }
}

#[test]
fn children_of_parents_without_a_name_are_told_apart_by_nothing() {
    let plugins = json!([{"name": "limits"}, {"name": "limits"}]);
    let nameless = load_value(file(json!({"routes": [{"paths": ["/a"], "plugins": plugins}]}))).unwrap();
    assert_eq!(nameless.entities["plugins"].len(), 2);
    let named = errors(file(json!({"routes": [{"name": "r", "paths": ["/a"], "plugins": plugins}]})));
    assert!(named["routes"][0]["plugins"][1].to_string().contains("uniqueness violation"), "{named}");
}

#[test]
fn what_is_there_twice_two_levels_deep_is_told_at_its_parents_place() {
    let routes = json!([
        {"paths": ["/b"]}, {"name": "r", "paths": ["/a"], "plugins": [{"name": "limits"}, {"name": "limits"}]},
    ]);
    let invalid = load_value(file(json!({"services": [{"name": "s", "host": "h", "routes": routes}]}))).unwrap_err();
    let told = |fields: &Value| {
        let plugins = &fields["routes"][1]["plugins"];
        assert!(plugins[1].to_string().contains("uniqueness violation"), "{fields}");
        assert_eq!(*fields, json!({"routes": [null, {"plugins": [null, plugins[1]]}]}));
    };
    told(&Value::Object(invalid.fields().clone()));
    let flattened = invalid.flattened();
    told(&flattened["fields"]);
    assert_eq!(flattened["flattened_errors"], json!([]));
}

#[test]
fn who_refers_to_an_entity_with_an_invalid_id_is_told_of_it_too() {
    let bad = "expected a valid UUID";
    let consumer = json!([{"username": "u", "id": "bad"}]);
    let basic = json!([{"username": "b", "password": "p", "consumer": "u"}]);
    let cases = [
        (
            json!({"consumers": consumer, "acls": [{"group": "g", "consumer": "u"}]}),
            json!({"consumers": [{"id": bad}], "acls": [{"consumer": {"id": bad}}]}),
        ),
        (
            json!({"consumers": consumer, "basicauth_credentials": basic}),
            json!({"consumers": [{"id": bad}], "basicauth_credentials": [{"consumer": {"id": bad}}]}),
        ),
        (
            json!({"routes": [{"name": "r", "id": 5, "paths": ["/a"]}], "plugins": [{"name": "limits", "route": "r"}]}),
            json!({
                "routes": [{"id": "expected a string"}],
                "plugins": [{"route": {"protocols": "required field missing"}}],
            }),
        ),
    ];
    for (config, wanted) in cases {
        assert_eq!(errors(file(config.clone())), wanted, "{config}");
    }
    let told = load_value(file(json!({"consumers": consumer, "acls": [{"group": "g", "consumer": "u"}]}))).unwrap_err();
    let wanted = json!({
        "entity_type": "acl", "entity": {"group": "g", "consumer": "u"},
        "errors": [{"type": "field", "field": "consumer.id", "message": bad}],
    });
    let told = told.flattened();
    assert!(told["flattened_errors"].as_array().unwrap().contains(&wanted), "{told}");
}

#[test]
fn reports_show_of_an_entity_what_kong_shows() {
    let report = |config: Value| load_value(file(config)).unwrap_err().flattened()["flattened_errors"][0].clone();
    let tags = report(json!({"services": [{"name": "x", "tags": []}]}));
    assert_eq!(tags["entity_tags"], tags["entity"]["tags"], "{tags}");
    assert!(tags["entity_tags"].is_object(), "{tags}");
    let unnamed = report(json!({"services": [{"name": ""}]}));
    assert_eq!((unnamed.get("entity_name"), &unnamed["entity"]["name"]), (None, &json!("")), "{unnamed}");
    let childless = report(json!({"services": [{"name": "x", "routes": {}}]}));
    assert_eq!(childless["entity"], json!({"name": "x"}), "{childless}");
    // Kong's id of such a credential is random, and not there yet.
    let keys = json!([{"key": "k"}, {"key": "k"}]);
    let twice = report(json!({"consumers": [{"username": "u", "keyauth_credentials": keys}]}));
    assert_eq!((twice.get("entity_id"), twice["entity"].get("id")), (None, None), "{twice}");
}

#[test]
fn tables_in_the_place_of_foreign_keys_are_entities_of_their_own_in_reports() {
    let report = |kind: &str, name: Option<&str>, entity: Value, error: Value| {
        let mut report = json!({"entity_type": kind, "entity": entity, "errors": [error]});
        if let Some(name) = name {
            report["entity_name"] = name.into();
        }
        if entity["id"] == ID {
            report["entity_id"] = ID.into();
        }
        report
    };
    let field = |field: &str, message: &str| json!({"type": "field", "field": field, "message": message});
    let whole = |message: &str| json!({"type": "entity", "message": message});
    let bare = json!({"name": "s", "host": "h", "id": "x"});
    let mut parent = bare.clone();
    parent["routes"] = json!([{"paths": ["bad"]}]);
    let client = json!({"name": "s", "host": "h", "protocol": "http", "client_certificate": {"id": ID}});
    let cases = [
        (
            json!({"routes": [{"name": "rt", "paths": ["/a"], "service": {"name": "svc"}}]}),
            json!([report("service", Some("svc"), json!({"name": "svc"}), field("id", "missing primary key"))]),
        ),
        (
            json!({"plugins": [{"name": "limits", "route": {"name": "r1"}}]}),
            json!([report("route", Some("r1"), json!({"name": "r1"}), field("protocols", "required field missing"))]),
        ),
        (
            json!({"services": [client]}),
            json!([
                report("certificate", None, json!({"id": ID}), whole("value must be null")),
                report(
                    "service",
                    Some("s"),
                    client,
                    whole("failed conditional validation given value of field 'protocol'")
                ),
            ]),
        ),
    ];
    for (config, wanted) in cases {
        let told = load_value(file(config.clone())).unwrap_err().flattened();
        assert_eq!((&told["flattened_errors"], &told["fields"]), (&wanted, &json!({})), "{config}");
    }
    // An id that is none is not shown in children.
    let told = load_value(file(json!({"services": [parent]}))).unwrap_err().flattened();
    assert_eq!(told["flattened_errors"][0]["entity"], json!({"paths": ["bad"]}), "{told}");
    assert_eq!(told["flattened_errors"][1]["entity"], bare, "{told}");
}

#[test]
fn errors_about_entities_of_other_places_stay_in_the_tree() {
    let config = json!({"services": [{"name": "s", "host": "h", "routes": [{"name": "r", "paths": ["/a"], "service": {"id": ID}}]}]});
    let told = load_value(file(config)).unwrap_err().flattened();
    assert_eq!(told["flattened_errors"], json!([]));
    assert!(told["fields"]["routes"]["r"].is_array(), "{told}");
}
