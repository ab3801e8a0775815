//! The default flavor; most rows are situations from the recorded cases.

use super::{check, check_match, route};
use crate::{Flavor, Router};

const FLAVOR: Flavor = Flavor::TraditionalCompatible;

#[test]
fn hosts_match_exactly() {
    check(
        FLAVOR,
        &["hosts=one.test", "hosts=two.test,three.test"],
        &[
            ("GET http://one.test/", 1),
            ("GET http://two.test/", 2),
            ("GET http://three.test/", 2),
            ("GET http://four.test/", 0),
            ("GET http://sub.one.test/", 0),
            ("GET http://one.test./", 0),
            ("GET http://xone.test/", 0),
            ("GET http://one.tes/", 0),
            ("GET http://.one.test/", 0),
            ("GET http://ONE.test/", 0),
            ("GET http:///", 0),
        ],
    );
}

#[test]
fn a_port_in_hosts_must_be_that_of_the_host_header_or_the_listener() {
    check(
        FLAVOR,
        &["hosts=one.test:9999", "hosts=two.test:8000", "hosts=*.three.test:9999", "hosts=[::1]:9999"],
        &[
            ("GET http://one.test/", 0),
            ("GET http://one.test:9999/", 1),
            ("GET http://one.test:8000/", 0),
            ("GET http://one.test:09999/", 1),
            ("GET http://one.test:99999/", 0),
            ("GET http://two.test/", 2),
            ("GET http://two.test:8000/", 2),
            ("GET http://two.test:9999/", 0),
            ("GET http://a.three.test:9999/", 3),
            ("GET http://a.three.test/", 0),
            ("GET http://[::1]:9999/", 4),
            ("GET http://[::1]/", 0),
        ],
    );
}

#[test]
fn wildcards_stand_at_either_end() {
    check(
        FLAVOR,
        &["hosts=one.*", "hosts=*.two.test"],
        &[
            ("GET http://one.test/", 1),
            ("GET http://one.test.evil/", 1),
            ("GET http://one./", 1),
            ("GET http://one/", 0),
            ("GET http://onex.test/", 0),
            ("GET http://x.one.test/", 0),
            ("GET http://one.test:8/", 1),
            ("GET http://a.two.test/", 2),
            ("GET http://a.b.two.test/", 2),
            ("GET http://two.test/", 0),
            ("GET http://.two.test/", 2),
        ],
    );
}

#[test]
fn exact_hosts_come_before_wildcards_and_mixed_lists_count_as_wildcards() {
    check(
        FLAVOR,
        &["hosts=x.one.test", "hosts=*.one.test", "hosts=x.* paths=/p", "hosts=x.one.test,*.two.test"],
        &[
            ("GET http://x.one.test/", 1),
            ("GET http://y.one.test/", 2),
            ("GET http://x.two.test/", 4),
            ("GET http://x.one.test/p", 1),
            ("GET http://y.one.test/p", 2),
            ("GET http://x.three.test/p", 3),
            ("GET http://z.two.test/", 4),
        ],
    );
}

#[test]
fn methods_are_exact() {
    check(
        FLAVOR,
        &["methods=GET", "methods=HEAD,OPTIONS paths=/h", "methods=FOO"],
        &[
            ("GET http://h/", 1),
            ("HEAD http://h/", 0),
            ("HEAD http://h/h", 2),
            ("OPTIONS http://h/h/x", 2),
            ("FOO http://h/", 3),
            ("foo http://h/", 0),
            ("get http://h/", 0),
        ],
    );
}

