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
fn what_plugins_add_is_in_the_document_and_what_they_take_out_is_not() {
    let field = |path: &'static str, value: Option<Value>| match value {
        Some(Value::String(text)) => LogField::text(path, &text),
        Some(value) => LogField::new(path, value),
        None => LogField::none(path),
    };
    let document = r#"{"request":{"id":"1"},"source":"kong"}"#;
    for (is_fast, fields, want) in [
        (true, vec![], json!({})),
        (true, vec![field("trace_id.w3c", Some("a".into()))], json!({ "trace_id": { "w3c": "a" } })),
        (
            true,
            vec![field("t.a", Some("1".into())), field("x", Some(2.into())), field("t.b", Some("3".into()))],
            json!({ "t": { "a": "1", "b": "3" }, "x": 2 }),
        ),
        (false, vec![field("t.a", Some("1".into())), field("t.a", Some("2".into()))], json!({ "t": { "a": "2" } })),
        (false, vec![field("t", Some("1".into())), field("t.a", Some("2".into()))], json!({ "t": "1" })),
        (false, vec![field("t.a.b", Some("1".into()))], json!({ "t": { "a": { "b": "1" } } })),
        (false, vec![field("t\\.a", Some("1".into()))], json!({ "t.a": "1" })),
        (
            true,
            vec![field("x", Some(1.into())), field("y.z", Some("\"".into()))],
            json!({ "x": 1, "y": { "z": "\"" } }),
        ),
        (false, vec![field("x", Some(1.into())), field("x", None)], json!({})),
        (false, vec![field("request.id", Some(2.into()))], json!({ "request": { "id": 2 } })),
        (false, vec![field("source", None), field("x", Some(1.into()))], json!({ "source": null, "x": 1 })),
    ] {
        let mut whole: Value = serde_json::from_str(document).unwrap();
        for (name, value) in want.as_object().unwrap() {
            whole[name] = value.clone();
        }
        prune(&mut whole);
        let got: Value = serde_json::from_str(&with_fields(document.as_bytes(), &fields)).unwrap();
        assert_eq!(got, whole, "{fields:?}");
        let mut out = Writer::on(document.as_bytes().to_vec());
        assert_eq!(add(&fields, &mut out), is_fast, "{fields:?}");
        let written: Value = serde_json::from_slice(&out.into_bytes()).unwrap();
        assert!(!is_fast || written == whole, "{fields:?}: {written}");
    }
}

#[test]
fn entities_lose_their_nulls() {
    assert_eq!(without_nulls(&json!({ "a": null, "b": { "c": null, "d": 1 } })), json!({ "b": { "d": 1 } }));
}
