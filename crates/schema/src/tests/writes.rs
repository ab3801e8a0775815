//! Writes: what is generated, merged, resolved and transformed.

use super::entities::{catalog, service};
use super::{Catalog, context};
use crate::error::{self, Code};
use crate::{EntitySchema, Error, Field, Map, Operation, RecordSchema, Resolver, Value, json, typedefs};

struct Known(&'static str);

impl Resolver for Known {
    fn resolve(&mut self, entity: &str, field: &str, value: &Value) -> Result<Option<Value>, Error> {
        let found = (entity, field) == ("services", "name") && value == self.0;
        Ok(found.then(|| json!({ "id": "00000000-0000-4000-8000-000000000001" })))
    }
}

#[test]
fn the_url_shorthand_stands_for_four_fields() {
    let catalog = catalog();
    let cx = context(&catalog);
    let services = &catalog["services"];
    let entity = services.insert(json!({ "url": "https://a.test:8443/p", "port": 1 }), &cx, &mut ()).unwrap();
    assert_eq!(
        (&entity["protocol"], &entity["host"], &entity["port"], &entity["path"]),
        (&json!("https"), &json!("a.test"), &json!(8443), &json!("/p"))
    );
    assert_eq!(entity.get("url"), None);
    let changed = services.update(json!({ "url": "http://b.test" }), &entity, &cx, &mut ()).unwrap();
    assert_eq!((&changed["host"], &changed["path"], &changed["id"]), (&json!("b.test"), &Value::Null, &entity["id"]));
}

#[test]
fn a_patch_keeps_what_it_does_not_say() {
    let catalog = catalog();
    let mut cx = context(&catalog);
    let services = &catalog["services"];
    let stored = services.insert(json!({ "host": "a.test", "retries": 3, "tags": ["a"] }), &cx, &mut ()).unwrap();
    cx.now = std::time::Duration::from_secs(1_800_000_000);
    let changed = services.update(json!({ "tags": null, "path": "/p" }), &stored, &cx, &mut ()).unwrap();
    assert_eq!((&changed["retries"], &changed["tags"], &changed["path"]), (&json!(3), &Value::Null, &json!("/p")));
    assert_eq!((&changed["created_at"], &changed["updated_at"]), (&json!(1_700_000_000), &json!(1_800_000_000)));
    let error = services.update(json!({ "host": null }), &stored, &cx, &mut ()).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("schema violation (host: required field missing)"));
}

#[test]
fn a_patch_without_the_kind_of_its_config_is_read_as_the_kind_that_is_stored() {
    let catalog = catalog();
    let cx = context(&catalog);
    let plugins = &catalog["plugins"];
    let input = json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": "a.test" } });
    let stored = plugins.insert(input, &cx, &mut ()).unwrap();
    let patch = json!({ "config": { "redis_host": "b.test" } });
    let changed = plugins.update(patch, &stored, &cx, &mut ()).unwrap();
    assert_eq!(changed["config"]["redis"]["host"], "b.test");
    assert_eq!(changed["config"].get("redis_host"), None);
}

#[test]
fn false_is_no_record_and_gets_its_defaults() {
    let catalog = catalog();
    let cx = context(&catalog);
    let plugins = &catalog["plugins"];
    let config = |input: Value| plugins.insert(json!({ "name": "rate-limiting", "config": input }), &cx, &mut ());
    let default = config(json!({ "minute": 5 })).unwrap();
    let stored = config(json!({ "minute": 5, "redis": false })).unwrap();
    assert_eq!(stored["config"], default["config"]);
    let error = config(json!(false)).unwrap_err();
    assert!(error.message.as_deref().is_some_and(|text| text.contains("config.minute")), "{error:?}");
    let error = config(json!({ "minute": 5, "redis": 0 })).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("schema violation (config.redis: expected a record)"));
    let named = config(json!({ "minute": 5, "redis": { "host": "a.test" } })).unwrap();
    let changed = plugins.update(json!({ "config": { "redis": false } }), &named, &cx, &mut ()).unwrap();
    assert_eq!(changed["config"], default["config"]);
}