#[test]
fn header_values_are_alternatives_in_any_case() {
    check(
        FLAVOR,
        &["X-Kind:red|Blue", "X-Ver:~*v[0-9]+ x-other:1", "x_y:~v1", "User-Agent:~*curl|wget"],
        &[
            ("GET http://h/ X-Kind:red", 1),
            ("GET http://h/ x-kind:RED", 1),
            ("GET http://h/ x_kind:blue", 1),
            ("GET http://h/ X-Kind:redder", 0),
            ("GET http://h/ X-Kind:", 0),
            ("GET http://h/ X-Kind:red,blue", 0),
            ("GET http://h/ X-Kind:green X-Kind:blue", 1),
            ("GET http://h/", 0),
            ("GET http://h/ X-Ver:av12 X-Other:1", 2),
            ("GET http://h/ X-Ver:V1 X-Other:1", 2),
            ("GET http://h/ X-Ver:v1", 0),
            ("GET http://h/ X-Y:~V1", 3),
            ("GET http://h/ X-Y:v1", 0),
            ("GET http://h/ user-agent:my-CURL/8", 4),
            ("GET http://h/ user-agent:Wget", 4),
            ("GET http://h/ user-agent:Wget2", 0),
        ],
    );
}

/// Each row: the route that must lose, the route that must win.
#[test]
fn of_two_routes_the_recorded_one_wins() {
    let rows = [
        ("paths=/p", "paths=/p/q"),
        ("paths=~/p/q$ regex_priority=1", "paths=~/p regex_priority=2"),
        ("paths=~/p regex_priority=1000000", "paths=~/p/q regex_priority=1000001"),
        ("paths=/p/q", "hosts=h.test paths=/p"),
        ("paths=~/p/q regex_priority=9", "hosts=h.test paths=/p"),
        ("paths=/p/q", "hosts=h.test"),
        ("hosts=*.test", "paths=/p"),
        ("hosts=*.test paths=/p/q", "hosts=h.test paths=/p"),
        ("hosts=*.test", "methods=GET paths=/p"),
        ("paths=/p/q", "methods=GET paths=/p"),
        ("methods=GET paths=/p/q", "paths=~/p"),
        ("methods=GET paths=/p/q", "X-A:1 paths=/p"),
        ("methods=GET", "hosts=h.test"),
        ("methods=GET", "paths=/p"),
        ("paths=/p/q", "X-A:1"),
        ("X-A:1", "hosts=h.test"),
        ("hosts=*.test paths=/p/q", "X-A:1 methods=GET paths=/p"),
        ("hosts=h.test methods=GET paths=/p/q", "X-A:1 hosts=h.test methods=GET paths=/p"),
        ("X-A:~*1", "X-A:1 methods=GET"),
        ("paths=/p,/zzzzzzzzzzzzzzzz", "paths=/p/q"),
        ("paths=/p/q", "paths=/other,~/p"),
        ("X-A:1 X-B:2", "X-A:1 methods=GET"),
        ("X-A:1", "X-A:1 X-B:2"),
        // Kong itself has these two the other way round, because parts of the priority overflow.
        ("hosts=h.test", "X-A:1 methods=GET paths=/p"),
        ("paths=~/p/q$ regex_priority=-1", "hosts=h.test methods=GET paths=/p"),
        ("paths=~/p/q$ regex_priority=-1", "paths=~/p regex_priority=0"),
    ];
    for (low, high) in rows {
        check(FLAVOR, &[low, high], &[("GET http://h.test/p/q X-A:1 X-B:2", 2)]);
        check(FLAVOR, &[high, low], &[("GET http://h.test/p/q X-A:1 X-B:2", 1)]);
    }
}

#[test]
fn less_specific_routes_catch_what_the_others_do_not() {
    check(
        FLAVOR,
        &["paths=/", "paths=/p", "hosts=h.test", "hosts=h.test paths=/p", "methods=POST paths=/"],
        &[
            ("GET http://x/x", 1),
            ("GET http://x/p", 2),
            ("GET http://h.test/x", 3),
            ("GET http://h.test/p", 4),
            ("POST http://x/x", 5),
            ("POST http://x/p", 5),
            ("POST http://h.test/p", 4),
            ("POST http://h.test/x", 3),
        ],
    );
}

#[test]
fn equal_routes_are_decided_by_the_greater_id() {
    for text in ["paths=/t", "paths=~/t", "hosts=t.test", "methods=GET", "paths=/t,/u"] {
        check(FLAVOR, &[text, text, text], &[("GET http://t.test/t", 3)]);
    }
}

