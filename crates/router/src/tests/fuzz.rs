//! Paths and expressions under random inputs (`make fuzz`).

use super::naive::{find_in_list, list, sorted};
use super::{Request, route};
use crate::path::{PathHandling, normalize, raw_upstream_path};
use crate::{Flavor, Router};

#[test]
fn a_normal_path_is_normal() {
    let seeds: &[&[u8]] =
        &[b"/a/b/../c//d/./e", b"/%41%2f%2E%2e/%25%zz", b"/\xc3\xa9/%c3%a9", b"/a/..", b"//", b"/%2e%2e%2f/x"];
    let words: &[&[u8]] =
        &[b"/", b"..", b"/../", b"/./", b"//", b"%2e", b"%2F", b"%25", b"%00", b"%", b"#", b"%7e", b"%5c"];
    mutation::check(seeds, words, |raw| {
        let normal = match normalize(raw) {
            Ok(normal) => normal.into_owned(),
            Err(error) => return format!("{error:?}"),
        };
        let shown = normal.escape_ascii().to_string();
        assert!(normal.starts_with(b"/") && !normal.contains(&0), "{shown}");
        assert!(!normal.windows(2).any(|pair| pair == b"//"), "{shown}");
        for segment in normal.split(|byte| *byte == b'/') {
            assert!(!matches!(segment, b"." | b".."), "{shown}");
        }
        assert!(normal.len() <= raw.len(), "{shown}");
        // What was decoded may be no target any more; what is one is normal already.
        match normalize(&normal) {
            Ok(again) => assert_eq!(again, normal, "{shown}"),
            Err(_) => assert!(raw.contains(&b'%'), "{shown}"),
        }
        format!("{} {}", normal.len().min(16), normal == raw)
    });
}

#[test]
fn a_raw_path_leads_nowhere_else() {
    let seeds: &[&[u8]] =
        &[b"/a/b%2fc//d", b"/%41%2f%2E%2e/x", b"/a/..;x=1/b", b"/a\\..%5cb", b"/a../%2e", b"//a%2F/.;/%252e"];
    let words: &[&[u8]] = &[b"/", b"..", b".", b"%2e", b"%2F", b"%5c", b"\\", b";", b"%3B", b"a", b"%25", b"//"];
    mutation::check(seeds, words, |raw| {
        let Ok(normal) = normalize(raw) else { return "refused".to_owned() };
        let mut sent = 0;
        for matched in 0..=normal.len().min(12) {
            let Some(path) = raw_upstream_path(None, Some(matched), raw, true, PathHandling::V0) else { continue };
            sent += 1;
            let shown = path.escape_ascii().to_string();
            assert!(path.starts_with(b"/"), "{shown}");
            // As a careless server reads it: everything decoded that may be, parameters cut off.
            let mut text = shown.replace("\\\\", "/").to_ascii_lowercase();
            for (escape, plain) in [("%2f", "/"), ("%5c", "/"), ("%2e", "."), ("%3b", ";")] {
                text = text.replace(escape, plain);
            }
            let names = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
            assert!(names.into_iter().all(|name| !matches!(name, "." | "..")), "{shown} of {raw:?}");
        }
        format!("{} {sent}", normal.len().min(16))
    });
}

#[test]
fn an_expression_means_what_kongs_engine_says() {
    let seeds: &[&[u8]] = &[
        br#"http.path ^= "/a" && http.method == "GET""#,
        br##"http.path ~ r#"^/a/(?<n>\d+)"# || lower(http.host) == "a.test""##,
        br#"!(http.headers.x_a == "1") && (net.dst.port in [80, 8000] || tls.sni =^ ".test")"#,
        br#"any(http.headers.x_a) == "1" && net.src.ip in 10.0.0.0/8 || net.protocol != "https""#,
        br#"http.path contains "b" && net.src.port >= 1 && http.host not in ["a"]"#,
    ];
    let words: &[&[u8]] = &[
        b"http.path",
        b"http.host",
        b"http.headers.x_a",
        b"net.dst.port",
        b"net.src.ip",
        b" == ",
        b" != ",
        b" ^= ",
        b" =^ ",
        b" ~ ",
        b" in ",
        b" contains ",
        b" && ",
        b" || ",
        b"!",
        b"(",
        b")",
        b"lower(",
        b"any(",
        b"\"a\"",
        b"r#\"",
        b"\"#",
        b"1",
        b"8000",
        b"0x1f40",
        b"127.0.0.1",
        b"127.0.0.0/8",
        b"::1",
    ];
    let requests: Vec<Request> =
        ["GET http://a.test/a/12?q=1 X-A:1", "POST https://b.test:8443/b sni=b.test x-a:2 X_A:1"]
            .into_iter()
            .map(Request::new)
            .collect();
    mutation::check(seeds, words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return (0, false) };
        if entities::route::expression::parse(text, false).is_err() {
            return (1, false);
        }
        let route = route(1, &format!("expression={text}"));
        let (router, errors) = Router::build(Flavor::Expressions, [route.clone()]);
        if !errors.is_empty() {
            return (2, false);
        }
        // The second opinion knows neither of these.
        let is_beyond = ["segments", "queries", "net.dst.ip", "net.port"].iter().any(|word| text.contains(word));
        let mut found_any = false;
        for request in &requests {
            let found = router.find(&request.query()).is_some();
            if !is_beyond {
                let expected = find_in_list(&sorted(list(Flavor::Expressions, &route)), request).is_some();
                assert_eq!(found, expected, "{text}");
            }
            found_any |= found;
        }
        (3 + text.len().min(64), found_any)
    });
}
