//! YAML as Kong reads it.

use schema::{Value, json};

use crate::declarative::yaml::{Segment, line_of, parse};

fn read(text: &str) -> Value {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn plain_scalars_mean_what_yaml_1_1_says() {
    let cases = [
        ("081", json!(81)),
        ("010", json!(8)),
        ("0x1F", json!(31)),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("1:30", json!(90)),
        ("1.5", json!(1.5)),
        ("3.0", json!(3.0)),
        (".5", json!(0.5)),
        ("1e3", json!(1000.0)),
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("~", json!(null)),
        ("", json!(null)),
        ("y", json!("y")),
        ("1.2.3", json!("1.2.3")),
        ("127.0.0.1", json!("127.0.0.1")),
        ("00000000-0000-4000-8000-000000000001", json!("00000000-0000-4000-8000-000000000001")),
        ("2e26e35d-0000-4000-8000-000000000001", json!("2e26e35d-0000-4000-8000-000000000001")),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ("'81'", json!("81")),
        ("\"yes\"", json!("yes")),
        ("!!str 81", json!("81")),
        ("!!int '81'", json!(81)),
        ("inf", json!("inf")),
        (".inf", json!(f64::MAX)),
        ("-.INF", json!(f64::MAX)),
        ("!!null x", json!(null)),
        ("-", json!([null])),
    ];
    for (text, wanted) in cases {
        assert_eq!(read(text), wanted, "{text}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_understood() {
    let text = "
base: &base {a: 1, b: 2}
other: &other {b: 3, c: 4}
one: {<<: *base, a: 9}
two: {<<: [*base, *other]}
list: [*base]
";
    let value = read(text);
    assert_eq!(value["one"], json!({"a": 9, "b": 2}));
    assert_eq!(value["two"], json!({"a": 1, "b": 2, "c": 4}));
    assert_eq!(value["list"], json!([{"a": 1, "b": 2}]));
}

#[test]
fn only_the_first_document_and_the_last_of_equal_keys_count() {
    assert_eq!(read("a: 1\na: 2\n---\nb: 1\n"), json!({"a": 2}));
    assert_eq!(read("1: a\ntrue: b\n"), json!({"1": "a", "true": "b"}));
    assert_eq!(read("# nothing\n"), json!(null));
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let alias = format!("*a{}, ", n - 1).repeat(10);
        text.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
    }
    assert_eq!(parse(&text).unwrap_err().message, "aliases repeat too much");
}

#[test]
fn depth_is_bounded() {
    for depth in [200, 100_000] {
        for text in ["[".repeat(depth), format!("a: {}", "{b: ".repeat(depth)), "- ".repeat(depth)] {
            let error = parse(&text).unwrap_err();
            assert!(["nested too deeply", "recursion limit exceeded"].contains(&error.message.as_str()), "{error}");
        }
    }
}

#[test]
fn what_is_broken_is_refused_with_its_place() {
    let cases = [
        ("a: *nope", "found undefined alias", 1),
        ("a:\n\tb: 1", "found character that cannot start any token", 2),
        ("a: b: c", "mapping values are not allowed in this context", 1),
        ("a: 'x", "found unexpected end of stream", 1),
        ("a: {b: 1", "did not find expected ',' or '}'", 2),
        ("a: 1\n b: 2", "mapping values are not allowed in this context", 2),
        ("- a\nb: 1", "did not find expected '-' indicator", 2),
    ];
    for (text, message, line) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!((error.message.as_str(), error.place.0), (message, line), "{text}");
    }
}

#[test]
fn values_are_found_by_their_path() {
    let text = "a:\n- x\n- b: 1\n  c:\n    d: [1,\n     2]\ne: {f: 1}\n";
    use Segment::{Index, Name};
    let cases: [(&[Segment<'_>], usize); 7] = [
        (&[], 1),
        (&[Name("a")], 1),
        (&[Name("a"), Index(0)], 2),
        (&[Name("a"), Index(1), Name("c")], 4),
        (&[Name("a"), Index(1), Name("c"), Name("d"), Index(1)], 6),
        (&[Name("e"), Name("f")], 7),
        (&[Name("a"), Index(1), Name("nope"), Name("x")], 3),
    ];
    for (path, line) in cases {
        assert_eq!(line_of(text, path), Some(line), "{path:?}");
    }
}