#[test]
fn messages_about_changes_say_so() {
    let catalog = catalog();
    let cx = context(&catalog);
    let consumers = &catalog["consumers"];
    let stored = consumers.insert(json!({ "username": "u" }), &cx, &mut ()).unwrap();
    let error = consumers.update(json!({ "username": null }), &stored, &cx, &mut ()).unwrap_err();
    assert_eq!(
        error.message.as_deref(),
        Some(
            "schema violation (when updating, at least one of these fields must be non-empty: 'custom_id', 'username')"
        )
    );
}

#[test]
fn records_merge_deeply_and_everything_else_is_replaced() {
    let catalog = catalog();
    let cx = context(&catalog);
    let plugins = &catalog["plugins"];
    let input = json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": "r" } });
    let stored = plugins.insert(input, &cx, &mut ()).unwrap();
    assert_eq!(stored["protocols"], json!(["grpc", "grpcs", "http", "https"]));
    let patch = json!({ "config": { "hour": 10, "redis": { "port": 1 } }, "protocols": ["http", "http"] });
    let changed = plugins.update(patch, &stored, &cx, &mut ()).unwrap();
    assert_eq!((&changed["config"]["minute"], &changed["config"]["hour"]), (&json!(5), &json!(10)));
    assert_eq!((&changed["config"]["redis"]["host"], &changed["config"]["redis"]["port"]), (&json!("r"), &json!(1)));
    assert_eq!(changed["protocols"], json!(["http"]));
    let other = plugins.update(json!({ "name": "acl", "config": { "allow": ["a"] } }), &changed, &cx, &mut ()).unwrap();
    assert_eq!(other["config"], json!({ "allow": ["a"], "deny": null, "hide_groups_header": false }));
}

#[test]
fn lists_and_texts_in_the_place_of_a_stored_config_change_nothing_else() {
    let catalog = catalog();
    let cx = context(&catalog);
    let plugins = &catalog["plugins"];
    let input = json!({ "name": "acl", "config": { "allow": ["a"] } });
    let stored = plugins.insert(input, &cx, &mut ()).unwrap();
    let changed = plugins.update(json!({ "config": [] }), &stored, &cx, &mut ()).unwrap();
    assert_eq!(changed["config"], stored["config"]);
    for (config, fields, message) in [
        (json!(["x"]), json!(["unknown field"]), "config.1: unknown field"),
        (json!("x"), json!("expected a record"), "config: expected a record"),
    ] {
        let error = plugins.update(json!({ "config": config }), &stored, &cx, &mut ()).unwrap_err();
        assert_eq!(error.fields, Some(json!({ "config": fields })), "{config}");
        assert_eq!(error.message, Some(format!("schema violation ({message})")), "{config}");
    }
}

#[test]
fn deprecated_fields_are_read_beside_the_new_ones() {
    let catalog = catalog();
    let cx = context(&catalog);
    let plugins = &catalog["plugins"];
    let input = json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": "r" } });
    let stored = plugins.insert(input, &cx, &mut ()).unwrap();
    assert_eq!(stored["config"].get("redis_host"), None);
    let shown = plugins.read(stored.clone());
    assert_eq!((&shown["config"]["redis_host"], &shown["config"]["redis_port"]), (&json!("r"), &json!(6379)));
    // What was read can be written again.
    assert_eq!(plugins.read(plugins.upsert(shown.clone(), &cx, &mut ()).unwrap()), shown);
}

#[test]
fn reading_fills_what_a_row_lacks() {
    let catalog = catalog();
    let shown = catalog["services"].read(json!({ "id": "x", "host": "h", "port": null }));
    assert_eq!((&shown["port"], &shown["retries"], &shown["name"]), (&json!(80), &json!(5), &Value::Null));
}

