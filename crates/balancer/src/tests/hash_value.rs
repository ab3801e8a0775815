//! What requests are hashed by.

use std::borrow::Cow;

use super::settings;
use crate::hash_value::hash_value;
use crate::{AlgorithmKind, HashOn, Inputs, NewCookie, Settings, hash_of_value};

/// A request with everything, or with nothing.
pub(super) struct Request {
    pub(super) has_all: bool,
}

impl Inputs for Request {
    fn consumer(&self) -> Option<Cow<'_, str>> {
        self.has_all.then_some(Cow::Borrowed("consumer-id"))
    }

    fn ip(&self) -> Cow<'_, str> {
        Cow::Borrowed("10.0.0.1")
    }

    fn header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        match name {
            "X-Once" if self.has_all => each(b"one"),
            "X-Twice" if self.has_all => [b"b".as_slice(), b"a"].into_iter().for_each(each),
            "X-Empty" if self.has_all => each(b""),
            _ => {}
        }
    }

    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            "full" if self.has_all => Some(Cow::Borrowed(b"value")),
            "empty" if self.has_all => Some(Cow::Borrowed(b"")),
            _ => None,
        }
    }

    fn path(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(b"/path")
    }

    fn query_arg(&self, name: &str, each: &mut dyn FnMut(Option<&[u8]>)) {
        match name {
            "once" if self.has_all => each(Some(b"one")),
            "twice" if self.has_all => [Some(b"b".as_slice()), Some(b"a"), None].into_iter().for_each(each),
            "bare" if self.has_all => each(None),
            "empty" if self.has_all => each(Some(b"")),
            _ => {}
        }
    }

    fn uri_capture(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (self.has_all && name == "user").then_some(Cow::Borrowed(b"captured"))
    }

    fn new_cookie(&self) -> String {
        "fresh".to_owned()
    }
}

fn hashed(on: HashOn, fallback: HashOn, has_all: bool) -> Option<u32> {
    let settings = Settings { hash_on: on, hash_fallback: fallback, ..settings(AlgorithmKind::ConsistentHashing) };
    hash_value(&settings, &Request { has_all }).hash
}

#[test]
fn each_kind_has_its_value() {
    let header = |name: &str| HashOn::Header(name.into());
    let arg = |name: &str| HashOn::QueryArg(name.into());
    // What is hashed of a request with everything, and of one with nothing.
    let cases = [
        (HashOn::None, None, None),
        (HashOn::Consumer, Some("consumer-id"), None),
        (HashOn::Ip, Some("10.0.0.1"), Some("10.0.0.1")),
        (header("X-Once"), Some("one"), None),
        (header("X-Twice"), Some("b, a"), None),
        (header("X-Empty"), Some(""), None),
        (header("X-None"), None, None),
        (HashOn::Path, Some("/path"), Some("/path")),
        (arg("once"), Some("one"), None),
        (arg("twice"), Some("a,b,true"), None),
        (arg("bare"), Some("true"), None),
        (arg("empty"), Some(""), None),
        (HashOn::UriCapture("user".into()), Some("captured"), None),
        (HashOn::UriCapture("other".into()), None, None),
    ];
    for (kind, with, without) in cases {
        let of = |value: Option<&str>| value.map(|value| hash_of_value(value.as_bytes()));
        assert_eq!(hashed(kind.clone(), HashOn::None, true), of(with), "{kind:?}");
        assert_eq!(hashed(kind.clone(), HashOn::None, false), of(without), "{kind:?}");
        // As a fallback it has the same value.
        assert_eq!(hashed(header("X-None"), kind.clone(), true), of(with), "{kind:?}");
    }
    assert_eq!(hashed(header("X-Once"), HashOn::Path, true), Some(hash_of_value(b"one")));
}

#[test]
fn a_missing_cookie_is_made() {
    // The cookie's name, whether the request has cookies, the value hashed, whether it is to be set.
    let cases = [("full", true, "value", false), ("full", false, "fresh", true), ("empty", true, "", false)];
    for (name, has_all, value, is_set) in cases {
        let cookie = HashOn::Cookie { name: name.into(), path: "/p".into() };
        for (on, fallback) in [(cookie.clone(), HashOn::Ip), (HashOn::Header("X-None".into()), cookie.clone())] {
            let settings =
                Settings { hash_on: on, hash_fallback: fallback, ..settings(AlgorithmKind::ConsistentHashing) };
            let hash = hash_value(&settings, &Request { has_all });
            assert_eq!(hash.hash, Some(hash_of_value(value.as_bytes())), "{name}");
            let set = is_set.then(|| format!("{name}=fresh; Path=/p; SameSite=Lax; HttpOnly"));
            assert_eq!(hash.cookie.as_ref().map(NewCookie::header_value), set, "{name}");
        }
    }
}

#[test]
fn algorithms_that_do_not_hash_set_no_cookie() {
    for algorithm in [AlgorithmKind::RoundRobin, AlgorithmKind::LeastConnections, AlgorithmKind::Latency] {
        let hash_on = HashOn::Cookie { name: "full".into(), path: "/".into() };
        let hash = hash_value(&Settings { hash_on, ..settings(algorithm) }, &Request { has_all: false });
        assert_eq!((hash.hash, hash.cookie), (None, None));
    }
}
