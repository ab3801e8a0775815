//! What a write makes invalid (RFC 9111, 4.4): all that is kept of the URIs it was about.
//!
//! A URI has a mark, and a response that is kept has the mark that its URI had when its request came. A write gives the URI
//! another mark, which makes invalid what was kept before, whatever its consumer, its variant and its method, and also what is
//! on its way yet. A mark that is forgotten (marks are bounded in number) makes invalid what had it: never the other way.

use super::ProxyCache;
use super::key::{self, Key};
use crate::digested::Digested;
use pdk::{Context, Method};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Marks in the process.
const CAPACITY: usize = 256 * 1024;

struct Mark(AtomicU64);

impl Default for Mark {
    fn default() -> Self {
        Self(AtomicU64::new(unused()))
    }
}

/// A number that no URI had yet.
fn unused() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

static MARKS: LazyLock<Digested<Mark>> = LazyLock::new(|| Digested::new(CAPACITY));

/// The mark of a URI.
pub(super) fn mark(uri: &Key) -> u64 {
    MARKS.get(uri).0.load(Ordering::Acquire)
}

/// Gives a URI another mark, if it has one.
fn exchange(uri: &Key) {
    if let Some(mark) = MARKS.find(uri) {
        mark.0.store(unused(), Ordering::Release);
    }
}

impl ProxyCache {
    /// Makes invalid what is kept of the URIs that a write was about, before its client learns that it is done.
    pub(super) fn invalidate(&self, cx: &mut Context) {
        let uris = self.written(cx);
        match &self.shared {
            None => uris.iter().for_each(exchange),
            Some(shared) if !uris.is_empty() => {
                let shared = shared.clone();
                cx.before_head(async move {
                    for uri in &uris {
                        shared.forget_mark(uri).await;
                    }
                });
            }
            Some(_) => {}
        }
    }

    /// The URIs that this was a write to: the request's own, and of the response's `Location` and `Content-Location` those of
    /// the same origin. None where it was no write, or failed. A method whose responses are kept is taken for one that reads.
    fn written(&self, cx: &Context) -> Vec<Key> {
        let is_safe = matches!(cx.request.method, Method::Get | Method::Head | Method::Options | Method::Trace);
        let is_done = cx.source == pdk::Source::Upstream && (200..400).contains(&cx.response.status);
        if is_safe || !is_done || self.methods.contains(&cx.request.method) {
            return Vec::new();
        }
        let mut uris = vec![key::of_uri(self, cx, cx.request.path(), cx.request.query().unwrap_or_default())];
        for name in ["location", "content-location"] {
            let target = cx.response.headers.get(name).and_then(|reference| resolve(cx, reference));
            uris.extend(target.map(|target| {
                let (path, query) = split(&target, b'?');
                key::of_uri(self, cx, path, query.unwrap_or_default())
            }));
        }
        uris
    }
}

/// What is before the first of these bytes, and what after it.
fn split(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(at, text) {
        Some(found) => (&text[..found], Some(&text[found + 1..])),
        None => (text, None),
    }
}

/// Path and query that a reference names (RFC 3986, 5.2), where that is of the request's own origin.
fn resolve(cx: &Context, reference: &[u8]) -> Option<Vec<u8>> {
    let (reference, _) = split(reference, b'#');
    let (scheme, rest) = match memchr::memchr2(b':', b'/', reference) {
        Some(at) if reference[at] == b':' => (Some(&reference[..at]), &reference[at + 1..]),
        _ => (None, reference),
    };
    let own = cx.forwarded_scheme();
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(own.as_bytes())) {
        return None;
    }
    let target = match rest.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            if !is_same_authority(own, &rest[..end], cx.request.host()) {
                return None;
            }
            &rest[end..]
        }
        // A scheme without an authority is none of ours.
        None if scheme.is_some() => return None,
        None => rest,
    };
    let (path, query) = split(target, b'?');
    let path = match path {
        [b'/', ..] => without_dots(path),
        [] if rest.starts_with(b"//") => b"/".to_vec(),
        [] => cx.request.path().to_vec(),
        relative => {
            let base = cx.request.path();
            let folder = memchr::memrchr(b'/', base).map_or(&b"/"[..], |at| &base[..=at]);
            without_dots(&[folder, relative].concat())
        }
    };
    Some(match query {
        Some(query) => [&path, &b"?"[..], query].concat(),
        None => path,
    })
}

/// Whether two authorities are one, of which one may name the port that the scheme has anyway.
fn is_same_authority(scheme: &str, one: &[u8], other: &[u8]) -> bool {
    let default: &[u8] = if scheme == "https" { b":443" } else { b":80" };
    let short = |authority: &[u8]| authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
    short(one) == short(other)
}

/// A path without its segments `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.iter().flat_map(|segment| [&b"/"[..], segment]).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdk::testing::Harness;

    #[test]
    fn references_are_resolved_within_the_origin() {
        let h = Harness::of(Vec::new());
        let cx = h.context("POST /a/b?c\nHost: h.test:80");
        for (reference, want) in [
            ("/x", Some("/x")),
            ("/x?y#z", Some("/x?y")),
            ("x", Some("/a/x")),
            ("./x", Some("/a/x")),
            ("../x/", Some("/x/")),
            ("../../../x", Some("/x")),
            ("..", Some("/")),
            ("?d", Some("/a/b?d")),
            ("", Some("/a/b")),
            ("#f", Some("/a/b")),
            ("x:y/z", None),
            ("./x:y", Some("/a/x:y")),
            ("http://h.test/x", Some("/x")),
            ("HTTP://H.TEST:80/x?y", Some("/x?y")),
            ("http://h.test", Some("/")),
            ("http://h.test?x", Some("/?x")),
            ("//h.test/x", Some("/x")),
            ("http:///x", None),
            ("http:x", None),
            ("https://h.test/x", None),
            ("http://h.test:8080/x", None),
            ("http://other.test/x", None),
            ("http://h.test@other.test/x", None),
            ("mailto:a@h.test", None),
        ] {
            let found = resolve(&cx, reference.as_bytes());
            assert_eq!(found.as_deref().map(String::from_utf8_lossy).as_deref(), want, "{reference}");
        }
    }
}
