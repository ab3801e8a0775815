//! The audit log: what is noted of writes, and what is not shown.
use super::api::{World, world_with};
use crate::{Access, Audit, AuditSettings, Settings};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("silverback-audit-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder.join("audit.log")
}

fn settings(path: &Path) -> AuditSettings {
    AuditSettings { entries: 5, ..AuditSettings::at(path.to_owned()) }
}

fn audited(settings: AuditSettings) -> World {
    let audit = Some(Arc::new(Audit::open(settings).unwrap()));
    world_with(Settings { audit, ..Settings::default() }, false)
}

fn entries(world: &World, query: &str) -> Vec<Value> {
    world.get(&format!("/audit{query}")).1["data"].as_array().unwrap().clone()
}

#[test]
fn a_write_is_noted_with_the_rows_before_and_after() {
    let path = place("rows");
    let world = audited(settings(&path));
    world.json("POST", "/services", &json!({ "name": "s", "host": "a.test" }));
    world.json("PATCH", "/services/s", &json!({ "host": "b.test" }));
    world.json("PATCH", "/services/s", &json!({ "port": "x" }));
    world.send("DELETE", "/services/s", &[], b"");
    world.get("/services");
    let entries = entries(&world, "");
    let told: Vec<(&str, &str, &Value, &Value)> = entries
        .iter()
        .map(|entry| {
            let change = &entry["changes"][0];
            let host = |side: &str| &change[side]["host"];
            (entry["method"].as_str().unwrap(), change["action"].as_str().unwrap(), host("before"), host("after"))
        })
        .collect();
    let (a, b, none) = (json!("a.test"), json!("b.test"), Value::Null);
    assert_eq!(told, [("DELETE", "delete", &b, &none), ("PATCH", "update", &a, &b), ("POST", "create", &none, &a)]);
    assert_eq!(entries[1]["path"], "/services/s");
    assert_eq!(entries[1]["user"], Value::Null);
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 3);
}

#[test]
fn what_a_delete_takes_along_is_noted_too() {
    let path = place("along");
    let world = audited(settings(&path));
    world.json("PUT", "/consumers/c", &json!({}));
    world.json("POST", "/consumers/c/key-auth", &json!({ "key": "hush-hush" }));
    world.json("POST", "/consumers/c/acls", &json!({ "group": "g" }));
    world.send("DELETE", "/consumers/c", &[], b"");
    let entries = entries(&world, "?size=1");
    let mut gone: Vec<(&str, &str)> = entries[0]["changes"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(gone.remove(0), ("delete", "consumers"));
    gone.sort_unstable();
    assert_eq!(gone, [("delete", "acls"), ("delete", "keyauth_credentials")]);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("hush-hush"));
}

fn told(change: &Value) -> (&str, &str) {
    (change["action"].as_str().unwrap(), change["entity"].as_str().unwrap())
}

#[test]
fn secrets_are_masked() {
    let path = place("secrets");
    let world = audited(settings(&path));
    world.json("PUT", "/consumers/c", &json!({}));
    world.json("POST", "/consumers/c/key-auth", &json!({ "key": "hush-hush" }));
    world.json("POST", "/consumers/c/basic-auth", &json!({ "username": "u", "password": "hush-hush" }));
    world.json("POST", "/consumers/c/jwt", &json!({ "key": "issuer", "secret": "hush-hush" }));
    world.json("POST", "/consumers/c/hmac-auth", &json!({ "username": "u", "secret": "hush-hush" }));
    world.json("POST", "/consumers/c/oauth2", &json!({ "name": "o", "client_secret": "hush-hush" }));
    let all = entries(&world, "");
    assert_eq!(all.len(), 5);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hush-hush"), "{text}");
    assert!(text.contains("******") && text.contains("issuer"), "{text}");
}

#[test]
fn entries_are_paged_filtered_bounded_and_survive_a_restart() {
    let path = place("pages");
    let world = audited(settings(&path));
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        world.json("PUT", &format!("/consumers/{name}"), &json!({}));
    }
    let numbers = |world: &World, query: &str| -> (Vec<u64>, Value) {
        let (_, page) = world.get(&format!("/audit{query}"));
        let data = page["data"].as_array().unwrap();
        (data.iter().map(|entry| entry["number"].as_u64().unwrap()).collect(), page["next"].clone())
    };
    assert_eq!(numbers(&world, ""), (vec![7, 6, 5, 4, 3], Value::Null));
    assert_eq!(numbers(&world, "?size=2"), (vec![7, 6], json!("/audit?offset=6&size=2")));
    assert_eq!(numbers(&world, "?offset=6&size=2"), (vec![5, 4], json!("/audit?offset=4&size=2")));
    let id = world.get("/consumers/f").1["id"].as_str().unwrap().to_owned();
    assert_eq!(numbers(&world, &format!("?id={id}")).0, [6]);
    assert_eq!(numbers(&world, "?entity=services").0, Vec::<u64>::new());
    assert_eq!(world.get("/audit?offset=x").0, 400);
    let again = audited(settings(&path));
    assert_eq!(numbers(&again, "").0, [7, 6, 5, 4, 3]);
    again.json("PUT", "/consumers/h", &json!({}));
    assert_eq!(numbers(&again, "?size=1").0, [8]);
}

#[test]
fn a_file_that_is_full_makes_room() {
    let path = place("full");
    let world = audited(AuditSettings { file_bytes: 1000, ..settings(&path) });
    for at in 0..20 {
        world.json("PUT", &format!("/consumers/c{at}"), &json!({}));
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 3000);
    assert!(std::fs::metadata(path.with_extension("log.1")).unwrap().len() < 3000);
}

#[test]
fn a_batch_is_one_entry_and_tells_who() {
    let path = place("batch");
    let audit = Some(Arc::new(Audit::open(settings(&path)).unwrap()));
    let access = Some(Arc::new(Access::parse("ci 0123456789abcdef admin").unwrap()));
    let world = world_with(Settings { audit, access, ..Settings::default() }, false);
    let operations = json!({ "operations": [
        { "method": "PUT", "path": "/consumers/a", "body": {} },
        { "method": "PUT", "path": "/consumers/b", "body": {} },
    ] });
    let headers = [("Authorization", "Bearer 0123456789abcdef"), ("Content-Type", "application/json")];
    assert_eq!(world.send("POST", "/batch", &headers, operations.to_string().as_bytes()).status, 200);
    let answer = world.send("GET", "/audit?user=ci", &headers, b"");
    let page: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(page["data"][0]["changes"].as_array().unwrap().len(), 2);
    assert_eq!(page["data"][0]["user"], "ci");
    let without = world_with(Settings::default(), false);
    assert_eq!(without.get("/audit").0, 404);
}
