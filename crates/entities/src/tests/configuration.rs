//! Rows as typed entities.

use schema::{Uuid, json};

use super::{catalog, inserted};
use crate::{Configuration, EMPTY_HASH, RouterFlavor};

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// One row of every entity that the data plane keeps, with as little in it as the schema allows.
#[test]
fn every_valid_row_has_its_struct() {
    let foreign = json!({"id": ID});
    let rows = [
        ("consumers", json!({"username": "u"})),
        ("consumer_groups", json!({"name": "g"})),
        ("consumer_group_consumers", json!({"consumer_group": foreign, "consumer": foreign})),
        (
            "consumer_group_plugins",
            json!({"consumer_group": foreign, "name": "rate-limiting-advanced",
                "config": {"limit": [1], "window_size": [2], "window_type": null, "retry_after_jitter_max": null}}),
        ),
        ("services", json!({"host": "a.test", "retries": null, "connect_timeout": null})),
        ("routes", json!({"paths": ["/a"], "regex_priority": null, "path_handling": null})),
        ("snis", json!({"name": "a.test", "certificate": foreign})),
        ("upstreams", json!({"name": "u", "algorithm": null, "slots": null, "healthchecks": {"threshold": null}})),
        ("targets", json!({"target": "a.test", "upstream": foreign, "weight": null})),
        ("plugins", json!({"name": "limits"})),
        ("vaults", json!({"name": "env", "prefix": "my-env"})),
        ("key_sets", json!({})),
        ("certificates", json!({"cert": "{vault://env/c}", "key": "{vault://env/k}"})),
        ("acls", json!({"consumer": foreign, "group": "g"})),
        ("acme_storage", json!({})),
        ("basicauth_credentials", json!({"consumer": foreign, "username": "u", "password": "p"})),
        ("hmacauth_credentials", json!({"consumer": foreign, "username": "u"})),
        ("jwt_secrets", json!({"consumer": foreign})),
        ("keyauth_credentials", json!({"consumer": foreign, "ttl": 60})),
        ("oauth2_credentials", json!({"consumer": foreign, "name": "n"})),
        ("oauth2_authorization_codes", json!({"credential": foreign})),
        ("oauth2_tokens", json!({"credential": foreign, "expires_in": 1})),
        ("sessions", json!({"session_id": "s"})),
        ("session_metadatas", json!({"session": foreign})),
        ("workspaces", json!({"name": "default"})),
        ("parameters", json!({"key": "cluster_id", "value": "x"})),
    ];
    let catalog = catalog(RouterFlavor::default());
    let mut configuration = Configuration::default();
    for (entity, input) in &rows {
        configuration.set(entity, &inserted(&catalog, entity, input.clone())).unwrap();
    }
    assert_eq!(configuration.len(), rows.len() - 2);
    assert_eq!(configuration.hash, EMPTY_HASH);
    assert_eq!(configuration.targets.values().next().unwrap().target, "a.test:8000");
}

#[test]
fn a_row_replaces_the_one_of_its_id_and_can_be_removed() {
    let catalog = catalog(RouterFlavor::default());
    let mut configuration = Configuration::default();
    for name in ["a", "b"] {
        let row = inserted(&catalog, "consumers", json!({"id": ID, "username": name}));
        configuration.set("consumers", &row).unwrap();
    }
    let id = Uuid::parse_str(ID).unwrap();
    assert_eq!(configuration.consumers.get(&id).unwrap().username.as_deref(), Some("b"));
    configuration.remove("consumers", id);
    configuration.remove("consumers", id);
    assert!(configuration.is_empty());
}

#[test]
fn what_is_no_row_is_refused() {
    let mut configuration = Configuration::default();
    let error = configuration.set("nopes", &json!({})).unwrap_err();
    assert_eq!(error.to_string(), "no entity is called 'nopes'");
    assert!(configuration.set("consumers", &json!({"id": "x"})).is_err());
}
