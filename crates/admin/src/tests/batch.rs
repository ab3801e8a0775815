//! `POST /batch`: all or nothing, one change for the data plane.
use super::api::{world, world_with};
use crate::Settings;
use serde_json::{Value, json};

fn batch(operations: Value) -> Value {
    json!({ "operations": operations })
}

#[test]
fn a_batch_is_one_change_and_sees_its_own_writes() {
    let world = world();
    let operations = json!([
        { "method": "POST", "path": "/services", "body": { "name": "s", "url": "http://a.test" } },
        { "method": "PUT", "path": "/services/s/routes/r", "body": { "paths": ["/r"] } },
        { "method": "PATCH", "path": "/routes/r", "body": { "tags": ["t"] } },
        { "method": "POST", "path": "/consumers", "body": { "username": "gone" } },
        { "method": "DELETE", "path": "/consumers/gone" },
    ]);
    let (status, answer) = world.json("POST", "/batch", &batch(operations));
    assert_eq!(status, 200, "{answer}");
    let told: Vec<u64> = answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(told, [201, 200, 200, 201, 204]);
    assert_eq!(answer["results"][2]["body"]["tags"], json!(["t"]));
    assert_eq!(answer["results"][1]["body"]["service"]["id"], answer["results"][0]["body"]["id"]);
    let entities: Vec<String> = world.node.changes.lock().unwrap().iter().map(|change| change.entity.clone()).collect();
    assert_eq!(entities, ["services", "routes", "routes", "consumers", "consumers"]);
    assert_eq!(*world.node.applied.lock().unwrap(), 1);
    assert_eq!(world.get("/routes/r").1["tags"], json!(["t"]));
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind() {
    let world = world();
    let good = json!({ "method": "POST", "path": "/services", "body": { "name": "s", "host": "a.test" } });
    let cases = [
        (json!({ "method": "POST", "path": "/services", "body": { "name": "s", "host": "a.test" } }), 409),
        (json!({ "method": "POST", "path": "/services", "body": { "name": "t" } }), 400),
        (json!({ "method": "PATCH", "path": "/services/absent", "body": {} }), 404),
        (json!({ "method": "PUT", "path": "/nowhere/x", "body": {} }), 404),
        (json!({ "method": "POST", "path": "/config", "body": {} }), 400),
        (json!({ "method": "POST", "path": "/batch", "body": {} }), 400),
        (json!({ "method": "GET", "path": "/services" }), 400),
        (json!({ "method": "PUT", "path": "/services" , "body": {} }), 405),
        (json!({ "method": "POST", "path": "/services", "body": [] }), 400),
        (json!({ "method": "POST", "path": "/services", "extra": 1 }), 400),
        (json!("x"), 400),
    ];
    for (bad, expected) in cases {
        let (status, answer) = world.json("POST", "/batch", &batch(json!([good, bad])));
        assert_eq!((status, &answer["operation"]), (expected, &json!(1)), "{bad}: {answer}");
        assert!(answer["message"].is_string(), "{bad}: {answer}");
        assert!(world.node.changes.lock().unwrap().is_empty(), "{bad}");
        assert_eq!(world.get("/services").1["data"], json!([]), "{bad}");
    }
}

#[test]
fn what_is_no_batch_is_refused() {
    let world = world();
    for body in [json!({}), json!({ "operations": {} }), json!({ "operations": [], "more": 1 }), json!([])] {
        assert_eq!(world.json("POST", "/batch", &body).0, 400, "{body}");
    }
    let form = world.send("POST", "/batch", &[("Content-Type", "application/x-www-form-urlencoded")], b"operations=1");
    assert_eq!(form.status, 400);
    let dbless = world_with(Settings::default(), true);
    let operations = batch(json!([{ "method": "POST", "path": "/consumers", "body": { "username": "u" } }]));
    let (status, answer) = dbless.json("POST", "/batch", &operations);
    assert_eq!((status, &answer["code"]), (405, &json!(12)));
}
