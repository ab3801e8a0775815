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
fn a_group_has_limits_of_its_own() {
    let world = world();
    world.json("POST", "/consumer_groups", &json!({ "name": "gold" }));
    let path = "/consumer_groups/gold/overrides/plugins/rate-limiting-advanced";
    let put = |config: Value| world.json("PUT", path, &json!({ "config": config }));
    let (status, first) = put(json!({ "limit": [10], "window_size": [60], "retry_after_jitter_max": 1 }));
    let config = json!({ "limit": [10], "retry_after_jitter_max": 1, "window_size": [60], "window_type": "sliding" });
    assert_eq!(status, 201);
    assert_eq!(first, json!({ "config": config, "consumer_group": "gold", "plugin": "rate-limiting-advanced" }));
    // In the place of what was there.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let second =
        world.send("PUT", path, &form, b"config.limit=5&config.limit=9&config.window_size=1&config.window_size=60");
    assert_eq!(second.status, 201);
    let (_, whole) = world.get("/consumer_groups/gold");
    let plugins = whole["plugins"].as_array().unwrap();
    assert_eq!(plugins.len(), 1, "{whole}");
    let config =
        json!({ "limit": [5, 9], "retry_after_jitter_max": 0, "window_size": [1, 60], "window_type": "sliding" });
    assert_eq!((&plugins[0]["name"], &plugins[0]["config"]), (&json!("rate-limiting-advanced"), &config));
    assert_eq!(world.get("/consumer_groups/gold/plugins").1["data"], json!([]), "it is no plugin that runs by itself");
    for (config, want) in [
        (json!({ "limit": [2] }), "required field missing"),
        (json!({ "limit": [2, 3], "window_size": [1] }), "You must provide the same number of windows and limits"),
        (json!({ "limit": [], "window_size": [] }), "You must provide the same number of windows and limits"),
        (json!({ "limit": ["x"], "window_size": [1] }), "expected a number"),
        (json!({ "limit": [2], "window_size": [1], "window_type": "leaky-bucket" }), "expected one of: fixed, sliding"),
        (json!({ "limit": [2], "window_size": [1], "policy": "x" }), "unknown field"),
        (Value::Null, "No configuration provided"),
    ] {
        let (status, answer) = put(config.clone());
        assert!(status == 400 && answer.to_string().contains(want), "{config}: {answer}");
    }
    let other = "/consumer_groups/gold/overrides/plugins/unknown";
    assert_eq!(world.json("PUT", other, &json!({ "config": {} })).0, 404);
    assert_eq!(world.json("PUT", &path.replace("gold", "none"), &json!({ "config": config })).0, 404);
    assert_eq!(world.send("DELETE", path, &[], b"").status, 204);
    assert_eq!(world.send("DELETE", path, &[], b"").status, 404);
}

#[test]
fn a_group_takes_its_limits_with_it() {
    let world = world();
    let path = "/consumer_groups/gold/overrides/plugins/rate-limiting-advanced";
    for _ in 0..2 {
        world.json("POST", "/consumer_groups", &json!({ "name": "gold" }));
        assert_eq!(world.get("/consumer_groups/gold").1["plugins"], json!([]));
        world.json("PUT", path, &json!({ "config": { "limit": [1], "window_size": [1] } }));
        assert_eq!(world.send("DELETE", "/consumer_groups/gold", &[], b"").status, 204);
    }
}
