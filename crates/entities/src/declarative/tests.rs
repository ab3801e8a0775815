//! Declarative files, by tables of text and what comes of it.

mod twice;
mod yaml;

use schema::{Map, Value, json};

use super::{Declarative, Invalid, export, parse, parse_value, text_hash};
use crate::tests::{catalog, with_context};
use crate::{EMPTY_HASH, RouterFlavor};

fn load(text: &str) -> Result<Declarative, Invalid> {
    let catalog = catalog(RouterFlavor::default());
    with_context(&catalog, |cx| parse(text, &catalog, cx))
}

fn load_value(config: Value) -> Result<Declarative, Invalid> {
    let catalog = catalog(RouterFlavor::default());
    with_context(&catalog, |cx| parse_value(config, &catalog, cx))
}

fn errors(config: Value) -> Value {
    load_value(config).map_or_else(|invalid| Value::Object(invalid.fields().clone()), |_| Value::Null)
}

/// The only entity of a collection.
fn only<'d>(declarative: &'d Declarative, collection: &str) -> &'d Value {
    let all = &declarative.entities[collection];
    assert_eq!(all.len(), 1, "{collection}");
    &all[0]
}

#[test]
fn entities_are_nested_at_any_depth() {
    let declarative = load(
        "
_format_version: '3.0'
_comment: all of it
services:
- name: svc
  url: http://a.test/base
  _comment: the only one
  _ignore: [anything]
  plugins:
  - name: limits
    config: {minute: 5}
  routes:
  - name: rt
    paths: [/a]
    plugins:
    - name: key-auth
consumers:
- username: u
  keyauth_credentials:
  - key: k
  basicauth_credentials:
  - username: b
    password: p
upstreams:
- name: u.test
  targets:
  - target: 10.0.0.2
",
    )
    .unwrap();
    let service = only(&declarative, "services");
    let route = only(&declarative, "routes");
    assert_eq!(service["path"], "/base");
    assert_eq!(route["service"]["id"], service["id"]);
    assert_eq!(only(&declarative, "keyauth_credentials")["consumer"]["id"], only(&declarative, "consumers")["id"]);
    let plugin = |name: &str| declarative.entities["plugins"].values().find(|plugin| plugin["name"] == name).unwrap();
    let (limits, key_auth) = (plugin("limits"), plugin("key-auth"));
    assert_eq!((&limits["service"]["id"], &limits["route"]), (&service["id"], &Value::Null));
    assert_eq!((&key_auth["route"]["id"], &key_auth["service"]), (&route["id"], &Value::Null));
    assert_eq!(limits["config"], json!({"minute": 5, "policy": "local"}));

    // What is answered is what was said; what is stored is what is used.
    assert_eq!(only(&declarative, "targets")["target"], "10.0.0.2");
    assert_eq!(only(&declarative, "basicauth_credentials")["password"], "p");
    let configuration = declarative.configuration().unwrap();
    assert_eq!(configuration.targets.values().next().unwrap().target, "10.0.0.2:8000");
    assert_eq!(configuration.basicauth_credentials.values().next().unwrap().password.len(), 40);
    assert_eq!(configuration.len(), 9);
    assert_eq!(configuration.hash, declarative.hash);
    assert_eq!(declarative.clone().into_rows().len(), 9);
    let names: Vec<&String> = declarative.entities.keys().collect();
    let wanted = [
        "consumers",
        "services",
        "routes",
        "upstreams",
        "targets",
        "plugins",
        "basicauth_credentials",
        "keyauth_credentials",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn entities_refer_to_each_other_by_name_and_by_id() {
    const ID: &str = "00000000-0000-4000-8000-000000000001";
    for reference in [json!("svc"), json!(ID), json!({"id": ID}), json!({"id": ID, "host": "a.test"})] {
        let declarative = load_value(json!({
            "_format_version": "3.0",
            "routes": [{"paths": ["/a"], "service": reference}],
            "services": [{"id": ID, "name": "svc", "host": "a.test"}],
        }))
        .unwrap();
        assert_eq!(only(&declarative, "routes")["service"]["id"], ID, "{reference}");
        let (_, row) = declarative.rows().find(|(entity, _)| *entity == "routes").unwrap();
        assert_eq!(row["service"], json!({"id": ID}), "{reference}");
    }
}

#[test]
fn ids_depend_on_names_alone() {
    let text = "
_format_version: '3.0'
services:
- {name: svc, host: a.test, routes: [{name: rt, paths: [/a], plugins: [{name: limits}]}]}
";
    let (one, other) = (load(text).unwrap(), load(&text.replace("a.test", "b.test").replace("/a", "/b")).unwrap());
    for collection in ["services", "routes", "plugins"] {
        assert_eq!(only(&one, collection)["id"], only(&other, collection)["id"], "{collection}");
    }
    // Made of v5(namespace, "services") and "svc", and of what is the cache's key in Kong: "vaults:*:a-b".
    let kongs = [
        (json!({"services": [{"name": "svc", "host": "a.test"}]}), "services", "b9f04b04-ab65-5e2a-b4c4-f82b7d5b781c"),
        (json!({"vaults": [{"name": "env", "prefix": "a-b"}]}), "vaults", "3ad11388-3f98-5213-b44c-e51d027d08f2"),
        (
            json!({"consumers": [{"username": "u", "basicauth_credentials": [{"username": "b", "password": "p"}]}]}),
            "basicauth_credentials",
            "af43ae62-d1f2-5e0d-b8b4-953ba7d80355",
        ),
    ];
    for (mut config, collection, id) in kongs {
        config["_format_version"] = "3.0".into();
        assert_eq!(only(&load_value(config).unwrap(), collection)["id"], id, "{collection}");
    }
}

#[test]
fn counts_and_workspaces_are_taken_and_not_told() {
    let config = |counts: Value| json!({"_format_version": "3.0", "workspaces": [{"name": "default"}], "ratelimiting_metrics": counts});
    assert_eq!(load_value(config(json!([]))).unwrap().to_json(), json!({}));
    assert_eq!(errors(config(json!([{}]))), json!({"ratelimiting_metrics": "unknown field"}));
}

#[test]
fn the_head_of_a_file_is_checked() {
    let cases = [
        (json!({}), json!({"_format_version": "required field missing"})),
        (json!([]), json!({"_format_version": "required field missing"})),
        (json!({"_format_version": 3.0}), json!({"_format_version": "expected a string"})),
        (json!({"_format_version": "3.1"}), json!({"_format_version": "expected one of: 1.1, 2.1, 3.0"})),
        (json!({"_format_version": "3.0", "_transform": "x"}), json!({"_transform": "expected a boolean"})),
        (json!({"_format_version": "3.0", "_info": {}}), json!({"_info": "unknown field"})),
        (json!({"_format_version": "3.0", "tags": []}), json!({"tags": "unknown field"})),
        (json!({"_format_version": "3.0", "services": "x"}), json!({"services": "expected an array"})),
        (json!({"_format_version": "3.0", "services": ["x"]}), json!({"services": ["expected a record"]})),
        (json!({"_format_version": "3.0", "services": {}, "routes": null, "_comment": null}), json!(null)),
        (json!("text"), json!({"error": "failed parsing declarative configuration: expected an object"})),
    ];
    for (config, wanted) in cases {
        assert_eq!(errors(config.clone()), wanted, "{config}");
    }
}

#[test]
fn errors_stand_where_their_entities_do() {
    let cases = [
        (
            json!({"services": [{"host": "a.test"}, {"name": "two"}]}),
            json!({"services": [null, {"host": "required field missing"}]}),
        ),
        (
            json!({"services": [{"host": "a b", "routes": [{"paths": ["/a"]}, {"paths": ["b"]}]}]}),
            json!({"services": [{
                "host": "invalid value: a b",
                "routes": [null, {"paths": ["should start with: / (fixed path) or ~/ (regex path)"]}],
            }]}),
        ),
        (
            json!({"services": [{"host": "a.test", "consumers": []}]}),
            json!({"services": [{"consumers": "unknown field"}]}),
        ),
        (
            json!({"services": [{"host": "a.test", "routes": [{"paths": ["/a"], "service": "x"}]}]}),
            json!({"services": [{"routes": [{"service": "value must be null"}]}]}),
        ),
        (
            json!({"keyauth_credentials": [{"key": "k"}]}),
            json!({"keyauth_credentials": [{"consumer": "required field missing"}]}),
        ),
        (
            json!({"routes": [{"name": "rt", "paths": ["/a"], "service": "absent"}]}),
            json!({"routes": {"rt": ["invalid reference 'service: absent' (no such entry in 'services')"]}}),
        ),
        (
            json!({"services": [{"name": "s", "host": "a"}, {"name": "s", "host": "b"}]}),
            json!({"services": [null, "uniqueness violation: 'services' entity with name set to 's' already declared"]}),
        ),
        (
            json!({"services": [{"name": "s", "host": "a", "routes": [{"name": "r", "paths": ["/a"]}, {"name": "r", "paths": ["/b"]}]}]}),
            json!({"services": [{"routes":
                [null, "uniqueness violation: 'routes' entity with name set to 'r' already declared"]}]}),
        ),
        (
            json!({"consumers": [{"username": "a", "custom_id": "c"}, {"username": "b", "custom_id": "c"}]}),
            json!({"consumers":
                {"b": "uniqueness violation: 'consumers' entity with custom_id set to 'c' already declared"}}),
        ),
    ];
    for (mut config, wanted) in cases {
        config["_format_version"] = "3.0".into();
        assert_eq!(errors(config.clone()), wanted, "{config}");
    }
}

#[test]
fn two_of_one_id_are_one_too_many() {
    const ID: &str = "00000000-0000-4000-8000-000000000001";
    let plugin = json!({"id": ID, "name": "limits"});
    let message = format!("uniqueness violation: 'plugins' entity with primary key set to '{ID}' already declared");
    assert_eq!(
        errors(json!({"_format_version": "3.0", "plugins": [plugin, plugin]})),
        json!({"plugins": [null, message]})
    );
}

#[test]
fn errors_can_be_told_one_by_one() {
    let invalid = load_value(json!({
        "_format_version": "3.0",
        "nopes": 1,
        "services": [{
            "id": "00000000-0000-4000-8000-000000000001", "name": "svc", "host": "bad host", "tags": ["t"],
            "routes": [{"name": "rt", "methods": ["get"], "paths": []}],
        }],
    }))
    .unwrap_err();
    let wanted = json!({
        "code": 14,
        "name": "invalid declarative configuration",
        "message": "declarative config is invalid: {nopes=\"unknown field\"}",
        "fields": {"nopes": "unknown field"},
        "flattened_errors": [
            {
                "entity_type": "route",
                "entity_name": "rt",
                "entity": {
                    "name": "rt", "methods": ["get"], "paths": {}, "service": {"id": "00000000-0000-4000-8000-000000000001"},
                },
                "errors": [{"type": "field", "field": "methods.1", "message": "invalid value: get"}],
            },
            {
                "entity_type": "service",
                "entity_id": "00000000-0000-4000-8000-000000000001",
                "entity_name": "svc",
                "entity_tags": ["t"],
                "entity": {
                    "id": "00000000-0000-4000-8000-000000000001", "name": "svc", "host": "bad host", "tags": ["t"],
                },
                "errors": [{"type": "field", "field": "host", "message": "invalid value: bad host"}],
            },
        ],
    });
    assert_eq!(invalid.flattened(), wanted);
}

#[test]
fn a_person_is_told_the_place_in_the_file() {
    let text = "\
_format_version: '3.0'
services:
- name: svc
  host: a.test
- name: two
  routes:
  - paths:
    - /fine
    - bad
plugins:
- name: nope
";
    let wanted = "\
in 'services':
  - in entry 2 of 'services':
    in 'host': required field missing (kong.yml:5)
    in 'routes':
      - in entry 1 of 'routes':
        in 'paths':
          - in entry 2 of 'paths': should start with: / (fixed path) or ~/ (regex path) (kong.yml:9)
in 'plugins':
  - in entry 1 of 'plugins':
    in 'name': plugin 'nope' not enabled; add it to the 'plugins' configuration property (kong.yml:11)";
    let invalid = load(text).unwrap_err();
    assert_eq!(invalid.pretty(Some("kong.yml")), wanted);
    assert!(invalid.pretty(None).contains("required field missing (line 5)"));
}

#[test]
fn text_that_cannot_be_read_is_placed_too() {
    let cases = [
        ("a: [", "kong.yml:2:1: did not find expected node content", "1:4: did not find expected node content"),
        ("{", "kong.yml:2:1: did not find expected node content", "1:1: did not find expected node content"),
        (
            "\tx: 1\n",
            "kong.yml:1:2: found character that cannot start any token",
            "1:1: found character that cannot start any token",
        ),
        ("just text", "kong.yml: expected an object", "expected an object"),
    ];
    for (text, pretty, recorded) in cases {
        let invalid = load(text).unwrap_err();
        assert_eq!(invalid.pretty(Some("kong.yml")), pretty);
        let error = format!("failed parsing declarative configuration: {recorded}");
        assert_eq!(Value::Object(invalid.fields().clone()), json!({"error": error}));
    }
}

#[test]
fn paths_of_old_files_become_regexes_where_they_look_like_one() {
    let paths = |version: &str| {
        let paths = ["/a", "/b/\\d+", "~/c", "/d.e", "/f/../g", "/\\d+%2e", "/(?<x>a)%41%5B%2f", "/(%2d%5c%7c%zz)"];
        let config = json!({
            "_format_version": version,
            "services": [{"host": "a.test", "routes": [{"paths": if version == "3.0" { &paths[..4] } else { &paths[..] }}]}],
        });
        only(&load_value(config).unwrap(), "routes")["paths"].clone()
    };
    let migrated = ["/a", "~/b/\\d+", "~/c", "/d.e", "/g", "~/\\d+\\.", "~/(?<x>a)A%5B%2F", "~/(\\-\\\\\\|%zz)"];
    assert_eq!(paths("1.1"), json!(migrated));
    let twice = json!({"_format_version": "2.1", "routes": [{"paths": ["~/r(\\d)"]}]});
    assert_eq!(errors(twice), json!({"routes": [{"paths": ["should start with: / (fixed path) or ~/ (regex path)"]}]}));
    assert_eq!(paths("3.0"), json!(["/a", "/b/\\d+", "~/c", "/d.e"]));
}

#[test]
fn what_is_already_transformed_stays() {
    let config = |transform: bool| {
        json!({
            "_format_version": "3.0", "_transform": transform,
            "consumers": [{"username": "u", "basicauth_credentials": [{"username": "b", "password": "p"}]}],
        })
    };
    let password = |transform| {
        let configuration = load_value(config(transform)).unwrap().configuration().unwrap();
        configuration.basicauth_credentials.values().next().unwrap().password.clone()
    };
    assert_eq!(password(false), "p");
    assert_eq!(password(true).len(), 40);
}

#[test]
fn the_hash_is_that_of_the_text_unless_there_is_nothing_in_it() {
    let text = "_format_version: '3.0'\nservices:\n- id: 00000000-0000-4000-8000-000000000001\n  name: svc\n  \
                url: http://127.0.0.1:15555/base\n  routes:\n  - id: 00000000-0000-4000-8000-000000000002\n    name: rt\n    \
                paths:\n    - /decl\n";
    // Recorded from Kong.
    assert_eq!(load(text).unwrap().hash, "4ebfeeb94470871a44f7af91fad9f8b4");
    assert_eq!(text_hash(text), "4ebfeeb94470871a44f7af91fad9f8b4");
    assert_eq!(load_value(json!({"_format_version": "3.0"})).unwrap().hash, EMPTY_HASH);
}

#[test]
fn certificates_have_their_names_as_entities() {
    let declarative = load_value(json!({
        "_format_version": "3.0",
        "certificates": [{"cert": "{vault://env/c}", "key": "{vault://env/k}", "snis": [{"name": "a.test"}]}],
    }))
    .unwrap();
    assert_eq!(only(&declarative, "snis")["certificate"]["id"], only(&declarative, "certificates")["id"]);
}

#[test]
fn each_consumer_group_has_plugins_of_its_own() {
    let group = |name: &str| json!({"name": name, "plugins": [{"name": "limits"}]});
    let declarative = load_value(json!({
        "_format_version": "3.0",
        "consumers": [{"username": "u", "consumer_group_consumers": [{"id": null}]}],
        "consumer_groups": [group("gold"), group("silver")],
    }));
    let missing = json!({"consumers": [{"consumer_group_consumers": [{"consumer_group": "required field missing"}]}]});
    assert_eq!(Value::Object(declarative.unwrap_err().fields().clone()), missing);
    let declarative = load_value(json!({
        "_format_version": "3.0",
        "consumers": [{"username": "u"}],
        "consumer_groups": [group("gold"), group("silver")],
        "consumer_group_consumers": [{"consumer": "u", "consumer_group": "gold"}],
    }))
    .unwrap();
    let configuration = declarative.configuration().unwrap();
    assert_eq!(configuration.plugins.values().filter(|plugin| plugin.consumer_group.is_some()).count(), 2);
    assert_eq!(configuration.consumer_group_consumers.len(), 1);
}

#[test]
fn key_auth_may_be_nested_in_a_consumer_as_kong_lets_it() {
    let declarative = load_value(json!({
        "_format_version": "3.0",
        "consumers": [{"username": "u", "plugins": [{"name": "key-auth"}]}],
    }))
    .unwrap();
    assert_eq!(only(&declarative, "plugins")["consumer"]["id"], only(&declarative, "consumers")["id"]);
}

#[test]
fn what_is_exported_loads_as_the_same_configuration() {
    let text = "
_format_version: '3.0'
services:
- {name: 'yes', host: a.test, tags: ['1', 'a: b', \"q'\"], routes: [{name: rt, paths: ['~/a$', /b], headers: {x-a: [v]}}]}
consumers:
- {username: u, basicauth_credentials: [{username: b, password: p}], acls: [{group: g}]}
upstreams:
- {name: u.test, targets: [{target: '[::1]:80'}]}
plugins:
- {name: limits, route: rt, config: {minute: 0.5}}
";
    let declarative = load(text).unwrap();
    let exported = export(declarative.rows(), &catalog(RouterFlavor::default()));
    assert!(exported.starts_with("_format_version: '3.0'\n_transform: false\n"), "{exported}");
    let again = load(&exported).unwrap_or_else(|invalid| panic!("{}\n{exported}", invalid.pretty(None)));
    let by_id = |declarative: &Declarative| -> Map<String, Value> {
        let rows = declarative.rows().map(|(entity, row)| (format!("{entity} {}", row["id"]), row.clone()));
        rows.map(|(key, mut row)| {
            row.as_object_mut().unwrap().remove("updated_at");
            (key, row)
        })
        .collect()
    };
    assert_eq!(by_id(&declarative), by_id(&again));
}

#[test]
fn a_large_file_loads_whole() {
    let routes: Vec<Value> = (0..5000)
        .map(|n| json!({"name": format!("r{n}"), "paths": [format!("/{n}")], "service": format!("s{n}"), "plugins": [{"name": "key-auth"}, {"name": "limits"}]}))
        .collect();
    let services: Vec<Value> = (0..5000).map(|n| json!({"name": format!("s{n}"), "host": "a.test"})).collect();
    let declarative = load_value(json!({"_format_version": "3.0", "routes": routes, "services": services})).unwrap();
    let configuration = declarative.configuration().unwrap();
    let counts = (configuration.routes.len(), configuration.services.len(), configuration.plugins.len());
    assert_eq!(counts, (5000, 5000, 10_000));
}

/// So many services that several threads read them, each with a route.
fn many() -> Value {
    let service = |n: usize| json!({"name": format!("s{n}"), "host": "a.test", "routes": [{"name": format!("r{n}"), "paths": [format!("/{n}")]}]});
    json!({"_format_version": "3.0", "services": (0..700).map(service).collect::<Vec<_>>()})
}

#[test]
fn what_several_threads_read_is_in_the_order_of_the_file() {
    let declarative = load_value(many()).unwrap();
    let names =
        |collection: &str| declarative.entities[collection].values().map(|e| e["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names("services"), (0..700).map(|n| json!(format!("s{n}"))).collect::<Vec<_>>());
    assert_eq!(names("routes"), (0..700).map(|n| json!(format!("r{n}"))).collect::<Vec<_>>());
    for (route, service) in declarative.entities["routes"].values().zip(declarative.entities["services"].values()) {
        assert_eq!(route["service"]["id"], service["id"], "{}", route["name"]);
    }
}

#[test]
fn errors_that_several_threads_find_stand_where_their_entities_do() {
    let mut invalid = many();
    invalid["services"][3]["host"] = json!(true);
    invalid["services"][698]["routes"][0]["paths"] = json!(["x"]);
    let found = errors(invalid);
    let places = |list: &Value| (0..list.as_array().unwrap().len()).filter(|n| !list[n].is_null()).collect::<Vec<_>>();
    assert_eq!(places(&found["services"]), [3, 698]);
    assert_eq!(found["services"][3], json!({"host": "expected a string"}));
    assert_eq!(
        found["services"][698],
        json!({"routes": [{"paths": ["should start with: / (fixed path) or ~/ (regex path)"]}]})
    );
    // Parents are found again when all are together.
    let mut twice = many();
    twice["services"][650]["routes"][0]["name"] = json!("r5");
    let message = "uniqueness violation: 'routes' entity with name set to 'r5' already declared";
    assert_eq!(errors(twice)["services"][650], json!({"routes": [message]}));
}