#[test]
fn foreign_entities_are_found_by_unique_fields() {
    let catalog = catalog();
    let cx = context(&catalog);
    let routes = &catalog["routes"];
    let route = |service: Value| json!({ "paths": ["/a"], "service": service });
    let entity = routes.insert(route(json!({ "name": "svc" })), &cx, &mut Known("svc")).unwrap();
    assert_eq!(entity["service"], json!({ "id": "00000000-0000-4000-8000-000000000001" }));
    let error = routes.insert(route(json!({ "name": "absent" })), &cx, &mut Known("svc")).unwrap_err();
    let text = "the foreign key cannot be resolved with '{name=\"absent\"}' for an existing 'services' entity";
    assert_eq!(error.message, Some(format!("foreign key unresolved (service.name: {text})")));
    assert_eq!(
        (error.code, &error.fields),
        (Code::ForeignKeysUnresolved, &Some(json!({ "service": { "name": text } })))
    );
    let id = "00000000-0000-4000-8000-000000000002";
    let entity = routes.insert(route(json!({ "id": id, "name": "x" })), &cx, &mut ()).unwrap();
    assert_eq!(entity["service"], json!({ "id": id }));
    let wanted = routes.foreign_to_resolve(&route(json!({ "name": "svc" })), &cx);
    assert_eq!(wanted, [("service".to_owned(), "services".to_owned(), "name".to_owned(), json!("svc"))]);
}

fn credentials() -> EntitySchema {
    let hash = |entity: &Map<String, Value>| -> Result<Map<String, Value>, String> {
        let text = format!("{}/{}", entity["password"].as_str().unwrap(), entity["consumer"]["id"].as_str().unwrap());
        Ok(Map::from_iter([("password".to_owned(), text.into())]))
    };
    let record = RecordSchema::new([
        ("id", typedefs::id()),
        ("consumer", Field::foreign("consumers").required(true)),
        ("username", Field::string().required(true).unique(true)),
        ("password", Field::string().required(true)),
        ("key", Field::string().auto(true)),
        ("kind", Field::string().immutable(true)),
    ])
    .transformation(["password"], ["consumer.id"], hash);
    EntitySchema::new("credentials", record.into()).ttl(true).cache_key(["consumer", "username"])
}

const ID: &str = "00000000-0000-4000-8000-000000000009";

#[test]
fn transformations_need_all_of_their_fields() {
    let catalog = Catalog::new();
    let cx = context(&catalog);
    let schema = credentials();
    let consumer = json!({ "id": ID });
    let input = json!({ "consumer": consumer, "username": "u", "password": "p" });
    let stored = schema.insert(input, &cx, &mut ()).unwrap();
    assert_eq!(stored["password"], format!("p/{ID}"));
    let update = |patch: Value| schema.update(patch, &stored, &cx, &mut ());
    assert_eq!(update(json!({ "username": "v" })).unwrap()["password"], format!("p/{ID}"));
    assert_eq!(update(json!({ "password": "q", "consumer": consumer })).unwrap()["password"], format!("q/{ID}"));
    assert_eq!(
        update(json!({ "password": "q" })).unwrap_err().message.as_deref(),
        Some("schema violation (all or none of these fields must be set: 'password', 'consumer.id')")
    );
    assert_eq!(
        schema
            .insert(json!({ "consumer": null, "username": "u", "password": "p" }), &cx, &mut ())
            .unwrap_err()
            .message
            .as_deref(),
        Some(
            "2 schema violations (all or none of these fields must be set: 'password', 'consumer.id'; consumer: required field missing)"
        )
    );
}

#[test]
fn generated_strings_have_32_letters_and_digits() {
    let catalog = Catalog::new();
    let cx = context(&catalog);
    let input = json!({ "consumer": { "id": ID }, "username": "u", "password": "p" });
    let entity = credentials().insert(input.clone(), &cx, &mut ()).unwrap();
    let key = entity["key"].as_str().unwrap();
    assert_eq!(key.len(), 32);
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let given = credentials().upsert(crate::error::field("key", "mine"), &cx, &mut ());
    assert!(given.is_err());
    let mut null = input;
    null["key"] = Value::Null;
    assert_eq!(credentials().insert(null, &cx, &mut ()).unwrap()["key"], Value::Null);
}

