//! # redirect
//!
//! Answers with a redirection. With `keep_incoming_path` the location's path and query give way to the request's.

use entities::PluginSchema;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition =
    Definition { name: "redirect", priority: 779, version: crate::VERSION, phases: Phases::ACCESS, schema, build };

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The status of the answer.
    #[field(default = 301, between(100, 599))]
    status_code: u16,
    /// Where the client is sent to.
    #[field(typedef = url)]
    location: String,
    /// Whether the request's path and query take the place of the location's.
    #[field(default = false)]
    keep_incoming_path: Option<bool>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let frame = config.keep_incoming_path.unwrap_or_default().then(|| Frame::of(&config.location));
    Ok(Arc::new(Redirect { status: config.status_code, location: config.location, frame }))
}

struct Redirect {
    status: u16,
    location: String,
    frame: Option<Frame>,
}

/// What stays of a location when its path and query are replaced.
struct Frame {
    origin: String,
    fragment: String,
}

impl Frame {
    fn of(location: &str) -> Self {
        let (rest, fragment) = location.split_once('#').map_or((location, ""), |(rest, fragment)| (rest, fragment));
        let (scheme, rest) = rest.split_once("://").unwrap_or(("http", rest));
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
        let default_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let host = host.to_ascii_lowercase();
        let host = if default_port.is_empty() { &host } else { host.strip_suffix(default_port).unwrap_or(&host) };
        let at = if user.is_empty() { "" } else { "@" };
        let hash = if fragment.is_empty() { "" } else { "#" };
        Self { origin: format!("{scheme}://{user}{at}{host}"), fragment: format!("{hash}{fragment}") }
    }
}

impl Plugin for Redirect {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let mut response = Response::new(self.status);
        match &self.frame {
            None => response.headers.append("Location", self.location.as_bytes()),
            Some(frame) => {
                let mut location = frame.origin.clone().into_bytes();
                normalize(cx.request.path(), &mut location);
                if let Some(query) = cx.upstream_query().filter(|query| !query.is_empty()) {
                    location.push(b'?');
                    query.iter().for_each(|byte| push(*byte, b"\"<>'", &mut location));
                }
                location.extend_from_slice(frame.fragment.as_bytes());
                response.headers.append("Location", &location);
            }
        }
        response.body = b"redirecting".to_vec().into();
        Step::exit(response)
    }
}

/// Writes a byte of a URL; one that may not be in it (WHATWG URL: all beyond ASCII, and these of this part) escaped.
fn push(byte: u8, escaped: &[u8], out: &mut Vec<u8>) {
    if byte > b'~' || byte <= b' ' || escaped.contains(&byte) {
        out.extend_from_slice(format!("%{byte:02X}").as_bytes());
    } else {
        out.push(byte);
    }
}

/// Writes a path without empty and dot segments. What needs no escape is written without, the rest stays escaped.
fn normalize(path: &[u8], out: &mut Vec<u8>) {
    let mut plain = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let hex = |i: usize| path.get(i).and_then(|b| (*b as char).to_digit(16));
        let escaped = (byte == b'%').then(|| Some((hex(at + 1)? * 16 + hex(at + 2)?) as u8)).flatten();
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => plain.push(byte),
            Some(byte) => plain.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            None => push(byte, b"\"<>`{}", &mut plain),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = true;
    for segment in plain.split(|b| *b == b'/') {
        ends_in_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_in_slash {
        out.push(b'/');
    }
}

#[cfg(test)]
mod tests;
