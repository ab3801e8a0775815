//! Tests of what needs no node: notations of bodies, JSON's spelling, paths, pages.
mod access;
mod answers;
mod api;
mod audit;
mod batch;
mod consumer_groups;
mod described;
mod insight;

use crate::dispatch::Routes;
use crate::{Request, Response};
use crate::{json, listing, multipart, urlencoded};
use serde_json::{Value, json};

#[test]
fn json_is_spelled_as_lua_cjson_spells_it() {
    let cases = [
        (json!("a/b \"\\\n\u{1}é"), "\"a\\/b \\\"\\\\\\n\\u0001é\""),
        (json!([1, -2, 1.5, 100.0, 0.1]), "[1,-2,1.5,100,0.1]"),
        (json!(1e16), "1e+16"),
        (json!(12_345_678_901_234_567_u64), "1.234567890123457e+16"),
        (json!(0.000_01), "1e-05"),
        (json!(1_700_000_000.123), "1700000000.123"),
        (json!({ "a": null, "b": [], "c": {} }), "{\"a\":null,\"b\":[],\"c\":{}}"),
    ];
    for (value, expected) in cases {
        assert_eq!(String::from_utf8(json::encode(&value)).unwrap(), expected);
    }
}

#[test]
fn arguments_are_decoded_as_nginx_does() {
    let decoded = urlencoded::arguments(b"a=1&b&=c&&d=%7Ex+y&e=%zz&f=g=h");
    let shown: Vec<String> = decoded
        .iter()
        .map(|(name, value)| {
            format!("{}={:?}", String::from_utf8_lossy(name), value.as_deref().map(String::from_utf8_lossy))
        })
        .collect();
    assert_eq!(shown, ["a=Some(\"1\")", "b=None", "d=Some(\"~x y\")", "e=Some(\"%zz\")", "f=Some(\"g=h\")"]);
    assert_eq!(urlencoded::encode("a b/é"), "a%20b%2F%C3%A9");
    assert_eq!(urlencoded::decode(b"a+b", false), b"a+b");
}

#[test]
fn multipart_gives_parts_in_order_and_none_that_is_cut_off() {
    let body = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--x\r\ncontent-disposition: form-data; filename=\"f;g\"; name=b\r\nContent-Type: text/plain\r\n\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"cut\"\r\n\r\nhere";
    let parts = multipart::parts("multipart/form-data; boundary=\"x\"", body);
    assert_eq!(parts, [(b"a".to_vec(), Some(b"1\r\n2".to_vec())), (b"b".to_vec(), Some(Vec::new()))]);
    assert!(multipart::parts("multipart/form-data", body).is_empty());
    assert!(multipart::parts("multipart/form-data; boundary=y", b"").is_empty());
}

#[test]
fn fixed_segments_are_preferred_to_parameters() {
    let mut routes = Routes::default();
    for path in ["/", "/a/:x", "/a/all", "/a/:x/b", "/a/:x/:y/c"] {
        routes.on("GET", path, |_, _| Ok(Response::default()));
    }
    let cases = [
        ("/", Some(("/", vec![]))),
        ("//", Some(("/", vec![]))),
        ("/a/all", Some(("/a/all", vec![]))),
        ("/a/one/", Some(("/a/:x", vec!["one"]))),
        ("/a/all/b", Some(("/a/:x/b", vec!["all"]))),
        ("/a/all/2/c", Some(("/a/:x/:y/c", vec!["all", "2"]))),
        ("/a/1/2", None),
        ("/b", None),
    ];
    for (path, expected) in cases {
        let found = routes.find(path).map(|(endpoint, parameters)| (endpoint.path.as_str(), parameters));
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(routes.paths(), ["/", "/a/all", "/a/{x}", "/a/{x}/b", "/a/{x}/{y}/c"]);
}

#[test]
fn numbers_are_read_as_lua_reads_them() {
    let cases =
        [("10", Some(10.0)), (" 7 ", Some(7.0)), ("0x10", Some(16.0)), ("1e2", Some(100.0)), ("-1", Some(-1.0))];
    for (text, expected) in cases {
        assert_eq!(listing::lua_number(text), expected, "{text}");
    }
    for text in ["", "x", "inf", "nan", "1a"] {
        assert_eq!(listing::lua_number(text), None, "{text}");
    }
}

#[test]
fn headers_are_found_whatever_their_case() {
    let request = Request { headers: vec![("content-TYPE".into(), "x".into())], ..Request::default() };
    assert_eq!(request.header("Content-Type"), Some("x"));
    assert_eq!(Response::message(404, "Not found").body, br#"{"message":"Not found"}"#);
    assert_eq!(Value::Null, json!(null));
}
