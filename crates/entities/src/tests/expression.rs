//! Routes written as expressions.

use schema::{Record, Value, json};

use crate::RouterFlavor;
use crate::route::Route;
use crate::route::expression::{Matchers, check, is_surely_taken, parse, protocol_expression, segments};

fn expression(route: &Value) -> String {
    Matchers::from(route.as_object().unwrap()).expression()
}

#[test]
fn each_attribute_is_written_as_kong_writes_it() {
    let cases = [
        (json!({"methods": ["GET", "POST"]}), r##"(http.method == r#"GET"# || http.method == r#"POST"#)"##),
        (
            json!({"hosts": ["a.test", "*.b.test", "c.*", "d.test:80"]}),
            concat!(
                r##"(http.host == r#"a.test"# || http.host =^ r#".b.test"# || http.host ^= r#"c."# || "##,
                r##"(http.host == r#"d.test"# && net.dst.port == 80))"##
            ),
        ),
        (json!({"paths": ["/a", r"~/(?<x>\d+)$"]}), r##"(http.path ^= r#"/a"# || http.path ~ r#"^/(?P<x>\d+)$"#)"##),
        (
            json!({"headers": {"X-Ab": ["V", r"~*\Sx"]}}),
            r##"(any(lower(http.headers.x_ab)) == r#"v"# || any(lower(http.headers.x_ab)) ~ r#"\sx"#)"##,
        ),
        (
            json!({"protocols": ["https"], "snis": ["a.test.", "*.b.test"]}),
            r##"(net.protocol != r#"https"# || (tls.sni == r#"a.test"# || tls.sni =^ r#".b.test"#))"##,
        ),
        (
            json!({
                "protocols": ["tcp"],
                "sources": [{"ip": "10.0.0.1"}, {"ip": "10.9.0.1/8", "port": 80}],
                "destinations": [{"port": 443}],
            }),
            "(net.src.ip == 10.0.0.1 || (net.src.ip in 10.0.0.0/8 && net.src.port == 80)) && (net.dst.port == 443)",
        ),
        (json!({"paths": ["/a\"#b"]}), r##"(http.path ^= "/a\"#b")"##),
        (json!({"paths": [], "methods": null}), ""),
    ];
    for (route, wanted) in cases {
        assert_eq!(expression(&route), wanted, "{route}");
        let is_stream = route["protocols"] == json!(["tcp"]);
        assert!(wanted.is_empty() || parse(wanted, is_stream).is_ok(), "{wanted}");
    }
}

#[test]
fn a_typed_route_gives_the_same_expression() {
    let mut route = json!({
        "id": "00000000-0000-4000-8000-000000000001", "created_at": 1, "updated_at": 1, "protocols": ["https"],
        "https_redirect_status_code": 426, "strip_path": true, "preserve_host": false, "request_buffering": true,
        "response_buffering": true, "paths": ["/a"], "hosts": ["a.test"], "headers": {"x": ["y"]}, "snis": ["s.test"],
    });
    let typed = Route::from_value(&route).unwrap();
    assert_eq!(Matchers::from(&typed).expression(), expression(&route));
    route["paths"] = json!(["/b"]);
    assert_ne!(Matchers::from(&typed).expression(), expression(&route));
}

#[test]
fn the_protocol_is_asked_for_unless_it_is_one_secure_one() {
    assert_eq!(protocol_expression(&["https"]), None);
    assert_eq!(
        protocol_expression(&["grpc", "grpcs"]).as_deref(),
        Some(r##"(net.protocol == r#"http"# || net.protocol == r#"https"#)"##)
    );
}

#[test]
fn expressions_and_classic_attributes_exclude_each_other() {
    const CLASSIC: &str = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously";
    let own = r#"http.path == "/a""#;
    let cases = [
        (json!({"expression": own, "priority": 3}), Ok(())),
        (json!({"paths": ["/a"]}), Ok(())),
        (json!({"paths": ["/a"], "expression": ""}), Ok(())),
        (json!({"paths": ["/a"], "expression": own}), Err(format!("cannot set 'expression' with {CLASSIC}"))),
        (
            json!({"expression": own, "regex_priority": 1}),
            Err("cannot set 'regex_priority' with 'expression' simultaneously".to_owned()),
        ),
        (json!({"paths": ["/a"], "priority": 1}), Err(format!("cannot set 'priority' with {CLASSIC}"))),
        (
            json!({"expression": r#"http.path.segments.2_1 == "a""#}),
            Err("illformed http.path.segments.* field".to_owned()),
        ),
        (json!({"expression": r#"http.nope == "a""#}), Err("Unknown LHS field".to_owned())),
    ];
    for (route, wanted) in cases {
        assert_eq!(check(RouterFlavor::Expressions, route.as_object().unwrap()), wanted, "{route}");
    }
}

#[test]
fn ranges_of_segments_ascend() {
    let cases = [
        ("0", Some((0, 0))),
        ("12", Some((12, 12))),
        ("1_3", Some((1, 3))),
        ("3_1", None),
        ("1_1", None),
        ("x", None),
        ("", None),
        ("01", None),
    ];
    for (range, wanted) in cases {
        assert_eq!(segments(range), wanted, "{range}");
    }
}

#[test]
fn what_the_parser_panics_at_is_refused() {
    for operator in ["not  in", "not\tin", "not\nin", "notin"] {
        let route = json!({"expression": format!("net.src.ip {operator} 10.0.0.0/8")});
        let checked = check(RouterFlavor::Expressions, route.as_object().unwrap());
        assert!(checked.as_ref().is_err_and(|error| error.contains("unknown operator")), "{operator:?}: {checked:?}");
    }
    assert!(parse("net.src.ip not in 10.0.0.0/8", false).is_ok());
}

#[test]
fn an_expression_cannot_exhaust_the_stack() {
    let deep = format!("{}{}{}", "(".repeat(20_000), r#"http.path == "/""#, ")".repeat(20_000));
    assert!(parse(&deep, false).unwrap_err().contains("nested too deeply"));
    let long = format!(r#"http.path == "{}""#, "a".repeat(70_000));
    assert!(parse(&long, false).unwrap_err().contains("too long"));
}

#[test]
fn a_regex_that_is_surely_taken_is_taken() {
    let sure = [
        r"/a/(?<id>[a-z]+)$",
        r"/[^/]+/\d+",
        "",
        r"/(a|b)(?:c|d)?",
        r"/\w+\.\W+\s*",
        r"/(?i)ä+",
        "/[[:alpha:]]",
        r"/#\x2f",
    ];
    let unsure = [
        r"/(?=a)",
        r"/\1",
        "/(",
        "/)(",
        r"/\((",
        "/[",
        "/a{2}",
        "/a{9999}",
        r"/\p{Greek}",
        "/\"#",
        r"/(?<a>)(?<a>)",
        r"/\Qa\E",
    ];
    for regex in sure.into_iter().chain(unsure) {
        let is_sure = is_surely_taken(regex);
        let text = expression(&json!({"paths": [format!("~{regex}")]}));
        assert!(!is_sure || parse(&text, false).is_ok(), "{regex}");
        assert_eq!(is_sure, sure.contains(&regex), "{regex}");
    }
    let long = "a".repeat(65);
    assert!(!is_surely_taken(&long));
}
