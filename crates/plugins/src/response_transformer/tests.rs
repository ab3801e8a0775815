//! Tests of `response-transformer`.

use super::*;
use pdk::testing::Harness;
use serde_json::{Value, json};

fn headers(config: Value) -> String {
    let upstream = "200\nContent-Type: text/plain\nX-A: 1\nX-B: 2\nX-Multi: m1\nX-Multi: m2\n\n";
    let answer = Harness::new(&DEFINITION, config).with_upstream(upstream).send("GET /").answer();
    answer.trim_end().lines().skip(1).collect::<Vec<_>>().join(" | ")
}

fn body(config: Value, body: &str) -> String {
    let upstream = format!("200\nContent-Type: application/json\nContent-Length: {}\n\n{body}", body.len());
    let exchange = Harness::new(&DEFINITION, config).with_upstream(&upstream).send("GET /");
    assert_eq!(exchange.header("Content-Length"), "");
    exchange.body
}

#[test]
fn changes_header_fields_in_order() {
    let plain = "Content-Type: text/plain | X-A: 1 | X-B: 2 | X-Multi: m1 | X-Multi: m2";
    for (config, want) in [
        (json!({}), plain.to_owned()),
        (json!({ "remove": { "headers": ["x-a", "X-MULTI", "none", "Content-Type"] } }), "X-B: 2".to_owned()),
        (
            json!({ "rename": { "headers": ["X-A:X-New", "X-Multi:X-Many", "none:x"] } }),
            "Content-Type: text/plain | X-B: 2 | X-New: 1 | X-Many: m1 | X-Many: m2".to_owned(),
        ),
        (
            json!({ "replace": { "headers": ["X-A:new", "none:x", "X-Multi:one"] } }),
            "Content-Type: text/plain | X-A: new | X-B: 2 | X-Multi: one".to_owned(),
        ),
        (
            json!({ "add": { "headers": ["X-A:no", "X-N:v:w", "X-N:second", "X-S: padded", "X-E:"] } }),
            format!("{plain} | X-N: second | X-S: padded"),
        ),
        (json!({ "append": { "headers": ["X-A:2"] } }), format!("{plain} | X-A: 2")),
    ] {
        assert_eq!(headers(config.clone()), want, "{config}");
    }
}

#[test]
fn whether_a_field_is_there_is_judged_by_what_was_there_before() {
    let config = json!({
        "remove": { "headers": ["X-A"] }, "rename": { "headers": ["X-B:X-A"] }, "replace": { "headers": ["X-A:r"] },
        "add": { "headers": ["X-B:n"] }, "append": { "headers": ["X-B:p"] },
    });
    assert_eq!(headers(config), "Content-Type: text/plain | X-Multi: m1 | X-Multi: m2 | X-A: r | X-B: p");
}

#[test]
fn a_new_name_goes_with_the_values_that_were_there_before() {
    for (config, want) in [
        (json!({ "remove": { "headers": ["X-A"] }, "rename": { "headers": ["X-A:X-Z"] } }), "X-B: 2 | X-Z: 1"),
        (json!({ "rename": { "headers": ["x-a:x-b", "X-B:X-C"] } }), "X-C: 2"),
        (json!({ "rename": { "headers": ["x-a:x-y", "x-a:x-z"] } }), "X-B: 2 | x-y: 1 | x-z: 1"),
        (json!({ "rename": { "headers": ["x-a:X-A"] } }), "X-B: 2 | X-Multi: m1 | X-Multi: m2"),
        (json!({ "rename": { "headers": ["x-a:x-a", "x-b:X-B"] } }), "X-Multi: m1 | X-Multi: m2"),
    ] {
        let without = headers(config.clone()).replace("Content-Type: text/plain | ", "");
        assert_eq!(without.replace("X-Multi: m1 | X-Multi: m2 | ", ""), want, "{config}");
    }
}

