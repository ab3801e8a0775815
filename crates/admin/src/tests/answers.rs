//! Answers of the Admin API in Kong's words, where the tester found ours to be others.
use super::api::{World, world};
use serde_json::{Value, json};

fn with_upstream() -> World {
    let world = world();
    assert_eq!(world.json("POST", "/upstreams", &json!({ "name": "u" })).0, 201);
    world
}

#[test]
fn a_new_target_that_is_no_address_is_all_that_is_told() {
    let world = with_upstream();
    for input in
        [json!({ "target": "a b" }), json!({ "target": "" }), json!({ "target": "a b", "weight": "x", "y": 1 })]
    {
        let (status, answer) = world.json("POST", "/upstreams/u/targets", &input);
        let want = "schema violation (target: Invalid target; not a valid hostname or ip address)";
        assert_eq!((status, &answer["message"]), (400, &json!(want)), "{input}");
    }
    assert_eq!(world.json("POST", "/upstreams/no/targets", &json!({ "target": "a b" })).0, 404);
    assert_eq!(
        world.json("POST", "/upstreams/u/targets", &json!({ "target": "10.0.0.1" })).1["target"],
        "10.0.0.1:8000"
    );
    for method in ["PATCH", "PUT"] {
        let (status, answer) = world.json(method, "/upstreams/u/targets/10.0.0.1:8000", &json!({ "target": "a b" }));
        let want = "schema violation (target: Invalid target ('a b'); not a valid hostname or ip address)";
        assert_eq!((status, &answer["message"]), (400, &json!(want)), "{method}");
    }
    let patch = json!({ "target": "10.0.0.9" });
    assert_eq!(world.json("PATCH", "/upstreams/u/targets/10.0.0.1:8000", &patch).1["target"], "10.0.0.9");
    assert_eq!(world.get("/upstreams/u/targets/10.0.0.9:8000").1["target"], "10.0.0.9:8000");
}

#[test]
fn pages_of_targets_take_any_number_and_check_tags() {
    let world = with_upstream();
    for target in ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"] {
        assert_eq!(world.json("POST", "/upstreams/u/targets", &json!({ "target": target })).0, 201);
    }
    for collection in ["targets", "health"] {
        let path = format!("/upstreams/u/{collection}");
        for (query, count, offset) in [
            ("", 3, None),
            ("size=2", 2, Some("2")),
            ("size=2&offset=2", 1, None),
            ("size=0", 0, Some("0")),
            ("size=-1", 0, None),
            ("size=1.5", 1, None),
            ("size=1e9", 3, None),
            ("tags=x", 3, None),
        ] {
            let (status, page) = world.get(&format!("{path}?{query}"));
            let next = offset.map(|offset| format!("{path}?offset={offset}"));
            assert_eq!((status, page["data"].as_array().unwrap().len()), (200, count), "{path} {query}: {page}");
            assert_eq!((&page["offset"], &page["next"]), (&json!(offset), &json!(next)), "{path} {query}");
        }
    }
    for collection in ["targets", "health", "targets/all"] {
        for (query, code, message) in [
            ("size=x", 9, "size must be a number"),
            ("size=1&size=2", 9, "size must be a number"),
            ("tags=", 11, "invalid option (tags: cannot be null)"),
            ("tags=a,b/c", 11, "invalid option (tags: invalid filter syntax)"),
            ("tags=a,b,c,d,e,f", 11, "invalid option (tags: cannot query more than 5 tags)"),
        ] {
            let (status, answer) = world.get(&format!("/upstreams/u/{collection}?{query}"));
            let told = (status, &answer["code"], &answer["message"]);
            assert_eq!(told, (400, &json!(code), &json!(message)), "{collection} {query}");
        }
    }
    assert_eq!(world.get("/upstreams/u/health?balancer_health=1&size=x").0, 200);
}

#[test]
fn names_of_certificates_are_taken_from_bodies_and_paths() {
    let pair = include_str!("pair.pem");
    let (cert, key) = pair.split_at_checked(pair.find("-----BEGIN PRIVATE KEY").unwrap()).unwrap();
    let body = |snis: Option<Value>| {
        let mut body = json!({ "cert": cert, "key": key });
        if let Some(snis) = snis {
            body["snis"] = snis;
        }
        body
    };
    let world = world();
    let (status, answer) = world.json("POST", "/certificates", &body(Some(json!("x.test"))));
    assert_eq!((status, &answer["message"]), (400, &json!("schema violation (snis: expected an array)")));
    for (path, snis, want) in [
        ("/certificates/new.test", None, json!([])),
        ("/certificates/a.test", Some(json!(["b.test"])), json!(["a.test", "b.test"])),
        ("/certificates/a.test", Some(json!(["c.test"])), json!(["a.test", "c.test"])),
        ("/certificates/a.test", Some(json!("d.test")), json!(["a.test", "d.test"])),
        ("/certificates/a.test", Some(json!("a.test")), json!(["a.test"])),
        ("/certificates/00000000-0000-4000-8000-000000000001", Some(json!("e.test")), json!(["e.test"])),
        ("/certificates/00000000-0000-4000-8000-000000000001", None, json!([])),
    ] {
        let (status, answer) = world.json("PUT", path, &body(snis.clone()));
        assert_eq!((status, &answer["snis"]), (200, &want), "{path} {snis:?}: {answer}");
    }
    let (status, answer) = world.json("PATCH", "/certificates/a.test", &json!({ "snis": "f.test" }));
    assert_eq!((status, &answer["snis"]), (200, &json!(["f.test"])));
}

