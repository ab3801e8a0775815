//! The transformation of JSON bodies, and the masking of these and of texts.

use super::{Change, Config, is_json, is_text, pair};
use crate::mask::Mask;
use crate::request_transformer::JsonType;
use bytes::{Bytes, BytesMut};
use pdk::json::Json;
use pdk::{Chunk, Headers};
use serde_json::Value;

/// Larger bodies pass as they are; where they would have to be masked, they are withheld.
const LARGEST: usize = 32 << 20;

/// What is done to a JSON body.
pub(super) struct Body {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, Value)>,
    add: Vec<(String, Value)>,
    append: Vec<(String, Value)>,
    mask: Option<Mask>,
}

/// The body so far.
pub(super) struct Whole {
    is_json: bool,
    data: BytesMut,
    is_too_large: bool,
}

impl Whole {
    pub(super) fn of(headers: &Headers) -> Self {
        Self { is_json: is_json(headers), data: BytesMut::new(), is_too_large: false }
    }
}

impl Body {
    pub(super) fn new(config: &Config, mask: Option<Mask>) -> Self {
        Self {
            remove: config.remove.json.iter().map(|entry| pair(entry).0).collect(),
            rename: config.rename.json.iter().map(|entry| pair(entry)).filter(|(_, new)| !new.is_empty()).collect(),
            replace: values(&config.replace),
            add: values(&config.add),
            append: values(&config.append),
            mask,
        }
    }

    /// Whether the body with these fields is changed.
    pub(super) fn is_for(&self, headers: &Headers) -> bool {
        let is_masked = self.mask.is_some();
        ((is_masked || !self.is_idle()) && is_json(headers)) || (is_masked && is_text(headers))
    }

    /// Whether there is anything to mask.
    pub(super) fn masks(&self) -> bool {
        self.mask.is_some()
    }

    /// Whether it would have to be masked, and cannot be.
    pub(super) fn withholds(&self, headers: &Headers) -> bool {
        self.mask.is_some()
            && headers.get("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }

    /// Whether there is nothing to transform.
    fn is_idle(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// Holds the body back until it is whole, then lets it go transformed.
    pub(super) fn filter(&self, whole: &mut Whole, chunk: &mut Chunk) {
        if whole.is_too_large {
            if self.mask.is_some() {
                chunk.data = Bytes::new();
            }
            return;
        }
        whole.data.extend_from_slice(&chunk.data);
        chunk.data = Bytes::new();
        whole.is_too_large = whole.data.len() > LARGEST;
        if !whole.is_too_large && !chunk.is_last {
            return;
        }
        let data = whole.data.split().freeze();
        if whole.is_too_large {
            chunk.data = if self.mask.is_some() { withheld("too long") } else { data };
            return;
        }
        let json = Json::parse(&data).filter(|_| whole.is_json && !self.is_idle());
        let data = json.map_or(data, |json| self.transformed(json).into());
        chunk.data = match &self.mask {
            Some(mask) => masked(mask, whole.is_json, data),
            None => data,
        };
    }

    fn transformed(&self, mut json: Json) -> Vec<u8> {
        for name in &self.remove {
            json.remove(name);
        }
        for (old, new) in &self.rename {
            // Onto itself it is removed: Kong sets the new name, then clears the old one.
            if old == new {
                json.remove(old);
            } else {
                json.rename(old, new);
            }
        }
        // Lua's truth: only what is absent or false is not there.
        let is_there = |json: &Json, name: &str| json.raw(name).is_some_and(|raw| raw != "false");
        for (name, value) in &self.replace {
            if is_there(&json, name) {
                json.set(name, value);
            }
        }
        for (name, value) in &self.add {
            if !is_there(&json, name) {
                json.set(name, value);
            }
        }
        for (name, value) in &self.append {
            json.append(name, value);
        }
        json.encode()
    }
}

fn masked(mask: &Mask, is_json: bool, data: Bytes) -> Bytes {
    if data.is_empty() {
        return data;
    }
    if is_json {
        return mask.json(&data).map_or_else(|| withheld("no JSON"), Bytes::from);
    }
    // Bytes that are no text match nothing.
    let text = String::from_utf8_lossy(&data);
    match mask.text(&text) {
        std::borrow::Cow::Borrowed(_) => data.clone(),
        std::borrow::Cow::Owned(masked) => masked.into(),
    }
}

fn withheld(why: &str) -> Bytes {
    log::error!("response-transformer: a body that cannot be masked is withheld: it is {why}");
    Bytes::new()
}

fn values(change: &Change) -> Vec<(String, Value)> {
    let typed = change.json.iter().zip(JsonType::all(&change.json_types)).filter_map(|(entry, kind)| {
        let (name, text) = pair(entry);
        Some((name, kind.value(&encoded(&text))?))
    });
    typed.collect()
}

/// The text that Kong makes the value of: the JSON of what is configured, in which quotes and slashes alone are freed of
/// their backslashes, so that all other escapes are escaped again on their way out. Without a value it is that of null.
fn encoded(text: &str) -> String {
    if text.is_empty() {
        return "null".to_owned();
    }
    let json = Value::from(text).to_string();
    let inner = json.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(&json);
    inner.replace("\\\"", "\"").replace('\u{7f}', "\\u007f")
}