#[test]
fn changes_the_top_level_of_a_json_body() {
    let all = r#"{"a":1,"s":"x","l":[1],"o":{"k":null},"f":false,"n":null,"pi":3.14159265358979323846}"#;
    for (config, given, want) in [
        (json!({ "remove": { "json": ["a", "none"] } }), r#"{"a":1,"a.b":2}"#, r#"{"a.b":2}"#),
        (json!({ "rename": { "json": ["a:z", "f:ff"] } }), r#"{"a":1,"f":false}"#, r#"{"z":1,"ff":false}"#),
        (json!({ "rename": { "json": ["a:a", "b:"] } }), r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        (
            json!({ "replace": { "json": ["a:9", "f:x", "n:x", "none:x"] } }),
            r#"{"a":1,"f":false,"n":null}"#,
            r#"{"a":"9","f":false,"n":"x"}"#,
        ),
        (
            json!({ "add": { "json": ["i:5", "h:-1.5", "b:true", "c:yes", "bad:x", "n:1", "f:1"],
                             "json_types": ["number", "number", "boolean", "boolean", "number", "string", "string"] } }),
            r#"{"f":false,"n":null}"#,
            r#"{"f":"1","n":null,"i":5,"h":-1.5,"b":true,"c":false}"#,
        ),
        (
            json!({ "append": { "json": ["s:y", "l:2", "new:1", "a:2", "o:x"] } }),
            all,
            r#"{"a":["2"],"s":["x","y"],"l":[1,"2"],"o":{"k":null,"1":"x"},"f":false,"n":null,"pi":3.14159265358979323846,"new":["1"]}"#,
        ),
        (json!({ "append": { "json": ["o:x"] } }), r#"{"o":{}}"#, r#"{"o":["x"]}"#),
        (
            json!({ "add": { "json": ["s:", "n:", "b:"], "json_types": ["string", "number", "boolean"] },
                    "replace": { "json": ["r:"] }, "append": { "json": ["l:"] } }),
            r#"{"r":1,"l":["x"]}"#,
            r#"{"r":"null","l":["x","null"],"s":"null","b":false}"#,
        ),
        (
            json!({ "add": { "json": ["w:a\\b", "q:\"a/b\\\"", "t:a\tb\u{7f}\u{1}\u{e9}"] } }),
            "{}",
            r#"{"w":"a\\\\b","q":"\"a/b\\\\\"","t":"a\\tb\\u007f\\u0001é"}"#,
        ),
        (json!({ "add": { "json": ["x:1"] } }), "[1,2]", "[1,2]"),
        (json!({ "add": { "json": ["x:1"] } }), "{bad", "{bad"),
        (json!({ "add": { "json": ["x:1"] } }), r#" {"a" : 1.10} "#, r#"{"a":1.10,"x":"1"}"#),
    ] {
        assert_eq!(body(config.clone(), given), want, "{config}");
    }
}

#[test]
fn other_bodies_pass_as_they_are() {
    let h = Harness::new(&DEFINITION, json!({ "add": { "json": ["x:1"] } }));
    for (media, is_changed) in [
        ("text/plain", false),
        ("application/json-patch", false),
        ("application/problem+json", true),
        ("text/html, Application/JSON; charset=utf-8", true),
        ("application/vnd.api+JSON ;a=\"b c\"\t; d=e", true),
        ("application/json;", false),
        ("application/json; charset", false),
        ("application/json; charset=\"utf-8", false),
        ("application/json x", false),
    ] {
        let exchange = {
            let h = Harness::new(&DEFINITION, json!({ "add": { "json": ["x:1"] } }));
            h.with_upstream(&format!("200\nContent-Type: {media}\n\n{{}}")).send("GET /")
        };
        assert_eq!(exchange.body == r#"{"x":"1"}"#, is_changed, "{media}");
    }
    assert_eq!(h.send("GET /").body, "");
}

#[test]
fn changes_the_gateways_own_answers_too() {
    use crate::request_termination;
    let h = Harness::of(vec![
        (&DEFINITION, json!({ "add": { "headers": ["X-New:1"], "json": ["extra:1"] } })),
        (&request_termination::DEFINITION, json!({ "status_code": 200, "message": "m" })),
    ]);
    let exchange = h.send("GET /");
    assert_eq!((exchange.header("X-New"), exchange.body.as_str()), ("1", r#"{"message":"m","extra":"1"}"#));
}

#[test]
fn values_of_bodies_are_masked_and_what_cannot_be_is_withheld() {
    let config = json!({
        "mask": { "paths": ["**.pin"], "patterns": ["[0-9]{12,}"] }, "add": { "json": ["a:1"] },
    });
    for (answer, want) in [
        (
            "200\nContent-Type: application/json\n\n{\"u\":{\"pin\":1},\"n\":1.50}",
            "200 {\"u\":{\"pin\":\"***\"},\"n\":1.50,\"a\":\"1\"}",
        ),
        ("200\nContent-Type: text/plain; charset=utf-8\n\ncard 123456789012, ok", "200 card ***, ok"),
        ("200\nContent-Type: application/json\n\n{\"pin\":1} trailing", "200 "),
        ("200\nContent-Type: application/json\nContent-Encoding: gzip\n\nxyz", "502 "),
        ("200\nContent-Type: image/png\nContent-Encoding: gzip\n\n123456789012", "200 123456789012"),
        ("204\nContent-Type: application/json\n\n", "204 "),
    ] {
        let exchange = Harness::new(&DEFINITION, config.clone()).with_upstream(answer).send("GET /");
        assert_eq!(format!("{} {}", exchange.status, exchange.body), want, "{answer}");
    }
}

#[test]
fn an_upstream_whose_answer_is_masked_is_asked_not_to_encode_it() {
    let mask = json!({ "mask": { "paths": ["**.pin"] } });
    for (config, request, want) in [
        (mask.clone(), "GET /\nAccept-Encoding: gzip, br\nAccept-Encoding: zstd", "GET /\nAccept-Encoding: identity\n"),
        (mask, "GET /", "GET /\nAccept-Encoding: identity\n"),
        (json!({ "add": { "json": ["a:1"] } }), "GET /\nAccept-Encoding: gzip", "GET /\nAccept-Encoding: gzip\n"),
        (json!({}), "GET /", "GET /\n"),
    ] {
        let exchange = Harness::new(&DEFINITION, config.clone()).send(request);
        assert_eq!(exchange.upstream.as_deref(), Some(want), "{config} {request}");
    }
}

#[test]
fn renamed_fields_have_names_of_header_fields() {
    for (entry, want) in [
        ("a:", Some("'' is not a valid header")),
        ("a b:c", Some("'a b' is not a valid header")),
        ("a:b c", Some("'b c' is not a valid header")),
        ("a", Some("invalid value: a")),
        ("a:X_b-1", None),
    ] {
        let error = pdk::testing::complete(&DEFINITION, json!({ "rename": { "headers": [entry] } })).err();
        let want = want.map(|want| json!({ "config": { "rename": { "headers": [want] } } }));
        assert_eq!(error, want, "{entry}");
    }
}
