//! URLs, taken apart as LuaSocket's `url.parse` does.

use serde_json::Value;

use super::text;

/// The parts of a URL; each is absent when the URL does not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url<'a> {
    pub scheme: Option<&'a str>,
    pub authority: Option<&'a str>,
    pub userinfo: Option<&'a str>,
    pub host: Option<&'a str>,
    /// Not necessarily a number.
    pub port: Option<&'a str>,
    pub path: Option<&'a str>,
    pub params: Option<&'a str>,
    pub query: Option<&'a str>,
    pub fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// `None` for an empty text, the only one that is no URL at all.
    pub fn parse(url: &'a str) -> Option<Self> {
        if url.is_empty() {
            return None;
        }
        let mut out = Self::default();
        let mut rest = url;
        if let Some((before, fragment)) = rest.split_once('#') {
            (rest, out.fragment) = (before, Some(fragment));
        }
        if let Some((scheme, after)) = rest.split_once(':')
            && scheme.starts_with(|c: char| c.is_ascii_alphanumeric())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        {
            (out.scheme, rest) = (Some(scheme), after);
        }
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, path) = after.split_at(end);
            (out.authority, rest) = (Some(authority), path);
        }
        if let Some((before, query)) = rest.split_once('?') {
            (rest, out.query) = (before, Some(query));
        }
        if let Some((before, params)) = rest.split_once(';') {
            (rest, out.params) = (before, Some(params));
        }
        if !rest.is_empty() {
            out.path = Some(rest);
        }
        if let Some(authority) = out.authority {
            out.take_authority(authority);
        }
        Some(out)
    }

    fn take_authority(&mut self, authority: &'a str) {
        let mut rest = authority;
        if let Some((userinfo, host)) = rest.split_once('@') {
            (self.userinfo, rest) = (Some(userinfo), host);
        }
        if let Some((host, port)) = rest.rsplit_once(':')
            && !port.contains(']')
        {
            (self.port, rest) = (Some(port), host);
        }
        if !rest.is_empty() {
            let bracketed = rest.strip_prefix('[').and_then(|host| host.strip_suffix(']')).filter(|h| !h.is_empty());
            self.host = Some(bracketed.unwrap_or(rest));
        }
    }
}

pub fn url(value: &Value) -> Result<(), String> {
    let parsed = Url::parse(text(value)).ok_or("could not parse url. invalid url")?;
    if parsed.host.is_none() {
        return Err("missing host in url".into());
    }
    if parsed.scheme.is_none() {
        return Err("missing scheme in url".into());
    }
    Ok(())
}
