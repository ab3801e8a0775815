//! The named validators, one value a line.

use crate::validators::{self, HostKind, normalize, normalize_ip, url::Url};
use crate::{Field, Value, json, typedefs};

use super::{Catalog, context};

/// `None` for a valid value, else the message.
fn check(field: &Field, value: &Value) -> Option<String> {
    let catalog = Catalog::new();
    field
        .validate(value, &context(&catalog))
        .err()
        .map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned))
}

fn expect(name: &str, field: &Field, cases: &[(&str, Option<&str>)]) {
    for (value, error) in cases {
        assert_eq!(check(field, &Value::from(*value)).as_deref(), *error, "{name}: {value}");
    }
}

#[test]
fn hosts() {
    let port = Some("must not have a port");
    expect(
        "host",
        &typedefs::host(),
        &[
            ("a.test", None),
            ("A.TEST", None),
            ("1.2.3.4", None),
            ("::1", None),
            ("[::1]", None),
            ("under_score", None),
            ("-a.test", None),
            ("a.test.", None),
            ("a.test:80", port),
            ("a.test:99999", port),
            ("1.2.3.4:80", port),
            ("[::1]:80", port),
            ("a b", Some("invalid value: a b")),
            ("a..b", Some("invalid value: a..b")),
            ("a-.test", Some("invalid value: a-.test")),
            ("http://a", Some("invalid value: http://a")),
            ("999.1.1.1", Some("invalid value: 999.1.1.1")),
            ("", Some("length must be at least 1")),
        ],
    );
    expect(
        "host_with_optional_port",
        &typedefs::host_with_optional_port(),
        &[
            ("a.test:80", None),
            ("[::1]:80", None),
            ("a.test:99999", Some("invalid port number")),
            ("a b", Some("invalid hostname: a b")),
            ("1.2.3", Some("invalid ipv4 address: 1.2.3")),
            ("::x", Some("invalid ipv6 address: ::x")),
        ],
    );
    expect(
        "sni",
        &typedefs::sni(),
        &[
            ("a.test", None),
            ("1.2.3.4", Some("must not be an IP")),
            ("::1", Some("must not be an IP")),
            ("a.test:80", port),
            ("a b", Some("invalid value: a b")),
        ],
    );
    expect(
        "wildcard_host",
        &typedefs::wildcard_host(),
        &[
            ("*.a.test", None),
            ("a.*", None),
            ("a*b", Some("wildcard must be leftmost or rightmost character")),
            ("*.*", Some("only one wildcard must be specified")),
            ("* b", Some("invalid value: wildcard b")),
            ("1.2.3.4", Some("must not be an IP")),
            ("a.test:80", port),
        ],
    );
}

#[test]
fn elements_of_hosts() {
    let place = Some("invalid wildcard: must be placed at leftmost or rightmost label");
    expect(
        "hosts",
        &typedefs::host_with_wildcard(),
        &[
            ("*.a.test", None),
            ("a.*", None),
            ("*.a.test:80", None),
            ("[::1]:80", None),
            ("*", place),
            ("a*b.test", place),
            ("*a.test", place),
            ("*.a.*", Some("invalid wildcard: must have at most one wildcard")),
            ("a.test:99999", Some("invalid port number")),
            ("a b", Some("invalid hostname: a b")),
            ("", Some("length must be at least 1")),
        ],
    );
}

#[test]
fn addresses_have_a_normal_form() {
    let cases = [
        ("010.0.0.1:80", HostKind::Ipv4, "10.0.0.1", Some(80)),
        ("[::1]:8000", HostKind::Ipv6, "0000:0000:0000:0000:0000:0000:0000:0001", Some(8000)),
        ("fe80::A", HostKind::Ipv6, "fe80:0000:0000:0000:0000:0000:0000:000a", None),
        ("1::", HostKind::Ipv6, "0001:0000:0000:0000:0000:0000:0000:0000", None),
        ("a.test:1", HostKind::Name, "a.test", Some(1)),
    ];
    for (given, kind, host, port) in cases {
        let address = normalize_ip(given).unwrap();
        assert_eq!((address.kind, address.host.as_str(), address.port), (kind, host, port), "{given}");
    }
    for bad in ["1.2.3.4:99999", "a.test:x", "::1::2", "[::1]x", "", "1:2:3"] {
        assert!(normalize_ip(bad).is_err(), "{bad}");
    }
}

