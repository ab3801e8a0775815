//! What is kept: which requests, which responses, and what of them.

use super::conditions;
use super::control::{self, Directives, MediaType};
use super::store::Stored;
use super::{ProxyCache, Taken};
use crate::cors::VaryBefore;
use bytes::{Bytes, BytesMut};
use pdk::{Context, Headers, Method, Source};

/// Whether a field is kept: not those of the connection, nor those that are told anew.
pub(super) fn is_kept(name: &[u8]) -> bool {
    const OTHERS: [&[u8]; 12] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"public",
        b"te",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
        b"age",
        b"x-cache-key",
        b"x-cache-status",
    ];
    let lower = name.to_ascii_lowercase();
    !OTHERS.contains(&&*lower) && memchr::memmem::find(&lower, b"ratelimit-remaining").is_none()
}

impl ProxyCache {
    pub(super) fn may_keep_request(&self, cx: &Context, asked: &Directives) -> bool {
        let method = cx.upstream_method();
        // The key does not tell bodies apart, and methods that should have none would be answered by another's.
        let is_odd = matches!(method, Method::Get | Method::Head) && !cx.request.body.is_empty();
        let is_authorized = self.heeds && cx.request.headers.contains("authorization");
        self.methods.contains(method)
            && !is_odd
            && !is_authorized
            && !asked.no_store
            && !asked.no_cache
            && !cx.request.is_grpc()
            && !cx.request.is_websocket()
            && !self.asks_for_something_else(&cx.request.headers)
    }

    /// Whether fields ask for something else than method and URL say. The key does not know of them, so that with an upstream
    /// that heeds them the answer would be given to those who asked for the URL.
    fn asks_for_something_else(&self, headers: &Headers) -> bool {
        const FIELDS: [&[u8]; 5] =
            [b"x-original-url", b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override"];
        let is_one = |name: &[u8]| FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field));
        let is_keyed = |name: &[u8]| self.vary_headers.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        headers.iter().any(|(name, _)| is_one(name) && !is_keyed(name))
    }

    /// The head of a response that is to be kept; `None` for all others.
    pub(super) fn take(&self, cx: &Context) -> Option<Taken> {
        let response = &cx.response;
        let is_whole = response.status != 206 && response.trailers.is_none();
        if cx.source == Source::Error || !is_whole || !self.statuses.contains(&response.status) {
            return None;
        }
        let mut content_types = response.headers.get_all("content-type");
        let content_type = MediaType::parse(content_types.next()?)?;
        if content_types.next().is_some() || !self.types.iter().any(|wanted| wanted.is_met_by(&content_type)) {
            return None;
        }
        let now = cx.shared.clock.now().as_secs();
        let chosen_by = chosen_by(upstreams_vary(cx), &cx.request.headers)?;
        let mut stored = Stored {
            status: response.status,
            headers: Headers::new(),
            body: Bytes::new(),
            told: "Miss",
            timestamp: now,
            age: 0,
            ttl: self.ttl,
            ends: 0,
            must_revalidate: false,
            stale_while: None,
            stale_on_error: None,
            mark: 0,
            chosen_by,
        };
        if self.heeds {
            let said = Directives::of(&response.headers);
            stored.age = control::age(&response.headers, cx.timing.upstream_ms().unwrap_or(0) / 1000, now);
            stored.ttl = said.lifetime(&response.headers, now).saturating_sub(stored.age);
            stored.must_revalidate = said.must_revalidate || said.shared_max_age.is_some();
            stored.stale_while = said.stale_while_revalidate;
            stored.stale_on_error = said.stale_if_error;
            if said.no_cache {
                (stored.ttl, stored.must_revalidate) = (0, true);
            }
            // What is never fresh is worth keeping only where the upstream can be asked whether it still holds; conditions
            // are for what succeeds (RFC 9110, 13.2.1).
            let can_be_asked =
                self.revalidates && response.status / 100 == 2 && conditions::has_validator(&response.headers);
            if said.private || said.no_store || stored.ttl == 0 && !can_be_asked {
                return None;
            }
        }
        stored.ends = match self.storage_ttl {
            Some(0) => u64::MAX,
            Some(ttl) => now.saturating_add(u64::try_from(ttl).ok()?),
            None => now.saturating_add(stored.ttl).saturating_add(self.afterlife(&stored)),
        };
        for (name, value) in response.headers.iter().filter(|(name, _)| is_kept(name)) {
            stored.headers.append(&String::from_utf8_lossy(name), value);
        }
        Some(Taken { stored, body: BytesMut::new() })
    }
}

/// What the upstream says of its choice: not what cors adds, which is told anew with each answer.
pub(super) fn upstreams_vary<'a>(cx: &'a Context<'_>) -> impl Iterator<Item = &'a [u8]> {
    let count = cx.data.get::<VaryBefore>().map_or(usize::MAX, |before| before.0);
    cx.response.headers.get_all("vary").take(count)
}

/// The request's fields that `Vary` names, with their values; `None` where no other request would do (`*`).
fn chosen_by<'a>(vary: impl Iterator<Item = &'a [u8]>, request: &Headers) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let mut names: Vec<String> = Vec::new();
    for value in vary {
        let listed = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        names.extend(listed.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()));
    }
    if names.iter().any(|name| name == "*") {
        return None;
    }
    names.sort_unstable();
    names.dedup();
    Some(names.into_iter().map(|name| (name.clone(), request.joined(&name))).collect())
}
