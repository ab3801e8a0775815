//! Tests of `json`.

use super::*;
use serde_json::json;

fn text(json: &Json) -> String {
    String::from_utf8(json.encode()).unwrap()
}

#[test]
fn keeps_what_it_does_not_touch_as_written() {
    let mut json =
        Json::parse(br#" {"big": 12345678901234567890123, "pi": 3.14159265358979323846, "a": {"b" : 1.10}} "#).unwrap();
    json.set("x", &json!("1"));
    json.remove("none");
    assert_eq!(text(&json), r#"{"big":12345678901234567890123,"pi":3.14159265358979323846,"a":{"b" : 1.10},"x":"1"}"#);
}

#[test]
fn changes_the_top_level() {
    let mut json = Json::parse(br#"{"a":1,"b":2,"s":"x","l":[1],"o":{"k":null}}"#).unwrap();
    json.rename("a", "b");
    json.rename("none", "c");
    for name in ["s", "l", "o", "new"] {
        json.append(name, &json!("y"));
    }
    assert_eq!(text(&json), r#"{"b":1,"s":["x","y"],"l":[1,"y"],"o":{"k":null,"1":"y"},"new":["y"]}"#);
}

#[test]
fn an_array_stays_as_it_is() {
    let mut json = Json::parse(b"[1, 2]").unwrap();
    json.set("x", &json!(1));
    assert_eq!(text(&json), "[1, 2]");
    assert!(Json::parse(b"1").is_none() && Json::parse(b"{bad").is_none() && Json::parse(b"").is_none());
}

#[test]
fn is_written_anew_without_a_loss() {
    for (given, want) in [
        (r#" { "b" : 1.10 , "a" : [ ] , "c" : { } } "#, r#"{"b":1.1,"a":[],"c":{}}"#),
        (
            r#"{"a":[1.0, -0.0, 0.50e1, 1e2, 1E-2, 0.00001, 1e20, 12.5e-7]}"#,
            r#"{"a":[1,-0,5,100,0.01,1e-05,1e+20,1.25e-06]}"#,
        ),
        (
            r#"{"a":[12345678901234567890,9007199254740993,3.14159265358979323846,1e400]}"#,
            r#"{"a":[12345678901234567890,9007199254740993,3.14159265358979323846,1e400]}"#,
        ),
        (
            r#"{"a":[99999999999999,100000000000000,12345678901234.50]}"#,
            r#"{"a":[99999999999999,1e+14,12345678901234.50]}"#,
        ),
        (r#"{"u":"\u00e9\/\u0001\"\\ : 1.0","s":" , "}"#, "{\"u\":\"\u{e9}/\\u0001\\\"\\\\ : 1.0\",\"s\":\" , \"}"),
        (r#"{"u":"\ud800"}"#, r#"{"u":"\ud800"}"#),
    ] {
        let json = Json::parse(given.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(json.encode_compact()).unwrap(), want, "{given}");
    }
}
