//! `POST /debug/route` and `GET /lint`.
use super::api::world;
use serde_json::json;

#[test]
fn a_request_is_asked_about_as_its_url_says_and_secrets_stay_masked() {
    let world = world();
    let cases = [
        (json!({ "url": "http://h:81/a?b" }), json!([false, "GET", "h:81", "/a?b", null, [], null])),
        (json!({ "url": "http://h" }), json!([false, "GET", "h", "/", null, [], null])),
        (json!({ "url": "https://h:8443?b", "method": "POST" }), json!([true, "POST", "h:8443", "/?b", "h", [], null])),
        (
            json!({ "url": "http://h/", "headers": { "a": "1", "b": ["2", "3"] }, "sni": "s", "consumer": "c" }),
            json!([false, "GET", "h", "/", "s", [["a", "1"], ["b", "2"], ["b", "3"]], "c"]),
        ),
    ];
    for (body, expected) in cases {
        let (status, answer) = world.json("POST", "/debug/route", &body);
        assert_eq!((status, &answer["matched"]), (200, &expected), "{body}");
        assert_eq!(answer["plugins"][0]["config"], json!({ "minute": 1, "secret": "******" }));
        assert_eq!(answer["plugins"][0]["phases"], json!(["access"]));
        assert_eq!((&answer["client"], &answer["answer"]), (&json!("me"), &json!("Http11")));
    }
    for (version, seen) in [("1.0", "Http10"), ("1.1", "Http11"), ("2", "Http2")] {
        let (_, answer) = world.json("POST", "/debug/route", &json!({ "url": "http://h", "http_version": version }));
        assert_eq!(answer["answer"], json!(seen), "{version}");
    }
}

#[test]
fn what_is_no_request_is_refused_by_name() {
    let world = world();
    let cases = [
        (json!({}), "'url' is missing"),
        (json!({ "url": "/a" }), "'url' must begin with http:// or https://"),
        (json!({ "url": "ftp://h/" }), "'url' must begin with http:// or https://"),
        (json!({ "url": 1 }), "'url' must be a string"),
        (
            json!({ "url": "http://h/", "client": "1.2.3.4" }),
            "'client' must be an address and a port, as 127.0.0.1:8000",
        ),
        (json!({ "url": "http://h/", "http_version": "3" }), "'http_version' must be 1.0, 1.1 or 2"),
        (json!({ "url": "http://h/", "http_version": 2 }), "'http_version' must be a string"),
        (json!({ "url": "http://h/", "headers": [] }), "'headers' must be an object"),
        (json!({ "url": "http://h/", "headers": { "a": 1 } }), "the header 'a' must be a string or a list of strings"),
        (json!({ "url": "http://h/", "verb": "GET" }), "'verb' is not known here"),
    ];
    for (body, message) in cases {
        let (status, answer) = world.json("POST", "/debug/route", &body);
        assert_eq!((status, answer["message"].as_str()), (400, Some(message)), "{body}");
    }
    assert_eq!(world.get("/lint"), (200, json!({ "findings": [] })));
}
