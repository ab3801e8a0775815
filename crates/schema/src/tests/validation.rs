//! Recorded requests and the messages and error trees Kong answered.

use super::context;
use super::entities::catalog;
use crate::{Field, Value, json, typedefs};

/// The message of the error, or an empty text for a valid entity.
fn message(entity: &str, input: Value) -> String {
    let catalog = catalog();
    match catalog[entity].validate(input, &context(&catalog)) {
        Ok(_) => String::new(),
        Err(error) => error.message.clone().unwrap_or_default(),
    }
}

fn expect(entity: &str, cases: &[(Value, &str)]) {
    for (input, text) in cases {
        assert_eq!(message(entity, input.clone()), *text, "{input}");
    }
}

#[test]
fn services() {
    let conditional = |field: &str| {
        format!(
            "2 schema violations (failed conditional validation given value of field 'protocol'; {field}: value must be null)"
        )
    };
    let with = |extra: Value| {
        let mut out = json!({ "host": "a.test" });
        out.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        out
    };
    expect(
        "services",
        &[
            (json!({ "host": "a.test" }), ""),
            (json!({}), "schema violation (host: required field missing)"),
            (json!({ "host": null }), "schema violation (host: required field missing)"),
            (json!({ "host": "" }), "schema violation (host: length must be at least 1)"),
            (with(json!({ "port": 1.5 })), "schema violation (port: expected an integer)"),
            (with(json!({ "port": "80" })), "schema violation (port: expected an integer)"),
            (with(json!({ "port": 8080.0 })), ""),
            (with(json!({ "port": 65536 })), "schema violation (port: value should be between 0 and 65535)"),
            (with(json!({ "connect_timeout": null })), ""),
            (with(json!({ "protocol": null })), "schema violation (protocol: required field missing)"),
            (with(json!({ "tags": { "k": "v" } })), "schema violation (tags: expected a set)"),
            (with(json!({ "tags": {} })), ""),
            (with(json!({ "tags": [null] })), "schema violation (tags.1: required field missing)"),
            (with(json!({ "id": "x" })), "schema violation (id: expected a valid UUID)"),
            (with(json!({ "created_at": 0 })), "schema violation (created_at: expected a valid timestamp)"),
            (with(json!({ "created_at": "yesterday" })), "schema violation (created_at: expected an integer)"),
            (with(json!({ "updated_at": "yesterday" })), ""),
            (with(json!({ "protocol": "tcp", "path": "/x" })), &conditional("path")),
            (with(json!({ "tls_verify_depth": "12x" })), &conditional("tls_verify_depth")),
            (with(json!({ "client_certificate": ["v"] })), &conditional("client_certificate")),
            (
                with(json!({ "protocol": "https", "client_certificate": ["v"] })),
                "schema violation (client_certificate.1: unknown field)",
            ),
            (
                with(json!({ "protocol": "https", "client_certificate": { "id": null } })),
                "schema violation (client_certificate.id: required field missing)",
            ),
            (with(json!({ "ca_certificates": ["x"] })), "schema violation (ca_certificates.1: expected a valid UUID)"),
            (
                json!({ "nope": 1, "port": -1, "protocol": "x", "retries": 99999, "tags": [1] }),
                "6 schema violations (host: required field missing; nope: unknown field; port: value should be between 0 and 65535; protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp; retries: value should be between 0 and 32767; tags.1: expected a string)",
            ),
        ],
    );
}

#[test]
fn routes() {
    expect(
        "routes",
        &[
            (json!({ "paths": ["/a"] }), ""),
            (
                json!({ "name": "x" }),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            ),
            (
                json!({ "protocols": ["http"] }),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http')",
            ),
            (json!({ "paths": ["/a"], "protocols": ["ws"] }), "schema violation (protocols: unknown type: ws)"),
            (json!({ "paths": ["/a"], "protocols": "scalar" }), "schema violation (protocols: unknown type: scalar)"),
            (json!({ "paths": ["/a"], "protocols": "http" }), "schema violation (protocols: expected a set)"),
            (json!({ "paths": ["/a"], "protocols": null }), "schema violation (protocols: required field missing)"),
            (
                json!({ "paths": ["/a"], "protocols": ["http", "tcp"] }),
                "schema violation (protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp'))",
            ),
            (
                json!({ "paths": ["/a"], "protocols": ["http"], "snis": ["a.test"] }),
                "2 schema violations ('snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'; snis: length must be 0)",
            ),
            (json!({ "paths": ["/a"], "headers": { "x": [1] } }), "schema violation (headers.1: expected a string)"),
            (json!({ "paths": ["/a"], "headers": { "x": "y" } }), "schema violation (headers: expected an array)"),
            (
                json!({ "paths": ["/a"], "headers": { "x": null } }),
                "schema violation (headers: required field missing)",
            ),
            (json!({ "paths": ["/a"], "headers": {} }), ""),
            (
                json!({ "paths": ["/a"], "headers": { "HOST": ["a"] } }),
                "schema violation (headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute)",
            ),
            (
                json!({ "paths": ["/a"], "sources": [{ "port": 1 }] }),
                "schema violation (sources: cannot set 'sources' when 'protocols' is 'http' or 'https')",
            ),
            (
                json!({ "protocols": ["tcp"], "sources": [{ "ip": "x" }] }),
                "schema violation (sources.1: {\n  ip = \"invalid ip or cidr range: 'x'\"\n})",
            ),
            (
                json!({ "protocols": ["tcp"], "sources": [{}] }),
                "schema violation (sources.1: {\n  [\"@entity\"] = {\n    \"at least one of these fields must be non-empty: 'ip', 'port'\"\n  }\n})",
            ),
            (json!({ "paths": ["/a"], "service": "x" }), "schema violation (service.id: missing primary key)"),
            (
                json!({ "paths": ["/a"], "service": { "id": "x" } }),
                "schema violation (service.id: expected a valid UUID)",
            ),
            (
                json!({ "paths": ["/a"], "service": { "protocol": "x" } }),
                "schema violation (service.protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)",
            ),
        ],
    );
}