#[test]
fn ip_ranges() {
    expect("ip", &typedefs::ip(), &[("1.2.3.4", None), ("::1", None), ("x", Some("not an ip address: x"))]);
    expect(
        "ip_or_cidr",
        &typedefs::ip_or_cidr(),
        &[
            ("10.0.0.0/8", None),
            ("fe80::/10", None),
            ("10.0.0.1", None),
            ("10.0.0.0/33", Some("invalid ip or cidr range: '10.0.0.0/33'")),
            ("10.0.0.0/8 ", Some("invalid ip or cidr range: '10.0.0.0/8 '")),
            ("::1/129", Some("invalid ip or cidr range: '::1/129'")),
            ("10.0.0.0/", Some("invalid ip or cidr range: '10.0.0.0/'")),
            ("10.0.0.0/+8", Some("invalid ip or cidr range: '10.0.0.0/+8'")),
        ],
    );
    expect(
        "cidr_v4",
        &typedefs::cidr_v4(),
        &[("10.0.0.0/8", None), ("::1/1", Some("invalid ipv4 cidr range: '::1/1'"))],
    );
}

#[test]
fn paths() {
    let rfc =
        |path: &str| format!("invalid path: '{path}' (characters outside of the reserved list of RFC 3986 found)");
    expect(
        "path",
        &typedefs::path(),
        &[
            ("/", None),
            ("/a/", None),
            ("/a%20b", None),
            ("a", Some("should start with: /")),
            ("/a//b", Some("must not have empty segments")),
            ("/a b", Some(&rfc("/a b"))),
            ("/a?b", Some(&rfc("/a?b"))),
            ("/a%2", Some("invalid url-encoded value: '%2'")),
            ("/a%zz/b", Some("invalid url-encoded value: '%zz'")),
            ("/%%41", Some("invalid url-encoded value: '%__'")),
        ],
    );
    let normal = |path: &str| format!("non-normalized path, consider use '{path}' instead");
    expect(
        "router_path",
        &typedefs::router_path(),
        &[
            ("/a", None),
            ("/a?b", None),
            ("/a%2Fb", None),
            ("/a'b(c)!d$e&f;g=h,i+j:k@l", None),
            ("~/a%zz", None),
            (r"~/(?<x>\d+)$", None),
            ("~a", Some("should start with: / (fixed path) or ~/ (regex path)")),
            ("/a//b", Some("must not have empty segments")),
            ("/a/../b", Some(&normal("/b"))),
            ("/a/.", Some(&normal("/a/"))),
            ("/a%2fb", Some(&normal("/a%2Fb"))),
            ("/a%20b", Some(&normal("/a b"))),
            ("/a%7eb", Some(&normal("/a~b"))),
            ("/caf%C3%A9", Some(&normal("/caf\u{e9}"))),
            ("/..", Some(&normal("/"))),
            ("/a%zz", Some("invalid url-encoded value: '%zz'")),
            (
                "~/a(",
                Some(
                    "invalid regex: '/a(' (PCRE returned: pcre2_compile() failed: missing closing parenthesis in \"/a(\")",
                ),
            ),
            (
                "~/[a-",
                Some(
                    "invalid regex: '/[a-' (PCRE returned: pcre2_compile() failed: missing terminating ] for character class in \"/[a-\")",
                ),
            ),
        ],
    );
    assert_eq!(normalize("/a/./b/../../c/"), "/c/");
    assert_eq!(normalize(""), "");
}

#[test]
fn regexes_are_pcre() {
    let field = Field::string().is_regex(true);
    expect(
        "is_regex",
        &field,
        &[("(?<=a)b", None), ("(", Some("not a valid regex: (")), ("[a", Some("not a valid regex: [a"))],
    );
}