#[test]
fn immutable_fields_stay() {
    let catalog = Catalog::new();
    let cx = context(&catalog);
    let input = json!({ "consumer": { "id": ID }, "username": "u", "password": "p", "kind": "a" });
    let stored = credentials().insert(input, &cx, &mut ()).unwrap();
    assert!(credentials().update(json!({ "kind": "a" }), &stored, &cx, &mut ()).is_ok());
    let error = credentials().update(json!({ "kind": "b" }), &stored, &cx, &mut ()).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("schema violation (kind: immutable field cannot be updated)"));
}

#[test]
fn a_ttl_is_an_option_of_entities_that_expire() {
    let catalog = Catalog::new();
    let cx = context(&catalog);
    let with = |ttl: Value| json!({ "consumer": { "id": ID }, "username": "u", "password": "p", "ttl": ttl });
    assert_eq!(credentials().insert(with(json!(3600)), &cx, &mut ()).unwrap()["ttl"], 3600);
    for bad in [json!(-1), json!(100_000_001), json!(1.5), json!("x"), Value::Null] {
        let error = credentials().insert(with(bad), &cx, &mut ()).unwrap_err();
        assert_eq!(
            error.to_json(),
            json!({
                "code": 11, "name": "invalid options",
                "message": "invalid option (ttl: must be an integer between 0 and 100000000)",
                "options": { "ttl": "must be an integer between 0 and 100000000" },
            })
        );
    }
    assert!(credentials().validate(with(json!("x")), &cx).is_ok());
    let other = catalog_error(json!({ "host": "a.test", "ttl": 5 }));
    assert_eq!(other.as_deref(), Some("schema violation (ttl: unknown field)"));
}

fn catalog_error(input: Value) -> Option<String> {
    let catalog = catalog();
    catalog["services"].insert(input, &context(&catalog), &mut ()).err().and_then(|error| error.message.clone())
}

#[test]
fn the_steps_of_a_write_can_be_taken_apart() {
    let catalog = catalog();
    let cx = context(&catalog);
    let services = &catalog["services"];
    let processed = services.auto_fields(service(), Operation::Insert, &cx).unwrap();
    assert_eq!(services.check(&processed, &cx), Ok(()));
    let patch = services.auto_fields(json!({ "host": "b.test" }), Operation::Update, &cx).unwrap();
    assert_eq!(patch, json!({ "updated_at": 1_700_000_000, "host": "b.test" }));
    let merged = services.merge(&processed, patch.clone());
    assert_eq!(services.check_update(&merged, &patch, &processed, &cx), Ok(()));
    assert_eq!((&merged["host"], &merged["port"]), (&json!("b.test"), &json!(80)));
    assert_eq!(services.transform(merged.clone(), &cx), Ok(merged));
}

#[test]
fn keys_of_paths_are_validated() {
    let catalog = catalog();
    let cx = context(&catalog);
    let services = &catalog["services"];
    let error = services.validate_primary_key(&json!({ "id": "absent" }), &cx).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("invalid primary key: '{id=\"expected a valid UUID\"}'"));
    let error = services.validate_unique("name", &json!("f o"), &cx).unwrap_err();
    assert_eq!((error.code.number(), error.name.as_str()), (10, "invalid unique name"));
    assert_eq!(services.validate_unique("name", &json!("fo"), &cx), Ok(()));
    assert_eq!(services.foreign_fields().collect::<Vec<_>>(), [("client_certificate", "certificates")]);
    assert_eq!(services.unique_fields().collect::<Vec<_>>(), ["name"]);
    assert_eq!(services.cache_key_values(&json!({})), None);
    let plugin = json!({ "name": "cors", "service": { "id": ID } });
    let key = catalog["plugins"].cache_key_values(&plugin).unwrap();
    assert_eq!(
        Error::unique_violation(&key).message,
        Some(format!(
            "UNIQUE violation detected on '{{consumer=null,name=\"cors\",route=null,service={{id=\"{ID}\"}}}}'"
        ))
    );
}

