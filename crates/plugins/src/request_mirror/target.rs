//! Who gets copies.

use super::Outcome;
use crate::post::basic;
use http::{HeaderValue, Uri};
use pdk::{Peer, Upstreams};
use schema::Value;
use schema::validators::url::Url;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

pub(super) struct Target {
    is_tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: Option<u16>,
    /// Goes before the path of a request.
    base: String,
    pub(super) authorization: Option<HeaderValue>,
    /// How many copies may be under way.
    most: usize,
    under_way: AtomicUsize,
    is_failing: AtomicBool,
}

/// Judges an element of `targets`.
pub(super) fn check(value: &Value) -> Result<(), String> {
    Target::new(value.as_str().unwrap_or_default(), 1).map(drop)
}

impl Target {
    /// An error says nothing of the URL, which may hold a password.
    pub(super) fn new(url: &str, most: usize) -> Result<Self, String> {
        let parsed = Url::parse(url).unwrap_or_default();
        let is_tls = match parsed.scheme {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the scheme of a target must be http or https".to_owned()),
        };
        if parsed.query.is_some() || parsed.fragment.is_some() || parsed.params.is_some() {
            return Err("a target has neither parameters nor a query or a fragment".to_owned());
        }
        let port = parsed.port.map(str::parse).transpose().map_err(|_| "invalid port in a target")?;
        let target = Self {
            is_tls,
            host: parsed.host.unwrap_or_default().to_owned(),
            port,
            base: parsed.path.unwrap_or_default().trim_end_matches('/').to_owned(),
            authorization: parsed.userinfo.map(basic).transpose()?,
            most,
            under_way: AtomicUsize::new(0),
            is_failing: AtomicBool::new(false),
        };
        let is_url = !target.host.is_empty() && target.uri(None, b"/").is_some();
        is_url.then_some(target).ok_or_else(|| "invalid url".to_owned())
    }

    /// The URL of a request's copy. In the clear a peer is called at the address that its balancer chose; by TLS by its name,
    /// which its certificate bears.
    pub(super) fn uri(&self, peer: Option<&Peer>, path: &[u8]) -> Option<Uri> {
        let (scheme, base) = (if self.is_tls { "https" } else { "http" }, &self.base);
        let path = std::str::from_utf8(path).ok()?;
        let authority = match peer {
            Some(peer) if !self.is_tls => peer.address.to_string(),
            Some(peer) => authority(name_of(peer), Some(peer.address.port())),
            None => authority(&self.host, self.port),
        };
        format!("{scheme}://{authority}{base}{path}").parse().ok()
    }

    /// The `Host` of a copy, where it is not that of its URL.
    pub(super) fn host_field(&self, peer: &Peer) -> String {
        if name_of(peer).len() < peer.host.len() {
            return peer.host.to_string();
        }
        let default = if self.is_tls { 443 } else { 80 };
        authority(&peer.host, Some(peer.address.port()).filter(|port| *port != default))
    }

    /// Room for a copy, as long as it lives.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Room> {
        let more = |count: usize| (count < self.most).then_some(count + 1);
        self.under_way.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Room(self.clone()))
    }

    /// The target's address among the targets of an upstream entity, where it is the name of one. `Err`: none takes requests.
    pub(super) fn peer(&self, upstreams: &dyn Upstreams) -> Result<Option<Peer>, Outcome> {
        match upstreams.peer(&self.host) {
            None => Ok(None),
            Some(Some(peer)) => Ok(Some(peer)),
            Some(None) => {
                self.note(Some("no target of the upstream takes requests"));
                Err(Outcome::Failed)
            }
        }
    }

    /// Notes how a copy went; the log is told of turns alone.
    pub(super) fn note(&self, failure: Option<&str>) {
        if self.is_failing.swap(failure.is_some(), Relaxed) == failure.is_some() {
            return;
        }
        let host = authority(&self.host, self.port);
        match failure {
            Some(reason) => log::warn!("request-mirror: copies to {host} fail: {reason}"),
            None => log::info!("request-mirror: copies to {host} are answered again"),
        }
    }
}

fn name_of(peer: &Peer) -> &str {
    let name = pdk::host_without_port(peer.host.as_bytes());
    std::str::from_utf8(name).unwrap_or_default()
}

fn authority(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

/// A copy's place among those under way.
pub(super) struct Room(Arc<Target>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}
