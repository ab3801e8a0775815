//! Forms: recorded notations and what Kong made of them.

use super::entities::{Consumer, Service, catalog};
use crate::form::{MAX_ARGUMENTS, decode_untyped};
use crate::{Entity, EntitySchema, FormError, Value, json};

/// `a=1&b` as arguments; nothing here is percent-encoded.
fn arguments(form: &str) -> Vec<(String, Option<String>)> {
    form.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (part.to_owned(), None),
        })
        .collect()
}

fn expect(schema: &EntitySchema, cases: &[(&str, Value)]) {
    for (form, value) in cases {
        assert_eq!(schema.decode_form(&arguments(form)).unwrap(), *value, "{form}");
    }
}

#[test]
fn scalars_take_the_types_of_their_fields() {
    expect(
        Service::schema(),
        &[
            (
                "host=a.test&name=one&port=8080&retries=0",
                json!({ "host": "a.test", "name": "one", "port": 8080, "retries": 0 }),
            ),
            ("port=80a", json!({ "port": "80a" })),
            ("retries=1.5", json!({ "retries": 1.5 })),
            ("retries=0x10", json!({ "retries": 16 })),
            ("retries=1e2", json!({ "retries": 100 })),
            ("retries=+7", json!({ "retries": 7 })),
            ("retries= 7", json!({ "retries": 7 })),
            ("retries=-.5", json!({ "retries": -0.5 })),
            ("retries=inf", json!({ "retries": "inf" })),
            ("retries=nan", json!({ "retries": "nan" })),
            ("retries=", json!({ "retries": null })),
            ("enabled=false", json!({ "enabled": false })),
            ("enabled=FALSE", json!({ "enabled": "FALSE" })),
            ("enabled=1", json!({ "enabled": "1" })),
            ("name=5&host=true", json!({ "name": "5", "host": "true" })),
            ("host=a&host=b", json!({ "host": ["a", "b"] })),
            ("host", json!({ "host": true })),
            ("nope=1", json!({ "nope": "1" })),
            ("url=", json!({ "url": null })),
            ("=", json!({})),
            ("", json!({})),
            ("client_certificate.id=x", json!({ "client_certificate": { "id": "x" } })),
            (".a=1", json!({ "name": "1" })),
            ("a.=1", json!({ "name": "1" })),
        ],
    );
}

#[test]
fn arrays_have_several_notations() {
    let two = json!({ "tags": ["a", "b"] });
    expect(
        Consumer::schema(),
        &[
            ("tags[]=a&tags[]=b", two.clone()),
            ("tags=a&tags=b", two.clone()),
            ("tags[1]=a&tags[2]=b", two.clone()),
            ("tags[2]=b&tags[1]=a", two),
            ("tags=a", json!({ "tags": ["a"] })),
            ("tags=a,b", json!({ "tags": ["a,b"] })),
            ("tags[1]=a", json!({ "tags": ["a"] })),
            ("tags[]=", json!({ "tags": [null] })),
            ("tags=", json!({ "tags": null })),
            ("tags[]=a&tags[1]=b", json!({ "tags": [["a", "b"]] })),
            ("tags[][]=a", json!({ "tags": [["a"]] })),
            ("tags[1]b=a", json!({ "tags": ["a"] })),
            ("tags[1=a", json!({ "tags[1": "a" })),
            ("[tags]=a", json!({ "[tags]": "a" })),
            ("tags[3]=c", json!({ "tags": { "3": "c" } })),
            ("tags[0]=z", json!({ "tags": { "0": "z" } })),
            ("tags[99999999999999999999]=z", json!({ "tags": { "99999999999999999999": "z" } })),
        ],
    );
}

#[test]
fn records_maps_and_foreign_fields_nest() {
    let catalog = catalog();
    expect(
        &catalog["routes"],
        &[
            ("paths=/a&headers.x-one=1", json!({ "paths": ["/a"], "headers": { "x-one": ["1"] } })),
            ("headers.x-one[]=1&headers.x-one[]=2", json!({ "headers": { "x-one": ["1", "2"] } })),
            ("headers.x-one[1]=1", json!({ "headers": { "x-one": ["1"] } })),
            ("headers[x-one][1]=1", json!({ "headers": { "x-one": ["1"] } })),
            ("service[name]=svc", json!({ "service": { "name": "svc" } })),
            ("service.id=", json!({ "service": { "id": null } })),
            ("service=svc", json!({ "service": "svc" })),
            ("sources[1].ip=10.0.0.1&sources[1].port=80", json!({ "sources": [{ "ip": "10.0.0.1", "port": 80 }] })),
            ("sources[1][port]=80", json!({ "sources": [{ "port": 80 }] })),
            ("sources[].ip=10.0.0.1", json!({ "sources": { "ip": "10.0.0.1" } })),
            (
                "protocols=tcp&sources[][ip]=10.0.0.1",
                json!({ "protocols": ["tcp"], "sources": [{ "ip": "10.0.0.1" }] }),
            ),
            ("headers[x.one]=1", json!({ "headers": { "x.one": ["1"] } })),
            ("headers[x.one][a.b=1", json!({ "headers": { "x.one": { "b": "1" } } })),
            ("sources.port=80", json!({ "sources": { "port": "80" } })),
            ("strip_path=false", json!({ "strip_path": false })),
        ],
    );
    expect(
        &catalog["plugins"],
        &[
            ("name=rate-limiting&config.minute=5", json!({ "name": "rate-limiting", "config": { "minute": 5 } })),
            (
                "name=rate-limiting&config[redis][port]=5",
                json!({ "name": "rate-limiting", "config": { "redis": { "port": 5 } } }),
            ),
            (
                "name=rate-limiting&config.redis_port=5",
                json!({ "name": "rate-limiting", "config": { "redis_port": 5 } }),
            ),
            ("name=acl&config.allow=a", json!({ "name": "acl", "config": { "allow": ["a"] } })),
            ("config.minute=5", json!({ "config": { "minute": "5" } })),
        ],
    );
    let known = catalog["plugins"].decode_form_for(&arguments("config.minute=5"), "rate-limiting").unwrap();
    assert_eq!(known, json!({ "config": { "minute": 5 } }));
}

#[test]
fn untyped_forms_keep_their_strings() {
    assert_eq!(decode_untyped(&arguments("port=80&enabled=true")).unwrap(), json!({ "port": "80", "enabled": "true" }));
}

#[test]
fn the_size_of_a_form_is_bounded() {
    let most = vec![("tags[]".to_owned(), Some("t".to_owned())); MAX_ARGUMENTS];
    assert!(decode_untyped(&most).is_ok());
    let more = vec![("tags[]".to_owned(), Some("t".to_owned())); MAX_ARGUMENTS + 1];
    assert_eq!(decode_untyped(&more), Err(FormError::TooManyArguments));
    let deep = vec!["a"; 50_000].join(".");
    let decoded = decode_untyped(&[(deep.clone(), Some("x".into()))]).unwrap();
    assert_eq!(decoded, json!({ deep: "x" }));
    let brackets = format!("a{}", "[b]".repeat(50_000));
    let decoded = decode_untyped(&[(brackets.clone(), Some("x".into()))]).unwrap();
    assert_eq!(decoded, json!({ brackets: "x" }));
}
