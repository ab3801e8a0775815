//! Tests of `request-transformer`.

use super::*;
use pdk::testing::{Exchange, Harness, complete};
use serde_json::{Value, json};

fn sent(config: &Value, request: &str) -> String {
    Harness::new(&DEFINITION, config.clone()).send(request).upstream.unwrap()
}

/// First line and fields, without the body's length.
fn head(config: &Value, request: &str) -> String {
    let text = sent(config, request);
    let head = text.split("\n\n").next().unwrap().trim_end();
    head.lines().filter(|line| !line.starts_with("Content-Length")).collect::<Vec<_>>().join(" | ")
}

fn body(config: &Value, media: &str, given: &str) -> String {
    let text = sent(config, &format!("POST /\nContent-Type: {media}\n\n{given}"));
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let length = format!("Content-Length: {}", body.len());
    assert!(body.is_empty() || head.contains(&length), "{head} is to say {length}");
    body.to_owned()
}

#[test]
fn changes_header_fields_in_order() {
    let request = "GET /\nX-A: 1\nX-B: 2\nX-Multi: m1\nX-Multi: m2";
    let plain = "GET / | X-A: 1 | X-B: 2 | X-Multi: m1 | X-Multi: m2";
    for (config, want) in [
        (json!({}), plain.to_owned()),
        (json!({ "remove": { "headers": ["x-a", "X-MULTI", "none", "host"] } }), "GET / | X-B: 2".to_owned()),
        (
            json!({ "rename": { "headers": ["x-a:X-New", "X-Multi:X-Many", "none:x", "X-B:x-b", "host:x-host"] } }),
            "GET / | X-B: 2 | X-New: 1 | X-Many: m1 | X-Many: m2".to_owned(),
        ),
        (json!({ "rename": { "headers": ["X-A:X-B"] } }), "GET / | X-Multi: m1 | X-Multi: m2 | X-B: 1".to_owned()),
        (
            json!({ "replace": { "headers": ["x-a:new", "none:x", "X-Multi:one", "x-b:"] } }),
            "GET / | X-A: new | X-B: 2 | X-Multi: one".to_owned(),
        ),
        (
            json!({ "add": { "headers": ["x-a:no", "X-New::v:with:colons", "Host:no", "X-New:second"] } }),
            format!("{plain} | X-New: v:with:colons"),
        ),
        (
            json!({ "append": { "headers": ["x-a:more", "X-New:first", "X-New:second", "Host:no"] } }),
            format!("{plain} | x-a: more | X-New: first | X-New: second"),
        ),
        (
            json!({ "remove": { "headers": ["x-a"] }, "rename": { "headers": ["x-b:x-a"] },
                    "replace": { "headers": ["x-a:r"] }, "add": { "headers": ["x-b:n"] },
                    "append": { "headers": ["x-b:p"] } }),
            "GET / | X-Multi: m1 | X-Multi: m2 | x-a: r | x-b: n | x-b: p".to_owned(),
        ),
        (
            json!({ "replace": { "headers": ["Host:new.test"] } }),
            "GET / | Host: new.test | X-A: 1 | X-B: 2 | X-Multi: m1 | X-Multi: m2".to_owned(),
        ),
        (
            json!({ "rename": { "headers": ["x-a:host"] } }),
            "GET / | Host: 1 | X-B: 2 | X-Multi: m1 | X-Multi: m2".to_owned(),
        ),
    ] {
        assert_eq!(head(&config, request), want, "{config}");
    }
}

#[test]
fn a_body_goes_with_its_length() {
    let config = json!({ "remove": { "headers": ["content-length"] } });
    assert_eq!(sent(&config, "POST /\n\nsmuggled"), "POST /\n");
}

