use super::Consumers;
use entities::{Configuration, Touched};
use serde_json::{Value, json};
use uuid::Uuid;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn consumer(number: u128, username: &str, custom_id: Option<&str>) -> Value {
    json!({ "id": id(number), "created_at": 1, "updated_at": 1, "username": username, "custom_id": custom_id, "tags": null })
}

fn key(number: u128, consumer: u128, key: &str) -> Value {
    json!({ "id": id(number), "created_at": 1, "consumer": { "id": id(consumer) }, "key": key, "tags": null })
}

fn acl(number: u128, consumer: u128, group: &str) -> Value {
    json!({ "id": id(number), "created_at": 1, "consumer": { "id": id(consumer) }, "group": group, "tags": null })
}

fn group(number: u128, name: &str) -> Value {
    json!({ "id": id(number), "created_at": 1, "updated_at": 1, "name": name, "tags": null })
}

fn member(number: u128, consumer: u128, group: u128) -> Value {
    json!({
        "id": id(number), "created_at": 1, "updated_at": 1, "consumer": { "id": id(consumer) },
        "consumer_group": { "id": id(group) },
    })
}

/// What is found, as a sorted list of words.
fn shown(consumers: &Consumers) -> Vec<String> {
    let mut shown = Vec::new();
    for name in ["a", "b", "c"] {
        if let Some(Some(found)) = consumers.consumer_by_id_or_username(name).ready() {
            shown.push(format!("{name} is {}", found.id.as_u128()));
        }
        if let Some(Some(found)) = consumers.consumer_by_custom_id(name).ready() {
            shown.push(format!("custom {name} is {}", found.id.as_u128()));
        }
        if let Some(Some(found)) = consumers.key(name).ready() {
            shown.push(format!("key {name} of {}", found.consumer.id.as_u128()));
        }
    }
    for number in 1..4 {
        if let Some(Some(found)) = consumers.consumer(id(number)).ready() {
            shown.push(format!("{number} is {:?}", found.username));
        }
        if let Some(Some(acls)) = consumers.acls(id(number)).ready() {
            let names: Vec<&str> = acls.iter().map(|acl| acl.group.as_str()).collect();
            shown.push(format!("acls of {number}: {names:?}"));
        }
        let groups: Vec<&str> = consumers.groups(id(number)).iter().map(|group| group.name.as_str()).collect();
        shown.push(format!("groups of {number}: {groups:?}"));
    }
    shown
}

#[test]
fn changes_one_by_one_find_what_a_new_start_finds() {
    let steps: Vec<Vec<(&str, u128, Option<Value>)>> = vec![
        vec![("consumers", 1, Some(consumer(1, "a", Some("c"))))],
        vec![("consumers", 2, Some(consumer(2, "b", None))), ("keyauth_credentials", 9, Some(key(9, 2, "a")))],
        // Two consumers exchange their names.
        vec![
            ("consumers", 1, Some(consumer(1, "c", Some("c")))),
            ("consumers", 2, Some(consumer(2, "a", Some("b")))),
            ("consumers", 1, Some(consumer(1, "b", None))),
        ],
        vec![("acls", 7, Some(acl(7, 1, "x"))), ("acls", 6, Some(acl(6, 1, "y"))), ("acls", 5, Some(acl(5, 2, "x")))],
        vec![("acls", 7, Some(acl(7, 2, "z")))],
        vec![
            ("consumer_groups", 20, Some(group(20, "gold"))),
            ("consumer_groups", 21, Some(group(21, "base"))),
            ("consumer_group_consumers", 30, Some(member(30, 1, 20))),
            ("consumer_group_consumers", 31, Some(member(31, 1, 21))),
        ],
        vec![("consumer_groups", 21, Some(group(21, "zinc")))],
        vec![("keyauth_credentials", 9, Some(key(9, 1, "b")))],
        vec![("consumer_group_consumers", 30, None), ("acls", 5, None)],
        vec![("keyauth_credentials", 9, None), ("consumers", 2, None), ("acls", 7, None)],
    ];
    let mut configuration = Configuration::default();
    let mut consumers = Consumers::new(&configuration);
    for (at, step) in steps.into_iter().enumerate() {
        let before = shown(&consumers);
        let touched: Vec<Touched> = step
            .into_iter()
            .map(|(entity, number, row)| match row {
                Some(row) => configuration.set(entity, &row).unwrap(),
                None => configuration.remove(entity, id(number)),
            })
            .collect();
        let updated = consumers.updated(&touched, &configuration);
        assert_eq!(shown(&updated), shown(&Consumers::new(&configuration)), "step {at}");
        assert_eq!(shown(&consumers), before, "step {at} changed what others hold");
        consumers = updated;
    }
}
