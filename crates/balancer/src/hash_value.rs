//! The value that consistent-hashing hashes: `hash_on`, or `hash_fallback` where the request has none of the first.

use std::borrow::Cow;

use crate::consistent_hashing::hash_of;
use crate::settings::{AlgorithmKind, HashOn, Settings};

/// What a request offers to be hashed. Headers, arguments and captures are asked for by the names of the upstream's
/// settings; a header's name in whatever case it has there.
pub trait Inputs {
    /// Id of the authenticated consumer, else of the credential.
    fn consumer(&self) -> Option<Cow<'_, str>>;
    /// The client's address after real_ip.
    fn ip(&self) -> Cow<'_, str>;
    /// Calls `each` with every value of a header.
    fn header(&self, name: &str, each: &mut dyn FnMut(&[u8]));
    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The normalised path.
    fn path(&self) -> Cow<'_, [u8]>;
    /// Calls `each` with every value of a query argument; `None` for one without `=`.
    fn query_arg(&self, name: &str, each: &mut dyn FnMut(Option<&[u8]>));
    /// A capture of the route's path by name, or by number written in digits.
    fn uri_capture(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// A random value for a cookie the request does not have.
    fn new_cookie(&self) -> String;
}

/// What `Balancer::pick` and the response need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashValue {
    pub hash: Option<u32>,
    /// A cookie to set, so that the client comes back to the same target.
    pub cookie: Option<NewCookie>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCookie {
    pub name: Box<str>,
    pub value: String,
    pub path: Box<str>,
}

impl NewCookie {
    /// The value of the Set-Cookie header.
    pub fn header_value(&self) -> String {
        format!("{}={}; Path={}; SameSite=Lax; HttpOnly", self.name, self.value, self.path)
    }
}

/// Hashes what the upstream hashes on; nothing for algorithms that do not hash.
pub(crate) fn hash_value(settings: &Settings, inputs: &dyn Inputs) -> HashValue {
    if settings.algorithm != AlgorithmKind::ConsistentHashing {
        return HashValue::default();
    }
    of_kind(&settings.hash_on, inputs).or_else(|| of_kind(&settings.hash_fallback, inputs)).unwrap_or_default()
}

/// The hash of a value that a plugin has chosen.
pub fn hash_of_value(value: &[u8]) -> u32 {
    hash_of(value)
}

fn of_kind(kind: &HashOn, inputs: &dyn Inputs) -> Option<HashValue> {
    let hash = match kind {
        HashOn::None => None,
        HashOn::Consumer => inputs.consumer().map(|id| hash_of(id.as_bytes())),
        HashOn::Ip => Some(hash_of(inputs.ip().as_bytes())),
        HashOn::Header(name) => header(name, inputs),
        HashOn::Cookie { name, path } => return Some(cookie(name, path, inputs)),
        HashOn::Path => Some(hash_of(&inputs.path())),
        HashOn::QueryArg(name) => query_arg(name, inputs),
        HashOn::UriCapture(name) => inputs.uri_capture(name).map(|value| hash_of(&value)),
    }?;
    Some(HashValue { hash: Some(hash), cookie: None })
}

fn cookie(name: &str, path: &str, inputs: &dyn Inputs) -> HashValue {
    if let Some(value) = inputs.cookie(name) {
        return HashValue { hash: Some(hash_of(&value)), cookie: None };
    }
    let value = inputs.new_cookie();
    let hash = Some(hash_of(value.as_bytes()));
    HashValue { hash, cookie: Some(NewCookie { name: name.into(), value, path: path.into() }) }
}

fn header(name: &str, inputs: &dyn Inputs) -> Option<u32> {
    let mut joined: Option<Vec<u8>> = None;
    inputs.header(name, &mut |value| match &mut joined {
        None => joined = Some(value.to_vec()),
        Some(joined) => {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
    });
    joined.map(|value| hash_of(&value))
}

fn query_arg(name: &str, inputs: &dyn Inputs) -> Option<u32> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    inputs.query_arg(name, &mut |value| values.push(value.unwrap_or(b"true").to_vec()));
    if values.is_empty() {
        return None;
    }
    values.sort();
    Some(hash_of(&values.join(&b',')))
}
