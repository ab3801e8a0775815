//! Tests of `path`.

use std::borrow::Cow;

use super::{PathError, PathHandling, escape_upstream, forwarded_prefix, normalize, raw_upstream_path, upstream_path};

/// Kong's table: service path | route path | strip_path | path_handling | request | upstream.
const TABLE: &str = include_str!("upstream_table.txt");

fn check_normalized(raw: &str, expected: Result<&str, PathError>) {
    let normalized = normalize(raw.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned());
    assert_eq!(normalized.as_deref().map_err(|error| *error), expected, "{raw}");
}

#[test]
fn upstream_paths_follow_every_row_of_the_table() {
    let mut combinations = 0;
    for row in TABLE.lines() {
        let [service, route, strips, handlings, request, expected] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a row: {row}");
        };
        let path = normalize(request.as_bytes()).unwrap();
        let prefix = path.strip_prefix(route.as_bytes()).map(|_| route.as_bytes());
        assert!(route == "(host)" || prefix.is_some(), "{row}");
        for strip in strips.split('/') {
            for handling in handlings.split('/') {
                let handling = if handling == "v1" { PathHandling::V1 } else { PathHandling::V0 };
                let upstream = upstream_path(Some(service), prefix, &path, strip == "true", handling);
                assert_eq!(String::from_utf8_lossy(&upstream), expected, "{row} ({strip}, {handling:?})");
                combinations += 1;
            }
        }
    }
    assert_eq!(TABLE.lines().count(), 113);
    assert!(combinations > 180);
}

/// Recorded: service path, matched prefix (stripped if given), request, upstream.
#[test]
fn upstream_paths_are_those_recorded() {
    let rows = [
        (None, Some("/foo"), "///foo///", "/"),
        (None, Some("/foo"), "/foo///bar//baz", "/bar/baz"),
        (None, Some("/foo"), "/foo/%2F/bar", "/%2F/bar"),
        (None, Some("/foo"), "/foo%2F%2Fbar", "/%2F%2Fbar"),
        (None, Some("/foo"), "/foo/x/.", "/x/"),
        (None, Some("/foo"), "/foo/x/..", "/"),
        (None, Some("/foo"), "/foo/../foo", "/"),
        (None, Some("/foo"), "/foo/...", "/..."),
        (None, Some("/foo"), "/foo.", "/"),
        (None, Some("/foo"), "/foo../x", "/x"),
        (None, Some("/foo"), "/foo.../x", "/.../x"),
        (None, Some("/foo"), "/foo%2e%2e/x", "/x"),
        (None, Some("/foo"), "/foo../foo../x", "/foo../x"),
        (None, Some("/foo"), "/foo.x/y", "/.x/y"),
        (Some("/svc"), Some("/foo/"), "/foo/./x", "/svc/x"),
        (Some("/svc"), Some("/foo/"), "/foo/..x", "/svc/..x"),
        (Some("/svc/"), None, "/foo/./x", "/svc/foo/x"),
        (Some("/svc/"), None, "/foo/..%2fbar", "/svc/foo/..%2Fbar"),
        (Some("/svc/"), None, "/foo/..%5Cbar", "/svc/foo/..%5Cbar"),
        (Some("/svc/"), None, "/foo/%252e%252e/bar", "/svc/foo/%252e%252e/bar"),
        (Some("/svc/"), None, "/foo/x%2f%2e%2e%2f%2e%2e/bar", "/svc/foo/x%2F..%2F../bar"),
        (Some("/svc/"), None, "/r/%20/%20x", "/svc/r/%20/%20x"),
        (Some("/svc/"), None, "/r/%7b%7d", "/svc/r/%7B%7D"),
        (Some("/svc/"), None, "/r/%c3%a9", "/svc/r/%C3%A9"),
        (None, Some("/r"), "/r/%0d%0aX:y", "/%0D%0AX:y"),
        (None, Some("/r"), "/r/^", "/%5E"),
        (None, Some("/r"), "/r\\..\\x", "/%5C..%5Cx"),
    ];
    for (service, prefix, request, expected) in rows {
        let path = normalize(request.as_bytes()).unwrap();
        let prefix = prefix.map(str::as_bytes);
        let upstream = upstream_path(service, prefix, &path, prefix.is_some(), PathHandling::V0);
        assert_eq!(String::from_utf8_lossy(&escape_upstream(&upstream)), expected, "{request}");
    }
}

