//! Tests of `redirect`.

use super::*;
use pdk::testing::Harness;
use serde_json::json;

#[test]
fn answers_with_the_location() {
    let location = "https://example.test/new?x=1#f";
    for status in [301, 302, 200, 404] {
        let h = Harness::new(&DEFINITION, json!({ "location": location, "status_code": status }));
        assert_eq!(h.send("GET /a?b").answer(), format!("{status}\nLocation: {location}\n\nredirecting"));
    }
}

#[test]
fn keeps_the_requests_path_and_query() {
    for (location, target, want) in [
        ("https://example.test/p?x=1", "/a/b?c=d&e", "https://example.test/a/b?c=d&e"),
        ("https://example.test/p?x=1", "/", "https://example.test/"),
        ("https://example.test", "/a%20b/%C3%A9?q=%2F", "https://example.test/a%20b/%C3%A9?q=%2F"),
        ("https://example.test", "/x?", "https://example.test/x"),
        ("https://example.test", "/a//b/../c", "https://example.test/a/c"),
        ("https://example.test", "/a/./%2e%2E/../b/", "https://example.test/b/"),
        ("https://example.test", "/%7Eu/%2f", "https://example.test/~u/%2F"),
        ("https://example.test", "/\"a{b}`?q='\"<", "https://example.test/%22a%7Bb%7D%60?q=%27%22%3C"),
        ("https://example.test", "/é?é", "https://example.test/%C3%A9?%C3%A9"),
        ("http://example.test/#frag", "/a/b?c=d", "http://example.test/a/b?c=d#frag"),
        ("HTTP://u:P@EXAMPLE.test:80/A", "/a", "http://u:P@example.test/a"),
        ("https://example.test:8443/A", "/a", "https://example.test:8443/a"),
    ] {
        let h = Harness::new(&DEFINITION, json!({ "location": location, "keep_incoming_path": true }));
        assert_eq!(h.send(&format!("GET {target}")).header("Location"), want, "{target}");
    }
}