#[test]
fn urls() {
    expect(
        "url",
        &typedefs::url(),
        &[
            ("http://a.test/p", None),
            ("http://a.test:x", None),
            ("nope", Some("missing host in url")),
            ("/p", Some("missing host in url")),
            ("http:///p", Some("missing host in url")),
            ("//a.test", Some("missing scheme in url")),
        ],
    );
    let url = Url::parse("https://u:p@[::1]:8443/p;x?q=1#f").unwrap();
    assert_eq!((url.scheme, url.userinfo, url.host, url.port), (Some("https"), Some("u:p"), Some("::1"), Some("8443")));
    assert_eq!((url.path, url.params, url.query, url.fragment), (Some("/p"), Some("x"), Some("q=1"), Some("f")));
    assert_eq!(Url::parse(""), None);
    assert_eq!(Url::parse("a.test:80").unwrap().scheme, Some("a.test"));
}

#[test]
fn names() {
    let utf8 = |name: &str| {
        format!("invalid value '{name}': the only accepted ascii characters are alphanumerics or ., -, _, and ~")
    };
    expect(
        "utf8_name",
        &typedefs::utf8_name(),
        &[
            ("a.b~c_d-e", None),
            ("\u{e9}t\u{e9}", None),
            ("a b", Some(&utf8("a b"))),
            ("a/b", Some(&utf8("a/b"))),
            ("a\0b", Some(&utf8("a\0b"))),
        ],
    );
    expect(
        "name",
        &typedefs::name(),
        &[
            ("a.b", None),
            ("a b", Some("invalid value 'a b': it must only contain alphanumeric and '., -, _, ~' characters")),
        ],
    );
    let tag = |tag: &str| {
        format!("invalid tag '{tag}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences")
    };
    expect(
        "tag",
        &typedefs::tag(),
        &[
            ("a b", None),
            ("\u{65e5}", None),
            ("a,b", Some(&tag("a,b"))),
            ("a/b", Some(&tag("a/b"))),
            ("a\tb", Some(&tag("a\tb"))),
        ],
    );
    expect(
        "header_name",
        &typedefs::header_name(),
        &[
            ("x-a_1", None),
            ("x a", Some("bad header name 'x a', allowed characters are A-Z, a-z, 0-9, '_', and '-'")),
            ("", Some("length must be at least 1")),
        ],
    );
    let token = "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed.";
    expect("cookie_name", &typedefs::cookie_name(), &[("a", None), ("a b", Some(token)), ("a;b", Some(token))]);
    expect(
        "http_method",
        &typedefs::http_method(),
        &[("CUSTOM", None), ("get", Some("invalid value: get")), ("G1", Some("invalid value: G1"))],
    );
    assert_eq!(validators::http_method(&json!("GET")), Ok(()));
    expect(
        "semantic_version",
        &typedefs::semantic_version(),
        &[
            ("3.10.0", None),
            ("3.10.0-rc.1", None),
            ("x", Some("invalid version number: must be in format of X.Y.Z")),
            ("3..1", Some("must not have empty version segments")),
        ],
    );
}

#[test]
fn lua_code_compiles() {
    let field = typedefs::lua_code();
    assert_eq!(check(&field, &json!({ "a": "return 1" })), None);
    assert_eq!(
        check(&field, &json!({ "a": "bad lua (" })).as_deref(),
        Some("Error parsing function: [string \"bad lua (\"]:1: '=' expected near 'lua'")
    );
    assert_eq!(check(&field, &json!({ "": "return 1" })).as_deref(), Some("length must be at least 1"));
    assert_eq!(check(&field, &json!(["v"])).as_deref(), Some("expected a string"));
    assert_eq!(check(&field, &json!("x")).as_deref(), Some("expected a map"));
}

#[test]
fn json_web_keys() {
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }).to_string();
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43) }).to_string();
    let not = Some("could not load JWK, likely not a valid key");
    expect(
        "jwk",
        &typedefs::jwk(),
        &[
            (&rsa, None),
            (&ec, None),
            ("{vault://env/jwk}", None),
            ("{}", not),
            ("x", not),
            (r#"{"kty":"oct","k":"YQ"}"#, not),
            (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, not),
        ],
    );
}