#[test]
fn tags_may_end_with_a_separator_and_stand_in_a_list() {
    let world = world();
    for (name, tags) in [("n1", json!(["n1"])), ("n2", json!(["n2"]))] {
        world.json("POST", "/consumers", &json!({ "username": name, "tags": tags }));
    }
    for (query, want) in [
        ("tags=n1", Ok(vec!["n1"])),
        ("tags=n1,", Ok(vec![])),
        ("tags=n1/", Ok(vec!["n1"])),
        ("tags[]=n2", Ok(vec!["n2"])),
        ("tags=,n1", Err("invalid filter syntax")),
        ("tags=n1,,", Err("invalid filter syntax")),
        ("tags=,", Err("invalid filter syntax")),
        ("tags=n1,n2/", Err("invalid filter syntax")),
        ("tags=%01", Err("invalid filter syntax")),
        ("tags=%7F", Err("invalid filter syntax")),
        ("tags=%FF", Err("invalid filter syntax")),
        ("tags=", Err("cannot be null")),
        ("tags=a,b,c,d,e,f", Err("cannot query more than 5 tags")),
    ] {
        let answer = world.get(&format!("/consumers?{query}")).1;
        let names = |data: &Vec<Value>| data.iter().map(|row| row["username"].as_str().unwrap().to_owned()).collect();
        let got: Result<Vec<String>, &Value> = answer["data"].as_array().map(names).ok_or(&answer["options"]["tags"]);
        let message = want.as_ref().err().map(|message| json!(message)).unwrap_or_default();
        let want = want.map(|names| names.into_iter().map(str::to_owned).collect()).map_err(|_| &message);
        assert_eq!(got, want, "{query}: {answer}");
    }
    assert!(world.get("/consumers?tags[]=n1&size=1").1["next"].is_null());
}

#[test]
fn keys_of_paths_are_utf_8() {
    let world = world();
    for (path, field) in [("/services/%FF", "name"), ("/routes/%FF", "name"), ("/plugins/%FF", "instance_name")] {
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let (status, answer) = world.json(method, path, &json!({}));
            let want = json!({
                "code": 10, "name": format!("invalid unique {field}"),
                "message": "invalid utf-8 character sequence detected at position 1",
            });
            assert_eq!((status, answer), (400, want), "{method} {path}");
        }
    }
}

#[test]
fn a_timeout_that_is_no_number_is_none() {
    let world = world();
    for (query, want) in [("x", 200), ("-1", 400), ("-0.5", 200), ("1.5", 200)] {
        let path = format!("/debug/node/log-level/info?timeout={query}");
        assert_eq!(world.send("PUT", &path, &[], b"").status, want, "{query}");
    }
}

#[test]
fn a_ttl_in_json_is_a_number() {
    let world = world();
    world.json("POST", "/consumers", &json!({ "username": "u" }));
    for (ttl, want) in [(json!(10), 201), (json!("10"), 400), (json!(1.5), 400), (json!(true), 400)] {
        let (status, answer) = world.json("POST", "/consumers/u/key-auth", &json!({ "ttl": ttl }));
        assert_eq!(status, want, "{ttl}: {answer}");
        if want == 400 {
            assert_eq!(answer["code"], 11);
            assert_eq!(answer["message"], "invalid option (ttl: must be an integer between 0 and 100000000)");
        }
    }
    assert_eq!(world.form("POST", "/consumers/u/key-auth", b"ttl=10").0, 201);
    assert_eq!(world.form("POST", "/consumers/u/key-auth", b"ttl=x").0, 400);
}

#[test]
fn a_change_of_a_missing_plugin_that_says_its_kind_names_the_key() {
    let world = world();
    let id = "00000000-0000-4000-8000-000000000001";
    for (key, body, want) in [
        (id, json!({}), "Not found".to_owned()),
        (id, json!({ "name": "limiter" }), format!("could not find the entity with primary key '{{id=\"{id}\"}}'")),
        ("nope", json!({ "name": "limiter" }), "could not find the entity with '{instance_name=\"nope\"}'".to_owned()),
    ] {
        let (status, answer) = world.json("PATCH", &format!("/plugins/{key}"), &body);
        assert_eq!((status, &answer["message"]), (404, &json!(want)), "{key} {body}");
        assert_eq!(answer["code"].as_u64(), (body != json!({})).then_some(6), "{key} {body}");
    }
}

#[test]
fn arguments_of_the_query_are_members_of_a_configuration() {
    let world = super::api::world_with(crate::Settings::default(), true);
    let config = json!({ "_format_version": "3.0", "consumers": [{ "username": "u" }] });
    for (query, want) in [("x=1", Some("x")), ("check_hash=1&flatten_errors=1", None), ("consumers=1", None)] {
        let (status, answer) = world.json("POST", &format!("/config?{query}"), &config);
        assert_eq!(status, if want.is_some() { 400 } else { 201 }, "{query}: {answer}");
        if let Some(field) = want {
            assert_eq!(answer["fields"], json!({ field: "unknown field" }), "{query}");
        }
    }
}
