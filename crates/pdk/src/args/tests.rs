//! Tests of `args`.

use super::*;

#[test]
fn finds_one_argument() {
    let one = |v: &'static str| Arg::One(Cow::Borrowed(v.as_bytes()));
    for (encoded, want) in [
        ("", Arg::Absent),
        ("b=1", Arg::Absent),
        ("a", Arg::Bare),
        ("a=", one("")),
        ("x=2&a=1&y", one("1")),
        ("%61=1%2D", one("1-")),
        ("a=%2&b", one("%2")),
        ("a=1+2", one("1 2")),
        ("A=1", Arg::Absent),
        ("a=1&a=1", Arg::Many),
        ("a&a=1", Arg::Many),
    ] {
        assert_eq!(find(encoded.as_bytes(), b"a"), want, "{encoded}");
    }
}

#[test]
fn encodes_sorted_with_values_of_a_name_together() {
    for (encoded, want) in [
        ("b=2&a=1", "a=1&b=2"),
        ("z=1&a&z=2", "a&z=1&z=2"),
        ("a=%20x+y&=no", "a=%20x%20y"),
        ("a=&b=%FF%e9", "a=&b=%FF%E9"),
        ("a=1&a-b=1", "a-b=1&a=1"),
        ("", ""),
    ] {
        assert_eq!(String::from_utf8(Args::parse(encoded.as_bytes()).encode()).unwrap(), want, "{encoded}");
    }
}

#[test]
fn renames_over_what_is_there() {
    let mut args = Args::parse(b"a=1&b=2&a=3");
    args.rename(b"a", b"b");
    assert_eq!(args.encode(), b"b=1&b=3");
    args.rename(b"none", b"b");
    assert_eq!(args.encode(), b"b=1&b=3");
}