#[test]
fn errors_of_stores_have_kongs_words() {
    let key = json!({ "id": "x" });
    let cases = [
        (Error::primary_key_violation(&key), 400, "primary key violation on key '{id=\"x\"}'"),
        (
            Error::foreign_key_violation_invalid_reference("service", &key, "services"),
            400,
            "the foreign key '{id=\"x\"}' does not reference an existing 'services' entity.",
        ),
        (
            Error::foreign_key_violation_restricted("services", "routes"),
            400,
            "an existing 'routes' entity references this 'services' entity",
        ),
        (Error::not_found(&key), 404, "could not find the entity with primary key '{id=\"x\"}'"),
        (Error::not_found_by_key(&json!({ "name": "x" })), 404, "could not find the entity with '{name=\"x\"}'"),
        (Error::invalid_offset("x", "bad base64 encoding"), 400, "'x' is not a valid offset: bad base64 encoding"),
        (
            Error::invalid_options(json!({ "tags": "cannot be null", "size": "bad" })),
            400,
            "2 option violations (size: bad; tags: cannot be null)",
        ),
        (
            Error::declarative(json!({ "services": [null, { "host": "bad" }] })),
            400,
            "declarative config is invalid: {services={[2]={host=\"bad\"}}}",
        ),
        (Error::transformation("x"), 500, "transformation failed: x"),
        (Error::operation_unsupported("cannot"), 405, "cannot"),
    ];
    for (error, status, text) in cases {
        assert_eq!((error.status(), error.message.as_deref()), (status, Some(text)));
    }
    assert_eq!(error::field("a.b", "c"), json!({ "a": { "b": "c" } }));
}

#[test]
fn shorthands_may_be_named_as_fields() {
    let algorithm = |value: &Value| {
        let mut out = Map::from_iter([("algorithm".to_owned(), value.clone())]);
        if value == "least-connections" {
            out.insert("hash_on".into(), Value::Null);
        }
        out
    };
    let hash_on = |value: &Value| {
        let pair = |hash_on: &str, algorithm: &str| {
            Map::from_iter([("hash_on".to_owned(), hash_on.into()), ("algorithm".to_owned(), algorithm.into())])
        };
        match value.as_str() {
            None => Map::from_iter([("hash_on".to_owned(), "none".into())]),
            Some("none") => pair("none", "round-robin"),
            Some(other) => pair(other, "consistent-hashing"),
        }
    };
    let record = RecordSchema::new([
        ("algorithm", Field::string().default("round-robin")),
        ("hash_on", Field::string().default("none")),
    ])
    .shorthand("algorithm", Field::string(), algorithm)
    .shorthand("hash_on", Field::string(), hash_on);
    let schema = EntitySchema::new("upstreams", record.into());
    let catalog = Catalog::new();
    let cx = context(&catalog);
    let set = |input: Value| {
        let out = schema.insert(input, &cx, &mut ()).unwrap();
        (out["algorithm"].as_str().unwrap().to_owned(), out["hash_on"].as_str().unwrap().to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(set(json!({})), pair("round-robin", "none"));
    assert_eq!(set(json!({ "hash_on": "ip" })), pair("consistent-hashing", "ip"));
    assert_eq!(set(json!({ "hash_on": "ip", "algorithm": "least-connections" })), pair("least-connections", "none"));
    assert_eq!(set(json!({ "hash_on": "none", "algorithm": "consistent-hashing" })), pair("round-robin", "none"));
    let stored = json!({ "algorithm": "consistent-hashing", "hash_on": "ip" });
    let change = |patch: Value| {
        let out = schema.update(patch, &stored, &cx, &mut ()).unwrap();
        (out["algorithm"].as_str().unwrap().to_owned(), out["hash_on"].as_str().unwrap().to_owned())
    };
    assert_eq!(change(json!({ "hash_on": null })), pair("consistent-hashing", "none"));
    assert_eq!(change(json!({ "algorithm": "least-connections" })), pair("least-connections", "none"));
}

#[test]
fn many_repeats_in_a_set_are_removed_quickly() {
    let catalog = catalog();
    let tags: Vec<String> = (0..50_000).map(|n| format!("t{}", n % 40)).collect();
    let entity = catalog["services"].insert(json!({ "host": "h", "tags": tags }), &context(&catalog), &mut ()).unwrap();
    assert_eq!(entity["tags"].as_array().unwrap().len(), 40);
}
