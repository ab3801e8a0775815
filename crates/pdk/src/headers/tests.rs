//! Tests of `headers`.

use super::*;

fn sample() -> Headers {
    let mut h = Headers::new();
    for (n, v) in [("Host", "a"), ("X-A", "1"), ("x-b", "2"), ("x-a", "3")] {
        h.append(n, v.as_bytes());
    }
    h
}

fn shown(h: &Headers) -> String {
    h.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect::<Vec<_>>().join(" ")
}

#[test]
fn finds_names_without_case_and_keeps_order() {
    let h = sample();
    assert_eq!(h.get("x-A"), Some(&b"1"[..]));
    assert_eq!(h.get_all("X-a").collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!(h.get("x-c"), None);
    assert_eq!(h.joined("x-a").as_deref(), Some(&b"1, 3"[..]));
    assert_eq!(shown(&h), "Host=a X-A=1 x-b=2 x-a=3");
}

#[test]
fn set_replaces_the_first_and_drops_the_rest() {
    let mut h = sample();
    h.set("x-a", b"9");
    assert_eq!(shown(&h), "Host=a X-A=9 x-b=2");
    h.set("new", b"n");
    assert_eq!(shown(&h), "Host=a X-A=9 x-b=2 new=n");
}

#[test]
fn removes_every_field_of_a_name() {
    let mut h = sample();
    assert!(h.remove("X-A"));
    assert!(!h.remove("X-A"));
    assert_eq!(shown(&h), "Host=a x-b=2");
}

#[test]
fn a_value_cannot_end_its_line() {
    let mut h = Headers::new();
    h.append("a", b"1\r\nx: 2\0");
    assert_eq!(h.get("a"), Some(&b"1  x: 2 "[..]));
}

#[test]
fn numbers_and_ready_fields_are_fields_like_others() {
    let mut h = Headers::new();
    h.append_number("A", 1200);
    h.append_ready(&ReadyField::new("X-B", b"2\n"));
    h.append_ready(&ReadyField::new("C", b""));
    h.append_number("D", 0);
    assert_eq!(shown(&h), "A=1200 X-B=2  C= D=0");
    let mut out = Vec::new();
    h.write_lines(&mut out, |_, _| false);
    assert_eq!(String::from_utf8_lossy(&out), "A: 1200\r\nX-B: 2 \r\nC: \r\nD: 0\r\n");
    h.remove_at(&[0, 2, 9]);
    assert_eq!(shown(&h), "X-B=2  D=0");
}

#[test]
fn lines_are_written_in_order_whatever_shape_the_arena_has() {
    // As a client may send them: without a space, with two, with a bare line feed.
    let head = b"A: 1\r\nB:2\r\nC:  3\r\nD: 4\nE: 5\r\nF: 6\r\n\r\n";
    let mut h = Headers::from_arena(head.to_vec());
    for (name, value) in [(0, 3), (6, 8), (11, 15), (18, 21), (23, 26), (29, 32)] {
        h.push_parsed(Span::new(name, name + 1), Span::new(value, value + 1));
    }
    h.append("G", b"7");
    h.append("Gone", b"x");
    h.append("H", b"8");
    h.set("E", b"five");
    h.append("I", b"");
    let mut out = Vec::new();
    h.write_lines(&mut out, |name, _| name == b"Gone");
    let expected = "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: five\r\nF: 6\r\nG: 7\r\nH: 8\r\nI: \r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn every_field_is_found_however_it_came_there() {
    let mut other = Headers::new();
    other.append("X-Other", b"o");
    let mut h = Headers::from_arena(b"X-Parsed: p\r\n".to_vec());
    h.push_parsed(Span::new(0, 8), Span::new(10, 11));
    h.append("", b"");
    h.append_number("x-number", 1);
    h.append_ready(&ReadyField::new("X-Ready", b"r"));
    h.set("X-Set", b"s");
    h.prepend(&other);
    let names = ["x-OTHER", "X-parsed", "", "X-NUMBER", "x-ready", "x-set"];
    for name in names {
        assert!(h.contains(name) && h.get(&name.to_lowercase()).is_some() && h.get_all(name).count() == 1, "{name}");
    }
    assert!(names.iter().all(|name| h.clone().remove(name) && h.remove(name)));
    assert!(h.is_empty() && names.iter().all(|name| !h.contains(name)));
    h.append("X-Set", b"again");
    h.clear();
    assert!(h.get("x-set").is_none());
}
