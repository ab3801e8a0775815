//! What is said of routes that are not sound.

use super::route;
use crate::{Flavor, validate};

fn check(flavor: Flavor, text: &str, expected: &str) {
    let got = validate(flavor, &route(1, text)).err().unwrap_or_default();
    assert_eq!(got, expected, "{text}");
}

#[test]
fn bad_expressions_are_told_in_kongs_words() {
    let rows = [
        (" ", " --> 1:2\n  |\n1 |  \n  |  ^---\n  |\n  = expected term"),
        ("http.path == ", " --> 1:14\n  |\n1 | http.path == \n  |              ^---\n  |\n  = expected rhs"),
        ("nope == \"a\"", "Unknown LHS field"),
        ("http.headers.a.b == \"a\"", "Unknown LHS field"),
        ("http.path == 1", "Type mismatch between the LHS and RHS values of predicate"),
        ("net.dst.port ~ \"8\"", "Regex operators only supports string operands"),
        ("net.dst.port in 80", "In/NotIn operators only supports IP in CIDR"),
        ("http.path.segments.x == \"a\"", "illformed http.path.segments.* field"),
        ("http.path.segments.1_1 == \"a\"", "illformed http.path.segments.* field"),
        ("http.path.segments.0_ == \"a\"", "illformed http.path.segments.* field"),
        ("http.path.segments.0_10 == \"a\"", ""),
        ("http.headers. == \"a\"", ""),
        ("any(http.path) == \"/a\"", ""),
        ("lower(lower(http.path)) == \"/a\"", ""),
        ("net.dst.port == 0x50", ""),
        (
            "net.src.port == 99999999999999999999",
            " --> 1:17\n  |\n1 | net.src.port == 99999999999999999999\n  |                 ^------------------^\n  |\n  = number too large to fit in target type",
        ),
        (
            "http.path == \"/a\")",
            " --> 1:18\n  |\n1 | http.path == \"/a\")\n  |                  ^---\n  |\n  = expected EOI, and_op, or or_op",
        ),
    ];
    for (expression, expected) in rows {
        check(Flavor::Expressions, &format!("expression={expression}"), expected);
    }
    check(Flavor::Expressions, "protocols=tcp expression=http.path == \"/a\"", "Unknown LHS field");
    check(Flavor::Expressions, "protocols=tcp expression=net.dst.port == 1", "");
}

#[test]
fn classic_routes_are_told_by_the_expression_they_become() {
    let rows = [
        (
            "x-a:~*(",
            " --> 1:33\n  |\n1 | (any(lower(http.headers.x_a)) ~ r#\"(\"#)\n  |                                 ^----^\n  |\n  = regex parse error:\n    (\n    ^\nerror: unclosed group",
        ),
        (
            "paths=~/(?=a)",
            " --> 1:14\n  |\n1 | (http.path ~ r#\"^/(?=a)\"#)\n  |              ^----------^\n  |\n  = regex parse error:\n    ^/(?=a)\n      ^^^\nerror: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "hosts=a.test,*.b.test:80 paths=/a,~/b/(?<id>.) methods=GET snis=*.x.test sources=10.1.2.3/8,@80 x-y:a\"#b|~*c",
            "",
        ),
    ];
    for (text, expected) in rows {
        check(Flavor::TraditionalCompatible, text, expected);
    }
    let mut empty = super::route(1, "paths=/a").as_ref().clone();
    empty.headers.get_or_insert_default().insert("x".to_owned(), Vec::new());
    let error = validate(Flavor::TraditionalCompatible, &empty).unwrap_err();
    assert_eq!(
        error,
        " --> 1:28\n  |\n1 | (http.path ^= r#\"/a\"#) && ()\n  |                            ^---\n  |\n  = expected term"
    );
}

#[test]
fn expression_and_classic_attributes_exclude_each_other() {
    let classic = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously";
    let expression = "expression=http.path == \"/a\"";
    check(Flavor::Expressions, &format!("paths=/a {expression}"), &format!("cannot set 'expression' with {classic}"));
    check(Flavor::Expressions, "paths=/a priority=1", &format!("cannot set 'priority' with {classic}"));
    let text = format!("regex_priority=1 {expression}");
    check(Flavor::Expressions, &text, "cannot set 'regex_priority' with 'expression' simultaneously");
}

#[test]
fn expressions_that_could_exhaust_the_stack_are_refused() {
    let deep = format!("expression={}http.path == \"/a\"{}", "(".repeat(100_000), ")".repeat(100_000));
    check(Flavor::Expressions, &deep, "expression too long: at most 65536 bytes");
    let deep = format!("expression={}http.path == \"/a\"{}", "(".repeat(1000), ")".repeat(1000));
    check(Flavor::Expressions, &deep, "expression nested too deeply: at most 100 levels");
    let long = format!("expression=http.path == \"/a\"{}", " && http.path == \"/a\"".repeat(3000));
    check(Flavor::Expressions, &long, "");
}
