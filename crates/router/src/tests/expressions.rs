//! Kong's expression language.

use super::{check, check_match, route};
use crate::{Flavor, Router};

const FLAVOR: Flavor = Flavor::Expressions;

/// Requests that one expression matches, and requests that it does not.
fn check_expression(expression: &str, matched: &[&str], unmatched: &[&str]) {
    let requests = matched.iter().map(|request| (*request, 1)).chain(unmatched.iter().map(|request| (*request, 0)));
    check(FLAVOR, &[&format!("expression={expression}")], &requests.collect::<Vec<_>>());
}

#[test]
fn paths_are_compared_in_normal_form() {
    check_expression(
        r#"http.path == "/a""#,
        &["GET http://h/a", "GET http://h//a", "GET http://h/a?x=1", "GET http://h/%61"],
        &["GET http://h/a/", "GET http://h/ab", "GET http://h/A"],
    );
    check_expression(r#"http.path != "/a""#, &["GET http://h/b"], &["GET http://h/a"]);
    check_expression(r#"http.path ^= "/a""#, &["GET http://h/a", "GET http://h/ab"], &["GET http://h/b/a"]);
    check_expression(r#"http.path =^ "/z""#, &["GET http://h/a/z"], &["GET http://h/z/a"]);
    check_expression(r#"http.path contains "b""#, &["GET http://h/abc"], &["GET http://h/acd"]);
    check_expression(r#"http.path ~ "b$""#, &["GET http://h/ab"], &["GET http://h/ba"]);
    check_expression(
        r##"http.path ~ r#"^/a/\d+$"#"##,
        &["GET http://h/a/12"],
        &["GET http://h/a/x", "GET http://h/b/a/1"],
    );
    check_expression(r#"lower(http.path) ^= "/abc""#, &["GET http://h/ABCd/E"], &["GET http://h/ab"]);
    check_expression(r#"http.path == "/a%2Fb""#, &["GET http://h/a%2fb"], &["GET http://h/a/b"]);
    check_expression(r##"http.path == r#"/"q"#"##, &["GET http://h/%22q"], &[]);
}

#[test]
fn segments_are_counted_from_zero() {
    check_expression(
        r#"http.path.segments.0 == "a""#,
        &["GET http://h/a", "GET http://h/a/b"],
        &["GET http://h/b/a", "GET http://h/"],
    );
    check_expression(r#"http.path.segments.1 == "b""#, &["GET http://h/a/b/c"], &["GET http://h/b"]);
    check_expression(
        r#"http.path.segments.0_1 == "a/b""#,
        &["GET http://h/a/b", "GET http://h/a/b/c"],
        &["GET http://h/a"],
    );
    check_expression(r#"http.path.segments.1_2 ^= "b""#, &["GET http://h/a/bc/d"], &["GET http://h/a/b"]);
    check_expression("http.path.segments.len == 0", &["GET http://h/"], &["GET http://h/a"]);
    check_expression("http.path.segments.len == 1", &["GET http://h/a", "GET http://h/a/"], &["GET http://h/a/b"]);
    check_expression(r#"http.path.segments.0 == """#, &[], &["GET http://h/", "GET http://h/a"]);
    check_expression(
        "http.path.segments.len >= 1 && http.path.segments.len <= 2",
        &["GET http://h/a", "GET http://h/a/b"],
        &["GET http://h/", "GET http://h/a/b/c"],
    );
}

#[test]
fn hosts_have_no_port_and_keep_their_case() {
    let host = r#"http.host == "one.test""#;
    check_expression(
        host,
        &["GET http://one.test/a", "GET http://one.test:99/a"],
        &["GET http://ONE.test/a", "GET http://two.test/"],
    );
    check_expression(r#"lower(http.host) == "one.test""#, &["GET http://ONE.Test/a"], &["GET http://two.test/"]);
    check_expression(r#"http.host ^= "one.""#, &["GET http://one.test/a"], &["GET http://two.test/"]);
    check_expression(r#"http.host =^ ".test""#, &["GET http://one.test/a"], &["GET http://one.tes/"]);
    check_expression(r#"http.host =^ "e.test""#, &["GET http://one.test/a"], &["GET http://two.test/"]);
}

#[test]
fn the_destination_port_is_the_one_connected_to() {
    check_expression("net.dst.port == 8000", &["GET http://x.test:77/a"], &["GET https://x.test/a"]);
    // Kong believes the Host header here.
    check_expression("net.dst.port == 77", &[], &["GET http://x.test:77/a"]);
}

#[test]
fn headers_and_arguments_may_have_several_values() {
    check_expression(
        r#"http.headers.x_a == "1""#,
        &["GET http://h/ X-A:1", "GET http://h/ X_A:1", "GET http://h/ X-A:1 x-a:1"],
        &["GET http://h/ X-A:2", "GET http://h/ X-A:1 X-A:2", "GET http://h/", "GET http://h/ X-A:1|2"],
    );
    check_expression(
        r#"any(http.headers.x_a) == "1""#,
        &["GET http://h/ X-A:1 X-A:2"],
        &["GET http://h/ X-A:2 X-A:3", "GET http://h/"],
    );
    check_expression(
        r#"http.headers.x_a != "1""#,
        &["GET http://h/ X-A:2"],
        &["GET http://h/ X-A:1 X-A:2", "GET http://h/"],
    );
    check_expression(r#"any(http.headers.x_a) != "1""#, &["GET http://h/ X-A:1 X-A:2"], &["GET http://h/"]);
    check_expression(
        r#"any(lower(http.headers.x_a)) == "abc""#,
        &["GET http://h/ X-A:x X-A:ABC"],
        &["GET http://h/ X-A:x"],
    );
    check_expression(r#"!(http.headers.x_a == "1")"#, &["GET http://h/"], &["GET http://h/ X-A:1"]);
    check_expression(r#"http.headers.x_a == """#, &["GET http://h/ X-A:"], &["GET http://h/"]);
    check_expression(r#"http.headers.host == "one.test""#, &["GET http://one.test/"], &["GET http://two.test/"]);
    check_expression(
        r#"http.queries.q == "a b""#,
        &["GET http://h/a?q=a+b", "GET http://h/a?q=a%20b"],
        &["GET http://h/a?q=ab"],
    );
    check_expression(
        r#"http.queries.q == """#,
        &["GET http://h/a?q", "GET http://h/a?q="],
        &["GET http://h/a?x", "GET http://h/a"],
    );
    check_expression(
        r#"http.queries.q == "1""#,
        &["GET http://h/a?q=1"],
        &["GET http://h/a?q=1&q=2", "GET http://h/a?Q=1"],
    );
    check_expression(r#"any(http.queries.q) == "1""#, &["GET http://h/a?q=1&q=2"], &["GET http://h/a?q=2"]);
    check_expression(r#"http.queries.q ~ "^x""#, &["GET http://h/a?q=xy"], &["GET http://h/a?q=yx"]);
    check_expression(r#"http.queries.q != "1""#, &["GET http://h/a?q=2"], &["GET http://h/a?q=1", "GET http://h/a"]);
}

#[test]
fn connections_have_protocol_addresses_and_ports() {
    check_expression(r#"net.protocol == "https""#, &["GET https://h/"], &["GET http://h/"]);
    check_expression("net.src.ip == 127.0.0.1", &["GET http://h/"], &["GET http://h/ from=10.0.0.1:5"]);
    check_expression(
        "net.src.ip in 10.0.0.0/8",
        &["GET http://h/ from=10.1.2.3:5"],
        &["GET http://h/", "GET http://h/ from=[::1]:5"],
    );
    check_expression("net.src.ip not in 10.0.0.0/8", &["GET http://h/"], &["GET http://h/ from=10.1.2.3:5"]);
    check_expression(
        "net.src.ip in fd00::/8",
        &["GET http://h/ from=[fd12::1]:5"],
        &["GET http://h/ from=[fe80::1]:5"],
    );
    check_expression("net.src.port < 1024", &["GET http://h/ from=10.0.0.1:5"], &["GET http://h/"]);
    check_expression(r#"tls.sni =^ ".test""#, &["GET https://h/ sni=a.test"], &["GET https://h/"]);
}

#[test]
fn or_binds_tighter_than_and() {
    let both = r#"http.method == "GET" && http.path == "/a" || http.path == "/b""#;
    check_expression(both, &["GET http://h/a", "GET http://h/b"], &["POST http://h/b", "GET http://h/c"]);
    let negated = r#"!(http.path == "/a") || http.method == "GET""#;
    check_expression(negated, &["GET http://h/a", "POST http://h/b"], &["POST http://h/a"]);
    check_expression(r#"!(!(http.path == "/a"))"#, &["GET http://h/a"], &["GET http://h/b"]);
}

#[test]
fn alternatives_of_hosts_and_paths_are_all_found() {
    check_expression(
        r#"(http.host == "a.test" || http.host =^ ".b.test") && (http.path ^= "/x" || http.path ~ "^/y/[0-9]")"#,
        &["GET http://a.test/x", "GET http://c.b.test/y/1", "GET http://a.test/y/2"],
        &["GET http://a.test/z", "GET http://b.test/x", "GET http://a.test/y/z"],
    );
}

#[test]
fn the_last_test_of_the_path_tells_what_is_stripped() {
    check_match(FLAVOR, r#"expression=http.path ^= "/a""#, "GET http://h/ab", Some("/a"), &[]);
    check_match(FLAVOR, r#"expression=http.path == "/a/b""#, "GET http://h/a/b", Some("/a/b"), &[]);
    check_match(
        FLAVOR,
        r#"expression=http.path ^= "/a" || http.path ^= "/a/b""#,
        "GET http://h/a/b/c",
        Some("/a"),
        &[],
    );
    check_match(
        FLAVOR,
        r#"expression=http.path ^= "/a" && http.path ^= "/a/b""#,
        "GET http://h/a/b/c",
        Some("/a/b"),
        &[],
    );
    check_match(FLAVOR, r#"expression=lower(http.path) ^= "/a""#, "GET http://h/A/b", Some("/a"), &[]);
    check_match(FLAVOR, r#"expression=http.path contains "b""#, "GET http://h/ab", None, &[]);
    check_match(
        FLAVOR,
        r#"expression=http.path ~ "^/a/(?<id>[0-9]+)""#,
        "GET http://h/a/7/x",
        Some("/a/7"),
        &[("1", "7"), ("id", "7")],
    );
    // Kong strips as many bytes from the start as matched at the end.
    check_match(FLAVOR, r#"expression=http.path =^ "/z""#, "GET http://h/a/z", None, &[]);
}

#[test]
fn priority_decides_then_the_greater_id() {
    let low = r#"priority=1 expression=http.path ^= "/a""#;
    let high = r#"priority=2 expression=http.path ^= "/""#;
    check(FLAVOR, &[high, low], &[("GET http://h/a", 1), ("GET http://h/b", 1)]);
    check(FLAVOR, &[low, low], &[("GET http://h/a", 2)]);
    let largest = r#"priority=70368744177663 expression=http.path ^= "/""#;
    check(FLAVOR, &[largest, r#"priority=70368744177662 expression=http.path ^= "/a""#], &[("GET http://h/a", 1)]);
}

#[test]
fn expressions_come_before_classic_routes() {
    check(
        FLAVOR,
        &[
            r#"expression=http.path ^= "/""#,
            r"hosts=h.test methods=GET paths=/a x-a:1",
            r"methods=GET paths=/b,~/c/\d+",
        ],
        &[("GET http://h.test/a x-a:1", 1)],
    );
    check(
        FLAVOR,
        &[r"methods=GET paths=/a,~/b/\d+"],
        &[("GET http://h/a", 1), ("GET http://h/b/1", 1), ("GET http://h/b/x", 0), ("POST http://h/a", 0)],
    );
}

#[test]
fn protocols_limit_the_match_unless_they_ask_for_an_upgrade() {
    let route = |protocols: &str| format!(r#"protocols={protocols} expression=http.path ^= "/""#);
    check(FLAVOR, &[&route("http")], &[("GET http://h/", 1), ("GET https://h/", 0)]);
    check(FLAVOR, &[&route("https")], &[("GET http://h/", 1), ("GET https://h/", 1)]);
    check(FLAVOR, &[&route("grpc")], &[("POST http://h/", 1), ("POST https://h/", 0)]);
    check(FLAVOR, &[&route("http,https")], &[("GET http://h/", 1), ("GET https://h/", 1)]);
}

#[test]
fn an_expression_that_cannot_be_read_is_told_in_kongs_words() {
    let (router, errors) = Router::build(FLAVOR, [route(1, r#"expression=nope == "a""#), route(2, "paths=/a")]);
    assert_eq!(errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>(), ["Unknown LHS field"]);
    assert_eq!(router.len(), 1);
    // A route that is replaced by one that cannot be taken up is gone all the same.
    let (router, errors) = router.with_changes(&[], [route(2, "expression=(")]);
    assert_eq!((router.len(), errors.len()), (0, 1));
}