#[test]
fn consumers() {
    let neither = "at least one of these fields must be non-empty: 'custom_id', 'username'";
    expect(
        "consumers",
        &[
            (json!({ "custom_id": "c" }), ""),
            (json!({ "custom_id": null, "username": null }), &format!("schema violation ({neither})")),
            (
                json!({ "custom_id": "", "username": "" }),
                &format!(
                    "3 schema violations ({neither}; custom_id: length must be at least 1; username: length must be at least 1)"
                ),
            ),
            (json!({ "username": 5 }), "schema violation (username: expected a string)"),
        ],
    );
}

#[test]
fn plugins() {
    expect(
        "plugins",
        &[
            (json!({}), "schema violation (name: required field missing)"),
            (
                json!({ "name": "absent", "nope": 1 }),
                "schema violation (name: plugin 'absent' not enabled; add it to the 'plugins' configuration property)",
            ),
            (json!({ "name": "acl", "config": null }), "schema violation (config: required field missing)"),
            (
                json!({ "name": "acl", "config": { "allow": ["a"] }, "consumer": "scalar" }),
                "schema violation (consumer: value must be null)",
            ),
            (
                json!({ "name": "acl", "config": { "allow": [123] } }),
                "schema violation (config.allow: {\n  \"expected a string\"\n})",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5 }, "protocols": ["http", "tcp"] }),
                "schema violation (protocols.2: expected one of: grpc, grpcs, http, https)",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "policy": "redis" } }),
                "2 schema violations (failed conditional validation given value of field 'config.policy'; config.redis: {\n  host = \"required field missing\"\n})",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "redis": null } }),
                "schema violation (config.redis: required field missing)",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "hour": 1 } }),
                "schema violation (config: The limit for hour(1.0) cannot be lower than the limit for minute(5.0))",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": -1 } }),
                "schema violation (config.minute: value must be greater than 0)",
            ),
            (
                json!({ "name": "rate-limiting", "config": 5 }),
                "2 schema violations (at least one of these fields must be non-empty: 'config.minute', 'config.hour'; config: expected a record)",
            ),
            (
                json!({ "name": "rate-limiting", "config": ["v"] }),
                "2 schema violations (at least one of these fields must be non-empty: 'config.minute', 'config.hour'; config.1: unknown field)",
            ),
            // A shorthand's error comes without the path to it.
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": 5 } }),
                "schema violation (redis_host: expected a string)",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": "a", "redis": { "host": "b" } } }),
                "schema violation (redis_host: both deprecated and new field are used but their values mismatch: redis_host = a vs redis.host = b)",
            ),
            (
                json!({ "name": "rate-limiting", "config": { "minute": 5, "redis_host": "a", "redis": { "host": "a" } } }),
                "",
            ),
        ],
    );
}

#[test]
fn holes_in_the_error_tree_are_null() {
    let catalog = catalog();
    let input = json!({ "host": "a.test", "tags": ["a", 1, "b", 2] });
    let error = catalog["services"].validate(input, &context(&catalog)).unwrap_err();
    assert_eq!(
        error.to_json(),
        json!({
            "code": 2,
            "name": "schema violation",
            "message": "2 schema violations (tags.2: expected a string; tags.4: expected a string)",
            "fields": { "tags": [null, "expected a string", null, "expected a string"] },
        })
    );
    let keys: Vec<_> = error.to_json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["code", "name", "message", "fields"]);
}

#[test]
fn references_skip_the_validators_of_their_field() {
    let catalog = catalog();
    let cx = context(&catalog);
    let reference = json!("{vault://env/x}");
    assert_eq!(typedefs::certificate().referenceable(true).validate(&reference, &cx), Ok(()));
    assert!(typedefs::certificate().validate(&reference, &cx).is_err());
    assert!(typedefs::certificate().referenceable(true).validate(&json!("{vault:/env/x}"), &cx).is_err());
}

