//! Consumer groups, as Kong Enterprise answers.
use super::api::world;
use serde_json::{Value, json};

#[test]
fn a_group_is_shown_with_its_members_and_plugins() {
    let world = world();
    for name in ["a", "b"] {
        world.json("PUT", &format!("/consumers/{name}"), &json!({}));
    }
    let (status, group) = world.json("POST", "/consumer_groups", &json!({ "name": "gold", "tags": ["t"] }));
    assert_eq!((status, &group["name"]), (201, &json!("gold")));
    assert_eq!(world.json("POST", "/consumer_groups/gold/consumers", &json!({ "consumer": ["a", "b"] })).0, 201);
    world.json("POST", "/consumer_groups/gold/plugins", &json!({ "name": "limiter" }));
    let (_, whole) = world.get("/consumer_groups/gold");
    assert_eq!(whole["consumer_group"], group);
    assert_eq!(whole["consumers"].as_array().unwrap().len(), 2);
    assert_eq!(whole["plugins"][0]["name"], "limiter");
    let (_, short) = world.get("/consumer_groups/gold?list_consumers=false");
    assert_eq!((short.get("consumers"), &short["consumer_group"]), (None, &group));
    let (_, of_consumer) = world.get("/consumers/a/consumer_groups");
    assert_eq!(of_consumer["consumer_groups"], json!([group]));
    assert_eq!(world.get("/consumer_groups/gold/consumers/a").1["consumer"]["username"], "a");
    assert_eq!(world.send("DELETE", "/consumer_groups/gold/consumers/a", &[], b"").status, 204);
    assert_eq!(world.get("/consumer_groups/gold/consumers/a").0, 404);
    assert_eq!(world.send("DELETE", "/consumers/b/consumer_groups", &[], b"").status, 204);
    assert_eq!(world.get("/consumer_groups/gold/consumers").1["data"], json!([]));
}

#[test]
fn an_override_is_the_groups_own_plugin() {
    let world = world();
    world.json("POST", "/consumer_groups", &json!({ "name": "gold" }));
    let path = "/consumer_groups/gold/overrides/plugins/limiter";
    let put = |config: Value| world.json("PUT", path, &json!({ "config": config }));
    let (status, first) = put(json!({ "hour": 9 }));
    assert_eq!(status, 201);
    assert_eq!(first, json!({ "config": { "hour": 9, "minute": 5 }, "consumer_group": "gold", "plugin": "limiter" }));
    assert_eq!(put(json!({ "minute": 6 })).1["config"], json!({ "hour": 9, "minute": 6 }));
    let (_, plugins) = world.get("/consumer_groups/gold/plugins");
    assert_eq!(plugins["data"].as_array().unwrap().len(), 1);
    assert_eq!(put(json!({ "minute": "x" })).0, 400);
    assert_eq!(world.json("PUT", "/consumer_groups/gold/overrides/plugins/unknown", &json!({})).0, 400);
    assert_eq!(world.send("DELETE", path, &[], b"").status, 204);
    assert_eq!(world.send("DELETE", path, &[], b"").status, 404);
}
