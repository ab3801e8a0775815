//! The flavor of Kong's older versions, with categories and ages.

use super::{check, check_match};
use crate::Flavor;

const FLAVOR: Flavor = Flavor::Traditional;

#[test]
fn hosts_match_with_or_without_port() {
    check(
        FLAVOR,
        &[
            "hosts=plain.test",
            "hosts=port.test:9999",
            "hosts=web.test:80",
            "hosts=*.wild.test:9999",
            "hosts=*.any.test",
        ],
        &[
            ("GET http://plain.test/", 1),
            ("GET http://PLAIN.test/", 0),
            ("GET http://plain.test:1/", 1),
            ("GET http://port.test/", 0),
            ("GET http://port.test:9999/", 2),
            ("GET http://port.test:1/", 0),
            ("GET http://web.test/", 3),
            ("GET https://web.test/", 0),
            ("GET http://a.wild.test:9999/", 4),
            ("GET http://a.wild.test/", 0),
            ("GET http://a.any.test:1/", 5),
            ("GET http://.any.test/", 0),
        ],
    );
}

#[test]
fn a_header_with_underscores_is_one_with_dashes_where_there_is_no_other() {
    check(
        FLAVOR,
        &["X_K:1"],
        &[
            ("GET http://h/ X-K:1", 1),
            ("GET http://h/ x_k:1", 1),
            ("GET http://h/ x_k:2 x-k:1", 0),
            ("GET http://h/ X-K:2", 0),
        ],
    );
    check(FLAVOR, &["X-K:1"], &[("GET http://h/ X-K:1", 1), ("GET http://h/ X_K:1", 0)]);
}

/// Each row: the route that must lose, the route that must win.
#[test]
fn categories_come_before_everything_else() {
    let rows = [
        ("hosts=h.test", "paths=/p methods=GET"),
        ("paths=/p/q methods=GET", "X-A:1 paths=/p"),
        ("X-A:1", "hosts=h.test"),
        ("paths=~/p", "X-A:1"),
        ("methods=GET", "paths=/p"),
        ("hosts=*.test", "hosts=h.test"),
        ("hosts=h.test paths=~/p regex_priority=9", "hosts=h.test methods=GET paths=/p"),
        ("paths=/p/q", "paths=~/p"),
        ("paths=~/p/q regex_priority=1", "paths=~/p regex_priority=2"),
        ("paths=~/p regex_priority=-2", "paths=~/p regex_priority=-1"),
        ("X-A:1", "X-A:1 X-B:2"),
        ("X-A:1 paths=/p/q", "X-A:1 X-B:2 paths=/p"),
        ("paths=/p created_at=20", "paths=/p created_at=10"),
        ("paths=/p,/zzzzzzzz created_at=1", "paths=/p/q created_at=2"),
    ];
    for (low, high) in rows {
        check(FLAVOR, &[low, high], &[("GET http://h.test/p/q X-A:1 X-B:2", 2)]);
        check(FLAVOR, &[high, low], &[("GET http://h.test/p/q X-A:1 X-B:2", 1)]);
    }
}

#[test]
fn header_names_are_exact_and_only_a_single_value_may_be_a_regex() {
    check(
        FLAVOR,
        &["X-Kind:red", "x-re:~*^v[0-9]$", "x-two:~*a|b"],
        &[
            ("GET http://h/ x-kind:RED", 1),
            ("GET http://h/ x_kind:red", 0),
            ("GET http://h/ x-re:V1", 2),
            ("GET http://h/ x-re:v12", 0),
            ("GET http://h/ x-two:~*a", 3),
            ("GET http://h/ x-two:xa", 0),
        ],
    );
}

#[test]
fn snis_are_no_obstacle_on_plain_http_but_come_last() {
    check(
        FLAVOR,
        &["snis=one.test paths=/a", "paths=/", "snis=two.test methods=POST"],
        &[
            ("GET https://x/a sni=one.test", 1),
            ("GET https://x/a sni=two.test", 2),
            ("GET http://x/a", 2),
            ("POST https://x/b sni=two.test", 3),
        ],
    );
    check(FLAVOR, &["snis=one.test paths=/a"], &[("GET http://x/a", 1), ("GET http://x/b", 0)]);
}

#[test]
fn bytes_that_are_not_utf8_match() {
    check(FLAVOR, &["paths=/r", "paths=~/x.$"], &[("GET http://h/r/%FF", 1), ("GET http://h/x%FF", 2)]);
}

#[test]
fn alternatives_of_a_regex_are_all_anchored() {
    check(FLAVOR, &["paths=~/a|/b"], &[("GET http://h/b", 1), ("GET http://h/x/b", 0)]);
    check_match(FLAVOR, "paths=~/r/(?<id>[^/]+)/x", "GET http://h/r/7/x/y", Some("/r/7/x"), &[("1", "7"), ("id", "7")]);
}

#[test]
fn only_the_last_branch_of_a_regex_strips_what_it_matched() {
    for (path, request, prefix) in [
        ("~/a|b", "/ab", None),
        ("~/a|/b", "/ab", None),
        ("~/a|/b", "/bx", Some("/b")),
        ("~/a|/b|/c", "/bx", None),
        ("~/a|/b|/c", "/cx", Some("/c")),
        ("~/(?:a|b)", "/ab", Some("/a")),
        ("~/[|]a", "/|ab", Some("/|a")),
        ("~/a\\|b", "/a|bc", Some("/a|b")),
        ("~/a(?:b|c)|/d", "/acx", None),
    ] {
        check_match(FLAVOR, &format!("paths={path}"), &format!("GET http://h.test{request}"), prefix, &[]);
    }
}