#[test]
fn paths_are_normalized_as_kong_does() {
    let rows = [
        ("/", "/"),
        ("//", "/"),
        ("/foo//../x", "/x"),
        ("/foo/..", "/"),
        ("/foo/../", "/"),
        ("/./foo/x", "/foo/x"),
        ("/a/b/../../foo/x", "/foo/x"),
        ("/foo/a/b/../../../bar", "/bar"),
        ("/.", "/"),
        ("/a.b/.c/d.", "/a.b/.c/d."),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/%7E", "/~"),
        ("/a%20b", "/a b"),
        ("/foo/%2e", "/foo/"),
        ("/foo/.%2e/foo/x", "/foo/x"),
        ("/r/a%2ab%25%3f", "/r/a%2Ab%25%3F"),
        ("/r/é", "/r/é"),
        ("/r/%C3%A9", "/r/é"),
        ("/a%2Fb/../x", "/x"),
    ];
    for (raw, expected) in rows {
        check_normalized(raw, Ok(expected));
    }
}

#[test]
fn paths_that_cannot_be_taken_are_refused() {
    let rows = [
        ("", PathError::NotAbsolute),
        ("*", PathError::NotAbsolute),
        ("r/x", PathError::NotAbsolute),
        ("/..", PathError::AboveRoot),
        ("/../foo/x", PathError::AboveRoot),
        ("/foo/../../foo/x", PathError::AboveRoot),
        ("/%2e%2e/foo/x", PathError::AboveRoot),
        ("/foo/..%2f..%2f..%2fx", PathError::AboveRoot),
        ("/r/%00", PathError::Nul),
        ("/r/\0", PathError::Nul),
        ("/r/%", PathError::BadEscape),
        ("/r/%2", PathError::BadEscape),
        ("/r/%zz", PathError::BadEscape),
        ("/r/%u0041", PathError::BadEscape),
        ("/r/%%41", PathError::BadEscape),
        ("/r/%2/x", PathError::BadEscape),
        ("/r/a\tb", PathError::BadCharacter),
        ("/r/a b", PathError::BadCharacter),
        ("/r/\x7f", PathError::BadCharacter),
        ("/r#f", PathError::Fragment),
        ("/r/x#/../y", PathError::Fragment),
    ];
    for (raw, expected) in rows {
        check_normalized(raw, Err(expected));
    }
}

#[test]
fn a_prefix_cannot_add_headers() {
    let path = normalize(b"/p/%0d%0aX-Injected:%201/\xc3\xa9").unwrap();
    assert_eq!(forwarded_prefix(&path), &b"/p/%0D%0AX-Injected: 1/\xc3\xa9"[..]);
    assert!(matches!(forwarded_prefix(b"/a b"), Cow::Borrowed(_)));
}

#[test]
fn unchanged_paths_are_borrowed() {
    for path in ["/", "/a/b.c/d~e", "/r/a&b=c;d@e", "/r/\"<>"] {
        assert!(matches!(normalize(path.as_bytes()), Ok(Cow::Borrowed(_))), "{path}");
    }
    assert!(matches!(escape_upstream(b"/a/%2F;x=1"), Cow::Borrowed(_)));
    assert!(matches!(upstream_path(Some("/"), Some(b"/a"), b"/a/b", false, PathHandling::V0), Cow::Borrowed(_)));
}

#[test]
fn normalizing_twice_changes_nothing_more() {
    let pieces = ["/", ".", "..", "a", "%2e", "%2F", "%41", "%25", "//", "é"];
    let mut seed = 7u32;
    for _ in 0..20_000 {
        let mut raw = "/".to_owned();
        for _ in 0..6 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            raw.push_str(pieces[(seed >> 16) as usize % pieces.len()]);
        }
        let Ok(once) = normalize(raw.as_bytes()) else { continue };
        assert_eq!(normalize(&once).as_deref(), Ok(once.as_ref()), "{raw}");
        assert!(once.starts_with(b"/") && !once.windows(2).any(|pair| pair == b"//"), "{raw}");
    }
}

/// The upstream's path where it goes as it was sent, for a route that matched so much of the normal form.
fn raw(base: Option<&str>, matched: Option<&str>, request: &str, strip: bool) -> Option<String> {
    let normal = normalize(request.as_bytes()).unwrap();
    let matched = matched.map(|matched| {
        assert!(normal.starts_with(matched.as_bytes()), "{request} matches {matched}");
        matched.len()
    });
    let path = raw_upstream_path(base, matched, request.as_bytes(), strip, PathHandling::V0);
    path.map(|path| String::from_utf8(path).unwrap())
}

#[test]
fn a_raw_path_goes_upstream_byte_for_byte() {
    let rows =
        ["/a%2fb", "/a%2Fb/%41%7e%20", "//a///b//", "/a/\"<>^`{|}", "/a;x=1/b:c@d", "/é/%c3%A9", "/a...b/..c/d../..."];
    for request in rows {
        assert_eq!(raw(None, None, request, true).as_deref(), Some(request));
        assert_eq!(raw(Some("/"), Some("/"), request, false).as_deref(), Some(request));
        let below = format!("/svc{request}");
        assert_eq!(raw(Some("/svc"), None, request, true), Some(below.clone()));
        assert_eq!(raw(Some("/svc/"), None, request, true), Some(below));
    }
}