#[test]
fn changes_the_query_and_sorts_it() {
    let query = "?a=1&b=2&m=x&m=y&flag&empty=&sp=a%20b+c";
    for (config, query, want) in [
        (json!({ "remove": { "querystring": ["none"] } }), query, "?a=1&b=2&empty=&flag&m=x&m=y&sp=a%20b%20c"),
        (json!({ "remove": { "querystring": ["a", "m"] } }), query, "?b=2&empty=&flag&sp=a%20b%20c"),
        (json!({ "rename": { "querystring": ["a:z", "flag:g", "none:b"] } }), "?a=1&z=2&b=3&flag", "?b=3&g&z=1"),
        (json!({ "replace": { "querystring": ["a:9", "flag:y", "none:x"] } }), "?a=1&a=2&flag", "?a=9&flag=y"),
        (
            json!({ "add": { "querystring": ["a:no", "new:v w&x=y", "empty:no"] } }),
            "?a&empty=",
            "?a&empty=&new=v%20w%26x%3Dy",
        ),
        (json!({ "append": { "querystring": ["a:2", "flag:1", "new:1"] } }), "?a=1&flag", "?a=1&a=2&flag=1&new=1"),
        (
            json!({ "remove": { "querystring": ["a"] }, "rename": { "querystring": ["b:a"] },
                    "replace": { "querystring": ["a:r"] }, "add": { "querystring": ["b:n"] },
                    "append": { "querystring": ["b:p"] } }),
            "?a=1&b=2",
            "?a=r&b=n&b=p",
        ),
        (json!({ "remove": { "querystring": ["a"] } }), "?a=1", ""),
        (json!({}), query, query),
    ] {
        assert_eq!(head(&config, &format!("GET /p{query}")), format!("GET /p{want}"), "{config}");
    }
}

