//! # response-transformer
//!
//! Removes, renames, replaces, adds and appends, in this order, header fields of the response and members of a JSON body.
//! Whether a header field is there is judged by the response as it was before. Of a JSON body only the top level is
//! touched, and what is not touched stays as it was written.
//!
//! Beyond Kong, `mask` hides values in JSON bodies, at any depth, and in texts. The upstream is asked for a body that is not
//! encoded; what cannot be masked (a body that is encoded all the same, longer than 32 MiB or no JSON although it says so) is
//! withheld.

mod body;
mod media;

use crate::mask::{self, Mask};
use crate::request_transformer::{TYPES, names_two_headers};
use body::Body;
use entities::PluginSchema;
use pdk::{BuildError, Chunk, Context, Definition, Headers, Instance, Phases, Plugin, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "response-transformer",
    priority: 800,
    version: crate::VERSION,
    phases: Phases::ACCESS.union(Phases::HEADER_FILTER).union(Phases::BODY_FILTER),
    schema,
    build,
};

const PAIR: &str = "^[^:]+:.*$";
const NONE: [&str; 0] = [];

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// What is taken out: names.
    remove: Remove,
    /// What gets another name: `old:new`.
    rename: Rename,
    /// What gets another value, where it is there: `name:value`.
    replace: Change,
    /// What is added, where it is not there: `name:value`.
    add: Change,
    /// What is added in any case: `name:value`.
    append: Change,
    /// Which values of JSON bodies and texts are masked. Not in Kong.
    #[field(hidden)]
    mask: Option<mask::Config>,
}

#[derive(Record, Deserialize, Clone, Debug)]
struct Remove {
    /// Members of the body.
    #[field(default = NONE)]
    json: Vec<String>,
    /// Header fields.
    #[field(default = NONE)]
    headers: Vec<String>,
}

#[derive(Record, Deserialize, Clone, Debug)]
struct Rename {
    /// Members of the body.
    #[field(default = NONE, elements(pattern = PAIR))]
    json: Vec<String>,
    /// Header fields.
    #[field(default = NONE, elements(pattern = PAIR, validator(names_two_headers)))]
    headers: Vec<String>,
}

#[derive(Record, Deserialize, Clone, Debug)]
struct Change {
    /// Members of the body.
    #[field(default = NONE, elements(pattern = PAIR))]
    json: Vec<String>,
    /// The types of the members' values, in the order of `json`; strings where there are too few.
    #[field(default = NONE, elements(one_of(TYPES)))]
    json_types: Vec<String>,
    /// Header fields.
    #[field(default = NONE, elements(pattern = PAIR))]
    headers: Vec<String>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let mask = config.mask.as_ref().map(Mask::new).transpose();
    let mask = mask.map_err(|why| BuildError(format!("response-transformer: mask: {why}")))?;
    Ok(Arc::new(ResponseTransformer {
        body: Body::new(&config, mask),
        remove: config.remove.headers.iter().map(|entry| pair(entry).0).collect(),
        rename: pairs(&config.rename.headers),
        replace: pairs(&config.replace.headers),
        add: pairs(&config.add.headers),
        append: pairs(&config.append.headers),
    }))
}

/// `name:value` taken apart: all colons between name and value go; the value is trimmed.
fn pair(entry: &str) -> (String, String) {
    let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
    (name.to_owned(), value.trim_start_matches(':').to_owned())
}

fn pairs(entries: &[String]) -> Vec<(String, String)> {
    entries
        .iter()
        .map(|entry| pair(entry))
        .map(|(name, value)| (name, value.trim().to_owned()))
        .filter(|(_, v)| !v.is_empty())
        .collect()
}

struct ResponseTransformer {
    body: Body,
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, String)>,
    add: Vec<(String, String)>,
    append: Vec<(String, String)>,
}

/// Whether this is `application/json` or `application/<anything>+json`.
fn is_json(headers: &Headers) -> bool {
    headers.get("content-type").is_some_and(|value| {
        value.split(|b| *b == b',').any(|one| {
            let Some((kind, subtype)) = media::parse(one.trim_ascii()) else { return false };
            let suffix = subtype.len().checked_sub(b"+json".len()).and_then(|at| subtype.get(at..));
            kind.eq_ignore_ascii_case(b"application")
                && (subtype.eq_ignore_ascii_case(b"json")
                    || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json")))
        })
    })
}

impl Plugin for ResponseTransformer {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        if self.body.masks() {
            // Set rather than removed: without it an upstream may choose any coding (RFC 9110, 12.5.3).
            cx.request.headers.set("Accept-Encoding", b"identity");
        }
        Step::Continue
    }

    fn header_filter(&self, cx: &mut Context) {
        let headers = &mut cx.response.headers;
        let had: Vec<bool> = self.replace.iter().chain(&self.add).map(|(name, _)| headers.contains(name)).collect();
        let (had_replaced, had_added) = had.split_at(self.replace.len());
        let values = |(old, _): &(String, String)| headers.get_all(old).map(<[u8]>::to_vec).collect();
        let renamed: Vec<Vec<Vec<u8>>> = self.rename.iter().map(values).collect();
        if self.body.is_for(headers) {
            headers.remove("content-length");
        }
        for name in &self.remove {
            headers.remove(name);
        }
        for ((old, new), values) in self.rename.iter().zip(renamed).filter(|(_, values)| !values.is_empty()) {
            headers.remove(old);
            headers.remove(new);
            // Under its own name, however it is written, it is gone: Kong sets the new name, then clears the old one.
            if !old.eq_ignore_ascii_case(new) {
                values.iter().for_each(|value| headers.append(new, value));
            }
        }
        for ((name, value), _) in self.replace.iter().zip(had_replaced).filter(|(_, had)| **had) {
            headers.set(name, value.as_bytes());
        }
        for ((name, value), _) in self.add.iter().zip(had_added).filter(|(_, had)| !**had) {
            headers.set(name, value.as_bytes());
        }
        for (name, value) in &self.append {
            headers.append(name, value.as_bytes());
        }
        if !self.body.is_for(headers) {
            return;
        }
        if self.body.withholds(headers) {
            log::error!(request_id = cx.request_id(); "response-transformer: an encoded body cannot be masked");
            cx.response.status = 502;
            cx.response.headers.remove("content-encoding");
            cx.response.body = pdk::Body::Empty;
            return;
        }
        cx.data.set(body::Whole::of(headers));
    }

    fn body_filter(&self, cx: &mut Context, chunk: &mut Chunk) {
        if let Some(whole) = cx.data.get_mut::<body::Whole>() {
            self.body.filter(whole, chunk);
        }
    }
}

/// Whether this is a text that is no JSON.
fn is_text(headers: &Headers) -> bool {
    headers.get("content-type").is_some_and(|value| value.trim_ascii_start().to_ascii_lowercase().starts_with(b"text/"))
}

#[cfg(test)]
mod tests;
