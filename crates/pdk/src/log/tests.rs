//! Tests of `log`.

use super::*;
use serde_json::json;

#[test]
fn sets_and_removes_members_by_path() {
    let mut document = json!({ "a": 1, "o": { "x": 1, "y": 2 } });
    set(&mut document, "o.x", None);
    set(&mut document, "new.deep", Some(3.into()));
    set(&mut document, "with\\.dot", Some(4.into()));
    set(&mut document, "a.b", Some(5.into()));
    set(&mut document, "none.b", None);
    assert_eq!(document, json!({ "a": 1, "o": { "y": 2 }, "new": { "deep": 3 }, "with.dot": 4 }));
}

#[test]
fn repeated_values_become_arrays() {
    let mut h = Headers::new();
    for (n, v) in [("X-A", "1"), ("x-a", "2"), ("Authorization", "secret")] {
        h.append(n, v.as_bytes());
    }
    let shown = |is_request| serde_json::to_value(headers(&h, is_request)).unwrap();
    assert_eq!(shown(true), json!({ "x-a": ["1", "2"], "authorization": "REDACTED" }));
    assert_eq!(shown(false)["authorization"], "secret");
}

#[test]
fn entities_lose_their_nulls() {
    assert_eq!(without_nulls(&json!({ "a": null, "b": { "c": null, "d": 1 } })), json!({ "b": { "d": 1 } }));
}