#[test]
fn a_raw_path_loses_the_bytes_that_the_route_matched() {
    let rows = [
        (None, "/foo", "/foo/a%2fb", "/a%2fb"),
        (None, "/foo", "/f%6F%6f/a%2fb", "/a%2fb"),
        (None, "/foo", "//foo/x", "/x"),
        (None, "/foo", "/foo//x", "//x"),
        (None, "/foo/", "/foo//x", "/x"),
        (None, "/foo/bar", "//f%6fo///bar//x%20", "//x%20"),
        (None, "/a%2Fb", "/a%2fb/c%2fd", "/c%2fd"),
        (None, "/a b", "/a%20b/c", "/c"),
        (None, "/é", "/%C3%A9/%c3%a9", "/%c3%a9"),
        (None, "/foo", "/foo", "/"),
        (None, "/foo", "/foo%2f", "/%2f"),
        (None, "/foo", "/foobar", "/bar"),
        (None, "/", "//a", "/a"),
        (Some("/svc"), "/foo", "/foo/%2F", "/svc/%2F"),
        (Some("/svc/"), "/foo", "/foo//%2F", "/svc//%2F"),
        (Some("/svc"), "/foo", "/f%6fo", "/svc"),
        (Some("/svc"), "/foo/", "/foo/x", "/svc/x"),
        // A regex that ends within an escape.
        (None, "/a%2", "/a%2fb", "/fb"),
    ];
    for (base, matched, request, expected) in rows {
        assert_eq!(raw(base, Some(matched), request, true).as_deref(), Some(expected), "{request}");
        let whole = raw(base, Some(matched), request, false).unwrap();
        assert!(whole.ends_with(request), "{request}: {whole}");
    }
}

#[test]
fn a_raw_path_with_dot_segments_is_refused_however_they_are_written() {
    let rows = [
        "/foo/../x",
        "/foo/./x",
        "/foo/..",
        "/foo/.",
        "/./foo",
        "/foo/%2e%2e/x",
        "/foo/.%2E/x",
        "/foo/%2e",
        "/foo/..%2fx",
        "/foo/x%2f..%2fy",
        "/foo/x%2F%2e%2e",
        "/foo/..\\x",
        "/foo/x\\..\\y",
        "/foo/..%5cx",
        "/foo/x%5C..",
        "/foo/..;/x",
        "/foo/..;a=b/x",
        "/foo/%2e%2e%3bx/y",
        "/foo/.;x",
    ];
    for request in rows {
        assert_eq!(raw(None, None, request, true), None, "{request}");
    }
    // Within the segment at which the route's path ends.
    for request in ["/foo../x", "/foo%2e%2e/x", "/foo./x", "/foo..", "/foo..%2fx", "/foo..;/x"] {
        assert_eq!(raw(None, Some("/foo"), request, true), None, "{request}");
        assert_eq!(raw(None, Some("/foo"), request, false).as_deref(), Some(request));
    }
    for request in ["/foo/...", "/foo/..x", "/foo/x..", "/foo/;..", "/foo/a;../b", "/foo/%252e%252e/x"] {
        assert_eq!(raw(None, None, request, true).as_deref(), Some(request));
    }
}

#[test]
fn what_is_left_of_a_raw_path_means_what_is_left_of_its_normal_form() {
    let pieces = ["/", "//", ".", "..", "a", "%2e", "%2F", "%2f", "%41", "%25", "é", ";", "%20", "b"];
    let mut seed = 11_u32;
    let mut compared = 0;
    for _ in 0..20_000 {
        let mut request = "/".to_owned();
        for _ in 0..6 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            request.push_str(pieces[(seed >> 16) as usize % pieces.len()]);
        }
        let Ok(normal) = normalize(request.as_bytes()) else { continue };
        // Cut within an escape, what is left of it is text.
        let is_whole = |matched: usize| !normal[matched.saturating_sub(2)..matched].contains(&b'%');
        for matched in (0..=normal.len()).filter(|matched| is_whole(*matched)) {
            let stripped = raw_upstream_path(None, Some(matched), request.as_bytes(), true, PathHandling::V0);
            let Some(stripped) = stripped else { continue };
            let Ok(again) = normalize(&stripped) else { continue };
            let expected = upstream_path(None, Some(&normal[..matched]), &normal, true, PathHandling::V0);
            let expected = escape_upstream(&expected);
            let Ok(expected) = normalize(&expected) else { continue };
            assert_eq!(again, expected, "{request} less {matched}");
            compared += 1;
        }
    }
    assert!(compared > 20_000, "{compared}");
}
