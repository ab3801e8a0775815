//! Tests of `ldap-auth`, those of the protocol against a real slapd.

use super::*;
use crate::script::{Script, free_port};
use base64::prelude::BASE64_STANDARD;
use pdk::testing::{Harness, START, complete};
use serde_json::{Value, json};
use std::net::TcpListener;

fn config(more: Value) -> Value {
    let mut all = json!({ "ldap_host": "127.0.0.1", "ldap_port": 1, "base_dn": "dc=a", "attribute": "cn" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn without_credentials_nobody_passes() {
    let h = Harness::new(&DEFINITION, config(json!({}))).with_consumer(2, "ghost");
    for field in [
        "X-A: 1",
        "Authorization: Basic YTpi",
        "Authorization: ldap",
        "Authorization: ldap !!",
        "Authorization: ldapYTpi",
    ] {
        let exchange = h.send(&format!("GET /\n{field}"));
        assert_eq!((exchange.status, exchange.header("WWW-Authenticate")), (401, "LDAP"), "{field}");
    }
    let named = json!({ "header_type": "Basic", "realm": "r" });
    let exchange = Harness::new(&DEFINITION, config(named)).send("GET /");
    assert_eq!(exchange.header("WWW-Authenticate"), "Basic realm=\"r\"");
    let h = Harness::new(&DEFINITION, config(json!({ "anonymous": "ghost" }))).with_consumer(2, "ghost");
    assert!(h.send("GET /").upstream.unwrap().contains("X-Anonymous-Consumer: true"));
}

#[test]
fn takes_fields_apart() {
    let shown = |name: &str, password: &str| Some(Shown { name: name.to_owned(), password: password.into() });
    let field = |scheme: &str, text: &str| format!("{scheme} {}", BASE64_STANDARD.encode(text));
    for (field, want) in [
        (field("ldap", "a:b"), shown("a", "b")),
        (field("LDAP", "a:b:c"), shown("a", "b:c")),
        (field("  ldap  ", "a:b"), shown("a", "b")),
        (field("ldap", "a:"), None),
        (field("ldap", ":b"), None),
        (field("ldap", "ab"), None),
        (field("xldap", "a:b"), None),
    ] {
        assert_eq!(parse(field.as_bytes(), "ldap"), want, "{field}");
    }
}

#[test]
fn a_name_cannot_leave_its_place_in_the_directory() {
    for (name, want) in [
        ("alice", "alice"),
        ("a,dc=admin", "a\\,dc\\=admin"),
        ("a+cn=b", "a\\+cn\\=b"),
        ("*)(uid=*", "*)(uid\\=*"),
        ("\"<>;\\", "\\\"\\<\\>\\;\\\\"),
        (" a ", "\\ a\\ "),
        ("#1", "\\#1"),
        ("a\0b", "a\\00b"),
        ("Zoë", "Zoë"),
    ] {
        assert_eq!(escape(name), want, "{name}");
    }
}

#[test]
fn answers_are_believed_for_a_while_and_only_so_many() {
    let cache = Cache::new(Duration::from_secs(60)).unwrap();
    cache.keep("a", b"right", true, START);
    cache.keep("a", b"wrong", false, START);
    for (name, password, after, want) in [
        ("a", "right", 59, Some(true)),
        ("a", "wrong", 59, Some(false)),
        ("a", "right", 60, None),
        ("a", "other", 0, None),
        ("ar", "ight", 0, None),
    ] {
        assert_eq!(cache.get(name, password.as_bytes(), START + Duration::from_secs(after)), want, "{name} {password}");
    }
    (0..25_000).for_each(|number: u32| cache.keep("a", &number.to_be_bytes(), false, START));
    assert_eq!(cache.get("a", b"right", START), None);
    assert_eq!(cache.get("a", &24_999_u32.to_be_bytes(), START), Some(false));
    let none = Cache::new(Duration::ZERO).unwrap();
    none.keep("a", b"b", true, START);
    assert_eq!(none.get("a", b"b", START), None);
}

#[test]
fn bytes_that_are_no_ldap_are_refused() {
    use crate::ber::{Malformed, Reader, SEQUENCE, element, length};
    for bytes in [&b"\x30"[..], b"\x30\x05ab", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", b"\x04\x01a"] {
        assert_eq!(Reader::new(bytes).expect(SEQUENCE), Err(Malformed), "{bytes:?}");
    }
    assert_eq!(length(b"\x30\x84\x7f\xff\xff\xff", 1000), Err(Malformed), "an answer of two gigabytes");
    for size in [0, 127, 128, 255, 256, 70_000] {
        let content = vec![7; size];
        assert_eq!(Reader::new(&element(SEQUENCE, &content)).expect(SEQUENCE), Ok(content.as_slice()), "{size}");
    }
}

#[test]
fn a_config_has_one_kind_of_tls() {
    let refused = complete(&DEFINITION, config(json!({ "ldaps": true, "start_tls": true }))).unwrap_err();
    assert_eq!(refused["config"]["start_tls"], "value must be false");
    assert_eq!(refused["config"]["@entity"][0], "'ldaps' and 'start_tls' cannot be enabled simultaneously");
}

/// See `xtask/slapd.sh`, which runs it.
struct Slapd {
    _script: Script,
    plain: u16,
    tls: u16,
}

impl Slapd {
    fn start() -> Self {
        let (plain, tls) = (free_port(), free_port());
        let script = Script::start("slapd.sh", &[&plain.to_string(), &tls.to_string()]);
        Self { _script: script, plain, tls }
    }
}

#[test]
fn slapd_says_whose_password_is_right() {
    let slapd = Slapd::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (security, port) in
        [(Security::None, slapd.plain), (Security::StartTls, slapd.plain), (Security::Tls, slapd.tls)]
    {
        let directory = Directory::new("127.0.0.1".to_owned(), port, security, false, Duration::from_secs(20)).unwrap();
        let ask = |name: &str, password: &str| {
            let name = format!("cn={},dc=test", escape(name));
            runtime.block_on(directory.bind(&name, password.as_bytes())).unwrap()
        };
        for (name, password, want) in [
            ("alice", "wonder:land", true),
            ("alice", "wrong", false),
            ("nobody", "wonder:land", false),
            ("Smith, J.", "j", true),
            ("alice,dc=test", "wonder:land", false),
        ] {
            assert_eq!(ask(name, password), want, "{name} {security:?}");
        }
    }
    let verifying = Directory::new("127.0.0.1".to_owned(), slapd.tls, Security::Tls, true, Duration::from_secs(20));
    if let Ok(directory) = verifying {
        let refused = runtime.block_on(directory.bind("cn=alice,dc=test", b"wonder:land"));
        assert!(matches!(refused, Err(Failure::Io(_))), "a certificate that nobody vouches for: {refused:?}");
    }
}

#[test]
fn a_server_out_of_reach_is_no_wrong_password() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory =
        Directory::new("127.0.0.1".to_owned(), free_port(), Security::None, false, Duration::from_secs(5)).unwrap();
    assert!(matches!(runtime.block_on(directory.bind("cn=a", b"b")), Err(Failure::Io(_))));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let directory =
        Directory::new("127.0.0.1".to_owned(), port, Security::None, false, Duration::from_millis(50)).unwrap();
    assert!(matches!(runtime.block_on(directory.bind("cn=a", b"b")), Err(Failure::Timeout)));
}