#[test]
fn prefixes_end_anywhere_and_regexes_are_anchored_at_the_start() {
    check(
        FLAVOR,
        &["paths=/r", r"paths=~/d/\d+", "paths=~/e$", "paths=~/(?i)abc", r"paths=~/u/\p{L}+$", "paths=~/x.y$"],
        &[
            ("GET http://h/r", 1),
            ("GET http://h/rx", 1),
            ("GET http://h/R", 0),
            ("GET http://h/d/12/x", 2),
            ("GET http://h/d/x", 0),
            ("GET http://h/y/d/1", 0),
            ("GET http://h/e", 3),
            ("GET http://h/e/", 0),
            ("GET http://h/ABC/x", 4),
            ("GET http://h/u/%C3%A9", 5),
            ("GET http://h/u/1", 0),
            ("GET http://h/x%C3%A9y", 6),
            ("GET http://h/x%0ay", 0),
        ],
    );
}

#[test]
fn a_path_that_is_not_utf8_matches_no_route_once_paths_count() {
    check(
        FLAVOR,
        &["paths=/r", "hosts=h"],
        &[("GET http://h/r/%FF", 0), ("GET http://h/%C0%AF", 0), ("GET http://h/r/e%CC%81", 2)],
    );
    check(FLAVOR, &["hosts=h"], &[("GET http://h/r/%FF", 1)]);
}

#[test]
fn snis_count_on_https_alone() {
    check(
        FLAVOR,
        &["snis=One.test", "snis=*.Two.test,three.test.", "snis=four.*"],
        &[
            ("GET https://x/ sni=one.test", 1),
            ("GET https://x/ sni=a.two.test", 2),
            ("GET https://x/ sni=a.b.two.test", 2),
            ("GET https://x/ sni=two.test", 0),
            ("GET https://x/ sni=three.test", 2),
            ("GET https://x/ sni=x.three.test", 0),
            ("GET https://x/ sni=four.test", 3),
            ("GET https://x/", 0),
            ("GET http://x/", 3),
        ],
    );
}

#[test]
fn protocols_do_not_limit_the_match() {
    check(
        FLAVOR,
        &["protocols=https paths=/s", "protocols=http paths=/h"],
        &[("GET http://x/s", 1), ("GET https://x/h", 2)],
    );
}

#[test]
fn matches_tell_prefix_and_captures() {
    check_match(FLAVOR, "paths=/r", "GET http://h/r/x", Some("/r"), &[]);
    check_match(FLAVOR, "hosts=h", "GET http://h/r/x", None, &[]);
    check_match(FLAVOR, r"paths=~/r/\d+", "GET http://h/r/12/x", Some("/r/12"), &[]);
    check_match(FLAVOR, "paths=~/a/.*/z", "GET http://h/a/b/z/c/z/d", Some("/a/b/z/c/z"), &[]);
    check_match(
        FLAVOR,
        "paths=~/r/(?<id>[^/]+)/(x)(y)?",
        "GET http://h/r/7/x/y",
        Some("/r/7/x"),
        &[("1", "7"), ("2", "x"), ("id", "7")],
    );
    check_match(
        FLAVOR,
        "paths=~/(?P<a>.)(?<b>.)",
        "GET http://h/12",
        Some("/12"),
        &[("1", "1"), ("2", "2"), ("a", "1"), ("b", "2")],
    );
    // The second alternative is not anchored, as in Kong; but only what is at the start can be stripped.
    check_match(FLAVOR, "paths=~/a|/b", "GET http://h/x/b", None, &[]);
}

#[test]
fn a_bad_route_does_not_take_the_others_down() {
    let routes = [route(1, "paths=~/("), route(2, "paths=/a"), route(3, "x-a:~*(")];
    let (router, errors) = Router::build(FLAVOR, routes);
    assert_eq!(errors.iter().map(|error| error.route.as_u128()).collect::<Vec<_>>(), [1, 3]);
    assert!(errors[0].message.contains("unclosed group"), "{}", errors[0]);
    assert_eq!(router.len(), 1);
    assert!(router.find(&super::Request::new("GET http://h/a").query()).is_some());
}
