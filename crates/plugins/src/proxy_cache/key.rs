//! The key of a response: a digest over all that tells requests apart.
//!
//! Kong joins the parts with separators that may also stand in them, so that different requests can have one key. Here
//! each part goes in with its length. Host and scheme count where the upstream sees them, and so do the path and the host that a
//! plugin has put in their place, maybe out of fields that only it reads.

use super::ProxyCache;
use aws_lc_rs::digest::{Context as Digest, SHA256};
use pdk::args::decode;
use pdk::{Context, Headers};
use std::borrow::Cow;

/// A SHA-256.
pub(super) type Key = [u8; 32];

/// As clients and the Admin API see it.
pub(super) fn text(key: &Key) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Undoes [`text`].
pub(super) fn parse(text: &str) -> Option<Key> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes = pairs.iter().map(|[high, low]| Some((digit(high)? * 16 + digit(low)?) as u8));
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

struct Parts(Digest);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// What may be absent, which is not the same as empty.
    fn add_optional(&mut self, part: Option<&[u8]>) {
        self.0.update(&[u8::from(part.is_some())]);
        self.add(part.unwrap_or_default());
    }

    /// The host, where the upstream answers by it.
    fn add_host(&mut self, cx: &Context) {
        let is_kept = cx.route.is_some_and(|route| route.preserve_host);
        self.add_optional(is_kept.then(|| cx.request.host().to_ascii_lowercase()).as_deref());
    }

    fn add_path(&mut self, plugin: &ProxyCache, path: &[u8]) {
        if plugin.ignores_case {
            self.add(&path.to_ascii_lowercase());
        } else {
            self.add(path);
        }
    }

    fn finish(self) -> Key {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.finish().as_ref());
        key
    }
}

pub(super) fn of(plugin: &ProxyCache, cx: &Context) -> Key {
    let mut parts = Parts(Digest::new(&SHA256));
    parts.add_optional(cx.consumer.as_ref().map(|consumer| &consumer.id.as_bytes()[..]));
    parts.add_optional(cx.route.map(|route| &route.id.as_bytes()[..]));
    parts.add_host(cx);
    parts.add(cx.forwarded_scheme().as_bytes());
    parts.add(cx.upstream_method().as_str().as_bytes());
    parts.add_path(plugin, cx.request.path());
    add_query(&mut parts, plugin, cx.upstream_query().unwrap_or_default());
    for name in &plugin.vary_headers {
        parts.add_optional(sorted(&cx.request.headers, name).as_deref());
    }
    // Named, as either may be there without the other.
    let host = cx.upstream.as_ref().and_then(|upstream| upstream.host_header.as_deref());
    for (name, part) in [(b"path", cx.new_upstream_path()), (b"host", host)] {
        if let Some(part) = part {
            parts.add(name);
            parts.add(part);
        }
    }
    parts.finish()
}

/// What all that is kept of a URI has in common, for every consumer, method and variant. One behind the same service is the
/// same for all routes: reading and writing often have routes of their own.
pub(super) fn of_uri(plugin: &ProxyCache, cx: &Context, path: &[u8], query: &[u8]) -> Key {
    let mut parts = Parts(Digest::new(&SHA256));
    let place = cx.service.map(|service| service.id).or(cx.route.map(|route| route.id));
    parts.add_optional(place.as_ref().map(|id| &id.as_bytes()[..]));
    parts.add_host(cx);
    parts.add_path(plugin, path);
    add_query(&mut parts, plugin, query);
    parts.finish()
}

/// The values of a field; as in Kong in whichever order they came.
fn sorted(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let mut values: Vec<&[u8]> = headers.get_all(name).collect();
    values.sort_unstable();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

/// The arguments by name, and those of one name by value: as in Kong their order tells no requests apart.
fn add_query(parts: &mut Parts, plugin: &ProxyCache, query: &[u8]) {
    type Arg<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);
    let all = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    let mut args: Vec<Arg<'_>> = all
        .map(|part| match memchr::memchr(b'=', part) {
            Some(at) => (decode(&part[..at]), Some(decode(&part[at + 1..]))),
            None => (decode(part), None),
        })
        .filter(|(name, _)| {
            plugin.vary_query.as_ref().is_none_or(|known| known.iter().any(|one| *one.as_bytes() == **name))
        })
        .collect();
    args.sort_unstable();
    parts.add(&(args.len() as u64).to_le_bytes());
    for (name, value) in &args {
        parts.add(name);
        parts.add_optional(value.as_deref());
    }
}