#[test]
fn changes_the_top_level_of_a_json_body() {
    for (config, given, want) in [
        (json!({ "remove": { "body": ["a", "none", "o.k"] } }), r#"{"a":1,"o":{"k":null}}"#, r#"{"o":{"k":null}}"#),
        (
            json!({ "rename": { "body": ["a:z", "none:b", "f:b"] } }),
            r#"{"a":1,"b":2,"f":false}"#,
            r#"{"b":2,"f":false,"z":1}"#,
        ),
        (
            json!({ "replace": { "body": ["a:9", "f:x", "n:x", "none:x"] } }),
            r#"{"a":1,"f":false,"n":null}"#,
            r#"{"a":"9","f":false,"n":"x"}"#,
        ),
        (
            json!({ "add": { "body": ["a:no", "f:x", "n:x", "new:5"] } }),
            r#"{"a":1,"f":false,"n":null}"#,
            r#"{"a":1,"f":"x","n":null,"new":"5"}"#,
        ),
        (
            json!({ "append": { "body": ["s:y", "l:2", "n:z"] } }),
            r#"{"s":"x","l":[1],"n":1}"#,
            r#"{"s":["x","y"],"l":[1,"2"],"n":["z"]}"#,
        ),
        (json!({ "append": { "body": ["o:x"] } }), r#"{"o":{}}"#, r#"{"o":["x"]}"#),
        (json!({ "add": { "body": ["a:1"] } }), "", r#"{"a":"1"}"#),
        (json!({ "append": { "body": ["a:1"] } }), "", r#"{"a":["1"]}"#),
        (json!({ "remove": { "body": ["a"] } }), "", ""),
        (json!({ "rename": { "body": ["a:b"] }, "replace": { "body": ["a:$(none.x)"] } }), "", ""),
        (json!({ "add": { "body": ["a:1"] } }), "[1, 2]", "[1,2]"),
        (json!({ "replace": { "body": ["a:1"] } }), "[1, 2]", "[1, 2]"),
        // What changes nothing leaves the body as it was written.
        (json!({ "replace": { "body": ["zz:1"] } }), " { \"b\" : 1.10 }", " { \"b\" : 1.10 }"),
        (
            json!({ "rename": { "body": ["zz:b", "b:b"] }, "add": { "body": ["b:1"] } }),
            " { \"b\" : 1.10 }",
            " { \"b\" : 1.10 }",
        ),
        (json!({ "add": { "body": ["a:$(none.x)"] } }), "{bad", "{bad"),
        (json!({ "add": { "body": ["a:1"] } }), "{bad", "{bad"),
        (json!({ "add": { "body": ["a:1"] } }), "5", "5"),
        (
            json!({ "remove": { "body": ["none"] } }),
            " { \"b\" : 1.10, \"big\" : 12345678901234567890 } ",
            r#"{"b":1.1,"big":12345678901234567890}"#,
        ),
    ] {
        assert_eq!(body(&config, "application/json; charset=utf-8", given), want, "{config} {given}");
    }
}

#[test]
fn changes_forms() {
    let given = "a=1&b=two+words&m=x&m=y&flag&empty=";
    for (config, given, want) in [
        (json!({ "rename": { "body": ["a:z", "m:n"] } }), given, "b=two%20words&empty=&flag&n=x&n=y&z=1"),
        (json!({ "replace": { "body": ["a:9 9", "flag:x"] } }), given, "a=9%209&b=two%20words&empty=&flag=x&m=x&m=y"),
        (json!({ "add": { "body": ["a:no", "new:v&w"] } }), given, "a=1&b=two%20words&empty=&flag&m=x&m=y&new=v%26w"),
        (json!({ "append": { "body": ["a:2"] } }), "a=1", "a=1&a=2"),
        (json!({ "add": { "body": ["a:1"] } }), "", "a=1"),
        (json!({ "remove": { "body": ["none"] } }), "b=1&a=x+y", "a=x%20y&b=1"),
        (json!({ "replace": { "body": ["none:1"] } }), "b=two+words&a", "b=two+words&a"),
        (
            json!({ "rename": { "body": ["none:a", "a:a"] }, "add": { "body": ["a:1"] } }),
            "b=two+words&a",
            "b=two+words&a",
        ),
        (json!({ "rename": { "body": ["a:$(none.x)"] } }), "", ""),
    ] {
        assert_eq!(body(&config, "application/x-www-form-urlencoded", given), want, "{config}");
    }
}

#[test]
fn changes_multipart_forms() {
    let part =
        |name: &str, value: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let given = format!("{}{}--B--\r\n", part("a", "1"), part("b", "two"));
    for (config, want) in [
        (json!({ "remove": { "body": ["a"] } }), format!("{}--B--\r\n", part("b", "two"))),
        (json!({ "rename": { "body": ["a:z"] } }), format!("{}{}--B--\r\n", part("b", "two"), part("z", "1"))),
        (
            json!({ "replace": { "body": ["a:9", "none:x"] } }),
            format!("{}{}--B--\r\n", part("b", "two"), part("a", "9")),
        ),
        (
            json!({ "add": { "body": ["a:no", "c:3"] } }),
            format!("{}{}{}--B--\r\n", part("a", "1"), part("b", "two"), part("c", "3")),
        ),
        (json!({ "append": { "body": ["a:2"] } }), given.clone()),
    ] {
        assert_eq!(body(&config, "multipart/form-data; boundary=B", &given), want, "{config}");
    }
    let odd = given.replace("Content-Disposition", "content-disposition").replace("--B--\r\n", "--B--trailer");
    for (config, given, want) in [
        (json!({ "append": { "body": ["a:$(none.x)"] } }), odd.as_str(), odd.as_str()),
        (json!({ "rename": { "body": ["none:a", "a:a"] }, "add": { "body": ["b:1"] } }), &odd, &odd),
        (json!({ "remove": { "body": ["a"] }, "append": { "body": ["a:2"] } }), "", ""),
        (json!({ "rename": { "body": ["a:b"] }, "replace": { "body": ["a:$(none.x)"] } }), "", ""),
        (json!({ "add": { "body": ["a:1"] } }), "", &format!("{}--B--\r\n", part("a", "1"))),
    ] {
        assert_eq!(body(&config, "multipart/form-data; boundary=B", given), want, "{config}");
    }
    assert_eq!(body(&json!({ "remove": { "body": ["a"] } }), "multipart/form-data", &given), given, "no boundary");
}

#[test]
fn changes_the_method_and_merges_forms() {
    let form = "Content-Type: application/x-www-form-urlencoded\n\na=1&q=2";
    for (method, request, want) in [
        ("PUT", "GET /?q=1".to_owned(), "PUT /?q=1"),
        ("GET", format!("POST /?q=1\n{form}"), "GET /?a=1&q=1&q=2"),
        ("POST", format!("POST /?q=1\n{form}"), "POST /?q=1"),
    ] {
        let sent = sent(&json!({ "http_method": method }), &request);
        assert_eq!(sent.lines().next(), Some(want), "{method}");
    }
    let exchange = Harness::new(&DEFINITION, json!({ "http_method": "CONNECT" })).send("GET /");
    assert_eq!((exchange.status, exchange.upstream), (500, None));
}

#[test]
fn values_are_templates() {
    let request = "GET /user/bob?q=a%2Fb%20c\nX-A: one\nX-Id: i";
    for (config, want) in [
        (
            json!({ "replace": { "uri": "/new/$(query_params.q)/x" } }),
            "GET /new/a/b%20c/x?q=a%2Fb%20c | X-A: one | X-Id: i",
        ),
        (
            json!({ "replace": { "uri": "/a b/\u{e9}?x=1#f" } }),
            "GET /a%20b/%C3%A9?x=1#f?q=a%2Fb%20c | X-A: one | X-Id: i",
        ),
        (json!({ "replace": { "uri": "$(query_params.none)" } }), "GET /?q=a%2Fb%20c | X-A: one | X-Id: i"),
        (
            json!({ "add": { "headers": ["X-New:<$(headers['x-a'])>", "X-None:$(headers.none)"] } }),
            "GET /user/bob?q=a%2Fb%20c | X-A: one | X-Id: i | X-New: <one> | X-None: ",
        ),
        (
            json!({ "replace": { "headers": ["X-A:new"] }, "append": { "headers": ["X-Old:$(headers.x_a)"] } }),
            "GET /user/bob?q=a%2Fb%20c | X-A: new | X-Id: i | X-Old: one",
        ),
        (
            json!({ "remove": { "headers": ["x-a", "x-id"] }, "add": { "querystring": ["h:$(headers.x_a)"] } }),
            "GET /user/bob?h=&q=a%2Fb%20c",
        ),
        (
            json!({ "replace": { "headers": ["X-Id:$(headers.x_id)2"] }, "add": { "querystring": ["h:$(headers.x_id)"] } }),
            "GET /user/bob?h=i&q=a%2Fb%20c | X-A: one | X-Id: i2",
        ),
    ] {
        assert_eq!(head(&config, request).trim_end(), want.trim_end(), "{config}");
    }
}

#[test]
fn a_template_that_fails_fails_the_request() {
    for config in [
        json!({ "add": { "headers": ["X:$(nothing.here)"] } }),
        json!({ "add": { "headers": ["X:$(1 +)"] } }),
        json!({ "replace": { "headers": ["None:$(error('x'))"] } }),
        json!({ "replace": { "uri": "/$(os.time())" } }),
        json!({ "add": { "querystring": ["x:$(headers.a.b)"] } }),
        json!({ "add": { "body": ["x:$(headers.a.b)"] } }),
    ] {
        let Exchange { status, body, upstream, .. } =
            Harness::new(&DEFINITION, config.clone()).send("POST /\nContent-Type: application/json\n\n{}");
        assert_eq!((status, upstream), (500, None), "{config}");
        assert!(body.contains("An unexpected error occurred"), "{body}");
    }
}

#[test]
fn templates_inject_nothing() {
    let request = "GET /p?x=a%0d%0aX-Evil:%201%00/%2e%2e HTTP";
    for (config, want) in [
        (json!({ "add": { "headers": ["X-New:$(query_params.x)"] } }), "X-New: a  X-Evil: 1 /.. HTTP"),
        (json!({ "replace": { "uri": "/$(query_params.x)" } }), "GET /a%0D%0AX-Evil:%201%00/..%20HTTP?"),
        (json!({ "replace": { "headers": ["Host:$(query_params.x)"] } }), "Host: aX-Evil:1..HTTP"),
    ] {
        let text = sent(&config, &format!("{request}\nX-A: 1"));
        assert!(text.contains(want), "{config}: {text}");
        assert!(!text.contains("\nX-Evil"), "{config}: {text}");
    }
}

#[test]
fn bodies_are_bounded() {
    let config = json!({ "add": { "body": ["x:1"] } });
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(body(&config, "application/json", &deep).ends_with(",\"x\":\"1\"}"));
    let names: String = (0..200_000).map(|n| format!("n{n}&")).collect();
    let started = std::time::Instant::now();
    assert!(body(&config, "application/x-www-form-urlencoded", &names).ends_with("&x=1"));
    assert!(started.elapsed().as_secs() < 20, "the work grows with the names, not with their square");
    let large = "x".repeat(pdk::form::LIMIT + 1);
    assert_eq!(body(&config, "application/json", &large).len(), large.len(), "left as it is");
    let chunked = "POST /\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n{}";
    assert!(sent(&config, chunked).ends_with("{\"x\":\"1\"}"));
}

#[test]
fn refuses_what_kong_refuses() {
    for (config, want) in [
        (
            json!({ "remove": { "headers": ["a b"] } }),
            json!({ "remove": { "headers": ["'a b' is not a valid header"] } }),
        ),
        (
            json!({ "remove": { "headers": [":b"] } }),
            json!({ "remove": { "headers": ["'nil' is not a valid header"] } }),
        ),
        (
            json!({ "rename": { "headers": ["a:b c"] } }),
            json!({ "rename": { "headers": ["'b c' is not a valid header"] } }),
        ),
        (json!({ "add": { "headers": ["a"] } }), json!({ "add": { "headers": ["invalid value: a"] } })),
        (json!({ "add": { "body": ["a"] } }), json!({ "add": { "body": ["key 'a' has no value"] } })),
        (
            json!({ "rename": { "querystring": ["a:"] } }),
            json!({ "rename": { "querystring": ["key 'a' has no value"] } }),
        ),
        (
            json!({ "add": { "body": ["a:$(1 +)"] } }),
            json!({ "add": { "body": [
                "value '$(1 +)' is not in supported format, error:[string \"TMP\"]:1: unexpected symbol near ')'"
            ] } }),
        ),
        (json!({ "http_method": "get" }), json!({ "http_method": "invalid value: get" })),
        (json!({ "replace": { "uri": "" } }), json!({ "replace": { "uri": "length must be at least 1" } })),
    ] {
        assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "config": want }));
    }
    for config in [json!({ "remove": { "headers": ["a:b"] } }), json!({ "add": { "headers": ["X-T:$("] } })] {
        assert!(complete(&DEFINITION, config.clone()).is_ok(), "{config}");
    }
}

#[test]
fn values_of_json_bodies_have_types() {
    let request = "POST /?n=7&t=true&x=word\nContent-Type: application/json\n\n{\"a\":\"1\",\"b\":[]}";
    for (config, want) in [
        (json!({ "replace": { "body": ["a:2"], "json_types": ["number"] } }), r#"{"a":2,"b":[]}"#),
        (json!({ "replace": { "body": ["a:2"] } }), r#"{"a":"2","b":[]}"#),
        // Strings where too few are named.
        (
            json!({ "add": { "body": ["c:1.50", "d:true", "e:0x10", "f:1"], "json_types": ["number", "boolean", "number"] } }),
            r#"{"a":"1","b":[],"c":1.5,"d":true,"e":16,"f":"1"}"#,
        ),
        (
            json!({ "append": { "body": ["b:1", "b:x"], "json_types": ["number", "string"] } }),
            r#"{"a":"1","b":[1,"x"]}"#,
        ),
        // A text that is no number changes nothing; one that is not `true` is false.
        (
            json!({ "replace": { "body": ["a:two"], "json_types": ["number"] },
                    "add": { "body": ["c:1e999", "d:yes"], "json_types": ["number", "boolean"] } }),
            r#"{"a":"1","b":[],"d":false}"#,
        ),
        // Templates get the types that their values have when they are there. An entry without a value takes its type with it.
        (
            json!({ "add": { "body": ["n:$(query_params.n)", "t:$(query_params.t)", "x:$(query_params.x)"],
                             "json_types": ["number", "boolean", "number"] } }),
            r#"{"a":"1","b":[],"n":7,"t":true}"#,
        ),
    ] {
        let sent = sent(&config, request);
        let mut got: Value = serde_json::from_str(sent.split_once("\n\n").unwrap().1).unwrap();
        let mut want: Value = serde_json::from_str(want).unwrap();
        got.sort_all_objects();
        want.sort_all_objects();
        assert_eq!(got, want, "{config}");
    }
    // A form has texts only.
    let config = json!({ "add": { "body": ["a:1"], "json_types": ["number"] } });
    assert_eq!(body(&config, "application/x-www-form-urlencoded", "b=2"), "a=1&b=2");
    let error = complete(&DEFINITION, json!({ "add": { "body": ["a:1"], "json_types": ["whole"] } })).unwrap_err();
    assert!(error.to_string().contains("expected one of: boolean, number, string"), "{error}");
    // Kong's config stays Kong's.
    let complete = complete(&DEFINITION, json!({})).unwrap();
    assert!(complete["add"].get("json_types").is_none(), "{complete}");
}