#[test]
fn constraints_apply_in_kongs_order_with_kongs_words() {
    let catalog = catalog();
    let cx = context(&catalog);
    let cases: Vec<(Field, Value, Result<(), &str>)> = vec![
        (Field::string().eq("x"), json!("y"), Err("value must be x")),
        (Field::boolean().eq(true), json!(null), Err("value must be true")),
        (Field::boolean().eq(false), json!(true), Err("value must be false")),
        (Field::string().ne("x"), json!("x"), Err("value must not be x")),
        (Field::string().ne(Value::Null).err("say something"), json!(null), Err("say something")),
        (Field::string().null(), json!("x"), Err("value must be null")),
        (Field::string().null(), json!(null), Ok(())),
        (Field::string().required(true), json!(null), Err("required field missing")),
        (Field::string().one_of(["a", "b"]), json!(""), Err("expected one of: a, b")),
        (Field::string().not_one_of(["a", "b"]), json!("b"), Err("must not be one of: a, b")),
        (Field::number().one_of([2048, 3072]), json!(1024), Err("expected one of: 2048, 3072")),
        (Field::number().one_of([1.0]), json!(1), Ok(())),
        (Field::number().gt(-1), json!(-1), Err("value must be greater than -1")),
        (Field::number().between(0.001, 1_000_000), json!(0), Err("value should be between 0 and 1000000")),
        (Field::string().len_eq(2), json!("abc"), Err("length must be 2")),
        (Field::string().len_min(0), json!(""), Ok(())),
        (Field::string().len_max(1).starts_with("x"), json!("abc"), Err("length must be at most 1")),
        (Field::string().starts_with("/").pattern("^/a"), json!("b"), Err("should start with: /")),
        (Field::string().not_match("%s"), json!("a b"), Err("invalid value: a b")),
        (Field::string().match_all([("^a", ""), ("b$", "must end with b")]), json!("ac"), Err("must end with b")),
        (Field::string().match_any(["^a", "^b"], ""), json!("c"), Err("invalid value: c")),
        (Field::array(Field::string()).contains("exp"), json!(["nbf"]), Err("expected to contain: exp")),
        (Field::array(Field::string()).len_max(1), json!(["a", "b"]), Err("length must be at most 1")),
        (Field::string().pattern("^a").err("custom"), json!("b"), Err("custom")),
        (Field::string().err("custom"), json!(5), Err("expected a string")),
        (Field::string().validator(|_| Err(String::new())), json!("v"), Err("failed validating: v")),
        (Field::function(), json!("v"), Err("expected a function")),
        (Field::json(), json!({ "any": ["thing"] }), Ok(())),
        (Field::map(Field::string(), Field::number()), json!({ "a": "b" }), Err("expected a number")),
    ];
    for (field, value, wanted) in cases {
        let got = field.validate(&value, &cx);
        assert_eq!(got, wanted.map_err(Value::from), "{} on {value}", field.to_json());
    }
}

#[test]
fn a_schema_from_data_works_as_one_from_a_struct() {
    let schema = json!({
        "fields": [
            { "certificate": { "type": "string", "referenceable": true } },
            { "mode": { "type": "string", "one_of": ["a", "b"], "default": "a", "required": true } },
            { "limits": { "type": "map", "keys": { "type": "string" }, "values": {
                "type": "record", "required": true,
                "fields": [{ "second": { "type": "number", "gt": 0 } }],
                "entity_checks": [{ "at_least_one_of": ["second"] }],
            } } },
            { "redis": { "type": "record", "required": true, "fields": [{ "host": { "type": "string" } }] } },
        ],
        "entity_checks": [{ "conditional": {
            "if_field": "mode", "if_match": { "eq": "b" }, "then_field": "redis.host", "then_match": { "required": true },
        } }],
        "shorthand_fields": [{ "redis_host": { "type": "string", "deprecation": {
            "message": "use redis.host", "removal_in_version": "4.0", "replaced_with": [{ "path": ["redis", "host"] }],
        } } }],
    });
    let record = crate::RecordSchema::from_json(&schema).unwrap();
    let catalog = catalog();
    let cx = context(&catalog);
    assert_eq!(
        record.process(json!({ "redis_host": "r" }), &cx),
        Ok(json!({ "certificate": null, "mode": "a", "limits": null, "redis": { "host": "r" } }))
    );
    assert_eq!(
        record.process(json!({ "mode": "b", "limits": { "x": {} } }), &cx),
        Err(json!({
            "limits": { "@entity": ["at least one of these fields must be non-empty: 'second'"] },
            "redis": { "host": "required field missing" },
            "@entity": ["failed conditional validation given value of field 'mode'"],
        }))
    );
    assert_eq!(record.to_json()["shorthand_fields"], schema["shorthand_fields"]);
    assert_eq!(record.to_json()["entity_checks"], schema["entity_checks"]);
    let unknown = json!({ "fields": [{ "x": { "type": "strin" } }] });
    assert_eq!(crate::RecordSchema::from_json(&unknown).unwrap_err(), "x: unknown type: strin");
}
